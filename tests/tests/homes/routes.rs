//! What is routed, as Envoy's bootstrap, HTTPRoutes and VirtualServices say it: all three have to say the same.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{documents, envoy, read, yaml};

/// What never is, whatever else is.
const NEVER: [&str; 6] =
    ["/v1/internal", "/v1/internal/revocations", "/metrics", "/healthz", "/readyz", "/v1/openapi.json"];

/// A path, or all below it, and the port of the service that gets it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    path: String,
    below: bool,
    port: u64,
}

impl Route {
    fn takes(&self, path: &str) -> bool {
        let prefix = self.path.trim_end_matches('/');
        path == self.path
            || (self.below && path.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned()
}

fn of_bootstrap() -> BTreeSet<Route> {
    let bootstrap = yaml(&read(envoy("envoy.yaml")));
    let clusters = bootstrap["static_resources"]["clusters"].as_array().unwrap();
    let port = |name: &Value| {
        let cluster = clusters.iter().find(|cluster| cluster["name"] == *name).unwrap();
        cluster
            .pointer(
                "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/port_value",
            )?
            .as_u64()
    };
    let routes = bootstrap
        .pointer("/static_resources/listeners/0/filter_chains/0/filters/0/typed_config/route_config/virtual_hosts/0/routes")
        .and_then(Value::as_array)
        .unwrap();
    let routes = routes.iter().filter_map(|route| {
        let port = port(&route["route"]["cluster"])?;
        let ways = [("path", false), ("path_separated_prefix", true), ("prefix", true)];
        let (way, below) = ways.into_iter().find(|(way, _)| route["match"][way].is_string()).unwrap();
        Some(Route { path: text(&route["match"][way]), below, port })
    });
    routes.collect()
}

fn of_http_routes(manifests: &[Value]) -> BTreeSet<Route> {
    let routes = manifests.iter().filter(|manifest| manifest["kind"] == "HTTPRoute");
    let rules = routes.flat_map(|route| route["spec"]["rules"].as_array().unwrap());
    let matches = rules.flat_map(|rule| {
        let port = rule["backendRefs"][0]["port"].as_u64().unwrap();
        rule["matches"].as_array().unwrap().iter().map(move |part| (port, &part["path"]))
    });
    matches
        .map(|(port, path)| Route { path: text(&path["value"]), below: path["type"] != "Exact", port })
        .collect()
}

/// What is named exactly and with all below it is one route.
fn of_virtual_services(manifests: &[Value]) -> BTreeSet<Route> {
    let services = manifests.iter().filter(|manifest| manifest["kind"] == "VirtualService");
    let rules = services.flat_map(|service| service["spec"]["http"].as_array().unwrap());
    let matches = rules.flat_map(|rule| {
        let port = rule["route"][0]["destination"]["port"]["number"].as_u64().unwrap();
        rule["match"].as_array().unwrap().iter().map(move |part| (port, &part["uri"]))
    });
    let mut routes: BTreeSet<Route> = matches
        .map(|(port, uri)| match uri["exact"].as_str() {
            Some(path) => Route { path: path.to_owned(), below: false, port },
            None => Route { path: text(&uri["prefix"]), below: true, port },
        })
        .collect();
    for route in routes.clone().into_iter().filter(|route| !route.below) {
        let all_below = Route { path: format!("{}/", route.path), below: true, ..route.clone() };
        if routes.remove(&all_below) {
            routes.remove(&route);
            routes.insert(Route { below: true, ..route });
        }
    }
    routes
}

fn manifests(file: &str) -> Vec<Value> {
    documents(&read(envoy(file)))
}

fn never(routes: &BTreeSet<Route>) -> Vec<&'static str> {
    NEVER.into_iter().filter(|path| routes.iter().any(|route| route.takes(path))).collect()
}

#[test]
fn every_home_routes_what_the_bootstrap_routes() {
    let shipped = of_bootstrap();
    assert!(shipped.len() > 10, "{shipped:?}");
    assert_eq!(never(&shipped), [""; 0]);
    assert_eq!(of_http_routes(&manifests("deploy/envoy-gateway/routes.yaml")), shipped);
    assert_eq!(of_virtual_services(&manifests("deploy/istio/routes.yaml")), shipped);
}

/// The test above would see it.
#[test]
fn a_route_to_what_is_internal_is_found() {
    for path in ["/v1/internal/", "/v1/", "/"] {
        let routes = BTreeSet::from([Route { path: path.to_owned(), below: true, port: 8001 }]);
        assert!(!never(&routes).is_empty(), "{path}");
    }
    let route = yaml(
        "kind: HTTPRoute\nspec: {rules: [{matches: [{path: {value: /metrics}}], backendRefs: [{port: 1}]}]}",
    );
    assert_eq!(never(&of_http_routes(&[route])), ["/metrics"]);
}

/// In their order, for the first one counts.
#[test]
fn in_istio_no_route_hides_a_later_one() {
    let services = manifests("deploy/istio/routes.yaml");
    let rules = services[1]["spec"]["http"].as_array().unwrap();
    let mut seen: Vec<String> = Vec::new();
    for rule in rules {
        for part in rule["match"].as_array().unwrap() {
            let path = text(part["uri"].as_object().unwrap().values().next().unwrap());
            assert!(
                !seen.iter().any(|earlier| path.starts_with(earlier.as_str())),
                "{path} is hidden: {seen:?}"
            );
        }
        let prefixes =
            rule["match"].as_array().unwrap().iter().filter_map(|part| part["uri"]["prefix"].as_str());
        seen.extend(prefixes.map(str::to_owned));
    }
}
