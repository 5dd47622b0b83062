//! The README tells of every setting and every call of the API, and of none that is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use countersign_issuer::config::Served;
use countersign_issuer::web::Reason;
use countersign_issuer::{config, router};

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
    let example = section("Configuration").split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let example = example
        .replace("current_file = \"current.secret\"", "current = \"0123456789-0123456789-0123456789\"");
    let loaded = config::parse("countersign.toml".as_ref(), &example, []);
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.settings.unwrap().keys.len(), 1);
}

/// The calls in the first column of the tables of the API: `METHOD path`.
fn documented_calls() -> BTreeSet<String> {
    let tables = [section("HTTP API"), section("Existing clients"), section("Services")];
    let cells = tables.iter().flat_map(|table| table.lines());
    let cells = cells.filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let calls = cells.filter_map(|cell| {
        let (method, paths) =
            cell.split_once(' ').filter(|(method, _)| method.bytes().all(|b| b.is_ascii_uppercase()))?;
        let quoted = paths.split('`').skip(1).step_by(2);
        Some(quoted.map(move |path| format!("{method} {path}")))
    });
    calls.flatten().collect()
}

#[test]
fn every_call_is_documented_and_every_documented_call_exists() {
    let pages = [
        "/v1/openapi.json",
        "/docs",
        "/v1/internal/openapi.json",
        "/api/auth/openapi.json",
        "/api/auth/docs",
    ];
    let pages = pages.map(|path| format!("GET {path}"));
    let documents = [router::openapi(Served::ALL), router::internal_openapi()];
    let calls =
        documents.iter().flat_map(crate::openapi::calls).map(|(method, path)| format!("{method} {path}"));
    assert_eq!(documented_calls(), calls.chain(pages).collect::<BTreeSet<_>>());
}

#[test]
fn every_reason_is_documented() {
    let text = section("HTTP API");
    for reason in Reason::ALL {
        assert!(text.contains(&format!("`{}`", reason.as_str())), "{}", reason.as_str());
    }
}

/// All our sources, in one.
fn sources(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_threats_name_exists() {
    let (ours, mut text) = (PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()), String::new());
    ["src", "tests"].iter().for_each(|folder| sources(&ours.join(folder), &mut text));
    let threats: Vec<_> =
        section("Threats, measures, tests").lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(threats.len() > 50, "{}", threats.len());
    for threat in threats {
        let tests: Vec<_> = threat.rsplit('|').nth(1).unwrap().split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "no test: {threat}");
        for test in tests {
            assert!(text.contains(&format!("fn {test}(")), "{test} does not exist: {threat}");
        }
    }
}
