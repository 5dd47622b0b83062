//! The manifests for Istio and for Envoy Gateway, and the sidecar.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::bootstrap::{assert_envoy_takes, minimal};
use super::schemas::{SCHEMAS, assert_fit, assert_mistakes_are_found, rules};
use super::{assert_enforces, assert_sound_for_the_filter, documents, envoy, read, shipped_filter, yaml};

const HOST: &str = "countersign-issuer.trading.svc.cluster.local";

fn all() -> Vec<Value> {
    let mut manifests = documents(&read(envoy("deploy/sidecar.yaml")));
    for folder in ["deploy/istio", "deploy/envoy-gateway"] {
        let files = std::fs::read_dir(envoy(folder)).unwrap().map(|entry| entry.unwrap().path());
        manifests.extend(files.flat_map(|file| documents(&read(file))));
    }
    manifests
}

fn of_kind(kind: &str) -> Value {
    all().into_iter().find(|manifest| manifest["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"))
}

fn wasm_plugin() -> Value {
    of_kind("WasmPlugin")["spec"].clone()
}

fn extension() -> Value {
    of_kind("EnvoyExtensionPolicy")["spec"]["wasm"][0].clone()
}

/// The clusters that Envoy Gateway's Envoys get at their start.
fn added_clusters() -> Vec<Value> {
    let proxy = of_kind("EnvoyProxy");
    let patches = proxy["spec"]["bootstrap"]["jsonPatches"].as_array().unwrap().clone();
    let clusters = patches.iter().filter(|patch| patch["path"] == "/static_resources/clusters/-");
    clusters.map(|patch| patch["value"].clone()).collect()
}

#[test]
fn every_manifest_fits_its_schema() {
    assert_fit(&all());
}

#[test]
fn a_manifest_that_is_wrong_is_found() {
    let manifests = all();
    assert!(manifests.len() > 12);
    manifests.iter().for_each(assert_mistakes_are_found);
    // One by one, what an operator could write.
    let spoilt = |kind: &str, place: &str, value: Value| {
        let mut manifest = of_kind(kind);
        *manifest.pointer_mut(place).unwrap() = value;
        SCHEMAS.findings(&manifest)
    };
    for (kind, place, value) in [
        ("WasmPlugin", "/spec/failStrategy", json!("FAIL_CLOSED")),
        ("WasmPlugin", "/spec/sha256", json!("sha256:00")),
        ("WasmPlugin", "/spec/vmConfig/env/0/valueFrom", json!("SECRET")),
        ("EnvoyExtensionPolicy", "/spec/wasm/0/failOpen", json!("no")),
        ("ClientTrafficPolicy", "/spec/path/escapedSlashesAction", json!("Reject")),
        ("EnvoyProxy", "/spec/bootstrap/jsonPatches/0/op", json!("append")),
        ("HTTPRoute", "/spec/rules/0/backendRefs/0/port", json!("http")),
        ("DestinationRule", "/spec/trafficPolicy/connectionPool/http/idleTimeout", json!(5)),
    ] {
        assert!(!spoilt(kind, place, value).is_empty(), "{kind} {place}");
    }
}

/// What is well-formed and still refused by a cluster.
#[test]
fn a_rule_that_is_violated_is_found() {
    let everything = rules(&all());
    assert!(everything["evaluated"].as_u64().unwrap() > 100, "{everything}");
    for (kind, place, member, value) in [
        ("VirtualService", "/spec/http/0", "timeout", json!("0s")),
        (
            "WasmPlugin",
            "/spec",
            "targetRefs",
            json!([{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "edge"}]),
        ),
        ("EnvoyExtensionPolicy", "/spec/wasm/0/code", "type", json!("HTTP")),
        ("EnvoyProxy", "/spec/bootstrap", "type", json!("Merge")),
        ("ClientTrafficPolicy", "/spec/headers", "preserveXRequestID", json!(true)),
    ] {
        let mut manifest = of_kind(kind);
        manifest.pointer_mut(place).unwrap()[member] = value;
        assert_eq!(SCHEMAS.findings(&manifest), [""; 0], "{kind}: the schema alone takes it");
        assert_ne!(rules(&[manifest])["violated"], json!([]), "{kind} {member}");
    }
}

#[test]
fn without_the_filter_nothing_goes_through() {
    let plugin = wasm_plugin();
    assert_eq!((&plugin["failStrategy"], &plugin["phase"]), (&json!("FAIL_CLOSE"), &json!("AUTHN")));
    let extension = extension();
    assert_eq!(extension["failOpen"], false);
    let policy = of_kind("EnvoyExtensionPolicy");
    let gateway = &of_kind("Gateway")["metadata"]["name"];
    assert!(policy["spec"]["targetRefs"][0]["name"] == *gateway || *gateway == "countersign", "{policy}");
}

#[test]
fn the_secret_comes_from_the_environment_alone() {
    let env = json!([{"name": "COUNTERSIGN_SERVICE_TOKEN", "valueFrom": "HOST"}]);
    assert_eq!(wasm_plugin()["vmConfig"]["env"], env);
    assert_eq!(extension()["env"]["hostKeys"], json!(["COUNTERSIGN_SERVICE_TOKEN"]));
    let proxy = of_kind("EnvoyProxy");
    let given = proxy.pointer("/spec/provider/kubernetes/envoyDeployment/container/env/0").unwrap();
    assert_eq!(given["name"], "COUNTERSIGN_SERVICE_TOKEN");
    assert!(given["valueFrom"]["secretKeyRef"].is_object(), "{given}");
}

#[test]
fn the_filter_takes_their_configurations() {
    assert_sound_for_the_filter(&envoy("deploy/istio/wasmplugin.yaml"));
    assert_sound_for_the_filter(&envoy("deploy/envoy-gateway/filter.yaml"));
}

#[test]
fn no_rule_of_theirs_or_of_the_shipped_file_only_observes() {
    assert_enforces(&shipped_filter());
    assert_enforces(&wasm_plugin()["pluginConfig"]);
    assert_enforces(&extension()["config"]);
}

/// Without what names a place, and without the credential that needs more than these homes can do.
fn elsewhere(mut filter: Value) -> Value {
    for part in ["/keys/remote", "/revocations", "/api_keys"] {
        let part = filter.pointer_mut(part).unwrap().as_object_mut().unwrap();
        part.remove("cluster");
        part.remove("authority");
    }
    for rule in filter["rules"].as_array_mut().unwrap() {
        if let Some(credentials) = rule["credentials"].as_array_mut() {
            credentials.retain(|credential| credential != "subprotocol");
        }
    }
    filter
}

#[test]
fn their_rules_are_the_shipped_ones() {
    let shipped = elsewhere(shipped_filter());
    assert_eq!(elsewhere(wasm_plugin()["pluginConfig"].clone()), shipped);
    assert_eq!(elsewhere(extension()["config"].clone()), shipped);
}

/// What the filter asks in a home: place in the configuration, cluster, host.
fn asked(filter: &Value) -> Vec<(&'static str, String, String)> {
    let parts = ["/keys/remote", "/revocations", "/api_keys"];
    let asked = parts.map(|part| {
        let text = |name: &str| filter.pointer(part).unwrap()[name].as_str().unwrap().to_owned();
        (part, text("cluster"), text("authority"))
    });
    asked.into()
}

#[test]
fn the_filter_asks_the_issuer_by_the_names_that_the_home_has_for_it() {
    for (part, cluster, authority) in asked(&wasm_plugin()["pluginConfig"]) {
        let port = if part == "/keys/remote" { 8001 } else { 8002 };
        assert_eq!((cluster, authority), (format!("outbound|{port}||{HOST}"), HOST.to_owned()));
    }
    let clusters = added_clusters();
    for (part, cluster, authority) in asked(&extension()["config"]) {
        let port = if part == "/keys/remote" { 8001 } else { 8002 };
        let added = clusters.iter().find(|added| added["name"] == *cluster).unwrap();
        let address = added
            .pointer("/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address")
            .unwrap();
        assert_eq!(address, &json!({"address": HOST, "port_value": port}));
        assert_eq!(authority, HOST);
    }
}

#[test]
fn envoy_takes_what_envoy_gateway_is_told_to_add() {
    let mut bootstrap = minimal();
    bootstrap["static_resources"]["clusters"].as_array_mut().unwrap().extend(added_clusters());
    let proxy = of_kind("EnvoyProxy");
    let patches = proxy["spec"]["bootstrap"]["jsonPatches"].as_array().unwrap().clone();
    let tags = patches.iter().filter(|patch| patch["path"] == "/stats_config/stats_tags/-");
    let tags: Vec<Value> = tags.map(|patch| patch["value"].clone()).collect();
    assert_eq!(json!(tags), yaml(&read(envoy("envoy.yaml")))["stats_config"]["stats_tags"]);
    bootstrap["stats_config"] = json!({"stats_tags": tags});
    assert_envoy_takes(&bootstrap);
    // As many as were patched: nothing else is in the list.
    assert_eq!(patches.len(), added_clusters().len() + tags.len());
}

#[test]
fn envoy_takes_what_istio_is_told_to_merge() {
    let patch = &of_kind("EnvoyFilter")["spec"]["configPatches"][0]["patch"]["value"];
    let mut bootstrap = minimal();
    let manager = bootstrap
        .pointer_mut("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config")
        .unwrap()
        .as_object_mut()
        .unwrap();
    manager.extend(patch["typed_config"].as_object().unwrap().clone());
    assert_envoy_takes(&bootstrap);
}

#[test]
fn headers_that_servers_believe_are_removed_everywhere() {
    let bootstrap = yaml(&read(envoy("envoy.yaml")));
    let shipped = bootstrap
        .pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/request_headers_to_remove")
        .unwrap();
    let policy = of_kind("ClientTrafficPolicy");
    assert_eq!(&policy["spec"]["headers"]["earlyRequestHeaders"]["remove"], shipped);
    for rule in of_kind("VirtualService")["spec"]["http"].as_array().unwrap() {
        assert_eq!(&rule["headers"]["request"]["remove"], shipped, "{}", rule["name"]);
    }
}

/// What an Envoy Gateway has no switch for stands in the README.
#[test]
fn requests_are_read_as_the_bootstrap_reads_them() {
    let bootstrap = yaml(&read(envoy("envoy.yaml")));
    let manager =
        bootstrap.pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config").unwrap();
    let policy = &of_kind("ClientTrafficPolicy")["spec"];
    assert_eq!(manager["common_http_protocol_options"]["headers_with_underscores_action"], "DROP_HEADER");
    assert_eq!(policy["headers"]["withUnderscoresAction"], "DropHeader");
    assert_eq!(manager["path_with_escaped_slashes_action"], "KEEP_UNCHANGED");
    assert_eq!(policy["path"], json!({"disableMergeSlashes": true, "escapedSlashesAction": "KeepUnchanged"}));
    let http = &policy["timeout"]["http"];
    for (shipped, theirs) in [
        ("/request_headers_timeout", "requestHeadersReceivedTimeout"),
        ("/request_timeout", "requestReceivedTimeout"),
        ("/stream_idle_timeout", "streamIdleTimeout"),
        ("/common_http_protocol_options/idle_timeout", "idleTimeout"),
    ] {
        assert_eq!(manager.pointer(shipped).unwrap(), &http[theirs], "{theirs}");
        let patch = &of_kind("EnvoyFilter")["spec"]["configPatches"][0]["patch"]["value"]["typed_config"];
        assert_eq!(manager.pointer(shipped), patch.pointer(shipped), "{shipped}");
    }
}

/// What HTTPRoutes may have, which their schema says in part only.
#[test]
fn routes_belong_to_the_gateway_that_has_the_filter() {
    let manifests = all();
    let gateway = manifests
        .iter()
        .find(|manifest| {
            manifest["kind"] == "Gateway" && manifest["apiVersion"] == "gateway.networking.k8s.io/v1"
        })
        .unwrap();
    let listeners = gateway["spec"]["listeners"].as_array().unwrap();
    let sections: BTreeSet<_> = listeners.iter().map(|listener| listener["name"].as_str().unwrap()).collect();
    let policies = ["EnvoyExtensionPolicy", "ClientTrafficPolicy"].map(of_kind);
    for policy in policies {
        assert_eq!(policy["spec"]["targetRefs"][0]["name"], gateway["metadata"]["name"]);
        assert_eq!(policy["metadata"]["namespace"], gateway["metadata"]["namespace"]);
    }
    let routes: Vec<_> = manifests.iter().filter(|manifest| manifest["kind"] == "HTTPRoute").collect();
    for route in &routes {
        let parent = &route["spec"]["parentRefs"][0];
        assert_eq!(parent["name"], gateway["metadata"]["name"]);
        assert!(sections.contains(parent["sectionName"].as_str().unwrap()), "{route}");
    }
    for policy in manifests.iter().filter(|manifest| manifest["kind"] == "BackendTrafficPolicy") {
        let target = &policy["spec"]["targetRefs"][0]["name"];
        assert!(routes.iter().any(|route| route["metadata"]["name"] == *target), "{policy}");
    }
    assert_eq!(
        gateway["spec"]["infrastructure"]["parametersRef"]["name"],
        of_kind("EnvoyProxy")["metadata"]["name"]
    );
}
