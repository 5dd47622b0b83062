//! The systemd units, by systemd's own checks: that it takes them, and how much they leave open. Whether a service runs in one
//! is not tried: that takes a machine that systemd has booted.

use std::collections::BTreeSet;
use std::process::Command;

use tempfile::TempDir;

use super::{countersign, envoy, read, run, said};

const UNITS: [(&str, &str); 2] = [("countersign.service", "25"), ("countersign-edge.service", "30")];

/// The unit with a program in it that there is, for that is looked at, too.
fn installed(unit: &str, folder: &TempDir) -> std::path::PathBuf {
    let text = read(envoy("deploy/systemd").join(unit));
    let programs = ["/usr/local/bin/countersign ", "/usr/local/bin/envoy "];
    assert!(programs.iter().any(|program| text.contains(program)), "{unit}");
    let text = programs.iter().fold(text, |text, program| text.replace(program, "/bin/sh "));
    let file = folder.path().join(unit);
    std::fs::write(&file, text).unwrap();
    file
}

fn systemd_analyze() -> Command {
    let mut command = Command::new("systemd-analyze");
    command.arg("--no-pager");
    assert!(
        Command::new("systemd-analyze").arg("--version").output().is_ok(),
        "systemd-analyze is not installed: install systemd (Debian: apt install systemd)"
    );
    command
}

#[test]
fn systemd_takes_the_units() {
    let folder = tempfile::tempdir().unwrap();
    for (unit, _) in UNITS {
        let said = run(systemd_analyze().arg("verify").arg(installed(unit, &folder)));
        assert_eq!(said, "", "{unit}");
    }
    // It would say so.
    let spoilt = folder.path().join("spoilt.service");
    std::fs::write(&spoilt, read(installed(UNITS[0].0, &folder)).replace("ProtectHome", "ProtectHom"))
        .unwrap();
    let output = systemd_analyze().arg("verify").arg(spoilt).output().unwrap();
    assert!(said(&output).contains("ProtectHom"), "{}", said(&output));
}

/// Of 100: the less, the less a service that was taken over could do. Without any of this it is 96.
#[test]
fn the_units_leave_little_open() {
    let folder = tempfile::tempdir().unwrap();
    for (unit, most) in UNITS {
        let unit = installed(unit, &folder);
        run(systemd_analyze().args(["security", "--offline=yes", "--threshold", most]).arg(unit));
    }
}

/// Settings that are files of secrets; of one that is replaced, the old file, too. Only root can read those files.
const SECRET_FILES: [&str; 8] = [
    "audit.old_secret_files",
    "database.password_file",
    "encryption.current_file",
    "encryption.kms_credentials_file",
    "encryption.previous_files",
    "mail.password_file",
    "secrets.current_file",
    "secrets.previous_files",
];

/// Each variable of the unit, those in comments too, names a setting of the issuer, and is given a file that is loaded.
#[test]
fn the_issuer_takes_the_settings_of_its_unit() {
    let text = read(envoy("deploy/systemd/countersign.service"));
    let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches('#')).collect();
    let loaded: Vec<&str> =
        lines.iter().filter_map(|line| line.strip_prefix("LoadCredential=")?.split(':').next()).collect();
    let folder = tempfile::tempdir().unwrap();
    let mut command = countersign();
    let (mut set, mut given) = (BTreeSet::new(), BTreeSet::new());
    for (name, value) in lines.iter().filter_map(|line| line.strip_prefix("Environment=")?.split_once('=')) {
        let credential = value.strip_prefix("%d/").unwrap();
        assert!(loaded.contains(&credential), "{name}");
        let file = folder.path().join(credential);
        std::fs::write(&file, format!("{credential:0<40}")).unwrap();
        run(Command::new("chmod").arg("600").arg(&file));
        command.env(name, file);
        set.insert(name.trim_start_matches("COUNTERSIGN_").replace("__", ".").to_lowercase());
        given.insert(credential);
    }
    assert_eq!(set, BTreeSet::from(SECRET_FILES.map(str::to_owned)));
    assert_eq!(given, BTreeSet::from_iter(loaded.iter().copied()));
    let config = folder.path().join("countersign.toml");
    std::fs::write(
        &config,
        "[database]\nurl = \"postgres://issuer@127.0.0.1:1/issuer\"\n[mail]\ntransport = \"smtp\"\nhost = \"localhost\"\n\
         from = \"a@example.com\"\nusername = \"a\"\n",
    )
    .unwrap();
    let said = run(command.arg("--config").arg(&config).args(["keys", "list"]));
    assert!(!said.contains("error") && !said.contains("COUNTERSIGN_"), "{said}");
}

/// The configuration that the README begins with, in a folder in the place of the machine's.
#[test]
fn the_issuer_takes_the_configuration_of_the_readme() {
    let readme = read(envoy("deploy/README.md"));
    let text = readme.split("<<'END'\n").nth(1).unwrap().split("END\n").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("countersign.toml"), text.replace("/var/lib/countersign", place)).unwrap();
    std::fs::write(file("current.secret"), "0".repeat(64)).unwrap();
    run(Command::new("chmod").arg("600").arg(file("current.secret")));
    for command in [&["keys", "rotate"][..], &["migrate"], &["check"]] {
        let said = run(countersign().arg("--config").arg(file("countersign.toml")).args(command));
        assert!(!said.contains("error:") && !said.contains("warning:"), "{said}");
    }
}
