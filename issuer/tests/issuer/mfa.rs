//! The second factor: set up, put into force, taken away, and what a login with it brings.

use base64ct::{Base64, Encoding as _};
use countersign_issuer::accounts::{self, Email};
use countersign_issuer::audit::Origin;
use countersign_issuer::config::Secret;
use countersign_issuer::mfa;
use countersign_issuer::sessions::Rules;
use http::{Method, StatusCode};
use serde_json::json;

use crate::command::countersign;
use crate::factor::{
    BACKUP_CODES, DISABLE, ENABLE, Factor, SET_UP, VERIFY, backup_codes, events, me, token, verify, waiting,
};
use crate::stage::{PASSWORD, Person, TestApp, part};

const ADA: &str = "ada@example.com";

#[tokio::test]
async fn a_secret_is_shown_as_text_as_a_uri_and_as_a_picture() {
    let app = TestApp::with("[mfa]\nissuer = \"Big & Co\"\n", |_| ()).await;
    let ada = app.registered(ADA).await;
    let body = app.post(SET_UP, json!({})).by(&ada).await.expect(StatusCode::OK).json();
    let secret = body["secret"].as_str().unwrap();
    assert_eq!(data_encoding::BASE32_NOPAD.decode(secret.as_bytes()).unwrap().len(), 20);
    let expected = format!(
        "otpauth://totp/Big%20%26%20Co:ada%40example.com?secret={secret}&issuer=Big%20%26%20Co\
         &algorithm=SHA1&digits=6&period=30"
    );
    assert_eq!(body["otpauth_uri"], expected);
    let picture = body["qr_code_uri"].as_str().unwrap().strip_prefix("data:image/svg+xml;base64,").unwrap();
    let svg = String::from_utf8(Base64::decode_vec(picture).unwrap()).unwrap();
    assert!(svg.contains("<svg") && !svg.contains("<script"), "{svg}");
    assert_eq!(me(&app, &ada).await["mfa_enabled"], false);
    app.logged_in(ADA).await;
}

#[tokio::test]
async fn a_login_with_a_second_factor_needs_a_code_and_then_is_like_any_other() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    assert_eq!(part(&ada.access_token, 1)["amr"], json!(["pwd"]));
    let factor = Factor::of(&app, &ada).await;
    assert_eq!(factor.backup_codes.len(), 10);
    assert_eq!(me(&app, &ada).await["mfa_enabled"], true);

    let body = json!({"email": ADA, "password": PASSWORD, "persist_session": true});
    let first = app.post("/v1/auth/login", body).await.expect(StatusCode::OK);
    assert!(first.set_cookie().is_none());
    let answer = first.json();
    assert_eq!((answer["status"].as_str(), answer["expires_in"].as_i64()), (Some("mfa_required"), Some(300)));
    assert_eq!(answer.as_object().unwrap().len(), 3, "{answer}");

    app.pass(60);
    let second = verify(&app, &token(&first), &factor.code(&app)).await.expect(StatusCode::OK);
    assert!(second.set_cookie().unwrap().1.contains("Max-Age=604800"));
    let body = second.json();
    assert!(body.get("status").is_none() && body["token_type"] == "bearer" && body["expires_in"] == 900);
    assert_eq!((&body["user"]["id"], &body["user"]["mfa_enabled"]), (&json!(ada.id), &json!(true)));
    let person = Person::from(&second);
    let proved = app.clock.now().seconds();
    app.pass(300);
    let refreshed = app.refresh(&person.refresh_token).await.expect(StatusCode::OK).json();
    for token in [person.access_token.as_str(), refreshed["access_token"].as_str().unwrap()] {
        let claims = part(token, 1);
        assert_eq!((&claims["amr"], &claims["auth_time"]), (&json!(["pwd", "otp"]), &json!(proved)));
    }
    assert_eq!(events(&app, "mfa_enabled").await.len(), 1);
    assert_eq!(events(&app, "login").await, [("success".into(), Some(ada.id.clone()), Some(ada.id))]);
}

#[tokio::test]
async fn a_page_gets_its_refresh_token_after_the_code_as_it_asked_with_the_password() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    for asked in [false, true] {
        let body = json!({"email": ADA, "password": PASSWORD, "refresh_token_in_body": asked});
        let first = app.post("/v1/auth/login", body).header("sec-fetch-site", "same-origin").await;
        let call = verify(&app, &token(&first), &factor.code(&app)).header("sec-fetch-site", "same-origin");
        let body = call.await.expect(StatusCode::OK);
        assert!(body.set_cookie().is_some());
        assert_eq!(body.json().get("refresh_token").is_some(), asked);
        app.pass(30);
    }
}

#[tokio::test]
async fn only_what_was_set_up_a_while_after_a_login_comes_into_force() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    app.post(ENABLE, json!({"code": "123456"})).by(&ada).await.refused(409, "mfa_not_set_up");
    for path in [DISABLE, BACKUP_CODES] {
        app.post(path, json!({"code": "123456"})).by(&ada).await.refused(409, "mfa_not_enabled");
    }
    let first = Factor::set_up(&app, &ada).await;
    let factor = Factor::set_up(&app, &ada).await;
    for code in [factor.wrong(&app), first.code(&app)] {
        app.post(ENABLE, json!({"code": code})).by(&ada).await.refused(403, "wrong_code");
    }
    for code in ["", "12345", "1234567", "abcd-efgh-ijkl-mnop", "１２３４５６"] {
        assert_eq!(
            app.post(ENABLE, json!({"code": code})).by(&ada).await.invalid_fields(),
            ["code"],
            "{code}"
        );
    }
    assert_eq!(me(&app, &ada).await["mfa_enabled"], false);
    let spaced = factor.code(&app);
    let spaced = format!("{} {}", &spaced[..3], &spaced[3..]);
    app.post(ENABLE, json!({"code": spaced})).by(&ada).await.expect(StatusCode::OK);
    app.pass(30);
    app.post(SET_UP, json!({})).by(&ada).await.refused(409, "mfa_already_enabled");
    let code = factor.code(&app);
    app.post(ENABLE, json!({"code": code})).by(&ada).await.refused(409, "mfa_already_enabled");
    // None of what was refused has used the code.
    app.post(BACKUP_CODES, json!({"code": code})).by(&ada).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_stolen_access_token_sets_nothing_up_an_hour_after_its_login() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    app.pass(3_601);
    let refreshed = app.refresh(&ada.refresh_token).await.expect(StatusCode::OK).json();
    let later = refreshed["access_token"].as_str().unwrap();
    app.post(SET_UP, json!({})).bearer(later).await.refused(403, "authentication_too_old");
    let again = app.logged_in(ADA).await;
    app.post(SET_UP, json!({})).by(&again).await.expect(StatusCode::OK);
    for path in [SET_UP, ENABLE, DISABLE, BACKUP_CODES] {
        app.post(path, json!({"code": "123456"})).await.refused(401, "missing_token");
    }
}

#[tokio::test]
async fn a_backup_code_comes_in_once_however_it_is_written() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    let code = &factor.backup_codes[0];
    let typed = code.to_uppercase().replace('-', " ");
    let answer = verify(&app, &waiting(&app, ADA).await, &typed).await.expect(StatusCode::OK);
    assert_eq!(part(&Person::from(&answer).access_token, 1)["amr"], json!(["pwd", "otp"]));
    verify(&app, &waiting(&app, ADA).await, code).await.refused(403, "wrong_code");
    let used = events(&app, "backup_code_used").await;
    assert_eq!(used, [("success".into(), Some(ada.id.clone()), Some(ada.id.clone()))]);
    assert_eq!(app.value::<i64>("SELECT COUNT(*) FROM backup_codes").await, 9);

    let renewed = app.post(BACKUP_CODES, json!({"code": factor.code(&app)})).by(&ada).await;
    let renewed = backup_codes(&renewed.expect(StatusCode::OK));
    assert!(renewed.len() == 10 && renewed.iter().all(|code| !factor.backup_codes.contains(code)));
    verify(&app, &waiting(&app, ADA).await, &factor.backup_codes[1]).await.refused(403, "wrong_code");
    verify(&app, &waiting(&app, ADA).await, &renewed[1]).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn nobody_uses_the_codes_of_another() {
    let app = TestApp::new().await;
    let (ada, eve) = (app.registered(ADA).await, app.registered("eve@example.com").await);
    let (hers, eves) = (Factor::of(&app, &ada).await, Factor::of(&app, &eve).await);
    let token = waiting(&app, ADA).await;
    for code in [eves.code(&app), eves.backup_codes[0].clone()] {
        verify(&app, &token, &code).await.refused(403, "wrong_code");
    }
    // A sealed secret is good in its own row only.
    app.execute(
        "UPDATE totp SET secret = (SELECT secret FROM totp AS other WHERE other.user_id <> totp.user_id)
         WHERE user_id = (SELECT id FROM users WHERE email = 'ada@example.com')",
    )
    .await;
    for code in [eves.code(&app), hers.code(&app)] {
        verify(&app, &waiting(&app, ADA).await, &code).await.refused(403, "wrong_code");
    }
    // Who has the telephone no more, or a secret that is lost, still has the backup codes.
    verify(&app, &waiting(&app, ADA).await, &hers.backup_codes[0]).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn taking_the_second_factor_away_needs_a_code_and_ends_every_other_session() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let phone = app.logged_in(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    let waiting = waiting(&app, ADA).await;
    app.post(DISABLE, json!({"code": factor.wrong(&app)})).by(&ada).await.refused(403, "wrong_code");
    assert_eq!(app.post(DISABLE, json!({"code": "x"})).by(&ada).await.invalid_fields(), ["code"]);
    let code = factor.code(&app);
    app.post(DISABLE, json!({"code": code})).by(&ada).await.expect(StatusCode::NO_CONTENT);
    assert_eq!(me(&app, &ada).await["mfa_enabled"], false);
    app.get("/v1/users/me").by(&phone).await.refused(401, "revoked");
    app.pass(30);
    verify(&app, &waiting, &factor.code(&app)).await.refused(401, "login_expired");
    app.logged_in(ADA).await;
    for table in ["totp", "backup_codes"] {
        let left = sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}")));
        assert_eq!(left.fetch_one(app.app.db.reads()).await.unwrap(), 0, "{table}");
    }
    assert_eq!(events(&app, "mfa_disabled").await, [("success".into(), Some(ada.id.clone()), Some(ada.id))]);
    assert_eq!(events(&app, "mfa_failed").await.len(), 1);
}

#[tokio::test]
async fn a_reset_by_the_operator_ends_everything() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    let waiting = waiting(&app, ADA).await;
    let reset = async || {
        let (email, rules) = (Email::parse(ADA).unwrap(), Rules::from(&app.settings));
        let (user, _) = accounts::store::find_for_login(app.app.db.reads(), &email).await.unwrap().unwrap();
        let reset =
            app.app.db.write(async move |tx| mfa::reset(tx, &user.id, &Origin::command(), rules).await);
        reset.await.unwrap()
    };
    assert!(reset().await);
    assert!(!reset().await);
    app.get("/v1/users/me").by(&ada).await.refused(401, "revoked");
    verify(&app, &waiting, &factor.code(&app)).await.refused(401, "login_expired");
    app.logged_in(ADA).await;
    let told = events(&app, "mfa_disabled").await;
    assert_eq!(told, [("success".into(), Some("operator".into()), Some(ada.id))]);

    let again = app.logged_in(ADA).await;
    Factor::of(&app, &again).await;
    for said in ["second factor taken away", "no second factor"] {
        let ran = countersign(&app.folder.config()).args(["users", "reset-mfa", "ADA@example.com"]).output();
        assert_eq!(String::from_utf8(ran.unwrap().stdout).unwrap(), format!("{ADA}: {said}\n"));
        assert_eq!(app.value::<i64>("SELECT mfa_enabled FROM users").await, 0);
    }
}

#[tokio::test]
async fn a_login_whose_password_was_enough_does_not_outlive_that() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let email = Email::parse(ADA).unwrap();
    let (user, before) = accounts::store::find_for_login(app.app.db.reads(), &email).await.unwrap().unwrap();
    Factor::of(&app, &ada).await;
    let claimed =
        app.app.db.write(async move |tx| accounts::store::claim_login(tx, &user.id, before.epoch).await);
    assert!(!claimed.await.unwrap());
    // The session from which it was enabled goes on.
    app.get("/v1/users/me").by(&ada).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn nothing_of_the_second_factor_is_stored_as_it_is() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    let token = waiting(&app, ADA).await;
    let sealed: Vec<u8> = app.value("SELECT secret FROM totp").await;
    assert!(!sealed.windows(20).any(|window| window == factor.secret));
    let code = factor.backup_codes[0].replace('-', "");
    let hashed: Vec<Vec<u8>> =
        sqlx::query_scalar("SELECT code_hash FROM backup_codes").fetch_all(app.app.db.reads()).await.unwrap();
    assert!(hashed.len() == 10 && hashed.iter().all(|hash| hash.len() == 32 && hash != code.as_bytes()));
    let stored: Vec<u8> = app.value("SELECT token_hash FROM waiting_logins").await;
    assert!(stored.len() == 32 && token.len() == 43);
}

#[tokio::test]
async fn a_replaced_secret_can_go_once_everything_is_sealed_anew() {
    let app = TestApp::new().await;
    let ada = app.registered(ADA).await;
    let factor = Factor::of(&app, &ada).await;
    let old = app.settings.secrets.current.clone();
    let new = Secret::new(b"another secret, which seals from now on");
    let app = app
        .restarted(|settings| {
            settings.secrets.current = new;
            settings.secrets.previous = vec![old];
        })
        .await;
    verify(&app, &waiting(&app, ADA).await, &factor.code(&app)).await.expect(StatusCode::OK);
    assert_eq!(app.app.mfa.reseal(&app.app.db).await.unwrap(), 1);
    assert_eq!(app.app.mfa.reseal(&app.app.db).await.unwrap(), 0);
    let app = app.restarted(|settings| settings.secrets.previous.clear()).await;
    app.pass(30);
    verify(&app, &waiting(&app, ADA).await, &factor.code(&app)).await.expect(StatusCode::OK);
    verify(&app, &waiting(&app, ADA).await, &factor.backup_codes[0]).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn the_routes_take_json_and_name_what_is_missing() {
    let app = TestApp::new().await;
    assert_eq!(app.post(VERIFY, json!({})).await.invalid_fields(), ["code", "session_token"]);
    assert_eq!(
        app.post(VERIFY, json!({"session_token": "x", "code": 123_456})).await.invalid_fields(),
        ["code"]
    );
    let long = "x".repeat(60_000);
    verify(&app, &long, "123456").await.refused(401, "login_expired");
    assert_eq!(verify(&app, "x", &long).await.invalid_fields(), ["code"]);
    verify(&app, "a\0b", "123456").await.refused(401, "login_expired");
    app.call(Method::POST, VERIFY).body("code=123456").await.refused(415, "unsupported_media_type");
}
