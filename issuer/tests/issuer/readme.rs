//! The README tells of every setting, and of none that is not.

use std::collections::BTreeSet;

use countersign_issuer::config;

const README: &str = include_str!("../../README.md");

/// The keys in the first column of the configuration table.
fn documented() -> BTreeSet<String> {
    let section = README.split("## Configuration").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[test]
fn every_setting_is_documented_and_every_documented_setting_exists() {
    let mut known: BTreeSet<String> = config::reference().into_iter().collect();
    known.insert("roles.<role>".to_owned());
    assert_eq!(documented(), known);
}

#[test]
fn the_example_is_a_configuration() {
    let example = README.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let example =
        example.replace("secret_file = \"refresh.secret\"", "secret = \"0123456789-0123456789-0123456789\"");
    let loaded = config::parse("countersign.toml".as_ref(), &example, []);
    assert_eq!(loaded.findings, []);
    assert_eq!(loaded.settings.unwrap().keys.len(), 1);
}
