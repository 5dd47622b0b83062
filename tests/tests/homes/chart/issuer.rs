//! The issuer of the chart, started with the configuration that the chart gives it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use countersign_stack::process::{self, Service};
use countersign_stack::tools;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::super::{ARTIFACTS, countersign, read, run};
use super::{KMS_KEY, all, chart, least, list, most, one, rendered, sqlite, with};

const SECRETS: &str = "/run/secrets/countersign";
const DATA: &str = "/var/lib/countersign";

/// The configuration as it is in the pod, in a folder in the place of the pod's.
fn installed(manifests: &[Value]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let text = one(manifests, "ConfigMap", "countersign-issuer")["data"]["countersign.toml"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = text.replace(SECRETS, &place("secrets")).replace(DATA, &place("data"));
    for name in ["secrets", "data"] {
        std::fs::create_dir(place(name)).unwrap();
    }
    // Every file that it names: keys that are keys, secrets that are random enough.
    for path in text.split('"').filter(|text| text.starts_with(&place("secrets"))) {
        if path.ends_with(".pem") {
            let kid = Path::new(path).file_stem().unwrap().to_str().unwrap();
            run(countersign().args([
                "--config",
                &place("none.toml"),
                "keys",
                "generate",
                "--kid",
                kid,
                "--out",
                path,
            ]));
        } else {
            let name = path.rsplit('/').next().unwrap();
            std::fs::write(path, format!("{name:z<40}")).unwrap();
            run(Command::new("chmod").args(["600", path]));
        }
    }
    // Of the issuer's image, beside the program.
    let text = text.replace("/etc/ca/ca.crt", &place("ca.crt"));
    std::fs::write(place("countersign.toml"), text).unwrap();
    folder
}

fn config(folder: &TempDir) -> String {
    folder.path().join("countersign.toml").to_str().unwrap().to_owned()
}

#[test]
fn the_issuer_takes_its_configuration() {
    for values in all() {
        let folder = installed(&rendered(&values));
        let said = run(countersign().args(["--config", &config(&folder), "keys", "list"]));
        assert!(!said.contains("error") && !said.contains("warning"), "{said}");
        assert!(said.contains("2026-11-a") && said.contains("signing"), "{said}");
    }
}

#[test]
fn with_sqlite_the_issuer_finds_nothing_wrong_once_it_has_migrated() {
    let folder = installed(&rendered(&sqlite()));
    for command in ["migrate", "check"] {
        let said = run(countersign().args(["--config", &config(&folder), command]));
        assert!(!said.contains("error:") && !said.contains("warning:"), "{said}");
    }
}

/// The keys in the table of the issuer's README, of which a test of its own holds that it has all.
fn settings() -> BTreeSet<String> {
    let readme = read(tools::workspace().join("issuer/README.md"));
    let section = readme.split("\n## Configuration\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

/// What the chart says itself.
const OWN: [&str; 22] = [
    "server.listen",
    "internal.listen",
    // The network policy guards this port; who wants a certificate as well needs a secret for it.
    "internal.tls.cert_file",
    "internal.tls.key_file",
    "internal.tls.client_ca_file",
    "database.url",
    "database.password",
    "database.password_file",
    "secrets.current",
    "secrets.current_file",
    "secrets.previous_files",
    "encryption.current",
    "encryption.current_file",
    "encryption.previous_files",
    // A pod has a role.
    "encryption.kms_credentials_file",
    "mail.password",
    "mail.password_file",
    // A pod has no place for it.
    "mail.folder",
    "keys.kid",
    "keys.file",
    "keys.sign_from",
    "keys.revoked",
];

#[test]
fn every_setting_of_the_issuer_can_be_set_but_for_the_charts_own() {
    let schema: Value = serde_json::from_str(&read(chart().join("values.schema.json"))).unwrap();
    let sections = schema.pointer("/properties/issuer/properties/settings/properties").unwrap();
    let mut known = BTreeSet::from(["roles.<role>".to_owned()]);
    for (section, schema) in sections.as_object().unwrap() {
        let keys = schema["properties"].as_object().into_iter().flatten();
        known.extend(keys.map(|(key, _)| format!("{section}.{key}")));
    }
    known.extend(OWN.map(str::to_owned));
    assert_eq!(known, settings());
}

#[test]
fn a_key_in_aws_kms_takes_the_place_of_a_file_which_it_can_still_read() {
    let more = json!({"issuer": {
        "encryption": {"previous": ["credentials.key"]},
        "settings": {"encryption": {"kms_key": KMS_KEY}},
    }});
    let folder = installed(&rendered(&with(sqlite(), more)));
    let text = read(config(&folder));
    let encryption = text.split("[encryption]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(encryption.contains(KMS_KEY) && encryption.contains("previous_files"), "{encryption}");
    assert!(!encryption.contains("current_file"), "{encryption}");
    let said = run(countersign().args(["--config", &config(&folder), "keys", "list"]));
    assert!(!said.contains("error") && !said.contains("warning"), "{said}");
}

/// Texts, numbers, lists and truths as TOML has them.
#[test]
fn what_is_set_arrives_as_it_was_written() {
    let set = json!({
        "server": {"public_url": "https://login.example.com", "trusted_proxies": ["10.0.0.0/8", "fd00::/8"]},
        "mail": {"transport": "smtp", "from": "\"A & B\" <no-reply@example.com>", "host": "localhost", "port": 2525, "service_name": "Börse \\ <Co>"},
        "sessions": {"max_per_user": 7, "lifetime": "10d"},
        "limits": {"failures_per_address": 1_000_000},
        "accounts": {"verify_email": true},
        "roles": {"user": ["alerts:read"], "a.b": ["quotes:read"]},
    });
    let manifests = rendered(&with(sqlite(), json!({"issuer": {"settings": set.clone()}})));
    let folder = installed(&manifests);
    let print = "import json, sys, tomllib; print(json.dumps(tomllib.load(open(sys.argv[1], 'rb'))['mail']))";
    let mail: Value =
        serde_json::from_str(&run(Command::new("python3").args(["-c", print, &config(&folder)]))).unwrap();
    for (name, value) in set["mail"].as_object().unwrap() {
        assert_eq!(&mail[name], value);
    }
    let said = run(countersign().args(["--config", &config(&folder), "keys", "list"]));
    assert!(!said.contains("error") && !said.contains("warning"), "{said}");
}

#[test]
fn every_file_that_the_configuration_names_is_asked_for_in_the_secret() {
    let values = most();
    let text = one(&rendered(&values), "ConfigMap", "countersign-issuer")["data"]["countersign.toml"].clone();
    let named: BTreeSet<String> = text
        .as_str()
        .unwrap()
        .split('"')
        .filter_map(|text| text.strip_prefix(SECRETS)?.strip_prefix('/'))
        .map(str::to_owned)
        .collect();
    let said = super::refusal(&with(values, json!({"secret": {"existing": ""}})));
    let asked = said.split("with the entries ").nth(1).unwrap().split(" (or").next().unwrap();
    let mut asked: BTreeSet<String> = asked.split(", ").map(str::to_owned).collect();
    // It is revoked, and its file may be gone.
    assert!(asked.insert("2026-10-a.pem".to_owned()));
    assert_eq!(asked, named);
}

#[test]
fn a_change_of_the_keys_restarts_nobody_and_any_other_does() {
    let annotation = |values: &Value| {
        let manifests = rendered(values);
        one(&manifests, "Deployment", "countersign-issuer")["spec"]["template"].clone()
    };
    let before = annotation(&least());
    let key = json!({"kid": "2026-12-a", "signFrom": "2026-12-20T00:00:00Z"});
    let keys = json!({"issuer": {"keys": [least()["issuer"]["keys"][0], key]}});
    assert_eq!(annotation(&with(least(), keys)), before);
    let settings = json!({"issuer": {"settings": {"log": {"level": "debug"}}}});
    assert_ne!(annotation(&with(least(), settings)), before);
}

/// Where an issuer that was started with the chart's configuration listens inside: it says so.
async fn internal(issuer: &mut Service) -> String {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let log = std::fs::read_to_string(&issuer.log).unwrap();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        // The public one comes last.
        let events: Vec<Value> = lines.collect();
        let event = |name: &str| events.iter().find(|line| line.to_string().contains(&format!("\"{name}\"")));
        if let (Some(inside), Some(_)) = (event("listening_internally"), event("listening")) {
            let text = inside.to_string();
            let address = text.split("http://").nth(1).unwrap().split('"').next().unwrap();
            return format!("http://{address}");
        }
        assert_eq!(issuer.has_ended(), None, "{log}");
        assert!(tokio::time::Instant::now() < deadline, "{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn probes_and_monitors_ask_for_what_the_issuer_answers() {
    let monitored =
        json!({"monitoring": {"enabled": true}, "networkPolicy": {"prometheus": super::prometheus()}});
    let manifests = rendered(&with(sqlite(), monitored));
    let folder = installed(&manifests);
    let mut command = process::command(&ARTIFACTS.issuer);
    command.args(["--config", &config(&folder), "serve"]);
    for listener in ["SERVER", "INTERNAL"] {
        command.env(format!("COUNTERSIGN_{listener}__LISTEN"), "127.0.0.1:0");
    }
    let mut issuer = Service::start("issuer", &mut command, folder.path(), false).unwrap();
    let base = internal(&mut issuer).await;
    let pod = &one(&manifests, "Deployment", "countersign-issuer")["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let mut paths = Vec::new();
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], "http-internal");
        paths.push(container[probe]["httpGet"]["path"].as_str().unwrap());
    }
    let monitor = &one(&manifests, "ServiceMonitor", "countersign-issuer")["spec"]["endpoints"][0];
    assert_eq!(monitor["port"], "http-internal");
    paths.push(monitor["path"].as_str().unwrap());
    assert_eq!(paths, ["/healthz", "/healthz", "/readyz", "/metrics"]);
    for path in paths {
        let answer = reqwest::get(format!("{base}{path}")).await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    issuer.stop().await.unwrap();
}

#[test]
fn the_database_is_migrated_before_an_issuer_starts() {
    for values in all() {
        let manifests = rendered(&values);
        let pod = &one(&manifests, "Deployment", "countersign-issuer")["spec"]["template"]["spec"];
        let (before, issuer) = (&pod["initContainers"][0], &pod["containers"][0]);
        assert_eq!((&before["args"], &issuer["args"]), (&json!(["migrate"]), &json!(["serve"])));
        for same in ["image", "env", "volumeMounts", "securityContext"] {
            assert_eq!(before[same], issuer[same]);
        }
        let volumes: Vec<_> = list(pod, "/volumes").iter().map(|volume| &volume["name"]).collect();
        for mount in list(issuer, "/volumeMounts") {
            assert!(volumes.contains(&&mount["name"]), "{mount}");
        }
    }
}
