//! Manifests against the schemas by which a cluster takes or refuses them, with unknown fields refused as `kubectl` does; and
//! against the rules in CEL that some custom resources have in their schemas.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::LazyLock;

use countersign_stack::tools;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use super::{read, run};

pub(crate) static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::load);

pub(crate) struct Schemas {
    /// Of Kubernetes' own kinds.
    definitions: Value,
    /// By `group/version kind`.
    custom: BTreeMap<String, Validator>,
    metadata: Validator,
}

impl Schemas {
    fn load() -> Self {
        let mut definitions: Value =
            serde_json::from_str(&read(tools::kubernetes_schemas().unwrap())).unwrap();
        definitions.as_object_mut().unwrap().remove("$id");
        let folder = tools::workspace().join("tests/schemas");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
        let custom = files.map(|file| {
            let resource: Value = serde_json::from_str(&read(&file)).unwrap();
            let text = |name: &str| resource[name].as_str().unwrap().to_owned();
            let name = format!("{}/{} {}", text("group"), text("version"), text("kind"));
            let mut schema = resource["schema"].clone();
            close(&mut schema);
            for name in ["apiVersion", "kind", "metadata"] {
                // Their form is checked apart.
                schema["properties"][name] = json!({});
            }
            (name, jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{file:?}: {error}")))
        });
        let custom = custom.collect();
        let metadata = definition(&definitions, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        Self { definitions, custom, metadata }
    }

    /// What is wrong with a manifest.
    pub(crate) fn findings(&self, manifest: &Value) -> Vec<String> {
        let text = |name: &str| manifest[name].as_str().unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let own = self.kubernetes_own(version, kind);
        let Some(validator) = own.as_ref().or_else(|| self.custom.get(&format!("{version} {kind}"))) else {
            return vec![format!("there is no {kind} in {version}")];
        };
        let parts = [(validator, manifest), (&self.metadata, &manifest["metadata"])];
        let errors = parts.iter().flat_map(|(validator, part)| validator.iter_errors(part));
        let mut findings: Vec<_> =
            errors.map(|error| format!("{kind} {}: {error}", error.instance_path())).collect();
        if !manifest["metadata"]["name"].is_string() {
            findings.push(format!("{kind} has no name"));
        }
        findings
    }

    fn kubernetes_own(&self, version: &str, kind: &str) -> Option<Validator> {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let wanted = json!({"group": group, "version": version, "kind": kind});
        let all = self.definitions["$defs"].as_object().unwrap();
        let is_wanted = |schema: &Value| {
            schema["x-kubernetes-group-version-kind"].as_array().is_some_and(|kinds| kinds.contains(&wanted))
        };
        let (name, _) = all.iter().find(|(_, schema)| is_wanted(schema))?;
        Some(definition(&self.definitions, name))
    }
}

fn definition(definitions: &Value, name: &str) -> Validator {
    let mut schema = definitions.clone();
    schema["$ref"] = format!("#/$defs/{name}").into();
    jsonschema::validator_for(&schema).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What is not listed is unknown, but where a resource says that it takes anything.
fn close(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else { return };
    let open = object.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if !open && object.contains_key("properties") && !object.contains_key("additionalProperties") {
        object.insert("additionalProperties".to_owned(), false.into());
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(close);
    }
    // Not below allOf, anyOf and oneOf, which say more about what is listed here.
    for inner in ["items", "additionalProperties"] {
        object.get_mut(inner).into_iter().for_each(close);
    }
}

/// That a cluster would take all of them.
pub(crate) fn assert_fit(manifests: &[Value]) {
    let findings: Vec<_> = manifests.iter().flat_map(|manifest| SCHEMAS.findings(manifest)).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    let rules = rules(manifests);
    assert_eq!((&rules["violated"], &rules["not_understood"]), (&json!([]), &json!([])));
}

/// What the rules in CEL say of manifests: how many were evaluated, and which are violated.
pub(crate) fn rules(manifests: &[Value]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifests.json");
    std::fs::write(&file, json!(manifests).to_string()).unwrap();
    let schemas = tools::workspace().join("tests/schemas");
    let mut python = Command::new("python3");
    python.arg(schemas.join("rules.py")).args([&schemas, &file]).env("PYTHONPATH", tools::cel().unwrap());
    serde_json::from_str(&run(python.env("PYTHONDONTWRITEBYTECODE", "1"))).unwrap()
}

/// The manifest with a field that there is not, one after the other in every object of its `spec` that has a fixed form.
fn misspelt(manifest: &Value) -> Vec<Value> {
    let mut places = Vec::new();
    objects(&manifest["spec"], "/spec".to_owned(), &mut places);
    let spoil = |place: &String| {
        let mut spoilt = manifest.clone();
        let object: &mut Map<String, Value> = spoilt.pointer_mut(place).unwrap().as_object_mut().unwrap();
        object.insert("mispelt".to_owned(), json!({"a": [1]}));
        spoilt
    };
    places.iter().map(spoil).collect()
}

fn objects(value: &Value, place: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            places.push(place.clone());
            for (name, member) in members {
                let name = name.replace('~', "~0").replace('/', "~1");
                objects(member, format!("{place}/{name}"), places);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                objects(item, format!("{place}/{at}"), places);
            }
        }
        _ => {}
    }
}

/// That the schemas find what is wrong: a field that there is not, a kind and a version that there is not, and no name.
pub(crate) fn assert_mistakes_are_found(manifest: &Value) {
    let kind = &manifest["kind"];
    let misspelt = misspelt(manifest);
    let found = misspelt.iter().filter(|spoilt| !SCHEMAS.findings(spoilt).is_empty()).count();
    // Some objects may have any field: labels, the filter's configuration, what is for Envoy.
    assert!(found > 0 || misspelt.is_empty(), "{kind}");
    for (place, wrong) in
        [("/apiVersion", json!("v0")), ("/kind", json!("Nothing")), ("/metadata/name", json!(5))]
    {
        let mut spoilt = manifest.clone();
        *spoilt.pointer_mut(place).unwrap() = wrong;
        assert!(!SCHEMAS.findings(&spoilt).is_empty(), "{kind} {place}");
    }
    if manifest["spec"].is_object() {
        let mut spoilt = manifest.clone();
        spoilt["spec"] = json!("text");
        assert!(!SCHEMAS.findings(&spoilt).is_empty(), "{kind}");
    }
}
