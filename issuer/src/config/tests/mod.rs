//! The configuration, read from text as an operator writes it.

mod addresses;
mod refusals;
mod secrets;
mod variables;

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
        messages_per_address: 20,
        messages_window: 3600,
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
    assert_eq!(settings.encryption, Encryption::with_files(None, Vec::new()));
    let TradingAccounts { rotate_after, broker_timeout, attempts_per_minute, kite_url, alpaca_url } =
        settings.trading_accounts;
    assert_eq!((rotate_after, broker_timeout, attempts_per_minute), (7_776_000, 5, 20));
    assert_eq!(
        (kite_url.as_str(), alpaca_url.as_str()),
        ("https://api.kite.trade", "https://api.alpaca.markets")
    );
}

#[test]
fn services_are_given_permissions_of_roles_and_of_their_own() {
    let settings = settings("[services]\nscopes = [\"quotes:publish\"]", &[]);
    assert_eq!(
        settings.service_permissions(),
        ["alerts:read", "alerts:write", "positions:read", "quotes:publish", "quotes:read"]
    );
    assert_eq!((settings.services.token_lifetime, settings.services.tokens_per_minute), (300, 600));
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
