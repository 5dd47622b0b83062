//! Where the filter's configuration stands in the files that Envoy and what drives it read. Looks for it anywhere in the
//! document, so that a bootstrap, an ECDS resource and a listener are all the same.

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
        search(document, place, &mut found);
    }
    if found.is_empty() && text.trim_start().starts_with('{') {
        return Ok(vec![itself()]);
    }
    if found.is_empty() {
        return Err("has no configuration of the filter in it: neither is it JSON, nor is there a typed_config of the \
                    type envoy.extensions.filters.http.wasm.v3.Wasm"
            .to_owned());
    }
    Ok(found)
}

fn search(value: &Value, place: String, found: &mut Vec<Embedded>) {
    match value {
        Value::Object(members) => {
            if members.get("@type").and_then(Value::as_str) == Some(WASM) {
                let place = join(&place, "config.configuration");
                let json = value.pointer("/config/configuration").and_then(configuration).unwrap_or_default();
                return found.push(Embedded { place, json });
            }
            for (name, member) in members {
                search(member, join(&place, name), found);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                search(item, format!("{place}[{at}]"), found);
            }
        }
        _ => {}
    }
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
        ] {
            let expected: Vec<_> =
                expected.into_iter().map(|(place, json)| (place.to_owned(), json.to_owned())).collect();
            assert_eq!(places(&text), expected, "{text}");
        }
    }

    #[test]
    fn a_file_without_a_configuration_is_told() {
        for text in ["", "a: 1", "- 1", "plain text", "a: [", "a: *nowhere"] {
            assert!(read(text).is_err(), "{text:?}");
        }
    }
}
