//! The README tells of every setting, every call of the API, every type of event and every figure, and of none that is not; and
//! what the page about keys has one run, runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use countersign_issuer::audit::Kind;
use countersign_issuer::config::Served;
use countersign_issuer::web::Reason;
use countersign_issuer::{config, router};
use http::StatusCode;

use crate::figures::metrics;
use crate::stage::{PASSWORD, TestApp};

const README: &str = include_str!("../../README.md");
const KEYS: &str = include_str!("../../KEYS.md");

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

#[test]
fn every_file_of_a_secret_is_on_the_page_about_keys() {
    let settings = config::reference();
    // A list of passwords that have leaked already.
    let files =
        settings.iter().filter(|key| key.ends_with("_file") && key.as_str() != "passwords.breached_file");
    for file in files {
        assert!(KEYS.contains(&format!("`{file}`")), "{file}");
    }
}

#[test]
fn every_type_of_event_is_documented_and_every_documented_one_exists() {
    let rows = section("The audit").lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let documented = rows.flat_map(|types| types.split('`').step_by(2)).filter(|name| *name != "type");
    let known = Kind::ALL.iter().map(|kind| kind.as_str());
    assert_eq!(documented.collect::<BTreeSet<_>>(), known.collect::<BTreeSet<_>>());
}

/// The figures in the first column of their table: names, each with its labels.
fn documented_figures() -> BTreeMap<&'static str, BTreeSet<&'static str>> {
    let rows = section("Figures and log").lines();
    let names = rows.filter_map(|line| line.strip_prefix("| `countersign_")?.split('`').next());
    let read = |name: &'static str| match name.split_once('{') {
        Some((name, labels)) => (name, labels.trim_end_matches('}').split(',').collect()),
        None => (name, BTreeSet::new()),
    };
    names.map(read).collect()
}

/// The names under which our sources register figures.
fn registered_figures() -> BTreeSet<String> {
    let mut text = String::new();
    sources(&ours().join("src"), &mut text);
    let named = |call: &str, unit: &str| -> Vec<String> {
        let names = text.split(call).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"'));
        names.map(|rest| format!("{}{unit}", rest.split('"').next().unwrap())).collect()
    };
    let counted = ["register(", "gauge(&mut encoder,", "counter(&mut encoder,"];
    let timed = named("register_with_unit(", "_seconds");
    counted.into_iter().flat_map(|call| named(call, "")).chain(timed).collect()
}

/// The name of a series as the table has it, if it is there: a histogram has several.
fn family(series: &str, documented: &BTreeMap<&'static str, BTreeSet<&'static str>>) -> Option<&'static str> {
    let name = series.strip_prefix("countersign_")?;
    let mut names = ["", "_bucket", "_sum", "_count"].iter().filter_map(|part| name.strip_suffix(part));
    names.find_map(|name| Some(*documented.get_key_value(name)?.0))
}

#[tokio::test]
async fn every_figure_is_documented_and_every_documented_one_exists() {
    let documented = documented_figures();
    let names = documented.keys().map(|name| name.strip_suffix("_total").unwrap_or(name).to_owned());
    assert_eq!(names.collect::<BTreeSet<_>>(), registered_figures());

    // And it is shown as it is documented.
    let app = TestApp::new().await;
    let ada = app.registered("ada@example.com").await;
    app.logged_in("ada@example.com").await;
    app.refresh(&ada.refresh_token).await.expect(StatusCode::OK);
    let text = metrics(&app).await;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = family(name, &documented).unwrap_or_else(|| panic!("{name} is not documented"));
        let labels = labels.split("\",").filter_map(|label| Some(label.split_once("=\"")?.0));
        let labels: BTreeSet<_> = labels.filter(|label| *label != "le").collect();
        assert_eq!(labels, documented[family], "{name}");
    }
}

fn ours() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
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
    let mut text = String::new();
    ["src", "tests"].iter().for_each(|folder| sources(&ours().join(folder), &mut text));
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

/// What a text has one type into a shell.
fn commands(text: &str) -> Vec<&str> {
    let blocks = text.split("```console\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).collect()
}

/// Types it, in this folder; answers what was printed.
fn typed(folder: &Path, command: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_countersign")).parent().unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", program.display());
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).env_clear().env("PATH", path).current_dir(folder).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command}: {} {}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// A person takes a second to type: a key that is made in the second of another signs from the next one on.
fn wait_until_another_signs(folder: &Path, kid: &str) {
    for _ in 0..100 {
        let list = typed(folder, "countersign keys list");
        if list.lines().any(|row| row.contains("signing") && !row.starts_with(kid)) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no key but {kid} signs");
}

#[test]
fn every_command_of_the_page_about_keys_runs_as_it_stands_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // As the README has one begin, on ports that nobody else has.
    let begin = commands(section("Running it"));
    for command in begin.iter().take_while(|command| !command.contains("users create")) {
        typed(folder, command);
    }
    let free = "[server]\nlisten = \"127.0.0.1:0\"\n[internal]\nlisten = \"127.0.0.1:0\"\n";
    let config = folder.join("countersign.toml");
    std::fs::write(&config, format!("{free}{}", std::fs::read_to_string(&config).unwrap())).unwrap();
    for command in commands(section("Trading accounts")).iter().take(2) {
        typed(folder, command);
    }
    let create = "countersign users create --email ada@example.com --name Ada --password-stdin";
    typed(folder, &format!("printf %s {PASSWORD} | {create}"));
    let key = format!("{{\"key_hash\": \"{}\", \"email\": \"ada@example.com\"}}", "5a".repeat(32));
    std::fs::write(folder.join("keys.jsonl"), key).unwrap();
    typed(folder, "countersign api-keys import keys.jsonl");

    let (page, mut id) = (commands(KEYS), String::new());
    assert!(page.len() > 15, "{page:?}");
    for command in page {
        let named = command.replace("KID", &id).replace(" ID", &format!(" {id}"));
        if command.contains("keys revoke") {
            wait_until_another_signs(folder, &id);
        }
        let printed = typed(folder, &named);
        if command.contains(" list") {
            // The first column of the first row below the heads.
            id = printed.lines().nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        }
    }
    // Nothing of it is undone by what came after.
    assert!(typed(folder, "countersign check").contains("errors: 0"));
    let lines = KEYS.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    std::fs::write(folder.join("credentials.key"), "a key-encryption key of thirty-two characters").unwrap();
    let example = format!("[secrets]\ncurrent_file = \"current.secret\"\n{lines}");
    let errors: Vec<_> = config::parse(&config, &example, []).findings;
    assert!(errors.iter().all(|finding| !finding.is_error()), "{errors:?}");
}
