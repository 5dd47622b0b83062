//! A front end of a browser, with axios, on another origin than the edge.

use std::path::PathBuf;

use countersign_stack::stack::Stack;
use countersign_stack::tools;
use reqwest::header::{ORIGIN, SET_COOKIE};
use serde_json::json;
use sqlx::any::install_default_drivers;
use sqlx::{AnyPool, query};

use super::super::{platform, token};
use super::{localhost, program, run};

/// The refresh cookie of a session that was begun long ago.
async fn expired_cookie(stack: &Stack) -> String {
    let email = "past@example.com";
    token(stack, email).await;
    let login = json!({"email": email, "password": "a calm orange lighthouse"});
    let page = reqwest::Client::new().post(stack.edge_url("/v1/auth/login"));
    let answer = page.header(ORIGIN, "http://localhost:3000").json(&login).send().await.unwrap();
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
    let (_, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();

    install_default_drivers();
    let database = stack.state.issuer_config().with_file_name("issuer.db");
    let database = AnyPool::connect(&format!("sqlite:{}", database.display())).await.unwrap();
    let past = "UPDATE sessions SET expires_at = 1, idle_expires_at = 1 \
                WHERE user_id = (SELECT id FROM users WHERE email = $1)";
    assert_eq!(query(past).bind(email).execute(&database).await.unwrap().rows_affected(), 2);
    value.to_owned()
}

/// The one key that signs.
fn signing_key(stack: &Stack) -> PathBuf {
    let keys = std::fs::read_dir(stack.state.issuer_config().with_file_name("keys")).unwrap();
    let keys: Vec<PathBuf> = keys.map(|entry| entry.unwrap().path()).collect();
    let [key] = keys.try_into().unwrap();
    key
}

#[tokio::test]
async fn a_front_end_on_another_origin_stays_logged_in_and_never_goes_round_in_circles() {
    let (stack, _folder) = platform().await;
    let mut node = program("node");
    node.arg("--test-reporter=tap")
        .arg(tools::workspace().join("tests/clients/front_end/flows.js"))
        .env("NODE_PATH", tools::front_end().unwrap())
        .env("EDGE", localhost(&stack))
        .env("SIGNING_KEY", signing_key(&stack))
        .env("EXPIRED_COOKIE", expired_cookie(&stack).await);
    let said = run(node).await;
    assert!(said.contains("\n# pass 19\n# fail 0\n"), "{said}");
    stack.stop().await.unwrap();
}
