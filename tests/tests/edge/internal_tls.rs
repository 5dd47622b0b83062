//! An issuer that wants certificates on its internal listener, and an Envoy that shows one, as the README says.

use std::path::Path;
use std::time::Duration;

use countersign_stack::stack::{Ports, Stack, State, Times};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{ARTIFACTS, token};

const README: &str = include_str!("../../../envoy/README.md");
const CLUSTER: &str = "    - name: issuer-internal\n";

/// The part of a cluster that the README shows, for files in this folder.
fn shown(folder: &Path) -> String {
    let section = README.split("### TLS to the issuer\n").nth(1).unwrap();
    let snippet = section.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let snippet = snippet.replace("/etc/countersign", folder.to_str().unwrap());
    snippet.lines().map(|line| format!("      {line}\n")).collect()
}

/// Writes the certificates of both sides, each below a root of its own.
fn write_certificates(issuer: &Path, envoy: &Path) {
    // Names of their own: a certificate that is called as its issuer passes for one that it signed itself.
    let named = |mut params: CertificateParams, name: &str| {
        params.distinguished_name.push(DnType::CommonName, name);
        params
    };
    let root = |name| {
        let mut params = named(CertificateParams::default(), name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (servers, clients) = (root("issuers"), root("services"));
    for (root, name, usage, cert, key) in [
        (
            &servers,
            "issuer.internal",
            ExtendedKeyUsagePurpose::ServerAuth,
            issuer.join("internal.pem"),
            issuer.join("internal.key"),
        ),
        (
            &clients,
            "edge",
            ExtendedKeyUsagePurpose::ClientAuth,
            envoy.join("edge.pem"),
            envoy.join("edge.key"),
        ),
    ] {
        let mut params = named(CertificateParams::new([name.to_owned()]).unwrap(), name);
        params.extended_key_usages = vec![usage];
        let pair = KeyPair::generate().unwrap();
        std::fs::write(cert, params.signed_by(&pair, root).unwrap().pem()).unwrap();
        std::fs::write(key, pair.serialize_pem()).unwrap();
    }
    std::fs::write(envoy.join("issuer-ca.pem"), servers.pem()).unwrap();
    std::fs::write(issuer.join("services-ca.pem"), clients.pem()).unwrap();
}

#[tokio::test]
async fn an_edge_with_a_certificate_asks_an_issuer_that_wants_one() {
    let folder = tempfile::tempdir().unwrap();
    let (artifacts, ports) = (ARTIFACTS.clone(), Ports::free().unwrap());
    let start = async || {
        let state = State::open(folder.path().join("up")).unwrap();
        Stack::start(artifacts.clone(), state, ports, Times::DEFAULT, false).await.unwrap()
    };
    let stack = start().await;
    let (config, bootstrap) = (stack.state.issuer_config(), stack.state.bootstrap());
    stack.stop().await.unwrap();
    write_certificates(config.parent().unwrap(), bootstrap.parent().unwrap());
    let text = std::fs::read_to_string(&config).unwrap();
    let tls = "\n[internal.tls]\ncert_file = \"internal.pem\"\nkey_file = \"internal.key\"\nclient_ca_file = \"services-ca.pem\"\n";
    std::fs::write(&config, text + tls).unwrap();
    let text = std::fs::read_to_string(&bootstrap).unwrap();
    let edited = text.replace(CLUSTER, &format!("{CLUSTER}{}", shown(bootstrap.parent().unwrap())));
    assert_ne!(edited, text);
    std::fs::write(&bootstrap, edited).unwrap();
    let stack = start().await;
    let plain = reqwest::get(format!("http://127.0.0.1:{}/healthz", stack.ports.internal)).await;
    assert!(plain.is_err(), "{plain:?}");
    // What the edge knows of ended sessions, it knows from there.
    let ada = token(&stack, "ada@example.com").await;
    let client = reqwest::Client::new();
    let status = async || {
        let call = client.get(stack.edge_url("/api/positions")).bearer_auth(&ada);
        call.send().await.unwrap().status()
    };
    assert_eq!(status().await, 200);
    let out = client.post(stack.edge_url("/v1/auth/logout")).bearer_auth(&ada).json(&json!({}));
    assert_eq!(out.send().await.unwrap().status(), 204);
    let deadline = Instant::now() + Duration::from_secs(20);
    while status().await != 401 {
        assert!(Instant::now() < deadline, "{:?}", stack.logs());
        sleep(Duration::from_millis(20)).await;
    }
    stack.stop().await.unwrap();
}
