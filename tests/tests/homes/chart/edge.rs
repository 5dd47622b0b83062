//! The edge of the chart: what became of Envoy's bootstrap and of the filter's configuration, in Envoy itself.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use countersign_stack::process::{self, Service};
use countersign_stack::stack::Ports;
use rcgen::CertifiedKey;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::super::bootstrap::assert_envoy_takes;
use super::super::{
    ARTIFACTS, assert_enforces, assert_filter_takes, assert_sound_for_the_filter, filter_of, shipped_filter,
};
use super::{all, envoy, helm, least, most, one, read, rendered, with, yaml};

fn bootstrap(manifests: &[Value]) -> Value {
    yaml(one(manifests, "ConfigMap", "countersign-edge")["data"]["envoy.yaml"].as_str().unwrap())
}

fn plugin(manifests: &[Value]) -> Value {
    yaml(one(manifests, "ConfigMap", "countersign-edge-filter")["data"]["countersign.yaml"].as_str().unwrap())
}

fn has_edge(values: &Value) -> bool {
    values["edge"]["mode"] != "none"
}

/// The files of the pod, in a folder in the place of /etc/countersign.
fn installed(manifests: &[Value], folder: &Path) -> Value {
    let text = |value: &Value| {
        let text =
            value.to_string().replace("/etc/countersign/filter.wasm", ARTIFACTS.filter.to_str().unwrap());
        text.replace("/etc/countersign", folder.to_str().unwrap())
    };
    for name in ["bootstrap", "plugin", "tls"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("plugin/countersign.yaml"), text(&plugin(manifests))).unwrap();
    if let Some(tls) = one(manifests, "ConfigMap", "countersign-edge")["data"]["tls.yaml"].as_str() {
        std::fs::write(
            folder.join("bootstrap/tls.yaml"),
            tls.replace("/etc/countersign", folder.to_str().unwrap()),
        )
        .unwrap();
    }
    serde_json::from_str(&text(&bootstrap(manifests))).unwrap()
}

#[test]
fn envoy_takes_the_bootstrap() {
    for values in all().into_iter().filter(has_edge) {
        let folder = tempfile::tempdir().unwrap();
        assert_envoy_takes(&installed(&rendered(&values), folder.path()));
    }
}

#[test]
fn the_filter_takes_its_configuration() {
    for values in all().into_iter().filter(has_edge) {
        assert_filter_takes(&filter_of(&plugin(&rendered(&values))));
    }
    assert_eq!(filter_of(&plugin(&rendered(&least()))), shipped_filter());
}

/// As the README has one try a change of the rules.
#[test]
fn the_command_finds_the_rules_in_what_helm_makes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("all.yaml");
    for values in all().into_iter().filter(has_edge) {
        std::fs::write(&file, helm(&["template", "countersign"], &values).stdout).unwrap();
        assert_sound_for_the_filter(&file);
    }
}

#[test]
fn no_rule_of_the_chart_only_observes() {
    for values in all().into_iter().filter(has_edge) {
        assert_enforces(&filter_of(&plugin(&rendered(&values))));
    }
}

/// Or no token would be good.
#[test]
fn the_edge_takes_the_tokens_that_the_issuer_makes() {
    let filter = filter_of(&plugin(&rendered(&most())));
    assert_eq!(filter["issuer"], "https://login.example.com");
    assert_eq!((&filter["audiences"], &filter["clock_skew"]), (&json!(["example"]), &json!("10s")));
    assert_eq!(filter["rules"], shipped_filter()["rules"]);
    let own = json!({
        "issuer": "?", "audiences": [], "keys": shipped_filter()["keys"],
        "rules": [{"name": "all", "match": {"prefix": "/"}, "allow": "authenticated"}],
    });
    let filter = filter_of(&plugin(&rendered(&with(most(), json!({"edge": {"filter": own}})))));
    assert_eq!(
        (&filter["issuer"], &filter["rules"][0]["name"]),
        (&json!("https://login.example.com"), &json!("all"))
    );
    assert_filter_takes(&filter);
}

/// Everything but addresses, origins and what is added is as in the file that `cargo up` runs.
#[test]
fn the_bootstrap_is_the_shipped_one_elsewhere() {
    let mut ours = bootstrap(&rendered(&least()));
    let mut shipped = yaml(&read(envoy("envoy.yaml")));
    let resources = ours["static_resources"].as_object_mut().unwrap();
    for (list, added) in [("listeners", "figures"), ("clusters", "admin")] {
        let last = resources[list].as_array_mut().unwrap().pop().unwrap();
        assert_eq!(last["name"], added);
    }
    assert_eq!(ours["admin"]["address"]["socket_address"]["address"], "127.0.0.1");
    for bootstrap in [&mut ours, &mut shipped] {
        let listener = &mut bootstrap["static_resources"]["listeners"][0];
        listener["address"]["socket_address"]["address"] = Value::Null;
        let place =
            "/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/typed_per_filter_config";
        listener.pointer_mut(place).unwrap()["envoy.filters.http.cors"]["allow_origin_string_match"] =
            Value::Null;
        for cluster in bootstrap["static_resources"]["clusters"].as_array_mut().unwrap() {
            cluster.as_object_mut().unwrap().remove("type");
            let place = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address";
            cluster.pointer_mut(place).into_iter().for_each(|address| *address = Value::Null);
        }
    }
    assert_eq!(ours, shipped);
}

#[test]
fn each_cluster_leads_where_the_values_say() {
    let ours = bootstrap(&rendered(&super::sidecar()));
    let issuer = "countersign-issuer.trading.svc.cluster.local";
    let expected = json!({
        "issuer": {"address": issuer, "port_value": 8001}, "issuer-internal": {"address": issuer, "port_value": 8002},
        "backend": {"address": "127.0.0.1", "port_value": 8081}, "ticker": {"address": "ticker", "port_value": 8082},
        "alerts": {"address": "alerts", "port_value": 8083}, "admin": {"address": "127.0.0.1", "port_value": 9901},
    });
    let clusters = ours["static_resources"]["clusters"].as_array().unwrap();
    for cluster in clusters.iter().filter(|cluster| cluster["name"] != "nowhere") {
        let place = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
        assert_eq!(cluster.pointer(place).unwrap(), &expected[cluster["name"].as_str().unwrap()]);
    }
    assert_eq!(clusters.len(), 7);
}

#[test]
fn browsers_are_answered_by_the_issuers_list() {
    let place = "/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0\
                 /typed_per_filter_config/envoy.filters.http.cors/allow_origin_string_match";
    assert_eq!(bootstrap(&rendered(&least())).pointer(place), Some(&json!([])));
    assert_eq!(
        bootstrap(&rendered(&most())).pointer(place),
        Some(&json!([{"exact": "https://app.example.com"}]))
    );
}

/// The bootstrap with ports that nobody else has.
fn with_ports(bootstrap: &mut Value, ports: &Ports) {
    bootstrap["admin"]["address"]["socket_address"]["port_value"] = ports.admin.into();
    for (at, port) in [(0, ports.edge), (1, ports.backend)] {
        let address = &mut bootstrap["static_resources"]["listeners"][at]["address"]["socket_address"];
        *address = json!({"address": "127.0.0.1", "port_value": port});
    }
    for cluster in bootstrap["static_resources"]["clusters"].as_array_mut().unwrap() {
        let place = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address";
        let port = if cluster["name"] == "admin" { ports.admin } else { ports.ticker };
        let nobody = json!({"address": "127.0.0.1", "port_value": port});
        cluster.pointer_mut(place).into_iter().for_each(|address| *address = nobody.clone());
    }
}

/// A certificate for this machine, as a Secret has it.
fn certificate(folder: &Path) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), signing_key.serialize_pem()).unwrap();
}

/// An Envoy of the chart, with the files of its pod, and nobody behind it.
struct Edge {
    service: Service,
    ports: Ports,
    folder: TempDir,
}

impl Edge {
    /// Waits until it is ready, as its probe asks.
    async fn start(values: &Value) -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::free().unwrap());
        let manifests = rendered(values);
        let mut bootstrap = installed(&manifests, folder.path());
        with_ports(&mut bootstrap, &ports);
        certificate(&folder.path().join("tls"));
        let mut command = process::command(&ARTIFACTS.envoy);
        command.args(["--disable-hot-restart", "--log-level", "warning", "--concurrency", "1"]);
        command
            .args(["--config-yaml", &bootstrap.to_string()])
            .env("COUNTERSIGN_SERVICE_TOKEN", "cs_svc_for_a_check");
        let service = Service::start("edge", &mut command, folder.path(), false).unwrap();
        let mut edge = Self { service, ports, folder };
        let pod =
            &one(&manifests, "Deployment", "countersign-edge")["spec"]["template"]["spec"]["containers"][0];
        let ready = edge.figures(pod["readinessProbe"]["httpGet"]["path"].as_str().unwrap());
        edge.until(async || reqwest::get(&ready).await.is_ok_and(|answer| answer.status() == 200)).await;
        edge
    }

    fn figures(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.backend)
    }

    async fn until(&mut self, done: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !done().await {
            assert_eq!(self.service.has_ended(), None, "{}", self.service.last_words().await);
            assert!(Instant::now() < deadline, "{}", std::fs::read_to_string(&self.service.log).unwrap());
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn status(url: &str) -> u16 {
    reqwest::get(url).await.map_or(0, |answer| answer.status().as_u16())
}

/// What probes and Prometheus need of the admin page, and not what stops Envoy.
#[tokio::test]
async fn the_figures_are_there_for_others_and_the_admin_page_is_not() {
    let edge = Edge::start(&least()).await;
    let metrics = reqwest::get(edge.figures("/stats/prometheus")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("countersign_keys"), "{metrics}");
    let client = reqwest::Client::new();
    for path in ["/quitquitquit", "/config_dump", "/stats", "/", "/ready/../quitquitquit", "//quitquitquit"] {
        for method in ["GET", "POST"] {
            let method = method.parse().unwrap();
            assert_eq!(
                client.request(method, edge.figures(path)).send().await.unwrap().status(),
                404,
                "{path}"
            );
        }
    }
    assert_eq!(client.post(edge.figures("/ready")).send().await.unwrap().status(), 404);
    // The filter is in force, and decides.
    assert_eq!(status(&format!("http://127.0.0.1:{}/api/positions", edge.ports.edge)).await, 401);
    edge.service.stop().await.unwrap();
}

#[tokio::test]
async fn with_a_certificate_the_edge_speaks_tls() {
    let mut edge = Edge::start(&most()).await;
    let port = edge.ports.edge;
    let authority = edge.folder.path().join("tls/tls.crt");
    edge.until(async || {
        let mut curl = tokio::process::Command::new("curl");
        curl.args([
            "--silent",
            "--noproxy",
            "*",
            "--resolve",
            &format!("localhost:{port}:127.0.0.1"),
            "--cacert",
        ]);
        let output = curl
            .arg(&authority)
            .arg(format!("https://localhost:{port}/api/positions"))
            .output()
            .await
            .unwrap();
        String::from_utf8_lossy(&output.stdout).contains("missing_credential")
    })
    .await;
    edge.service.stop().await.unwrap();
}

/// As a kubelet lays a ConfigMap out: the file is a link into a folder that is a link itself, and that one is replaced.
#[tokio::test]
async fn a_config_map_that_changes_is_taken_up_without_a_restart() {
    let mut edge = Edge::start(&least()).await;
    let (folder, url) =
        (edge.folder.path().join("plugin"), format!("http://127.0.0.1:{}/api/positions", edge.ports.edge));
    assert_eq!(status(&url).await, 401);
    let file = folder.join("countersign.yaml");
    // It stands there as text in JSON.
    let other = read(&file).replace(r#"\"/api/\""#, r#"\"/elsewhere/\""#);
    assert_ne!(other, read(&file));
    std::fs::create_dir(folder.join("..1")).unwrap();
    std::fs::write(folder.join("..1/countersign.yaml"), other).unwrap();
    symlink("..1", folder.join("..data_tmp")).unwrap();
    std::fs::remove_file(&file).unwrap();
    symlink("..data/countersign.yaml", &file).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    // No rule is for it any more.
    edge.until(async || status(&url).await == 404).await;
    edge.service.stop().await.unwrap();
}
