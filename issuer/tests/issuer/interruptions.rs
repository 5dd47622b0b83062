//! What is interrupted was not begun: whichever verb the database goes away in, nothing of it stays - no event, no
//! message -, the answer is a 503, and once the database is back, so is the issuer, without a restart.

use countersign_issuer::accounts::import::store::{Outcome, import};
use countersign_issuer::accounts::{Email, ImportedUser, Name, UserId};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::factor::{self, BACKUP_CODES, DISABLE, ENABLE, Factor, SET_UP};
use crate::letters::VERIFY;
use crate::outage::Outage;
use crate::stage::{Answer, Call, ON_A_FILE, PASSWORD, Person, TestApp};

const ADA: &str = "ada@example.com";
const NEW: &str = "velvet-tundra-adagio-31";

/// Everything that a verb may change, row by row. What failed is counted by itself, and stays.
async fn state(app: &TestApp) -> Vec<String> {
    let mut rows = Vec::new();
    for query in [
        "SELECT 'user ' || id || ' ' || email || ' ' || email_verified || ' ' || name || ' ' || password_hash || ' ' || roles
                || ' ' || is_active || ' ' || mfa_enabled || ' ' || login_epoch || ' ' || updated_at FROM users ORDER BY id",
        "SELECT 'session ' || id || ' ' || counter || ' ' || COALESCE(revoked_at, 0) FROM sessions ORDER BY id",
        "SELECT 'event ' || id || ' ' || type FROM audit_events ORDER BY id",
        "SELECT 'letter ' || id || ' ' || kind || ' ' || attempts FROM mail_outbox ORDER BY id",
        "SELECT 'token ' || token_hash FROM email_tokens ORDER BY token_hash",
        "SELECT 'asked ' || email || ' ' || purpose || ' ' || asked FROM email_requests ORDER BY email, purpose",
        "SELECT 'revoked ' || sequence || ' ' || session_id FROM revocations ORDER BY sequence",
        "SELECT 'counter ' || name || ' ' || value FROM counters ORDER BY name",
        "SELECT 'totp ' || user_id || ' ' || last_step || ' ' || COALESCE(enabled_at, 0) FROM totp ORDER BY user_id",
        "SELECT 'backup codes ' || user_id || ' ' || COUNT(*) FROM backup_codes GROUP BY user_id ORDER BY user_id",
        "SELECT 'waiting ' || user_id || ' ' || COUNT(*) || ' ' || MAX(attempts) FROM waiting_logins
         GROUP BY user_id ORDER BY user_id",
        "SELECT 'device ' || user_id || ' ' || fingerprint FROM devices ORDER BY user_id, fingerprint",
    ] {
        let found: Vec<String> = sqlx::query_scalar(query).fetch_all(app.app.db.reads()).await.unwrap();
        rows.extend(found);
    }
    rows
}

/// A play in which the database goes away in every act, and the act is played again.
struct Play {
    app: TestApp,
    outage: Outage,
}

impl Play {
    async fn begin() -> Self {
        let (app, outage) = Outage::ahead(VERIFY).await;
        Self { app, outage }
    }

    /// The answer once the database is back.
    async fn act(&mut self, status: u16, call: impl Fn(&TestApp) -> Call) -> Answer {
        self.act_at_commit(1, status, call).await
    }

    async fn act_at_commit(&mut self, number: i64, status: u16, call: impl Fn(&TestApp) -> Call) -> Answer {
        let Self { app, outage } = self;
        let before = state(app).await;
        outage.begin_at_commit(number).await;
        let refused = call(app).await.refused(503, "busy");
        assert!(!refused.header("retry-after").is_empty());
        // And as long as it lasts.
        call(app).await.refused(503, "busy");
        outage.end(app).await;
        assert_eq!(state(app).await, before);
        let answer = call(app).await;
        assert_eq!(answer.status.as_u16(), status, "{}", String::from_utf8_lossy(&answer.body));
        assert_ne!(state(app).await, before);
        answer
    }

    /// With an address that was verified.
    async fn member(&self, email: &str) -> Person {
        let body = json!({"email": email, "password": PASSWORD, "name": "Some One"});
        self.app.post("/v1/auth/register", body).await.expect(StatusCode::ACCEPTED);
        let token = self.app.letter_to(email).await.token();
        let verify = self.app.post("/v1/auth/email/verify", json!({"token": token}));
        verify.await.expect(StatusCode::NO_CONTENT);
        self.app.logged_in(email).await
    }

    async fn administrator(&self, email: &str) -> Person {
        self.member(email).await;
        self.app.execute("UPDATE users SET roles = 'user admin'").await;
        self.app.logged_in(email).await
    }
}

fn registration(email: &str) -> Value {
    json!({"email": email, "password": PASSWORD, "name": "Some One"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn coming_in_happens_whole_or_not_at_all() {
    let mut play = Play::begin().await;
    play.act(202, |app| app.post("/v1/auth/register", registration(ADA))).await;
    // Counted for its network first, in a transaction of its own.
    let counted = |app: &TestApp| {
        app.post("/v1/auth/register", registration("bob@example.com")).from("198.51.100.7:5000")
    };
    play.act_at_commit(1, 202, counted).await;
    play.act_at_commit(2, 202, |app| {
        app.post("/v1/auth/register", registration("eve@example.com")).from("198.51.100.7:5000")
    })
    .await;
    play.app.pass(1);
    play.act(202, |app| app.post("/v1/auth/email/resend", json!({"email": ADA}))).await;
    let token = play.app.letter_to(ADA).await.token();
    play.act(204, |app| app.post("/v1/auth/email/verify", json!({"token": token}))).await;
    let login = json!({"email": ADA, "password": PASSWORD});
    let ada = Person::from(&play.act(200, |app| app.post("/v1/auth/login", login.clone())).await);
    play.act(200, |app| app.call(Method::PATCH, "/v1/users/me").json(json!({"name": "Ada"})).by(&ada)).await;
    let refresh = json!({"refresh_token": ada.refresh_token});
    play.act(200, |app| app.post("/v1/auth/refresh", refresh.clone())).await;
    play.act(204, |app| app.post("/v1/auth/logout", json!({})).by(&ada)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_factor_changes_whole_or_not_at_all() {
    let mut play = Play::begin().await;
    let ada = play.member(ADA).await;
    play.act(200, |app| app.post(SET_UP, json!({})).by(&ada)).await;
    let mut factor = Factor::set_up(&play.app, &ada).await;
    let code = json!({"code": factor.code(&play.app)});
    let enabled = play.act(200, |app| app.post(ENABLE, code.clone()).by(&ada)).await;
    factor.backup_codes = factor::backup_codes(&enabled);
    play.app.pass(30);
    let login = json!({"email": ADA, "password": PASSWORD});
    let waiting = factor::token(&play.act(200, |app| app.post("/v1/auth/login", login.clone())).await);
    let code = factor.code(&play.app);
    // A code that was shown in vain is still good, of either kind.
    play.act(200, |app| factor::verify(app, &waiting, &code)).await;
    let waiting = factor::waiting(&play.app, ADA).await;
    let ada = play.act(200, |app| factor::verify(app, &waiting, &factor.backup_codes[0])).await;
    let ada = Person::from(&ada);
    play.app.pass(30);
    let code = json!({"code": factor.code(&play.app)});
    play.act(200, |app| app.post(BACKUP_CODES, code.clone()).by(&ada)).await;
    play.app.pass(30);
    let code = json!({"code": factor.code(&play.app)});
    play.act(204, |app| app.post(DISABLE, code.clone()).by(&ada)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_password_changes_whole_or_not_at_all() {
    let mut play = Play::begin().await;
    let ada = play.member(ADA).await;
    let change = json!({"current_password": PASSWORD, "password": NEW});
    play.act(204, |app| app.post("/v1/auth/password/change", change.clone()).by(&ada)).await;
    play.app.pass(1);
    play.act(202, |app| app.post("/v1/auth/password/forgot", json!({"email": ADA}))).await;
    let reset = json!({"token": play.app.letter_to(ADA).await.token(), "password": PASSWORD});
    play.act(204, |app| app.post("/v1/auth/password/reset", reset.clone())).await;
    let ada = play.app.logged_in(ADA).await;
    let delete = json!({"password": PASSWORD});
    play.act(204, |app| app.call(Method::DELETE, "/v1/users/me").json(delete.clone()).by(&ada)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_an_administrator_does_happens_whole_or_not_at_all() {
    let mut play = Play::begin().await;
    let root = play.administrator("root@example.com").await;
    let ada = play.member(ADA).await;
    Factor::of(&play.app, &ada).await;
    for _ in 0..10 {
        let wrong = json!({"email": ADA, "password": "wrong wrong wrong"});
        play.app.post("/v1/auth/login", wrong).await.refused(401, "invalid_credentials");
    }
    let path = format!("/v1/admin/users/{}", ada.id);
    let below = |what: &str| format!("{path}/{what}");
    play.act(204, |app| app.call(Method::POST, &below("unlock")).by(&root)).await;
    play.act(204, |app| app.call(Method::DELETE, &below("mfa")).by(&root)).await;
    play.act(204, |app| app.post(&below("password"), json!({"password": NEW})).by(&root)).await;
    for change in [json!({"is_active": false}), json!({"is_active": true, "roles": ["admin"]})] {
        play.act(200, |app| app.call(Method::PATCH, &path).json(change.clone()).by(&root)).await;
    }
    let login = json!({"email": ADA, "password": NEW});
    play.app.post("/v1/auth/login", login).await.expect(StatusCode::OK);
    play.act(204, |app| app.call(Method::DELETE, &below("sessions")).by(&root)).await;
    play.act(204, |app| app.call(Method::DELETE, &path).by(&root)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn users_of_another_system_come_whole_or_not_at_all() {
    let (app, mut outage) = Outage::ahead("").await;
    let user = |n: usize| ImportedUser {
        id: UserId::parse(&n.to_string()).unwrap(),
        email: Email::parse(&format!("{n}@example.com")).unwrap(),
        email_verified: true,
        username: None,
        name: Name::parse("Some One").unwrap(),
        password_hash: "x".to_owned(),
        roles: vec!["user".to_owned()],
        is_active: true,
        created_at: app.clock.now(),
        updated_at: app.clock.now(),
    };
    let users: Vec<ImportedUser> = (0..100).map(user).collect();
    let run = async || {
        let users = users.clone();
        app.app.db.write(async move |tx| import(tx, &users).await).await
    };
    let before = state(&app).await;
    outage.begin_at_commit(1).await;
    assert!(run().await.unwrap_err().is_unavailable());
    outage.end(&app).await;
    assert_eq!(state(&app).await, before);
    assert!(run().await.unwrap().iter().all(|outcome| *outcome == Outcome::Imported));
    assert_eq!(state(&app).await.len(), before.len() + 101);
}

#[tokio::test]
async fn on_a_full_disk_an_account_is_made_with_its_message_and_event_or_not_at_all() {
    let app = TestApp::with(&format!("{ON_A_FILE}{VERIFY}"), |_| ()).await;
    // The file may not grow from here on.
    app.execute("PRAGMA max_page_count = 1").await;
    let register = |n: usize| app.post("/v1/auth/register", registration(&format!("{n}@example.com")));
    let mut made = 0;
    let refused = loop {
        let answer = register(made).await;
        if answer.status != StatusCode::ACCEPTED {
            break answer;
        }
        made += 1;
    };
    refused.refused(503, "busy");
    let counts = async || {
        let mut counts: Vec<i64> = Vec::new();
        for table in ["users", "mail_outbox", "audit_events", "email_tokens", "email_requests"] {
            let count = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            counts.push(sqlx::query_scalar(count).fetch_one(app.app.db.reads()).await.unwrap());
        }
        counts
    };
    assert_eq!(counts().await, [i64::try_from(made).unwrap(); 5]);
    app.execute("PRAGMA max_page_count = 1000000").await;
    register(made).await.expect(StatusCode::ACCEPTED);
    assert_eq!(counts().await, [i64::try_from(made + 1).unwrap(); 5]);
}
