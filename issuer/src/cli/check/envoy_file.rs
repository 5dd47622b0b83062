//! Where the filter's configuration stands in the files that Envoy and what drives it read. Looks for it anywhere in the
//! document, so that a bootstrap, an ECDS resource and a listener are all the same; and in the manifests by which clusters
//! hand it over.

use serde_json::Value;

/// The type of a filter's `typed_config` that has a configuration of ours in it.
const WASM: &str = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm";
const STRING: &str = "type.googleapis.com/google.protobuf.StringValue";
const STRUCT: &str = "type.googleapis.com/google.protobuf.Struct";

/// A configuration of the filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Embedded {
    /// Where it stands in the file; empty for the file itself.
    pub(super) place: String,
    /// What the filter is given.
    pub(super) json: String,
}

/// Every configuration in a file. One that is nothing for Envoy is taken for a configuration itself.
///
/// # Errors
/// Why the file cannot be read.
pub(super) fn read(text: &str) -> Result<Vec<Embedded>, String> {
    let itself = || Embedded { place: String::new(), json: text.to_owned() };
    let documents: Vec<Value> = match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        // The filter says better what is wrong with its JSON.
        Err(_) if text.trim_start().starts_with('{') => return Ok(vec![itself()]),
        Err(error) => return Err(format!("is neither JSON nor YAML: {error}")),
    };
    let mut found = Vec::new();
    for (at, document) in documents.iter().enumerate() {
        let place = if documents.len() > 1 { format!("document {}", at + 1) } else { String::new() };
        search(document, place, &mut found)?;
    }
    if found.is_empty() && text.trim_start().starts_with('{') {
        return Ok(vec![itself()]);
    }
    if found.is_empty() {
        return Err("has no configuration of the filter in it: neither is it JSON, nor is there a typed_config of the \
                    type envoy.extensions.filters.http.wasm.v3.Wasm, a WasmPlugin or an EnvoyExtensionPolicy; where Envoy \
                    gets it from a file (ECDS, path_config_source), check that file"
            .to_owned());
    }
    Ok(found)
}

fn search(value: &Value, place: String, found: &mut Vec<Embedded>) -> Result<(), String> {
    match value {
        Value::Object(members) => {
            if members.get("@type").and_then(Value::as_str) == Some(WASM) {
                let place = join(&place, "config.configuration");
                let json = value.pointer("/config/configuration").and_then(configuration).unwrap_or_default();
                found.push(Embedded { place, json });
                return Ok(());
            }
            match members.get("kind").and_then(Value::as_str) {
                Some("ConfigMap") => return search_files(value, &place, found),
                Some("WasmPlugin") => {
                    found.extend(given(value.pointer("/spec/pluginConfig"), &place, "spec.pluginConfig"));
                }
                Some("EnvoyExtensionPolicy") => {
                    let plugins = value.pointer("/spec/wasm").and_then(Value::as_array).into_iter().flatten();
                    found.extend(plugins.enumerate().filter_map(|(at, plugin)| {
                        given(plugin.get("config"), &place, &format!("spec.wasm[{at}].config"))
                    }));
                }
                _ => {
                    for (name, member) in members {
                        search(member, join(&place, name), found)?;
                    }
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                search(item, format!("{place}[{at}]"), found)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The files of a ConfigMap.
fn search_files(map: &Value, place: &str, found: &mut Vec<Embedded>) -> Result<(), String> {
    for (name, text) in map.get("data").and_then(Value::as_object).into_iter().flatten() {
        let is_for_envoy = [".yaml", ".yml", ".json"].iter().any(|ending| name.ends_with(ending));
        if let Some(text) = text.as_str().filter(|_| is_for_envoy) {
            let place = join(place, &format!("data.{name}"));
            let file: Value = serde_saphyr::from_str(text)
                .map_err(|error| format!("{place} is neither JSON nor YAML: {error}"))?;
            search(&file, place, found)?;
        }
    }
    Ok(())
}

/// What a manifest has for the filter, which gets it as JSON.
fn given(configuration: Option<&Value>, place: &str, name: &str) -> Option<Embedded> {
    Some(Embedded { place: join(place, name), json: configuration?.to_string() })
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// As Envoy hands it to the filter: text as it is, a structure as JSON.
fn configuration(any: &Value) -> Option<String> {
    let value = any.get("value")?;
    match any.get("@type")?.as_str()? {
        STRING => value.as_str().map(str::to_owned),
        STRUCT => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Vec<(String, String)> {
        read(text).unwrap().into_iter().map(|found| (found.place, found.json)).collect()
    }

    #[test]
    fn finds_the_configuration_wherever_envoy_reads_one() {
        let wasm = |configuration: &str| {
            format!("{{\"@type\": {WASM}, config: {{name: countersign, configuration: {configuration}}}}}")
        };
        let string = wasm(&format!("{{\"@type\": {STRING}, value: '{{\"issuer\": \"i\"}}'}}"));
        let structure = wasm(&format!("{{\"@type\": {STRUCT}, value: {{issuer: i, n: 5}}}}"));
        for (text, expected) in [
            ("{\"issuer\": 1}".to_owned(), vec![("", "{\"issuer\": 1}")]),
            ("{\"issuer\": ".to_owned(), vec![("", "{\"issuer\": ")]),
            (
                format!("resources:\n- typed_config: {string}"),
                vec![("resources[0].typed_config.config.configuration", "{\"issuer\": \"i\"}")],
            ),
            (format!("a: {structure}"), vec![("a.config.configuration", "{\"issuer\":\"i\",\"n\":5}")]),
            (
                format!("a: &x {structure}\nb: *x"),
                vec![
                    ("a.config.configuration", "{\"issuer\":\"i\",\"n\":5}"),
                    ("b.config.configuration", "{\"issuer\":\"i\",\"n\":5}"),
                ],
            ),
            (
                format!("a: 1\n---\nb: {string}"),
                vec![("document 2.b.config.configuration", "{\"issuer\": \"i\"}")],
            ),
            (wasm("{}"), vec![("config.configuration", "")]),
            (
                format!("kind: ConfigMap\ndata:\n  a.toml: 'b: ['\n  a.yaml: |\n    a: {string}"),
                vec![("data.a.yaml.a.config.configuration", "{\"issuer\": \"i\"}")],
            ),
            (
                "kind: WasmPlugin\nspec: {pluginConfig: {issuer: i}}".to_owned(),
                vec![("spec.pluginConfig", "{\"issuer\":\"i\"}")],
            ),
            (
                "a: 1\n---\nkind: EnvoyExtensionPolicy\nspec: {wasm: [{name: other}, {config: {issuer: i}}]}"
                    .to_owned(),
                vec![("document 2.spec.wasm[1].config", "{\"issuer\":\"i\"}")],
            ),
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(place, json)| (place.to_owned(), json.to_owned())).collect();
            assert_eq!(places(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_file_without_a_configuration_is_told() {
        for text in [
            "",
            "a: 1",
            "- 1",
            "plain text",
            "a: [",
            "a: *nowhere",
            "kind: WasmPlugin",
            "kind: ConfigMap\ndata: {a.yaml: 'b: ['}",
        ] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
