//! Bootstraps as Envoy itself reads them. `--mode validate` runs the filter's module on a configuration that stands in the
//! bootstrap.

use std::path::Path;
use std::process::Command;

use countersign_stack::tools;
use serde_json::{Value, json};

use super::{ARTIFACTS, envoy, read, run, said, yaml};

/// A listener, and nobody behind it.
pub(crate) fn minimal() -> Value {
    json!({
        "static_resources": {
            "listeners": [{
                "name": "edge",
                "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
                "filter_chains": [{"filters": [{
                    "name": "envoy.filters.network.http_connection_manager",
                    "typed_config": {
                        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                        "stat_prefix": "edge",
                        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"]}]},
                        "http_filters": [{
                            "name": "envoy.filters.http.router",
                            "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                        }],
                    },
                }]}],
            }],
            "clusters": [],
        },
    })
}

fn validate(bootstrap: &Value) -> Command {
    let mut command = Command::new(&ARTIFACTS.envoy);
    command.args(["--mode", "validate", "--log-level", "error", "--config-yaml", &bootstrap.to_string()]);
    command.env("COUNTERSIGN_SERVICE_TOKEN", "cs_svc_for_a_check");
    command
}

pub(crate) fn assert_envoy_takes(bootstrap: &Value) {
    let said = run(&mut validate(bootstrap));
    assert!(said.contains("OK"), "{said}");
}

fn refusal(bootstrap: &Value) -> String {
    let output = validate(bootstrap).output().unwrap();
    assert!(!output.status.success(), "{}", said(&output));
    said(&output)
}

fn http_filters(bootstrap: &mut Value) -> &mut Vec<Value> {
    bootstrap
        .pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/http_filters")
        .unwrap()
        .as_array_mut()
        .unwrap()
}

/// The module that is built, in the place of the one that is installed.
fn with_our_module(filter: &mut Value) {
    *filter.pointer_mut("/config/vm_config/code/local/filename").unwrap() =
        ARTIFACTS.filter.to_str().unwrap().into();
}

/// The shipped bootstrap without ECDS, as the README of `deploy/` says: what the plugin file has under `typed_config` in the
/// place of `config_discovery`.
fn static_form() -> Value {
    let mut bootstrap = yaml(&read(envoy("envoy.yaml")));
    let plugin = yaml(&read(envoy("plugin/countersign.yaml")));
    let mut typed_config = plugin["resources"][0]["typed_config"].clone();
    with_our_module(&mut typed_config);
    let filters = http_filters(&mut bootstrap);
    let ours = filters.iter_mut().find(|filter| filter["name"] == "countersign").unwrap();
    *ours = json!({"name": "countersign", "typed_config": typed_config});
    bootstrap
}

#[test]
fn the_bootstrap_has_a_form_without_discovery() {
    assert_envoy_takes(&static_form());
}

#[test]
fn envoy_refuses_a_static_form_that_the_filter_refuses() {
    let mut bootstrap = static_form();
    let filters = http_filters(&mut bootstrap);
    let ours = filters.iter_mut().find(|filter| filter["name"] == "countersign").unwrap();
    let value = ours.pointer_mut("/typed_config/config/configuration/value").unwrap();
    *value = value.as_str().unwrap().replace("\"rules\"", "\"rulez\"").into();
    let said = refusal(&bootstrap);
    assert!(said.contains("rulez"), "{said}");
}

/// What the filter's README has for an Envoy that is there already.
#[test]
fn envoy_takes_the_filter_of_the_readme() {
    let readme = read(Path::new(tools::workspace()).join("filter/README.md"));
    let section = readme.split("\n## Into an existing Envoy\n").nth(1).unwrap();
    let snippet = section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let mut filter = yaml(snippet)["http_filters"][0].clone();
    with_our_module(&mut filter["typed_config"]);
    let mut bootstrap = minimal();
    http_filters(&mut bootstrap).insert(0, filter);
    assert_envoy_takes(&bootstrap);
}
