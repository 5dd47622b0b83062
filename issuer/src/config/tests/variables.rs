//! Environment variables, which lie over the file.

use super::*;

#[test]
fn variables_lie_over_the_file() {
    let env = [("COUNTERSIGN_SERVER__LISTEN", "0.0.0.0:9"), ("COUNTERSIGN_COOKIES__SECURE", "false")];
    let settings = settings("[server]\nlisten = \"127.0.0.1:1\"", &env);
    assert_eq!(settings.server.listen.to_string(), "0.0.0.0:9");
    assert!(!settings.cookies.secure);
}

#[test]
fn a_wrong_variable_is_named() {
    let cases = [
        (
            "COUNTERSIGN_SERVER__LISTN",
            "x",
            "COUNTERSIGN_SERVER__LISTN: server.listn: unknown key; did you mean \"server.listen\"?",
        ),
        (
            "COUNTERSIGN_HASHING__THREADS",
            "many",
            "COUNTERSIGN_HASHING__THREADS: hashing.threads: expected a whole number from 0 to 4294967295",
        ),
    ];
    for (name, value, expected) in cases {
        assert_eq!(finding("", &[(name, value)]), expected);
    }
}

#[test]
fn keys_and_roles_cannot_be_variables() {
    for (name, key) in [("COUNTERSIGN_KEYS__KID", "keys.kid"), ("COUNTERSIGN_ROLES__USER", "roles.user")] {
        let section = key.split('.').next().unwrap();
        assert_eq!(
            finding("", &[(name, "x")]),
            format!("{name}: {key}: {section} can be set in the file only")
        );
    }
}

#[test]
fn a_variable_short_of_an_underscore_is_a_warning() {
    let loaded = read("", &[("COUNTERSIGN_TOKENS_ACCESS_LIFETIME", "1m")]);
    assert_eq!(loaded.settings.unwrap().tokens.access_lifetime, 900);
    assert_eq!(
        loaded.findings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "COUNTERSIGN_TOKENS_ACCESS_LIFETIME: is not read; did you mean COUNTERSIGN_TOKENS__ACCESS_LIFETIME?"
        ]
    );
}

#[test]
fn variables_that_platforms_make_are_left_alone() {
    let env = [("COUNTERSIGN_SERVICE_HOST", "10.0.0.1"), ("COUNTERSIGN_PORT", "tcp://x"), ("HOME", "/")];
    settings("", &env);
}
