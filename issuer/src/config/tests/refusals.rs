//! What is wrong with a file, and how it is told.

use super::*;

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
        ("[tokens]\nalg = \"eddsa\"", "tokens.alg: expected \"EdDSA\" or \"Ed25519\""),
        ("[tokens]\naccess_lifetime = \"1s\"", "tokens.access_lifetime: expected 10s to 24h"),
        (
            "[tokens]\nissuer = \"\"",
            "tokens.issuer: expected a string, neither empty nor with control characters",
        ),
        ("[limits]\nfailures_per_account = 2", "limits.failures_per_account: expected 3 to 1000"),
        ("[limits]\nfailures_per_address = 0", "limits.failures_per_address: expected 3 to 1000000"),
        (
            "[limits]\nregistrations_per_address = 0",
            "limits.registrations_per_address: expected 1 to 1000000",
        ),
        ("[limits]\nmessages_per_address = 0", "limits.messages_per_address: expected 1 to 1000000"),
        ("[limits]\nlongest_delay = \"10s\"", "limits.longest_delay: is shorter than limits.first_delay"),
        (
            "[encryption]\ncurrent = \"hunter2\"",
            "encryption.current: is too short: at least 32 random bytes are needed",
        ),
        (
            "[encryption]\ncurrent = \"a secret of more than 32 characters\"",
            "encryption.current: is one of the [secrets]; it has to be another",
        ),
        (
            "[trading_accounts]\nkite_url = \"http://api.kite.trade\"",
            "trading_accounts.kite_url: expected an https URL without query, such as \"https://api.kite.trade\" (http for 127.0.0.1 only)",
        ),
        (
            "[trading_accounts]\nbroker_timeout = \"60s\"",
            "trading_accounts.broker_timeout: expected 1s to 15s",
        ),
        ("[trading_accounts]\nrotate_after = \"1h\"", "trading_accounts.rotate_after: expected 1d to 3650d"),
        ("[mfa]\nissuer = \"a:b\"", "mfa.issuer: expected 1 to 64 characters without ':'"),
        ("[cookies]\nsecure = \"yes\"", "cookies.secure: expected true or false"),
        ("[database]\nurl = \"mysql://u:hunter2@h/d\"", "database.url: expected a sqlite: or postgres: URL"),
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
        ("[passwords]\nmin_length = 7", "passwords.min_length: expected 8 to 64"),
        ("[passwords]\nmin_score = 5", "passwords.min_score: expected 0 to 4"),
        ("[sessions]\nmax_per_user = 0", "sessions.max_per_user: expected 1 to 1000"),
        ("[sessions]\nrefresh_grace = \"9s\"", "sessions.refresh_grace: expected 10s to 5m"),
        ("[sessions]\nsecret = \"hunter2\"", "sessions.secret: moved to secrets.current"),
        ("[sessions]\nsecret_file = \"x\"", "sessions.secret_file: moved to secrets.current_file"),
        (
            "[internal.tls]\nkey_file = \"k.pem\"",
            "internal.tls.cert_file: is required beside the other keys of [internal.tls]",
        ),
        (
            "[internal.tls]\ncert_file = \"c.pem\"\nclient_ca_file = \"ca.pem\"",
            "internal.tls.key_file: is required beside the other keys of [internal.tls]",
        ),
        (
            "[internal.tls]\ncert_fil = \"c.pem\"",
            "internal.tls.cert_fil: unknown key; did you mean \"cert_file\"?",
        ),
        ("[internal]\ntls = true", "internal.tls: expected a section [internal.tls], found boolean"),
        ("[services]\ntoken_lifetime = \"2h\"", "services.token_lifetime: expected 10s to 1h"),
        ("[services]\ntokens_per_minute = 0", "services.tokens_per_minute: expected 1 to 10000000"),
        (
            "[services]\nscopes = [\"quotes:*\"]",
            "services.scopes: \"quotes:*\" cannot be a scope: printable ASCII without spaces, quotes and '*'",
        ),
        (
            "[server]\npublic_url = \"https://login.example.com/auth\"",
            "server.public_url: expected an http or https URL without path or query, such as \"https://login.example.com\"",
        ),
        (
            "[cors]\norigins = [\"*\"]",
            "cors.origins: expected a list of origins without path, such as [\"https://app.example.com\", \"http://localhost:3000\"], found array",
        ),
        ("[hashing]\nthreads = 0", "hashing.threads: expected 1 to 64"),
        (
            "[hashing]\nqueue = -1",
            "hashing.queue: expected a whole number from 0 to 4294967295, found integer",
        ),
        (
            "[accounts]\nverify_email = true",
            "accounts.verify_email: needs mail: set mail.transport, or nobody could ever log in",
        ),
        ("[mail]\nnew_device = true", "mail.new_device: needs mail: set mail.transport"),
        ("[mail]\ntransport = \"pigeon\"", "mail.transport: expected \"off\", \"file\" or \"smtp\""),
        (
            "[mail]\ntransport = \"file\"",
            "mail.from: is required to send mail: the address that it comes from",
        ),
        (
            "[mail]\nfrom = \"Example <no-reply>\"",
            "mail.from: expected an address, such as \"Example <no-reply@example.com>\"",
        ),
        (
            "[mail]\ntransport = \"smtp\"\nfrom = \"a@b.example\"",
            "mail.host: is required for smtp: the name of the server that takes the mail",
        ),
        (
            "[mail]\ntransport = \"smtp\"\nfrom = \"a@b.example\"\nhost = \"smtp.b.example\"\ntls = \"none\"",
            "mail.tls: \"none\" is for a server on this machine; mail holds links that nobody else may read",
        ),
        (
            "[mail]\ntransport = \"smtp\"\nfrom = \"a@b.example\"\nhost = \"localhost\"\nport = 70000",
            "mail.port: expected 1 to 65535",
        ),
        (
            "[mail]\ntransport = \"smtp\"\nfrom = \"a@b.example\"\nhost = \"localhost\"\nusername = \"a\"",
            "mail.password_file: is required beside mail.username",
        ),
        (
            "[mail]\ntransport = \"smtp\"\nfrom = \"a@b.example\"\nhost = \"localhost\"\nusername = \"a\"\npassword_file = \"gone\"",
            "mail.password_file: /etc/countersign/gone cannot be read: No such file or directory (os error 2)",
        ),
        ("[mail]\ntls = \"ssl\"", "mail.tls: expected \"starttls\", \"implicit\" or \"none\""),
        ("[log]\nformat = \"xml\"", "log.format: expected \"auto\", \"text\" or \"json\""),
        (
            "[serve]\nonly = [\"auth\", \"all\"]",
            "serve.only: \"all\" is no group of routes; expected token, auth, api_auth",
        ),
        ("[compat]\ntokens = true", "compat.tokens: unknown key; did you mean \"token\"?"),
        ("[compat]\nauth_access_lifetime = \"9s\"", "compat.auth_access_lifetime: expected 10s to 24h"),
        ("[roles]\nuser = \"x\"", "roles.user: expected a list of strings"),
        (
            "[roles]\nuser = [\"a b\"]",
            "roles.user: \"a b\" cannot be a permission: printable ASCII without spaces or quotes",
        ),
        ("[roles]\nuser = [\"\"]", "roles.user: expected a list of strings"),
        (
            "[roles]\nuser = [\"al*\"]",
            "roles.user: \"al*\" cannot be a wildcard: '*' stands alone or at the end, after a ':', as in \"alerts:*\"",
        ),
        ("[roles]\nuser = [\"orders:*\"]", "roles.user: \"orders:*\" fits no permission that a role names"),
        ("[audit]\nretention = \"1h\"", "audit.retention: expected 1d to 3650d"),
        ("[roles]\nuser = []", "roles.user: grants nothing; name at least one permission"),
        ("[roles]\n\"a,b\" = [\"x\"]", "roles.a,b: a role is 1 to 64 of a-z, 0-9, '_', '-' and '.'"),
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
fn a_key_that_is_there_twice_is_named() {
    let loaded = parse(Path::new("x.toml"), "[server]\nlisten = \"a\"\nlisten = \"b\"", []);
    assert_eq!(loaded.findings[0].to_string(), "x.toml: line 3: duplicate key \"listen\"");
}

#[test]
fn lifetimes_have_to_fit_into_each_other() {
    let text = "[tokens]\naccess_lifetime = \"24h\"";
    let with = |sessions: &str| {
        let text = format!("{text}\n{SECRET}[sessions]\n{sessions}");
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
fn an_unknown_word_in_the_log_level_is_refused() {
    for level in [
        "inof",
        "info,",
        "",
        "=",
        "info,sqlx=",
        "=warn",
        "sqlx=loud",
        "3",
        "info;sqlx=warn",
        "a b",
        "warn, sqlx=info",
    ] {
        assert!(
            finding(&format!("[log]\nlevel = \"{level}\""), &[]).contains("log.level: expected "),
            "{level}"
        );
    }
    for level in ["off", "trace", "info,sqlx=warn", "warn,countersign_issuer::db=debug"] {
        assert_eq!(settings(&format!("[log]\nlevel = \"{level}\""), &[]).log.level, level);
        tracing_subscriber::EnvFilter::builder().parse(level).unwrap();
    }
}
