use super::*;

const SECRET: &str = "[sessions]\nsecret = \"a secret of more than 32 characters\"\n";

fn read(text: &str, env: &[(&str, &str)]) -> Loaded {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    parse(Path::new("/etc/countersign/x.toml"), &format!("{text}\n{SECRET}"), env)
}

fn settings(text: &str, env: &[(&str, &str)]) -> Settings {
    let loaded = read(text, env);
    loaded.settings.unwrap_or_else(|| panic!("{text}: {:?}", loaded.findings))
}

/// The one finding for `text`.
fn finding(text: &str, env: &[(&str, &str)]) -> String {
    let loaded = read(text, env);
    assert_eq!(loaded.settings, None, "{text}");
    assert_eq!(loaded.findings.len(), 1, "{text}: {:?}", loaded.findings);
    loaded.findings[0].to_string()
}

#[test]
fn without_a_word_the_defaults_hold() {
    let settings = settings("", &[]);
    assert_eq!(settings.server.listen.to_string(), "127.0.0.1:8001");
    assert_eq!(settings.database.file, Path::new("/etc/countersign/issuer.db"));
    assert_eq!(settings.tokens.issuer, "user_service");
    assert_eq!(settings.tokens.audience, "trading_platform");
    assert_eq!((settings.tokens.access_lifetime, settings.tokens.clock_skew), (900, 30));
    assert_eq!((settings.sessions.idle_lifetime, settings.sessions.lifetime), (604_800, 2_592_000));
    assert_eq!((settings.hashing.memory_kib, settings.hashing.passes), (19_456, 2));
    assert!(settings.cookies.secure);
    assert!(settings.roles.knows("user") && settings.roles.knows("admin"));
}

#[test]
fn what_is_wrong_is_told_with_file_key_and_reason() {
    let file = "/etc/countersign/x.toml";
    let cases = [
        ("[server]\nlistn = \"x\"", "server.listn: unknown key; did you mean \"listen\"?"),
        ("[server]\nqqq = 1", "server.qqq: unknown key"),
        ("[sevrer]\n", "sevrer: unknown section; did you mean \"server\"?"),
        (
            "[server]\nlisten = 8001",
            "server.listen: expected an address and a port, such as \"127.0.0.1:8001\", found integer",
        ),
        (
            "[server]\nlisten = \"localhost\"",
            "server.listen: expected an address and a port, such as \"127.0.0.1:8001\"",
        ),
        (
            "[tokens]\naccess_lifetime = 900",
            "tokens.access_lifetime: expected a duration, such as \"30s\", \"15m\", \"12h\" or \"7d\", found integer",
        ),
        ("[tokens]\naccess_lifetime = \"1s\"", "tokens.access_lifetime: expected 10s to 24h"),
        (
            "[tokens]\nissuer = \"\"",
            "tokens.issuer: expected a string, neither empty nor with control characters",
        ),
        ("[cookies]\nsecure = \"yes\"", "cookies.secure: expected true or false"),
        (
            "[database]\nurl = \"postgres://u:hunter2@h/d\"",
            "database.url: expected a sqlite: URL; \"postgres\" databases are not supported",
        ),
        (
            "[database]\nurl = \"sqlite::memory:\"",
            "database.url: expected sqlite: and the path of a file, such as \"sqlite:issuer.db\"",
        ),
        (
            "[hashing]\nmemory_kib = 8",
            "hashing.memory_kib: 8 KiB with 2 passes is below OWASP's minimum for Argon2id (19456 KiB with 2 passes)",
        ),
        (
            "[hashing]\npasses = 1",
            "hashing.memory_kib: 19456 KiB with 1 passes is below OWASP's minimum for Argon2id (19456 KiB with 2 passes)",
        ),
        ("[hashing]\nmemory_kib = 1048577", "hashing.memory_kib: expected at most 1048576 (1 GiB)"),
        ("[hashing]\npasses = 101", "hashing.passes: expected at most 100"),
        ("[hashing]\nthreads = 0", "hashing.threads: expected 1 to 64"),
        (
            "[hashing]\nqueue = -1",
            "hashing.queue: expected a whole number from 0 to 4294967295, found integer",
        ),
        ("[log]\nformat = \"xml\"", "log.format: expected \"auto\", \"text\" or \"json\""),
        (
            "[log]\nlevel = \"=\"",
            "log.level: expected a level such as \"info\", or a filter such as \"info,sqlx=warn\"",
        ),
        ("[roles]\nuser = \"x\"", "roles.user: expected a list of strings"),
        (
            "[roles]\nuser = [\"a b\"]",
            "roles.user: \"a b\" cannot be a permission: printable ASCII without spaces or quotes",
        ),
        ("[roles]\n\"a,b\" = []", "roles.a,b: a role is 1 to 64 of a-z, 0-9, '_', '-' and '.'"),
        ("[[keys]]\nkid = \"a\"\nfile = \"a.pem\"", "keys[0].sign_from: is required"),
        (
            "[[keys]]\nkid = \"a/b\"\nfile = \"a\"\nsign_from = 2026-01-01T00:00:00Z",
            "keys[0].kid: expected 1 to 64 of A-Z, a-z, 0-9, '_', '-' and '.'",
        ),
        (
            "[[keys]]\nkid = \"a\"\nfile = \"a\"\nsign_from = 2026-01-01",
            "keys[0].sign_from: expected a date and time with an offset, such as 2026-11-20T00:00:00Z, found datetime",
        ),
        (
            "[[keys]]\nkid = \"a\"\nfile = \"a\"\nsign_form = 1\nsign_from = 2026-01-01T00:00:00Z",
            "keys[0].sign_form: unknown key; did you mean \"sign_from\"?",
        ),
        ("[keys]\n", "keys: expected [[keys]], found table"),
        ("server = 1", "server: expected a section [server], found integer"),
    ];
    for (text, expected) in cases {
        assert_eq!(finding(text, &[]), format!("{file}: {expected}"), "{text}");
    }
}

#[test]
fn a_slip_of_syntax_is_told_with_its_line() {
    let loaded = read("[server]\nlisten = \n", &[]);
    let text = loaded.findings[0].to_string();
    assert!(text.starts_with("/etc/countersign/x.toml: line 2: "), "{text}");
}

#[test]
fn all_findings_come_at_once() {
    let loaded = read("[server]\nlisten = 1\n[tokens]\nisuer = \"x\"\n[log]\nformat = \"xml\"", &[]);
    assert_eq!(loaded.findings.len(), 3, "{:?}", loaded.findings);
}

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
fn a_key_that_is_there_twice_is_named() {
    let loaded = parse(Path::new("x.toml"), "[server]\nlisten = \"a\"\nlisten = \"b\"", []);
    assert_eq!(loaded.findings[0].to_string(), "x.toml: line 3: duplicate key \"listen\"");
}

#[test]
fn variables_that_platforms_make_are_left_alone() {
    let env = [("COUNTERSIGN_SERVICE_HOST", "10.0.0.1"), ("COUNTERSIGN_PORT", "tcp://x"), ("HOME", "/")];
    settings("", &env);
}

#[test]
fn a_secret_comes_from_one_place_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.toml");
    let load = |text: &str, env: &[(&str, &str)]| {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        parse(&file, text, env)
    };
    let long = "0123456789-0123456789-0123456789";
    std::fs::write(folder.path().join("good"), format!("{long}\n")).unwrap();
    std::fs::write(folder.path().join("short"), "hunter2").unwrap();
    std::fs::write(folder.path().join("raw"), [0xff; 32]).unwrap();

    let inline = load(&format!("[sessions]\nsecret = \"{long}\""), &[]).settings.unwrap();
    let from_file = load("[sessions]\nsecret_file = \"good\"", &[]).settings.unwrap();
    assert_eq!(inline.sessions.secret, from_file.sessions.secret);
    assert!(!format!("{inline:?}").contains("0123456789"));
    assert!(load("[sessions]\nsecret_file = \"raw\"", &[]).settings.is_some());
    // The environment decides alone, whichever of the two the file sets.
    let over = [("COUNTERSIGN_SESSIONS__SECRET", long)];
    assert!(load("[sessions]\nsecret_file = \"missing\"", &over).settings.is_some());

    for (text, expected) in [
        ("", "sessions.secret_file: is required"),
        (
            "[sessions]\nsecret = \"hunter2\"",
            "sessions.secret: is too short: at least 32 random bytes are needed",
        ),
        ("[sessions]\nsecret_file = \"short\"", "sessions.secret_file: is too short"),
        ("[sessions]\nsecret = \"0123456789abcdef0123456789abcdef\"", "sessions.secret: is too short"),
        ("[sessions]\nsecret_file = \"missing\"", "cannot be read: No such file"),
        ("[sessions]\nsecret = \"x\"\nsecret_file = \"good\"", "is set together with secret_file"),
    ] {
        let findings = load(text, &[]).findings;
        let errors: Vec<String> = findings.iter().filter(|f| f.is_error()).map(ToString::to_string).collect();
        assert_eq!(errors.len(), 1, "{text}: {errors:?}");
        assert!(errors[0].contains(expected), "{text}: {errors:?}");
        assert!(!errors[0].contains("hunter2"), "{text}: {errors:?}");
    }
}

#[test]
fn a_secret_file_open_to_others_is_a_warning() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("s");
    std::fs::write(&secret, "0123456789-0123456789-0123456789").unwrap();
    for (mode, warnings) in [(0o600, 0), (0o400, 0), (0o640, 1), (0o604, 1)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let loaded = parse(&folder.path().join("x.toml"), "[sessions]\nsecret_file = \"s\"", []);
        assert!(loaded.settings.is_some());
        assert_eq!(loaded.findings.len(), warnings, "{mode:o}: {:?}", loaded.findings);
    }
}

#[test]
fn lifetimes_have_to_fit_into_each_other() {
    let text = "[tokens]\naccess_lifetime = \"24h\"";
    let with = |sessions: &str| {
        let text = format!("{text}\n{SECRET}{sessions}");
        parse(Path::new("x.toml"), &text, []).findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        with("idle_lifetime = \"1h\""),
        ["x.toml: sessions.idle_lifetime: is shorter than tokens.access_lifetime"]
    );
    assert_eq!(
        with("lifetime = \"2d\""),
        ["x.toml: sessions.lifetime: is shorter than sessions.idle_lifetime"]
    );
}

#[test]
fn a_role_of_the_file_replaces_its_default_and_leaves_the_others() {
    let settings = settings("[roles]\nuser = [\"quotes:read\"]\ntrader = [\"orders:write\"]", &[]);
    let permissions = |role: &str| settings.roles.permissions(&[role.to_owned()]).join(" ");
    assert_eq!(permissions("user"), "quotes:read");
    assert_eq!(permissions("trader"), "orders:write");
    assert_eq!(permissions("admin"), "positions:read quotes:read alerts:read alerts:write");
}

#[test]
fn only_the_keys_change_without_a_restart() {
    let before = settings("", &[]);
    let after = settings(
        "[tokens]\nissuer = \"x\"\n[[keys]]\nkid = \"a\"\nfile = \"a\"\nsign_from = 2026-01-01T00:00:00Z",
        &[],
    );
    assert_eq!(before.sections_changed(&after), ["tokens"]);
}
