//! What `envoy/deploy/` has for clusters, images and machines, held against those who will read it: the schemas of Kubernetes
//! and of custom resources, Helm, Envoy, the filter and the issuer themselves, systemd. No cluster and no container engine.

mod bootstrap;
mod chart;
mod images;
mod manifests;
mod routes;
mod schemas;
mod units;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use countersign_stack::artifacts::Artifacts;
use countersign_stack::tools;
use serde_json::Value;

/// What is tried here, asked of cargo once.
static ARTIFACTS: LazyLock<Artifacts> = LazyLock::new(|| Artifacts::provide().unwrap());

/// A file or folder of `envoy/`.
fn envoy(path: &str) -> PathBuf {
    tools::workspace().join("envoy").join(path)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The documents of a file, the empty ones left out.
fn documents(text: &str) -> Vec<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    documents.into_iter().filter(|document| !document.is_null()).collect()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// Runs it to its end, which must be a good one; what it said.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", said(&output));
    said(&output)
}

/// The operator's command, which hears of no setting but those of the test.
fn countersign() -> Command {
    let mut command = Command::new(&ARTIFACTS.issuer);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COUNTERSIGN_") {
            command.env_remove(name);
        }
    }
    command
}

/// What the filter is given in the file that is shipped.
fn shipped_filter() -> Value {
    let plugin = yaml(&read(envoy("plugin/countersign.yaml")));
    filter_of(&plugin)
}

/// The filter's configuration in an ECDS file.
fn filter_of(plugin: &Value) -> Value {
    let value = plugin.pointer("/resources/0/typed_config/config/configuration/value").unwrap();
    serde_json::from_str(value.as_str().unwrap()).unwrap()
}

/// That nobody goes through by a rule that is only being tried: such a rule opens a route to everybody.
fn assert_enforces(configuration: &Value) {
    for rule in configuration["rules"].as_array().unwrap() {
        assert_ne!(rule["mode"], "observe", "{rule}");
    }
}

/// That the filter itself takes this configuration, and finds nothing odd in it.
fn assert_filter_takes(configuration: &Value) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("filter.json");
    std::fs::write(&file, configuration.to_string()).unwrap();
    assert_sound_for_the_filter(&file);
}

/// That the operator's command finds a configuration of the filter in this file, and nothing odd in it.
fn assert_sound_for_the_filter(file: &Path) {
    let said = run(countersign().args(["check", "--filter"]).arg(file));
    assert!(said.contains("errors: 0, warnings: 0"), "{said}");
}
