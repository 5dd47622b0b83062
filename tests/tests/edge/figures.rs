//! The alert rules and the dashboard that are shipped, held against what a real Envoy and a real issuer show: no name, label
//! or word in them is one that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_stack::stack::Stack;
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::{Value, json};

use super::alone::PATIENCE;
use super::platform;

const ALERTS: &str = include_str!("../../../envoy/observability/alerts.yaml");
const DASHBOARD: &str = include_str!("../../../envoy/observability/dashboard.json");

/// What Prometheus adds by itself.
const OF_PROMETHEUS: [&str; 2] = ["instance", "job"];

/// An expression, and where it stands.
type Query = (String, String);

fn rules() -> Vec<Value> {
    let document: Value = serde_saphyr::from_str(ALERTS).unwrap();
    let groups = document["groups"].as_array().unwrap();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// The alerts: name, expression, and every text with places for labels in it.
fn alerts() -> Vec<(String, String, String)> {
    let rules = rules();
    let alerts = rules.iter().map(|rule| {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{rule}")).to_owned();
        let annotations = text(&rule["annotations"]["summary"]) + &text(&rule["annotations"]["description"]);
        assert!(["critical", "warning", "info"].contains(&&*text(&rule["labels"]["severity"])), "{rule}");
        (text(&rule["alert"]), text(&rule["expr"]), annotations)
    });
    alerts.collect()
}

/// As Grafana asks it, with a time in place of its own.
fn panels() -> Vec<Query> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expr = target["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
            queries.push((panel["title"].as_str().unwrap().to_owned(), expr));
        }
    }
    queries
}

#[derive(Default)]
struct Parts {
    selectors: Vec<VectorSelector>,
    grouped: BTreeSet<String>,
}

impl ExprVisitor for Parts {
    type Error = ();

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, ()> {
        match expr {
            Expr::VectorSelector(selector) => self.selectors.push(selector.clone()),
            Expr::MatrixSelector(matrix) => self.selectors.push(matrix.vs.clone()),
            Expr::Aggregate(aggregate) => {
                self.grouped.extend(aggregate.modifier.iter().flat_map(|by| by.labels().labels.clone()));
            }
            _ => {}
        }
        Ok(true)
    }
}

fn parts(place: &str, expr: &str) -> Parts {
    let expr = parser::parse(expr).unwrap_or_else(|error| panic!("{place}: {error}"));
    let mut parts = Parts::default();
    walk_expr(&mut parts, &expr).unwrap();
    parts
}

/// Names, and the labels that each series of a name has.
type Shown = BTreeMap<String, Vec<BTreeMap<String, String>>>;

/// The text format of Prometheus, as far as it is written by ours.
fn read(text: &str) -> Shown {
    let mut shown = Shown::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let labels = labels.strip_suffix('}').unwrap_or(labels).split("\",");
        let labels = labels.filter_map(|label| {
            let (name, value) = label.split_once("=\"")?;
            Some((name.to_owned(), value.trim_end_matches('"').to_owned()))
        });
        shown.entry(name.to_owned()).or_default().push(labels.collect());
    }
    shown
}

async fn get(url: String) -> String {
    reqwest::get(url).await.unwrap().text().await.unwrap()
}

/// People who log in, rightly and wrongly, and come back.
async fn use_it(stack: &Stack) {
    let client = reqwest::Client::new();
    let post = async |path: &str, body: Value| {
        let answer = client.post(stack.edge_url(path)).json(&body).send().await.unwrap();
        answer.json::<Value>().await.unwrap_or_default()
    };
    super::token(stack, "ada@example.com").await;
    let login = json!({"email": "ada@example.com", "password": "a calm orange lighthouse"});
    let granted = post("/v1/auth/login", login).await;
    post("/v1/auth/login", json!({"email": "ada@example.com", "password": "wrong wrong wrong"})).await;
    post("/v1/auth/refresh", json!({"refresh_token": granted["refresh_token"]})).await;
    for token in [Some(granted["access_token"].as_str().unwrap()), None] {
        let mut request = client.get(stack.edge_url("/api/positions"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap();
    }
}

#[tokio::test]
async fn alerts_and_dashboard_ask_only_for_what_there_is() {
    let (stack, _folder) = platform().await;
    use_it(&stack).await;
    let issuer = format!("http://127.0.0.1:{}/metrics", stack.ports.internal);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // The filter tells what it has counted a moment later.
    let edge = loop {
        let edge = get(stack.admin_url("/stats/prometheus")).await;
        if edge.contains(r#"countersign_rule_requests{outcome="allowed",rule="backend"} 1"#) {
            break edge;
        }
        assert!(tokio::time::Instant::now() < deadline, "{edge}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (edge, issuer) = (read(&edge), read(&get(issuer).await));

    let alerts = alerts();
    let names: BTreeSet<_> = alerts.iter().map(|(name, ..)| name).collect();
    assert_eq!(names.len(), alerts.len(), "two alerts with one name");
    let queries = alerts.iter().map(|(name, expr, _)| (name.clone(), expr.clone())).chain(panels());
    let mut asked = BTreeSet::new();
    for (place, expr) in queries {
        let Parts { selectors, grouped } = parts(&place, &expr);
        let mut known: BTreeSet<_> = OF_PROMETHEUS.map(str::to_owned).into();
        for selector in &selectors {
            let name = selector.name.clone().unwrap_or_else(|| panic!("{place}: a selector without a name"));
            if name == "up" {
                continue;
            }
            let series = edge.get(&name).or_else(|| issuer.get(&name));
            let series = series.unwrap_or_else(|| panic!("{place}: nobody shows {name}"));
            known.extend(series.iter().flat_map(|labels| labels.keys().cloned()));
            let matchers = selector.matchers.matchers.iter();
            for matcher in matchers.filter(|matcher| !OF_PROMETHEUS.contains(&&*matcher.name)) {
                let seen: BTreeSet<_> =
                    series.iter().filter_map(|labels| labels.get(&matcher.name)).collect();
                assert!(!seen.is_empty(), "{place}: {name} has no label {}", matcher.name);
                // The filter shows all its words from the start, the issuer each when it is first counted.
                for word in words(matcher).filter(|_| edge.contains_key(&name)) {
                    assert!(seen.contains(&word), "{place}: {name} knows no {}={word:?}", matcher.name);
                }
            }
            asked.insert(name);
        }
        for label in &grouped {
            assert!(known.contains(label), "{place}: by {label}, which nothing in it has");
        }
    }
    // What the filter tells is watched or shown, all of it.
    for name in edge.keys().filter(|name| name.starts_with("countersign_")) {
        assert!(asked.contains(name), "{name} is in no alert and on no panel");
    }
    stack.stop().await.unwrap();
}

/// The values that a matcher names.
fn words(matcher: &Matcher) -> impl Iterator<Item = String> {
    let words = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => vec![matcher.value.clone()],
        MatchOp::Re(_) | MatchOp::NotRe(_) => matcher.value.split('|').map(str::to_owned).collect(),
    };
    words.into_iter()
}

#[test]
fn the_text_of_an_alert_names_only_labels_that_its_expression_leaves() {
    for (name, expr, text) in alerts() {
        let grouped = parts(&name, &expr).grouped;
        for label in text.split("$labels.").skip(1) {
            let label: String =
                label.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            let left =
                if grouped.is_empty() { OF_PROMETHEUS.contains(&&*label) } else { grouped.contains(&label) };
            assert!(left, "{name}: {label} is not left by {expr}");
        }
    }
}

/// Strangers can cause every other refusal, and could wake an operator by it.
#[test]
fn no_refusal_that_strangers_can_cause_is_critical() {
    let mut seen = 0;
    for rule in rules().iter().filter(|rule| rule["labels"]["severity"] == "critical") {
        let (name, expr) = (rule["alert"].as_str().unwrap(), rule["expr"].as_str().unwrap());
        for selector in parts(name, expr).selectors {
            if selector.name.as_deref() == Some("countersign_requests") {
                let reason = selector.matchers.matchers.iter().find(|matcher| matcher.name == "reason");
                let reason = reason.unwrap_or_else(|| panic!("{name}: whatever the reason"));
                assert_eq!((&reason.op, &*reason.value), (&MatchOp::Equal, "unavailable"), "{name}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 1);
}
