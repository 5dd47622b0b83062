//! The Helm chart: rendered by Helm itself, and what comes of it held against schemas and against those who will read it.

mod edge;
mod issuer;
mod network;

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::LazyLock;

use countersign_stack::tools;
use serde_json::{Value, json};

use super::schemas::{assert_fit, assert_mistakes_are_found};
use super::{documents, envoy, read, said, yaml};

static HELM: LazyLock<PathBuf> = LazyLock::new(|| tools::helm().unwrap());

fn chart() -> PathBuf {
    envoy("deploy/helm/countersign")
}

fn helm(verb: &[&str], values: &Value) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.json");
    std::fs::write(&file, values.to_string()).unwrap();
    let mut helm = Command::new(&*HELM);
    helm.args(verb).arg(chart()).args(["--namespace", "trading", "--values"]).arg(&file);
    // Nothing of what whoever runs the tests has set for Helm.
    for folder_of in ["HELM_CONFIG_HOME", "HELM_CACHE_HOME", "HELM_DATA_HOME"] {
        helm.env(folder_of, folder.path());
    }
    helm.env_remove("KUBECONFIG").output().unwrap()
}

/// The manifests that Helm makes of the chart with these values.
fn rendered(values: &Value) -> Vec<Value> {
    let output = helm(&["template", "countersign"], values);
    assert!(output.status.success(), "{}", said(&output));
    documents(std::str::from_utf8(&output.stdout).unwrap())
}

/// Why Helm makes nothing of these values.
fn refusal(values: &Value) -> String {
    let output = helm(&["template", "countersign"], values);
    assert!(!output.status.success(), "{values}");
    said(&output)
}

/// `values` with these laid over it, member by member.
fn with(mut values: Value, more: Value) -> Value {
    merge(&mut values, more);
    values
}

fn merge(values: &mut Value, more: Value) {
    match (values, more) {
        (Value::Object(values), Value::Object(more)) => {
            for (name, value) in more {
                merge(values.entry(name).or_insert(Value::Null), value);
            }
        }
        (values, more) => *values = more,
    }
}

const KMS_KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn prometheus() -> Value {
    json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}])
}

/// What has to be said, and no more.
fn least() -> Value {
    json!({
        "issuer": {
            "settings": {"server": {"public_url": "https://login.example.com", "trusted_proxies": ["10.244.0.0/16"]}},
            "keys": [{"kid": "2026-11-a", "signFrom": "2026-11-20T00:00:00Z"}],
        },
        "database": {"postgres": {"host": "db.example.com"}},
        "secret": {"existing": "countersign-secrets"},
    })
}

fn sqlite() -> Value {
    with(least(), json!({"issuer": {"replicas": 1}, "database": {"kind": "sqlite"}}))
}

/// As much as there is at once.
fn most() -> Value {
    let peer = |name: &str| json!([{"podSelector": {"matchLabels": {"app.kubernetes.io/name": name}}}]);
    let placed = json!({
        "podAnnotations": {"example.com/a": "b"}, "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "a", "operator": "Exists"}]}]}}},
    });
    let more = json!({
        "imagePullSecrets": [{"name": "registry"}],
        "issuer": {
            "image": {"digest": format!("sha256:{}", "0".repeat(64))},
            "keys": [
                {"kid": "2026-11-a", "signFrom": "2026-11-20T00:00:00Z"},
                {"kid": "2026-12-a", "signFrom": "2026-12-20T00:00:00+01:00"},
                {"kid": "2026-10-a", "signFrom": "2026-10-20T00:00:00Z", "revoked": true},
            ],
            "previousSecrets": ["old.secret"],
            "encryption": {"enabled": true, "previous": ["old.key"]},
            "settings": {
                "cors": {"origins": ["https://app.example.com"]},
                "mail": {"transport": "smtp", "from": "Example <no-reply@example.com>", "host": "smtp.example.com", "username": "issuer"},
                "tokens": {"issuer": "https://login.example.com", "audience": "example", "clock_skew": "10s"},
                "roles": {"user": ["alerts:read"], "admin": ["*"]},
            },
            "extraVolumes": [{"name": "ca", "configMap": {"name": "database-ca"}}],
            "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca", "readOnly": true}],
        },
        "database": {"postgres": {"parameters": {"sslmode": "verify-full", "sslrootcert": "/etc/ca/ca.crt"}}},
        "edge": {
            "tls": {"secret": "login-example-com"}, "trustedHops": 1,
            "service": {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "annotations": {"a": "b"}},
        },
        "networkPolicy": {
            "prometheus": prometheus(), "edges": peer("other-edge"), "services": peer("ticker"),
            "clients": [{"ipBlock": {"cidr": "0.0.0.0/0"}}],
        },
        "monitoring": {"enabled": true, "labels": {"release": "prometheus"}},
    });
    let mut values = with(least(), more);
    for part in ["issuer", "edge"] {
        merge(&mut values[part], placed.clone());
    }
    values
}

fn sidecar() -> Value {
    let edges = json!([{"podSelector": {"matchLabels": {"countersign.example.com/edge": "true"}}}]);
    let upstreams = json!({"backend": {"host": "127.0.0.1"}});
    with(
        least(),
        json!({"edge": {"mode": "sidecar", "upstreams": upstreams}, "networkPolicy": {"edges": edges}}),
    )
}

fn own_secret() -> Value {
    let files = json!({"current.secret": "a", "2026-11-a.pem": "b", "database.password": "c"});
    with(least(), json!({"secret": {"existing": "", "files": files}}))
}

/// Values for everything that the chart can make.
fn all() -> [Value; 6] {
    let elsewhere = with(sidecar(), json!({"edge": {"mode": "none"}}));
    [least(), sqlite(), most(), sidecar(), elsewhere, own_secret()]
}

fn one<'a>(manifests: &'a [Value], kind: &str, name: &str) -> &'a Value {
    manifests
        .iter()
        .find(|manifest| manifest["kind"] == kind && manifest["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn list<'a>(value: &'a Value, place: &str) -> &'a [Value] {
    value.pointer(place).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    for values in all() {
        let output = helm(&["lint", "--strict"], &values);
        assert!(output.status.success() && !said(&output).contains("[WARNING]"), "{}", said(&output));
    }
}

#[test]
fn whatever_is_set_every_manifest_fits_its_schema() {
    for values in all() {
        let manifests = rendered(&values);
        assert_fit(&manifests);
        let mut names: Vec<_> = manifests
            .iter()
            .map(|manifest| {
                (manifest["kind"].as_str().unwrap(), manifest["metadata"]["name"].as_str().unwrap())
            })
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count, "{names:?}");
        assert!(manifests.iter().all(|manifest| manifest["metadata"]["namespace"] == "trading"));
    }
}

#[test]
fn a_manifest_of_the_chart_that_is_wrong_is_found() {
    rendered(&most()).iter().for_each(assert_mistakes_are_found);
}

#[test]
fn values_that_there_are_not_are_refused_by_name() {
    for (more, named) in [
        (json!({"replicas": 3}), "'replicas' not allowed"),
        (json!({"issuer": {"replcas": 3}}), "at '/issuer': additional properties 'replcas' not allowed"),
        (json!({"issuer": {"replicas": "two"}}), "at '/issuer/replicas': got string, want integer"),
        (json!({"issuer": {"settings": {"server": {"public_ulr": "x"}}}}), "'public_ulr' not allowed"),
        (json!({"issuer": {"settings": {"server": {"listen": "0.0.0.0:1"}}}}), "'listen' not allowed"),
        (json!({"issuer": {"settings": {"secrets": {"current": "x"}}}}), "'secrets' not allowed"),
        (json!({"issuer": {"settings": {"mail": {"transport": "file"}}}}), "one of 'off', 'smtp'"),
        (
            json!({"issuer": {"settings": {"jwks": {"max_age": "300"}}}}),
            "max_age': '300' does not match pattern",
        ),
        (
            json!({"issuer": {"keys": [{"kid": "a b", "signFrom": "2026-11-20T00:00:00Z"}]}}),
            "'a b' does not match pattern",
        ),
        (json!({"issuer": {"keys": [{"kid": "a"}]}}), "missing property 'signFrom'"),
        (json!({"database": {"kind": "mysql"}}), "one of 'postgres', 'sqlite'"),
        (json!({"edge": {"mode": "daemon"}}), "one of 'gateway', 'sidecar', 'none'"),
        (json!({"edge": {"image": {"digest": "latest"}}}), "'latest' does not match pattern"),
    ] {
        let said = refusal(&with(least(), more));
        assert!(said.contains(named), "{named}: {said}");
    }
}

#[test]
fn what_cannot_work_is_refused_with_what_would() {
    let settings = |settings: Value| json!({"issuer": {"settings": settings}});
    for (more, named) in [
        (settings(json!({"server": {"public_url": ""}})), "public_url is required"),
        (settings(json!({"server": {"public_url": "http://login.example.com"}})), "is not https"),
        (settings(json!({"server": {"trusted_proxies": []}})), "trusted_proxies is required"),
        (json!({"issuer": {"keys": []}}), "issuer.keys is required"),
        (json!({"database": {"kind": "sqlite"}}), "issuer.replicas must be 1 with database.kind sqlite"),
        (
            json!({"database": {"kind": "sqlite"}, "issuer": {"replicas": 1, "strategy": "RollingUpdate"}}),
            "must be Recreate",
        ),
        (json!({"database": {"postgres": {"host": ""}}}), "database.postgres.host is required"),
        (
            json!({"secret": {"existing": ""}}),
            "with the entries current.secret, database.password, 2026-11-a.pem",
        ),
        (json!({"secret": {"files": {"a": "b"}}}), "secret.existing and secret.files are both set"),
        (
            json!({"secret": {"existing": "", "files": {"current.secret": "b"}}}),
            "secret.files has no database.password",
        ),
        (json!({"issuer": {"encryption": {"previous": ["old.key"]}}}), "issuer.encryption.enabled is false"),
        (
            json!({"issuer": {"encryption": {"enabled": true}, "settings": {"encryption": {"kms_key": KMS_KEY}}}}),
            "one key protects credentials",
        ),
        (json!({"edge": {"mode": "none"}}), "networkPolicy.edges is required with edge.mode none"),
        (json!({"edge": {"mode": "sidecar"}}), "networkPolicy.edges is required with edge.mode sidecar"),
        (json!({"monitoring": {"enabled": true}}), "networkPolicy.prometheus is required"),
        (
            json!({"edge": {"upstreams": {"orders": {"host": "orders", "port": 80}}}}),
            "edge.upstreams.orders: envoy.yaml has no such cluster",
        ),
        (json!({"edge": {"upstreams": {"alerts": null}}}), "edge.upstreams has no alerts"),
    ] {
        let said = refusal(&with(least(), more));
        assert!(said.contains(named), "{named}: {said}");
    }
}

/// Links, which Helm follows: no copy that could differ.
#[test]
fn what_the_chart_takes_from_elsewhere_is_the_same_file() {
    for (name, from) in [
        ("envoy.yaml", "envoy.yaml"),
        ("countersign.yaml", "plugin/countersign.yaml"),
        ("alerts.yaml", "observability/alerts.yaml"),
    ] {
        let file = chart().join("files").join(name);
        assert_eq!(file.canonicalize().unwrap(), envoy(from).canonicalize().unwrap());
    }
    let rules = rendered(&most());
    assert_eq!(
        one(&rules, "PrometheusRule", "countersign-alerts")["spec"],
        yaml(&read(envoy("observability/alerts.yaml")))
    );
}

#[test]
fn a_package_of_the_chart_is_whole_without_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let output =
        Command::new(&*HELM).arg("package").arg(chart()).arg("--destination").arg(folder.path()).output();
    assert!(output.as_ref().unwrap().status.success(), "{}", said(&output.unwrap()));
    let values = folder.path().join("values.json");
    std::fs::write(&values, most().to_string()).unwrap();
    let package = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let package = package.into_iter().find(|file| file.extension().is_some_and(|end| end == "tgz")).unwrap();
    let mut template = Command::new(&*HELM);
    template
        .args(["template", "countersign", "--namespace", "trading"])
        .arg(package)
        .arg("--values")
        .arg(values);
    let output = template.output().unwrap();
    assert_eq!(documents(std::str::from_utf8(&output.stdout).unwrap()), rendered(&most()));
}

/// The README's values are tried as they stand there: those of Helm, and what each other home lays over them.
#[test]
fn the_values_of_the_readme_are_values_of_the_chart() {
    let readme = read(envoy("deploy/README.md"));
    let blocks = |section: &str| -> Vec<Value> {
        let section =
            readme.split(&format!("\n## {section}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        section.split("```yaml\n").skip(1).map(|block| yaml(block.split("```").next().unwrap())).collect()
    };
    let values = blocks("Helm").remove(0);
    assert_fit(&rendered(&values));
    assert_fit(&rendered(&with(values.clone(), blocks("Sidecars").remove(0))));
    for section in ["Istio", "Envoy Gateway"] {
        let elsewhere = with(values.clone(), json!({"edge": {"mode": "none"}}));
        assert_fit(&rendered(&with(elsewhere, blocks(section).remove(0))));
    }
}

#[test]
fn images_and_chart_have_the_version_of_the_program() {
    let version = env!("CARGO_PKG_VERSION");
    let about = yaml(&read(chart().join("Chart.yaml")));
    assert_eq!((&about["version"], &about["appVersion"]), (&json!(version), &json!(version)));
    for (file, image) in [
        ("README.md", "oci:target/wasm/oci:"),
        ("README.md", "countersign-issuer:"),
        ("README.md", "countersign-edge:"),
        ("istio/wasmplugin.yaml", "countersign-filter:"),
        ("envoy-gateway/filter.yaml", "countersign-filter:"),
        ("sidecar.yaml", "countersign-edge:"),
    ] {
        assert!(read(envoy("deploy").join(file)).contains(&format!("{image}{version}")), "{file}: {image}");
    }
}
