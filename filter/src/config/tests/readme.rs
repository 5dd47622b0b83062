//! The README says what the parser does.

use super::*;

#[test]
fn the_readme_documents_every_field() {
    let readme = include_str!("../../../README.md");
    // The complaint about an unknown field lists the known ones.
    for pointer in [
        "/x",
        "/keys/x",
        "/keys/remote/x",
        "/revocations/x",
        "/api_keys/x",
        "/cache/x",
        "/claim_headers/0/x",
        "/rules/0/x",
        "/rules/0/match/x",
        "/rules/0/allow/x",
        "/rules/0/allow/role/x",
    ] {
        let mut document = minimal();
        document["cache"] = json!({"max_bytes": 1});
        document["revocations"] = json!({"cluster": "c", "path": "/p"});
        document["api_keys"] = json!({"cluster": "c", "path": "/p"});
        document["claim_headers"] = json!([{"name": "x-name", "claim": "name"}]);
        document["rules"][0]["allow"] = json!({"role": {"all": ["user"]}});
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        document.pointer_mut(parent).unwrap()[field] = json!(1);
        let error = parse(&document).unwrap_err();
        let fields: Vec<_> = error.split('`').skip(1).step_by(2).collect();
        assert!(!fields.is_empty(), "{error}");
        for field in fields {
            assert!(readme.contains(&format!("`{field}`")), "{field} ({pointer}) is not in filter/README.md");
        }
    }
}

#[test]
fn the_readmes_examples_are_sound() {
    let readme = include_str!("../../../README.md");
    let examples = readme.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut tried = 0;
    for example in examples {
        let example: Value = serde_json::from_str(example).unwrap();
        let document =
            if example.get("rules").is_some() { example } else { with("/rules", json!([example])) };
        parse(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
        tried += 1;
    }
    assert_eq!(tried, 3);
}
