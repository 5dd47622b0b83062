//! Addresses: of listeners, databases, brokers, mail servers and pages.

use super::*;

#[test]
fn one_address_for_both_listeners_is_a_warning_and_is_plain_http() {
    let one = "[internal]\nlisten = \"127.0.0.1:8001\"\n";
    let loaded = read(one, &[]);
    let [warning] = &loaded.findings[..] else { panic!("{:?}", loaded.findings) };
    assert!(!warning.is_error() && warning.key == "internal.listen", "{warning}");
    let Internal { shared, tls, .. } = loaded.settings.unwrap().internal;
    assert_eq!((shared, tls), (true, None));
    let both = read(&format!("{one}[internal.tls]\ncert_file = \"c.pem\"\nkey_file = \"k.pem\""), &[]);
    let errors: Vec<_> = both.findings.iter().filter(|finding| finding.is_error()).collect();
    assert!(errors.len() == 1 && errors[0].key == "internal.tls.cert_file", "{errors:?}");
}

#[test]
fn the_internal_listener_has_a_certificate_if_both_files_are_named() {
    assert_eq!(settings("", &[]).internal.tls, None);
    let files = "[internal.tls]\ncert_file = \"c.pem\"\nkey_file = \"/k.pem\"";
    let ca = [("COUNTERSIGN_INTERNAL__TLS__CLIENT_CA_FILE", "ca.pem")];
    let tls = Tls {
        cert_file: "/etc/countersign/c.pem".into(),
        key_file: "/k.pem".into(),
        client_ca_file: Some("/etc/countersign/ca.pem".into()),
    };
    assert_eq!(settings(files, &ca).internal.tls, Some(tls.clone()));
    assert_eq!(settings(files, &[]).internal.tls, Some(Tls { client_ca_file: None, ..tls }));
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
fn an_origin_is_written_as_browsers_send_it() {
    let settings =
        settings("[cors]\norigins = [\"HTTPS://App.Example.com:443\", \"http://localhost:3000\"]", &[]);
    assert_eq!(settings.cors.origins, ["https://app.example.com", "http://localhost:3000"]);
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
