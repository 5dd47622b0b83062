//! The floors of the house, as `lib.rs` tells of them: who may name whom. Read from the sources themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const TOP: [&str; 6] = ["app", "cli", "health", "metrics", "router", "main"];
const ROOMS: [&str; 18] = [
    "access",
    "accounts",
    "admin",
    "api_keys",
    "audit",
    "compat",
    "feed",
    "limits",
    "login",
    "mail",
    "mfa",
    "oauth",
    "passwords",
    "services",
    "sessions",
    "tokens",
    "trading_accounts",
    "verification",
];
const WALLS: [&str; 8] = ["ambient", "config", "db", "envelope", "jobs", "log", "secrets", "web"];

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The modules that each file names by `crate::`, with the first module of its own path.
fn named() -> BTreeMap<PathBuf, (String, Vec<String>)> {
    let source = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("src");
    let mut found = Vec::new();
    files(&source, &mut found);
    let of = |path: PathBuf| {
        let own = path.strip_prefix(&source).unwrap().components().next().unwrap();
        let own = own.as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
        let code = shipped.lines().filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n").replace("use crate::{", "use crate::\u{1}{");
        let mut names = Vec::new();
        for rest in code.split("crate::").skip(1) {
            match rest.strip_prefix("\u{1}{") {
                Some(list) => {
                    let list = list.split("};").next().unwrap();
                    names.extend(list.split(',').map(|name| name.trim().to_owned()));
                }
                None => {
                    names.push(rest.split(|c: char| c == ';' || c.is_whitespace()).next().unwrap().to_owned())
                }
            }
        }
        (path, (own, names.into_iter().filter(|name| !name.is_empty()).collect()))
    };
    found.into_iter().map(of).collect()
}

fn first(name: &str) -> &str {
    name.split("::").next().unwrap()
}

#[test]
fn every_module_stands_on_one_floor() {
    for (path, (own, names)) in named() {
        let known = |name: &str| TOP.contains(&name) || ROOMS.contains(&name) || WALLS.contains(&name);
        assert!(known(&own) || own == "lib", "{}", path.display());
        for name in
            names.iter().map(|name| first(name)).filter(|name| name.starts_with(|c: char| c.is_lowercase()))
        {
            assert!(known(name), "{} names {name}", path.display());
        }
    }
}

#[test]
fn arrows_point_downwards_only() {
    for (path, (own, names)) in named() {
        let path = path.display();
        for name in &names {
            let other = first(name);
            if WALLS.contains(&own.as_str()) {
                assert!(!ROOMS.contains(&other) && !TOP.contains(&other), "the wall {path} names {name}");
            }
            if ROOMS.contains(&own.as_str()) {
                assert!(!TOP.contains(&other), "the room {path} names {name}");
                let door = format!("{other}::http");
                assert!(other == own || !name.starts_with(&door), "{path} enters by another's {name}");
            }
        }
    }
}
