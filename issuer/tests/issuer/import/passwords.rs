//! Imported users log in with the password that they had.

use base64ct::{Base64Unpadded, Encoding as _};
use http::StatusCode;
use serde_json::{Value, json};

use super::{bcrypt, import, summary};
use crate::stage::{PASSWORD, TestApp, part};

const STORED: &str = "SELECT password_hash FROM users";

async fn with_hash(hash: &str) -> TestApp {
    let app = TestApp::new().await;
    let ran =
        import(&app, "users.csv", format!("id,email,hashed_password\n42,ada@example.com,\"{hash}\"\n"), &[]);
    assert_eq!((ran.code, ran.out), (0, summary(1, 0, 0)), "{}", ran.err);
    app
}

fn login(app: &TestApp, password: &str) -> crate::stage::Call {
    app.post("/v1/auth/login", json!({"email": "ada@example.com", "password": password}))
}

#[tokio::test]
async fn a_user_with_bcrypt_keeps_id_and_password_and_gets_a_hash_of_today() {
    let app = with_hash(&bcrypt(PASSWORD.as_bytes())).await;
    login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
    assert!(app.value::<String>(STORED).await.starts_with("$2b$04$"));
    let body = login(&app, PASSWORD).await.expect(StatusCode::OK).json();
    assert_eq!((&body["user"]["id"], &body["user"]["user_id"]), (&json!("42"), &json!("42")));
    assert_eq!(part(body["access_token"].as_str().unwrap(), 1)["sub"], "42");
    let stored: String = app.value(STORED).await;
    assert!(stored.starts_with("$argon2id$v=19$m=16,t=1,p=1$"), "{stored}");
    login(&app, PASSWORD).await.expect(StatusCode::OK);
    login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
    app.get("/v1/users/me").bearer(body["access_token"].as_str().unwrap()).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn every_scheme_is_checked_and_replaced() {
    let (salt, text) = (b"salt of sixteen.", |bytes: &[u8]| Base64Unpadded::encode_string(bytes));
    let mut argon2i = [0; 32];
    let params = argon2::Params::new(64, 2, 2, Some(32)).unwrap();
    argon2::Argon2::new(argon2::Algorithm::Argon2i, argon2::Version::V0x13, params)
        .hash_password_into(PASSWORD.as_bytes(), salt, &mut argon2i)
        .unwrap();
    let mut scrypt = [0; 32];
    let params = scrypt::Params::new(4, 8, 1).unwrap();
    scrypt::scrypt(PASSWORD.as_bytes(), salt, &params, &mut scrypt).unwrap();
    let sha256 = pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 32>(PASSWORD.as_bytes(), salt, 1000);
    let sha512 = pbkdf2::pbkdf2_hmac_array::<sha2::Sha512, 64>(PASSWORD.as_bytes(), salt, 1000);
    let salt = text(salt);
    for stored in [
        bcrypt(PASSWORD.as_bytes()).replace("$2b$", "$2a$"),
        bcrypt(PASSWORD.as_bytes()).replace("$2b$", "$2y$"),
        format!("$argon2i$v=19$m=64,t=2,p=2${salt}${}", text(&argon2i)),
        format!("$scrypt$ln=4,r=8,p=1${salt}${}", text(&scrypt)),
        format!("$pbkdf2-sha256$i=1000,l=32${salt}${}", text(&sha256)),
        format!("$pbkdf2-sha512$1000${salt}${}", text(&sha512).replace('+', ".")),
    ] {
        let app = with_hash(&stored).await;
        login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
        login(&app, PASSWORD).await.expect(StatusCode::OK);
        assert!(app.value::<String>(STORED).await.starts_with("$argon2id$v=19$m=16"), "{stored}");
    }
}

#[tokio::test]
async fn a_password_of_80_bytes_is_cut_as_it_was_there_until_it_is_hashed_anew() {
    let long = "0123456789".repeat(8);
    let app = with_hash(&bcrypt(long.as_bytes())).await;
    login(&app, &long[..71]).await.refused(401, "invalid_credentials");
    login(&app, &long).await.expect(StatusCode::OK);
    login(&app, &long).await.expect(StatusCode::OK);
    // From then on all of it counts.
    login(&app, &long[..72]).await.refused(401, "invalid_credentials");
}

#[tokio::test]
async fn a_password_that_was_hashed_as_typed_is_one_from_every_keyboard_afterwards() {
    let (typed, composed) = ("tundra-a\u{30A}da\u{308}gio-97", "tundra-\u{E5}d\u{E4}gio-97");
    let app = with_hash(&bcrypt(typed.as_bytes())).await;
    login(&app, composed).await.refused(401, "invalid_credentials");
    login(&app, typed).await.expect(StatusCode::OK);
    login(&app, composed).await.expect(StatusCode::OK);
}

#[tokio::test]
async fn a_password_longer_than_ours_may_be_goes_on_working() {
    let long = "x".repeat(300);
    let app = with_hash(&bcrypt(long.as_bytes())).await;
    login(&app, &long).await.expect(StatusCode::OK);
    login(&app, &long).await.expect(StatusCode::OK);
    assert!(app.value::<String>(STORED).await.starts_with("$2b$"));
}

#[tokio::test]
async fn a_stranger_cannot_tell_an_imported_account_from_an_unknown_address() {
    let app = with_hash(&bcrypt(PASSWORD.as_bytes())).await;
    let mut answers = Vec::new();
    for email in ["ada@example.com", "nobody@example.com"] {
        let before = app.app.hasher.figures().accepted.get();
        let answer =
            app.post("/v1/auth/login", json!({"email": email, "password": "wrong wrong wrong"})).await;
        assert_eq!(app.app.hasher.figures().accepted.get() - before, 1);
        answers.push(answer.refused(401, "invalid_credentials").json());
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn a_closed_account_stays_closed() {
    let app = TestApp::new().await;
    let hash = bcrypt(PASSWORD.as_bytes());
    let line = json!({"id": 7, "email": "ada@example.com", "password_hash": hash, "is_active": false});
    assert_eq!(import(&app, "users.jsonl", line.to_string(), &[]).code, 0);
    login(&app, PASSWORD).await.refused(403, "account_inactive");
    login(&app, "wrong wrong wrong").await.refused(401, "invalid_credentials");
}

#[tokio::test]
async fn what_is_known_of_a_user_comes_along() {
    let app = TestApp::new().await;
    let line = json!({
        "id": "u_7", "email": "Ada@Example.com", "username": "Ada_L", "name": "Ada King", "roles": ["user"],
        "password_hash": bcrypt(PASSWORD.as_bytes()), "is_admin": true, "email_verified": 1,
        "created_at": "2023-11-14 22:13:20.123456", "updated_at": 1_710_000_000, "shoe_size": [43],
    });
    let ran = import(&app, "users.jsonl", line.to_string(), &[]);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
    let body = login(&app, PASSWORD).await.expect(StatusCode::OK).json();
    let expected = json!({
        "user_id": "u_7", "id": "u_7", "email": "ada@example.com", "name": "Ada King", "phone": null,
        "roles": ["user", "admin"], "mfa_enabled": false, "email_verified": true, "is_active": true, "is_admin": true,
        "created_at": "2023-11-14T22:13:20Z", "updated_at": "2024-03-09T16:00:00Z",
    });
    let mut user = body["user"].clone();
    user.as_object_mut().unwrap().remove("permissions").filter(Value::is_array).unwrap();
    assert_eq!(user, expected);
    let found = async |name: &str| {
        let name = countersign_issuer::accounts::Username::parse(name).unwrap();
        let found = countersign_issuer::accounts::store::find_by_username(app.app.db.reads(), &name).await;
        found.unwrap().map(|(user, _)| user.id.to_string())
    };
    assert_eq!((found("Ada_L").await, found("ada_l").await), (Some("u_7".to_owned()), None));
}
