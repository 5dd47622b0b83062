use super::*;

const SECRET: &str = "[secrets]\ncurrent = \"a secret of more than 32 characters\"\n";

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
    assert_eq!(settings.database.url.file(), Some(Path::new("/etc/countersign/issuer.db")));
    assert_eq!(settings.database.max_connections, 10);
    assert_eq!(settings.internal.listen.to_string(), "127.0.0.1:8002");
    assert_eq!(settings.cors.origins, [""; 0]);
    assert_eq!((settings.passwords.min_length, settings.passwords.min_score), (12, 3));
    assert_eq!(settings.passwords.breached_file, None);
    assert_eq!(settings.tokens.issuer, "user_service");
    assert_eq!(settings.tokens.audience, "trading_platform");
    assert_eq!((settings.tokens.access_lifetime, settings.tokens.clock_skew), (900, 30));
    assert_eq!((settings.sessions.idle_lifetime, settings.sessions.lifetime), (604_800, 2_592_000));
    assert_eq!((settings.sessions.refresh_grace, settings.sessions.max_per_user), (30, 50));
    assert_eq!((settings.hashing.memory_kib, settings.hashing.passes), (19_456, 2));
    let limits = Limits {
        failures_per_account: 10,
        failures_per_address: 50,
        registrations_per_address: 20,
        registrations_window: 3600,
        window: 900,
        first_delay: 30,
        longest_delay: 900,
    };
    assert_eq!(settings.limits, limits);
    assert_eq!(settings.mfa.issuer, "Countersign");
    assert!(settings.cookies.secure && !settings.accounts.verify_email);
    assert_eq!(settings.mail.transport, MailTransport::Off);
    assert_eq!(settings.mail.service_name, "localhost");
    assert!(settings.roles.knows("user") && settings.roles.knows("admin"));
    assert_eq!(settings.encryption.keys, None);
    let TradingAccounts { rotate_after, broker_timeout, kite_url, alpaca_url } = settings.trading_accounts;
    assert_eq!((rotate_after, broker_timeout), (7_776_000, 5));
    assert_eq!(
        (kite_url.as_str(), alpaca_url.as_str()),
        ("https://api.kite.trade", "https://api.alpaca.markets")
    );
}

#[test]
fn a_brokers_url_is_https_or_on_this_machine_and_holds_no_secret() {
    let url = |url: &str| read(&format!("[trading_accounts]\nkite_url = \"{url}\""), &[]).settings;
    for good in ["https://broker.example/api/", "http://127.0.0.1:8090", "https://[2001:db8::1]:8443/v3"] {
        assert_eq!(
            url(good).unwrap().trading_accounts.kite_url.as_str(),
            good.trim_end_matches('/'),
            "{good}"
        );
    }
    for bad in [
        "",
        "broker.example",
        "http://localhost:1",
        "http://127.0.0.1.broker.example",
        "https://user:hunter2@broker.example",
        "https://broker.example/?key=1",
        "https://broker.example/#x",
        "ftp://127.0.0.1",
        "file:///etc/passwd",
    ] {
        assert_eq!(url(bad), None, "{bad}");
    }
}

#[test]
fn a_previous_key_needs_a_current_one_that_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let one = file("one", "one key-encryption key of thirty-two characters");
    let two = file("two", "two key-encryption keys of thirty-two characters");
    let previous = |current: &str, previous: &str| {
        let text = format!("[encryption]\n{current}\nprevious_files = [{previous:?}]");
        let findings = read(&text, &[]).findings;
        let errors = findings.into_iter().filter(Finding::is_error).map(|finding| finding.to_string());
        errors.collect::<Vec<_>>()
    };
    let current = format!("current_file = {one:?}");
    assert_eq!(previous(&current, &two), [""; 0]);
    assert!(
        previous(&current, &one)[0]
            .ends_with("encryption.previous_files: has the current key; a new one has to be random")
    );
    assert!(
        previous("", &two)[0]
            .ends_with("encryption.current_file: is required beside encryption.previous_files")
    );
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
            "[internal]\nlisten = \"127.0.0.1:8001\"",
            "internal.listen: is the address of server.listen; the two need one each",
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
fn each_way_to_a_mail_server_has_its_port() {
    let port = |tls: &str| {
        let text = format!(
            "[mail]\ntransport = \"smtp\"\nfrom = \"a@b.example\"\nhost = \"localhost\"\ntls = \"{tls}\""
        );
        match settings(&text, &[]).mail.transport {
            MailTransport::Smtp { server, .. } => server.port,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(["starttls", "implicit", "none"].map(port), [587, 465, 25]);
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

    let inline = load(&format!("[secrets]\ncurrent = \"{long}\""), &[]).settings.unwrap();
    let from_file = load("[secrets]\ncurrent_file = \"good\"", &[]).settings.unwrap();
    assert_eq!(inline.secrets, from_file.secrets);
    assert!(!format!("{inline:?}").contains("0123456789"));
    assert!(load("[secrets]\ncurrent_file = \"raw\"", &[]).settings.is_some());
    // The environment decides alone, whichever of the two the file sets.
    let over = [("COUNTERSIGN_SECRETS__CURRENT", long)];
    assert!(load("[secrets]\ncurrent_file = \"missing\"", &over).settings.is_some());

    for (text, expected) in [
        ("", "secrets.current_file: is required"),
        (
            "[secrets]\ncurrent = \"hunter2\"",
            "secrets.current: is too short: at least 32 random bytes are needed",
        ),
        ("[secrets]\ncurrent_file = \"short\"", "secrets.current_file: is too short"),
        ("[secrets]\ncurrent = \"0123456789abcdef0123456789abcdef\"", "secrets.current: is too short"),
        ("[secrets]\ncurrent_file = \"missing\"", "cannot be read: No such file"),
        ("[secrets]\ncurrent = \"x\"\ncurrent_file = \"good\"", "is set together with current_file"),
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
        let loaded = parse(&folder.path().join("x.toml"), "[secrets]\ncurrent_file = \"s\"", []);
        assert!(loaded.settings.is_some());
        assert_eq!(loaded.findings.len(), warnings, "{mode:o}: {:?}", loaded.findings);
    }
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
fn a_role_of_the_file_replaces_its_default_and_leaves_the_others() {
    let settings = settings("[roles]\nuser = [\"quotes:read\"]\ntrader = [\"orders:write\"]", &[]);
    let permissions = |role: &str| settings.roles.permissions(&[role.to_owned()]).join(" ");
    assert_eq!(permissions("user"), "quotes:read");
    assert_eq!(permissions("trader"), "orders:write");
    assert_eq!(permissions("admin"), "positions:read quotes:read alerts:read alerts:write");
}

#[test]
fn a_wildcard_stands_for_the_permissions_that_roles_name() {
    let settings = settings(
        "[roles]\nuser = [\"quotes:read\"]\nboss = [\"orders:*\", \"quotes:read\", \"orders:read\"]\n\
         trader = [\"orders:write\", \"orders:read\", \"orders\", \"ordersx:read\"]\nadmin = [\"*\"]",
        &[],
    );
    let permissions = |role: &str| settings.roles.permissions(&[role.to_owned()]).join(" ");
    assert_eq!(permissions("boss"), "orders:read orders:write quotes:read");
    assert_eq!(permissions("admin"), "orders orders:read orders:write ordersx:read quotes:read");
    assert_eq!(settings.roles.all_permissions().len(), 5);
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

#[test]
fn an_origin_is_written_as_browsers_send_it() {
    let settings =
        settings("[cors]\norigins = [\"HTTPS://App.Example.com:443\", \"http://localhost:3000\"]", &[]);
    assert_eq!(settings.cors.origins, ["https://app.example.com", "http://localhost:3000"]);
}

#[test]
fn the_secrets_are_a_ring_without_repetition() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        std::fs::write(
            folder.path().join(name),
            name.repeat(64).replace(['a', 'b', 'c'], &format!("{name}-")),
        )
        .unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder.path().join(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let load = |previous: &str| {
        let text = format!("[secrets]\ncurrent_file = \"a\"\nprevious_files = [{previous}]");
        parse(&folder.path().join("x.toml"), &text, [])
    };
    let ring = load("\"b\", \"c\"").settings.unwrap().secrets;
    let first = ring.iter().map(|secret| char::from(secret.bytes()[0])).collect::<String>();
    assert_eq!(first, "abc");
    for (previous, expected) in [
        ("\"b\", \"b\"", "two secrets of the ring are equal"),
        ("\"a\"", "two secrets of the ring are equal"),
        ("\"d\"", "cannot be read"),
        ("\"b\",\"b\",\"b\",\"b\",\"b\",\"b\",\"b\",\"b\"", "expected at most 7 files"),
    ] {
        let loaded = load(previous);
        assert_eq!(loaded.settings, None);
        let finding = loaded.findings[0].to_string();
        assert!(finding.contains("secrets.previous_files: ") && finding.contains(expected), "{finding}");
    }
}

#[test]
fn a_password_of_postgresql_is_used_and_never_shown() {
    use secrecy::ExposeSecret as _;
    let reached = |text: &str, env: &[(&str, &str)]| match settings(text, env).database.url {
        DatabaseUrl::Postgres(url) => url,
        other => panic!("{other:?}"),
    };
    let with_both =
        "[database]\nurl = \"postgresql://issuer@db.example:5433/logins?sslmode=require&search_path=a%2Cb\"";
    for (text, env, expected) in [
        (
            "[database]\nurl = \"postgres://issuer:h%40nter2@db.example:5433/logins\"",
            &[][..],
            "postgres://issuer:h%40nter2@db.example:5433/logins",
        ),
        (with_both, &[], "postgresql://issuer@db.example:5433/logins?sslmode=require&search_path=a%2Cb"),
        (
            with_both,
            &[("COUNTERSIGN_DATABASE__PASSWORD", "h@nter2/?")],
            "postgresql://issuer:h%40nter2%2F%3F@db.example:5433/logins?sslmode=require&search_path=a%2Cb",
        ),
    ] {
        let url = reached(text, env);
        assert_eq!(url.expose().expose_secret(), expected);
        assert_eq!(url.to_string(), "db.example:5433/logins");
        assert!(!format!("{url:?}").contains("nter2"));
    }
    assert_eq!(reached("[database]\nurl = \"postgres://u@h/d\"", &[]).to_string(), "h:5432/d");
}

#[test]
fn a_wrong_url_of_postgresql_is_told_without_its_password() {
    for (lines, expected) in [
        ("url = \"postgres://u:hunter2@h\"", "database.url: expected postgres://user@host:port/name"),
        ("url = \"postgres://:hunter2@h/d\"", "database.url: expected postgres://user@host:port/name"),
        ("url = \"postgres://u:hunter2@h:x/d\"", "database.url: expected postgres://user@host:port/name"),
        ("url = \"postgres:u:hunter2@h/d\"", "database.url: expected postgres://user@host:port/name"),
        ("url = \"postgres://u@h/d?password=hunter2\"", "database.url: \"password\" cannot be set here"),
        (
            "url = \"postgres://u:x@h/d\"\npassword = \"hunter2\"",
            "database.password: is set beside a password",
        ),
        ("url = \"postgres://u@h/d\"\nmax_connections = 1", "database.max_connections: expected 2 to 200"),
        (
            "url = \"postgres://u@h/d\"\npassword_file = \"gone\"",
            "database.password_file: /etc/countersign/gone cannot be read",
        ),
    ] {
        let finding = finding(&format!("[database]\n{lines}"), &[]);
        assert!(finding.contains(expected) && !finding.contains("hunter2"), "{finding}");
    }
    let loaded = read("[database]\npassword = \"hunter2\"\nmax_connections = 5", &[]);
    assert!(loaded.settings.is_some());
    assert_eq!(loaded.findings.len(), 2);
}

#[test]
fn groups_of_compatible_routes_are_off_until_they_are_switched_on() {
    let compat = settings("", &[]).compat;
    let lifetimes = [compat.token, compat.auth, compat.api_auth].map(|group| group.access_lifetime);
    assert_eq!(lifetimes, [1800, 3600, 1800]);
    let served = |text: &str| settings(text, &[]).served();
    let rest = Served { api: true, token: false, auth: false, api_auth: false };
    assert_eq!(served(""), rest);
    assert_eq!(served("[compat]\ntoken = true"), Served { token: true, ..rest });
    let all = "[compat]\ntoken = true\nauth = true\napi_auth = true";
    assert_eq!(served(all), Served::ALL);
    let alone = Served { api: false, auth: true, ..rest };
    assert_eq!(served("[serve]\nonly = [\"auth\"]"), alone);
    assert_eq!(served(&format!("{all}\n[serve]\nonly = [\"auth\"]")), alone);
    assert_eq!(settings("", &[("COUNTERSIGN_SERVE__ONLY", "auth")]).served(), alone);
}

#[test]
fn a_key_outlives_the_longest_token_of_any_group_that_is_on() {
    let overlap = |text: &str| settings(text, &[]).overlap();
    assert_eq!(overlap(""), 900 + 30);
    assert_eq!(overlap("[compat]\ntoken = true"), 1800 + 30);
    assert_eq!(overlap("[compat]\ntoken = true\nauth = true\nauth_access_lifetime = \"2h\""), 7200 + 30);
    assert_eq!(overlap("[compat]\nauth_access_lifetime = \"2h\""), 900 + 30);
    assert_eq!(overlap("[serve]\nonly = [\"auth\"]"), 3600 + 30);
    assert_eq!(overlap("[compat]\nauth = true\n[tokens]\naccess_lifetime = \"3h\""), 10_800 + 30);
}
