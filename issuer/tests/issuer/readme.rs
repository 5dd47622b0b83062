//! The README tells of every setting and every call of the API, and of none that is not.

use std::collections::BTreeSet;

use axum::body::Body;
use countersign_issuer::{config, http as api};
use http::{Method, Request, StatusCode};
use tower::ServiceExt as _;

use crate::stage::TestApp;

const README: &str = include_str!("../../README.md");

fn section(title: &str) -> &'static str {
    README.split(&format!("\n## {title}\n")).nth(1).unwrap().split("\n## ").next().unwrap()
}

/// The keys in the first column of the configuration table.
fn documented() -> BTreeSet<String> {
    let rows =
        section("Configuration").lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[test]
fn every_setting_is_documented_and_every_documented_setting_exists() {
    let mut known: BTreeSet<String> = config::reference().into_iter().collect();
    known.insert("roles.<role>".to_owned());
    assert_eq!(documented(), known);
}

#[test]
fn the_example_is_a_configuration() {
    let example = README.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let example = example
        .replace("current_file = \"current.secret\"", "current = \"0123456789-0123456789-0123456789\"");
    let loaded = config::parse("countersign.toml".as_ref(), &example, []);
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.settings.unwrap().keys.len(), 1);
}

/// The calls in the first column of the API's table: `METHOD path`.
fn documented_calls() -> BTreeSet<String> {
    let cells = section("HTTP API").lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let calls = cells.filter_map(|cell| {
        let (method, paths) = cell.split_once(' ')?;
        let quoted = paths.split('`').skip(1).step_by(2);
        Some(quoted.map(move |path| format!("{method} {path}")))
    });
    calls.flatten().collect()
}

#[tokio::test]
async fn every_route_is_documented_and_every_documented_route_exists() {
    let test = TestApp::new().await;
    let router = api::router(test.app.clone());
    // axum shows its paths nowhere else; were that to change, the sets would differ.
    let shown = format!("{router:?}");
    let paths: BTreeSet<&str> = shown.split('"').filter(|text| text.starts_with('/')).collect();
    let mut routes = BTreeSet::new();
    for path in paths {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let uri = path.replace("{id}", "0");
            let request = Request::builder().method(&method).uri(uri).body(Body::empty()).unwrap();
            let status = router.clone().oneshot(request).await.unwrap().status();
            // The paths of the fallback are shown too.
            if ![StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status) {
                routes.insert(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(documented_calls(), routes);
}
