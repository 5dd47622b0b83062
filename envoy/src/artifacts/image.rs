//! The filter as an image: what Istio and Envoy Gateway fetch from a registry, laid out in a folder. It is what they call the
//! compatible variant of a Wasm image, one layer with `plugin.wasm` in it, which every registry takes. Nothing in it says
//! when or where it was made, so that one module is always one digest.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Result;
use data_encoding::HEXLOWER;
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

const LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The file that loaders look for in the layer.
const FILE: &str = "plugin.wasm";

type Annotations = BTreeMap<&'static str, &'static str>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: &'static str,
    digest: String,
    size: usize,
    #[serde(skip_serializing_if = "Annotations::is_empty")]
    annotations: Annotations,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: [Descriptor; 1],
    annotations: Annotations,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    media_type: &'static str,
    manifests: [Descriptor; 1],
}

#[derive(Serialize)]
struct Config {
    architecture: &'static str,
    os: &'static str,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct RootFs {
    r#type: &'static str,
    /// Of the layer before it is compressed.
    diff_ids: [String; 1],
}

/// Replaces the folder with the image of this module.
///
/// Returns the digest of the manifest, by which loaders know the image.
pub(super) fn write(module: &[u8], folder: &Path) -> Result<String> {
    // Beside its place first, so that nobody finds half of it.
    let part = folder.with_extension(format!("partial-{}", std::process::id()));
    if part.exists() {
        fs::remove_dir_all(&part)?;
    }
    let digest = fill(module, &part)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(&part, folder)?;
    Ok(digest)
}

fn fill(module: &[u8], folder: &Path) -> Result<String> {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let archive = archive(module)?;
    let layer = put(&blobs, LAYER, &compressed(&archive)?)?;
    let rootfs = RootFs { r#type: "layers", diff_ids: [digest(&archive)] };
    let config = Config { architecture: "wasm", os: "wasip1", rootfs };
    let config = put(&blobs, CONFIG, &serde_json::to_vec(&config)?)?;
    let version = env!("CARGO_PKG_VERSION");
    let annotations = Annotations::from([
        ("module.wasm.image/variant", "compat"),
        ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE")),
        ("org.opencontainers.image.title", "countersign-filter"),
        ("org.opencontainers.image.version", version),
    ]);
    let manifest = Manifest { schema_version: 2, media_type: MANIFEST, config, layers: [layer], annotations };
    let mut manifest = put(&blobs, MANIFEST, &serde_json::to_vec(&manifest)?)?;
    // The name by which clients take it out of the folder.
    manifest.annotations.insert("org.opencontainers.image.ref.name", version);
    let digest = manifest.digest.clone();
    let index = Index { schema_version: 2, media_type: INDEX, manifests: [manifest] };
    fs::write(folder.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(folder.join("oci-layout"), LAYOUT)?;
    Ok(digest)
}

fn archive(module: &[u8]) -> Result<Vec<u8>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(module.len() as u64);
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, FILE, module)?;
    Ok(archive.into_inner()?)
}

fn compressed(archive: &[u8]) -> Result<Vec<u8>> {
    // 255: an operating system that is not told.
    let mut gzip = GzBuilder::new().operating_system(255).write(Vec::new(), Compression::best());
    gzip.write_all(archive)?;
    Ok(gzip.finish()?)
}

/// Writes a blob under the name that its content gives it.
fn put(blobs: &Path, media_type: &'static str, content: &[u8]) -> Result<Descriptor> {
    let digest = digest(content);
    fs::write(blobs.join(digest.trim_start_matches("sha256:")), content)?;
    Ok(Descriptor { media_type, digest, size: content.len(), annotations: Annotations::new() })
}

fn digest(content: &[u8]) -> String {
    format!("sha256:{}", HEXLOWER.encode(&Sha256::digest(content)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_module_is_one_digest_and_another_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let [first, again, other] = ["a", "b", "c"].map(|name| folder.path().join(name));
        let digest = write(b"\0asm\x01\0\0\0", &first).unwrap();
        assert_eq!(write(b"\0asm\x01\0\0\0", &again).unwrap(), digest);
        assert_eq!(fs::read(first.join("index.json")).unwrap(), fs::read(again.join("index.json")).unwrap());
        assert_ne!(write(b"\0asm\x01\0\0\0\0", &other).unwrap(), digest);
    }

    #[test]
    fn an_image_takes_the_place_of_the_one_before_whole() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("oci");
        write(b"one", &place).unwrap();
        write(b"two", &place).unwrap();
        assert_eq!(fs::read_dir(place.join("blobs/sha256")).unwrap().count(), 3);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
