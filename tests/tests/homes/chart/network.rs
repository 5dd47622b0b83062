//! Who reaches whom: that selectors, labels and ports fit each other, and that nothing else is let in.

use serde_json::{Value, json};

use super::{all, list, most, one, rendered};

/// The pods that the chart makes: labels, and ports by name.
fn pods(manifests: &[Value]) -> Vec<(&Value, Vec<(&str, u64)>)> {
    let deployments = manifests.iter().filter(|manifest| manifest["kind"] == "Deployment");
    let pods = deployments.map(|deployment| {
        let template = &deployment["spec"]["template"];
        let ports = list(template, "/spec/containers/0/ports").iter();
        let ports =
            ports.map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap()));
        (&template["metadata"]["labels"], ports.collect())
    });
    pods.collect()
}

/// Whether labels have all that is selected.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    assert!(!selector.is_empty(), "everything is selected");
    selector.iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn selected<'a>(manifests: &'a [Value], selector: &Value) -> Vec<(&'a Value, Vec<(&'a str, u64)>)> {
    pods(manifests).into_iter().filter(|(labels, _)| selects(selector, labels)).collect()
}

#[test]
fn every_selector_selects_the_pods_of_one_deployment() {
    for values in all() {
        let manifests = rendered(&values);
        for manifest in &manifests {
            let selector = match manifest["kind"].as_str().unwrap() {
                "Deployment" | "PodDisruptionBudget" => &manifest["spec"]["selector"]["matchLabels"],
                "NetworkPolicy" => &manifest["spec"]["podSelector"]["matchLabels"],
                "Service" => &manifest["spec"]["selector"],
                _ => continue,
            };
            assert_eq!(selected(&manifests, selector).len(), 1, "{manifest}");
        }
        for deployment in manifests.iter().filter(|manifest| manifest["kind"] == "Deployment") {
            for constraint in list(deployment, "/spec/template/spec/topologySpreadConstraints") {
                let labels = &deployment["spec"]["template"]["metadata"]["labels"];
                assert!(selects(&constraint["labelSelector"]["matchLabels"], labels));
            }
        }
    }
}

#[test]
fn every_port_that_is_named_is_one_of_the_pods() {
    for values in all() {
        let manifests = rendered(&values);
        for service in manifests.iter().filter(|manifest| manifest["kind"] == "Service") {
            let (_, ports) = &selected(&manifests, &service["spec"]["selector"])[0];
            for port in list(service, "/spec/ports") {
                let target = port["targetPort"].as_str().unwrap();
                assert!(ports.iter().any(|(name, _)| *name == target), "{port}");
                // The longest name of a port.
                assert!(port["name"].as_str().unwrap().len() <= 15 && target.len() <= 15, "{port}");
            }
        }
        for policy in manifests.iter().filter(|manifest| manifest["kind"] == "NetworkPolicy") {
            let (_, ports) = &selected(&manifests, &policy["spec"]["podSelector"]["matchLabels"])[0];
            for port in list(policy, "/spec/ingress").iter().flat_map(|rule| list(rule, "/ports")) {
                assert!(ports.iter().any(|(name, _)| port["port"] == *name), "{port}");
            }
        }
        for monitor in manifests.iter().filter(|manifest| manifest["kind"] == "ServiceMonitor") {
            let selector = &monitor["spec"]["selector"]["matchLabels"];
            let services = manifests.iter().filter(|manifest| manifest["kind"] == "Service");
            let services: Vec<_> =
                services.filter(|service| selects(selector, &service["metadata"]["labels"])).collect();
            assert_eq!(services.len(), 1, "{monitor}");
            let port = &monitor["spec"]["endpoints"][0]["port"];
            assert!(list(services[0], "/spec/ports").iter().any(|of_service| of_service["name"] == *port));
        }
        for (_, container) in probed(&manifests) {
            let names: Vec<_> = list(&container, "/ports").iter().map(|port| port["name"].clone()).collect();
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                let port = ["httpGet", "tcpSocket"].map(|way| &container[probe][way]["port"]);
                assert!(port.iter().any(|port| names.contains(port)), "{container}");
            }
        }
    }
}

fn probed(manifests: &[Value]) -> Vec<(String, Value)> {
    let deployments = manifests.iter().filter(|manifest| manifest["kind"] == "Deployment");
    let containers = deployments.map(|deployment| {
        let name = deployment["metadata"]["name"].as_str().unwrap().to_owned();
        (name, deployment["spec"]["template"]["spec"]["containers"][0].clone())
    });
    containers.collect()
}

/// The issuer listens where its service sends people, and the edge's clusters ask for.
#[test]
fn the_service_has_the_ports_that_the_issuer_listens_on() {
    let manifests = rendered(&most());
    let service = one(&manifests, "Service", "countersign-issuer");
    assert_eq!(service["spec"]["type"], "ClusterIP");
    let ports: Vec<_> =
        list(service, "/spec/ports").iter().map(|port| (&port["name"], &port["port"])).collect();
    assert_eq!(ports, [(&json!("http-public"), &json!(8001)), (&json!("http-internal"), &json!(8002))]);
    let (_, of_pod) = &selected(&manifests, &service["spec"]["selector"])[0];
    assert_eq!(of_pod, &[("http-public", 8001), ("http-internal", 8002)]);
    let config =
        one(&manifests, "ConfigMap", "countersign-issuer")["data"]["countersign.toml"].as_str().unwrap();
    for listen in ["[server]\nlisten = \"0.0.0.0:8001\"", "[internal]\nlisten = \"0.0.0.0:8002\""] {
        assert!(config.contains(listen), "{config}");
    }
}

/// Who may reach a port of the issuer.
fn admitted(manifests: &[Value], port: &str) -> Vec<Value> {
    let policy = one(manifests, "NetworkPolicy", "countersign-issuer");
    assert_eq!(policy["spec"]["policyTypes"], json!(["Ingress"]));
    let rules = list(policy, "/spec/ingress").iter().filter(|rule| {
        // No list of ports is every port, and no list of peers is everybody.
        let ports = list(rule, "/ports");
        assert!(!ports.is_empty() && !list(rule, "/from").is_empty(), "{rule}");
        ports.iter().any(|of_rule| of_rule["port"] == port)
    });
    rules.flat_map(|rule| list(rule, "/from").to_vec()).collect()
}

#[test]
fn only_edges_reach_the_issuer_and_only_named_services_its_internal_port() {
    let values = most();
    let manifests = rendered(&values);
    let edge = json!({"podSelector": {"matchLabels": {
        "app.kubernetes.io/name": "countersign", "app.kubernetes.io/instance": "countersign", "app.kubernetes.io/component": "edge",
    }}});
    let edge_pod =
        &one(&manifests, "Deployment", "countersign-edge")["spec"]["template"]["metadata"]["labels"];
    assert!(selects(&edge["podSelector"]["matchLabels"], edge_pod));
    let named = |list_of: &str| values["networkPolicy"][list_of].as_array().unwrap().clone();
    let edges = [vec![edge], named("edges")].concat();
    assert_eq!(admitted(&manifests, "http-public"), edges);
    assert_eq!(
        admitted(&manifests, "http-internal"),
        [edges, named("services"), named("prometheus")].concat()
    );
}

#[test]
fn without_an_edge_of_its_own_only_those_reach_the_issuer_that_are_named() {
    let values = super::sidecar();
    let manifests = rendered(&values);
    let edges = values["networkPolicy"]["edges"].as_array().unwrap();
    assert_eq!(&admitted(&manifests, "http-public"), edges);
    assert_eq!(&admitted(&manifests, "http-internal"), edges);
    assert!(!manifests.iter().any(
        |manifest| manifest["metadata"]["name"] == "countersign-edge" && manifest["kind"] != "ConfigMap"
    ));
}

/// Of the shipped sidecar: what it mounts and whom it is, the chart has.
#[test]
fn the_sidecar_finds_what_the_chart_makes_for_it() {
    let manifests = rendered(&super::sidecar());
    let sidecar = super::yaml(&super::read(super::envoy("deploy/sidecar.yaml")));
    let pod = &sidecar["spec"]["template"];
    for volume in list(pod, "/spec/volumes") {
        one(&manifests, "ConfigMap", volume["configMap"]["name"].as_str().unwrap());
    }
    let edges = &super::sidecar()["networkPolicy"]["edges"][0]["podSelector"]["matchLabels"];
    assert!(selects(edges, &pod["metadata"]["labels"]));
    let gateway = rendered(&super::least());
    let envoy = &one(&gateway, "Deployment", "countersign-edge")["spec"]["template"]["spec"]["containers"][0];
    let beside = &pod["spec"]["containers"][1];
    for same in ["args", "env", "ports", "volumeMounts", "lifecycle"] {
        assert_eq!(beside[same], envoy[same], "{same}");
    }
}

#[test]
fn every_container_has_no_more_rights_than_it_needs() {
    for values in all() {
        for deployment in rendered(&values).iter().filter(|manifest| manifest["kind"] == "Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
            assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
            for container in [list(pod, "/containers"), list(pod, "/initContainers")].concat() {
                assert_eq!(
                    container["securityContext"],
                    json!({
                        "allowPrivilegeEscalation": false, "privileged": false, "readOnlyRootFilesystem": true,
                        "runAsNonRoot": true, "capabilities": {"drop": ["ALL"]},
                    })
                );
                assert!(container["resources"]["limits"]["memory"].is_string());
                assert!(container["resources"]["requests"]["cpu"].is_string());
            }
            for host in ["hostNetwork", "hostPID", "hostIPC"] {
                assert!(pod.get(host).is_none());
            }
        }
    }
}

#[test]
fn with_one_replica_there_is_no_budget_that_would_hold_up_a_drain() {
    let budgets = |values: &Value| {
        let manifests = rendered(values);
        manifests.iter().filter(|manifest| manifest["kind"] == "PodDisruptionBudget").count()
    };
    assert_eq!(budgets(&super::least()), 2);
    assert_eq!(budgets(&super::sqlite()), 1);
}
