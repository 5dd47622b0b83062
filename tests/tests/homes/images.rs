//! Images: the filter's, read back by other programs than made it; the issuer's root file system, in which the program runs;
//! and the Dockerfile, by a linter and by what it names. No image is built from it: that takes a container engine.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use countersign_stack::{artifacts, tools};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{ARTIFACTS, envoy, read, run};

fn sha256(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn json_file(file: &Path) -> Value {
    serde_json::from_str(&read(file)).unwrap()
}

/// The blob that a descriptor speaks of, of which everything that the descriptor says is true.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().unwrap();
    let file = layout.join("blobs").join(digest.replace(':', "/"));
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(sha256(&bytes), digest);
    assert_eq!(descriptor["size"], bytes.len());
    file
}

/// As Istio's and Envoy Gateway's loaders read it: the last layer, by its media type, and `plugin.wasm` in it.
#[test]
fn a_loader_finds_the_module_in_the_filters_image() {
    let (layout, printed) = artifacts::filter_image().unwrap();
    assert_eq!(json_file(&layout.join("oci-layout")), json!({"imageLayoutVersion": "1.0.0"}));
    let index = json_file(&layout.join("index.json"));
    assert_eq!((&index["schemaVersion"], index["manifests"].as_array().unwrap().len()), (&json!(2), 1));
    let named = &index["manifests"][0];
    assert_eq!(named["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(named["digest"], printed.as_str());
    let manifest = json_file(&blob(&layout, named));
    assert_eq!(manifest["mediaType"], named["mediaType"]);
    assert_eq!(manifest["annotations"]["module.wasm.image/variant"], "compat");
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(
        (layers.len(), &layers[0]["mediaType"]),
        (1, &json!("application/vnd.oci.image.layer.v1.tar+gzip"))
    );
    let layer = blob(&layout, &layers[0]);
    let listed = run(Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--gzip", "--file"])
        .arg(&layer));
    assert!(listed.starts_with("-r--r--r-- 0/0") && listed.trim_end().ends_with("plugin.wasm"), "{listed}");
    assert_eq!(listed.lines().count(), 1);
    let output = Command::new("tar")
        .args(["--extract", "--to-stdout", "--gzip", "--file"])
        .arg(&layer)
        .output()
        .unwrap();
    assert_eq!(output.stdout, std::fs::read(&ARTIFACTS.filter).unwrap());

    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.image.config.v1+json");
    let config = json_file(&blob(&layout, &manifest["config"]));
    let archive =
        Command::new("gzip").args(["--decompress", "--stdout"]).arg(&layer).output().unwrap().stdout;
    assert_eq!(config["rootfs"], json!({"type": "layers", "diff_ids": [sha256(&archive)]}));

    // Nothing else is there.
    let digests =
        [named, &layers[0], &manifest["config"]].map(|descriptor| descriptor["digest"].as_str().unwrap());
    let expected: BTreeSet<_> = digests.map(|digest| digest.trim_start_matches("sha256:").to_owned()).into();
    let blobs = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let found: BTreeSet<_> = blobs.map(|blob| blob.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected);
}

/// As the user of the image, with nothing but what is in it.
#[test]
fn the_issuer_runs_on_what_its_image_has() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    run(Command::new("sh").arg(envoy("deploy/rootfs.sh")).args([&ARTIFACTS.issuer, &root]));
    let etc = root.join("etc/countersign");
    std::fs::write(etc.join("current.secret"), "0".repeat(64)).unwrap();
    std::fs::write(
        etc.join("countersign.toml"),
        "[secrets]\ncurrent_file = \"current.secret\"\n[database]\nurl = \"sqlite:/var/lib/countersign/issuer.db\"\n\
         [mail]\ntransport = \"smtp\"\nfrom = \"a@example.com\"\nhost = \"smtp.example.com\"\n",
    )
    .unwrap();
    let is_root = run(Command::new("id").arg("--user")).trim() == "0";
    run(Command::new("chmod").arg("600").arg(etc.join("current.secret")));
    if is_root {
        run(Command::new("chown").args(["--recursive", "65532:65532"]).arg(&etc));
    }
    let inside = |arguments: &[&str]| {
        let mut command = Command::new(if is_root { "chroot" } else { "unshare" });
        if is_root {
            command.arg("--userspec=65532:65532");
        } else {
            // Who is not root gets a name space in which he is.
            command.args(["--user", "--map-root-user", "chroot"]);
        }
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").arg(&root).args([
            "/countersign",
            "--config",
            "/etc/countersign/countersign.toml",
        ]);
        run(command.args(arguments))
    };
    assert!(inside(&["--version"]).starts_with("countersign "));
    assert!(inside(&["migrate"]).contains("up to date"));
    assert!(root.join("var/lib/countersign/issuer.db").is_file());
    let key = inside(&["keys", "generate", "--kid", "a", "--out", "/var/lib/countersign/a.pem"]);
    let config = etc.join("countersign.toml");
    let text = read(&config) + key.split("warning").next().unwrap();
    std::fs::write(&config, text).unwrap();
    // Also that certificates are found, which mail needs.
    let checked = inside(&["check"]);
    assert!(checked.contains("errors: 0"), "{checked}");
    let list = run(Command::new("find").arg(&root).args(["-type", "f", "-printf", "/%P\n"]));
    assert!(!list.contains("/bin/sh") && list.contains("/etc/ssl/certs/ca-certificates.crt"), "{list}");
}

fn dockerfile() -> String {
    read(envoy("deploy/Dockerfile"))
}

#[test]
fn a_linter_finds_nothing_in_the_dockerfile() {
    run(Command::new(tools::hadolint().unwrap())
        .args(["--no-color", "--failure-threshold", "style"])
        .arg(envoy("deploy/Dockerfile")));
}

/// A stage of the Dockerfile: from what, and its lines.
fn stage(name: &str) -> (String, Vec<String>) {
    let text = dockerfile().replace("\\\n", " ");
    let mut lines = text.lines().skip_while(|line| !line.ends_with(&format!(" AS {name}")));
    let from =
        lines.next().unwrap_or_else(|| panic!("no stage {name}")).split(' ').nth(1).unwrap().to_owned();
    (from, lines.take_while(|line| !line.starts_with("FROM ")).map(str::to_owned).collect())
}

#[test]
fn no_image_runs_as_root_and_none_brings_a_shell() {
    for (name, from) in [("issuer", "scratch"), ("filter", "scratch"), ("edge", "${ENVOY}")] {
        let (is_from, lines) = stage(name);
        assert_eq!(is_from, from);
        assert!(!lines.iter().any(|line| line.starts_with("RUN ")), "{name}");
        if name != "filter" {
            assert!(lines.contains(&"USER 65532:65532".to_owned()), "{name}");
        }
    }
    let listening = stage("issuer").1.join("\n");
    for variable in ["COUNTERSIGN_SERVER__LISTEN=0.0.0.0:8001", "COUNTERSIGN_INTERNAL__LISTEN=0.0.0.0:8002"] {
        assert!(listening.contains(variable), "{listening}");
    }
}

/// What moves on elsewhere in the repository has to move on here.
#[test]
fn the_dockerfile_builds_with_what_the_repository_pins() {
    let text = dockerfile();
    let toolchain = read(tools::workspace().join("rust-toolchain.toml"));
    let channel = toolchain.split("channel = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(text.contains(&format!("ARG RUST=rust:{channel}-bookworm")), "{channel}");
    let envoy_version = run(Command::new(tools::envoy().unwrap()).arg("--version"));
    let pinned = text.split("distroless-v").nth(1).unwrap().lines().next().unwrap();
    assert!(envoy_version.contains(&format!("/{pinned}/")), "{pinned}: {envoy_version}");
    // Where cargo leaves the module, and with which profile.
    let module = ARTIFACTS.filter.strip_prefix(tools::target()).unwrap();
    assert_eq!(text.matches(&format!("/source/target/{} ", module.display())).count(), 2);
    // What is copied is there, and what is not let in is not needed.
    let ignored = read(envoy("deploy/Dockerfile.dockerignore"));
    for name in ignored.lines().filter_map(|line| line.strip_prefix('!')) {
        assert!(tools::workspace().join(name).exists(), "{name}");
    }
    let members = read(tools::workspace().join("Cargo.toml"));
    let members = members.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    for member in members.split(',').map(|member| member.trim().trim_matches('"')) {
        let top = member.split('/').next().unwrap();
        assert!(ignored.lines().any(|line| line == format!("!{top}")), "{member}");
    }
}
