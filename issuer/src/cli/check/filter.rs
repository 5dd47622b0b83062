//! `countersign check --filter`: what the filter makes of a configuration, by its own reader and its own rules, without an
//! Envoy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, anyhow};
use countersign_filter::config::{Config, SERVICE_TOKEN, WhenStale};
use countersign_filter::credential::Accepted;
use countersign_filter::policy::reach::{self, Example};
use countersign_filter::policy::{Access, Callers, Matcher, Mode, Names, Rule};
use countersign_filter::request::RequestView;
use serde::Serialize;

use super::super::{print, say};
use super::envoy_file;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Check the filter's configuration in this file instead: its JSON, what Envoy reads, or a manifest of Kubernetes.
    #[arg(long, value_name = "FILE")]
    filter: Option<PathBuf>,
    /// Say which rule a request meets: 'GET /alerts/5', or 'GET /alerts/5 api.example.com'.
    #[arg(long, value_name = "REQUEST", requires = "filter")]
    request: Vec<String>,
    /// The requests are WebSocket handshakes.
    #[arg(long, requires = "request")]
    websocket: bool,
    /// Print JSON.
    #[arg(long, requires = "filter")]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    configurations: Vec<Configuration>,
    findings: Vec<Finding>,
}

/// One that the filter would take.
#[derive(Debug, Serialize)]
struct Configuration {
    /// Where it stands in the file; empty for the file itself.
    place: String,
    /// Where it is asked which sessions have ended, for people.
    revocations: Option<String>,
    /// Where API keys are exchanged, for people.
    api_keys: Option<String>,
    rules: Vec<Row>,
    requests: Vec<Answer>,
}

/// A rule, for people.
#[derive(Debug, Serialize)]
struct Row {
    position: usize,
    name: String,
    host: String,
    path: String,
    methods: String,
    credentials: String,
    allow: String,
    mode: &'static str,
    /// A request that falls under it, and under none before it.
    example: Option<String>,
}

/// Which rule a request meets, or why it is refused before any is asked.
#[derive(Debug, Serialize)]
struct Answer {
    request: String,
    position: Option<usize>,
    rule: Option<String>,
    reason: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct Finding {
    severity: &'static str,
    place: String,
    path: String,
    message: String,
}

/// Whether there is a filter to check, and what came of it.
///
/// # Errors
/// A file that cannot be read, a request that is none.
pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Option<ExitCode>> {
    let Some(file) = &arguments.filter else { return Ok(None) };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found = envoy_file::read(&text).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    let mut report = Report { configurations: Vec::new(), findings: Vec::new() };
    for embedded in found {
        report.add(embedded.place, embedded.json.as_bytes(), arguments)?;
    }
    if arguments.json {
        print(serde_json::to_string_pretty(&report)?)?;
    } else {
        report.print(file);
    }
    Ok(Some(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }))
}

impl Report {
    fn add(&mut self, place: String, json: &[u8], arguments: &Arguments) -> anyhow::Result<()> {
        let config = match Config::check(json) {
            Ok(config) => config,
            Err(errors) => {
                self.findings.extend(errors.into_iter().map(|error| Finding {
                    severity: "error",
                    place: place.clone(),
                    path: error.path,
                    message: error.reason,
                }));
                return Ok(());
            }
        };
        let rules = config.policy.rules();
        let rows: Vec<_> = rules.iter().map(|rule| Row::of(rule, rules)).collect();
        self.findings.extend(rows.iter().filter(|row| row.example.is_none()).map(|row| Finding {
            severity: "warning",
            place: place.clone(),
            path: format!("rules[{}]", row.position),
            message: format!(
                "{:?} never matches: the rules before it, together, take all its requests",
                row.name
            ),
        }));
        let answers = arguments.request.iter().map(|request| answer(&config, request, arguments.websocket));
        let requests = answers.collect::<anyhow::Result<_>>()?;
        self.configurations.push(Configuration {
            place,
            revocations: revocations(&config),
            api_keys: api_keys(&config),
            rules: rows,
            requests,
        });
        Ok(())
    }

    fn print(&self, file: &Path) {
        for Configuration { place, revocations, api_keys, rules, requests } in &self.configurations {
            say(format_args!(
                "{}: {}",
                file.display(),
                if place.is_empty() { "the filter's own JSON" } else { place }
            ));
            for (field, wanted) in [("revocations", revocations), ("api_keys", api_keys)] {
                if let Some(wanted) = wanted {
                    say(format_args!("{field}: {wanted}"));
                }
            }
            if revocations.is_some() || api_keys.is_some() {
                say(format_args!("These need {SERVICE_TOKEN} in the environment of the VM."));
            }
            say(table(rules));
            for Answer { request, position, rule, reason } in requests {
                match (position, rule) {
                    (Some(position), Some(rule)) => {
                        say(format_args!("{request}: rules[{position}] {rule:?}"))
                    }
                    _ => say(format_args!("{request}: refused, {}", reason.unwrap_or_default())),
                }
            }
        }
        for Finding { severity, place, path, message } in &self.findings {
            let place = if place.is_empty() { String::new() } else { format!("{place}: ") };
            say(format_args!("{severity}: {place}{path}: {message}"));
        }
        let errors = self.findings.iter().filter(|finding| finding.severity == "error").count();
        let warnings = self.findings.len() - errors;
        say(format_args!("{}: errors: {errors}, warnings: {warnings}", file.display()));
    }
}

/// `METHOD PATH [HOST]`, decided about as the filter does.
fn answer(config: &Config, request: &str, websocket: bool) -> anyhow::Result<Answer> {
    let mut words = request.split_whitespace();
    let (Some(method), Some(path), host, None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(anyhow!("--request {request:?}: must be METHOD PATH, or METHOD PATH HOST"));
    };
    let mut view = RequestView::default();
    for (name, value) in [(":method", method), (":path", path), (":authority", host.unwrap_or("localhost"))] {
        view.add(name.as_bytes(), value.as_bytes());
    }
    if websocket {
        view.add(b"connection", b"Upgrade");
        view.add(b"upgrade", b"websocket");
    }
    let met = config.policy.rule_for(&view);
    Ok(Answer {
        request: request.to_owned(),
        position: met.ok().map(|rule| rule.position),
        rule: met.ok().map(|rule| rule.name.to_string()),
        reason: met.err().map(countersign_claims::Reject::reason),
    })
}

fn revocations(config: &Config) -> Option<String> {
    let feed = config.revocations.as_ref()?;
    let when_stale = match feed.when_stale {
        WhenStale::Allow => "let through",
        WhenStale::Refuse => "refused",
    };
    Some(format!(
        "{}; after {} s without news, tokens are {when_stale}",
        feed.service,
        feed.max_staleness.as_secs()
    ))
}

fn api_keys(config: &Config) -> Option<String> {
    let exchange = config.api_keys.as_ref()?;
    Some(format!("{}; each key once in {} s", exchange.service, exchange.cache))
}

impl Row {
    fn of(rule: &Rule, rules: &[Rule]) -> Self {
        let Rule {
            name,
            position,
            matcher,
            accepted,
            access,
            forward_token,
            origins,
            unknown_api_key_passes,
            mode,
        } = rule;
        let hosts: Vec<_> = matcher.hosts.iter().map(ToString::to_string).collect();
        let mut credentials = credentials(accepted);
        if *forward_token {
            credentials.push_str(", forwarded");
        }
        if *unknown_api_key_passes {
            credentials.push_str(", unknown keys pass");
        }
        Self {
            position: *position,
            name: name.to_string(),
            host: or_star(hosts.join(" ")),
            path: path(matcher),
            methods: methods(matcher),
            credentials,
            allow: allow(access, origins.as_deref().unwrap_or_default()),
            mode: match mode {
                Mode::Enforce => "enforce",
                Mode::Observe => "observe",
            },
            example: reach::example(rules, *position).map(|example| shown(&example)),
        }
    }

    fn cells(&self) -> [String; 8] {
        [
            self.position.to_string(),
            self.name.clone(),
            self.host.clone(),
            self.path.clone(),
            self.methods.clone(),
            self.credentials.clone(),
            self.allow.clone(),
            self.mode.to_owned(),
        ]
    }
}

fn or_star(text: String) -> String {
    if text.is_empty() { "*".to_owned() } else { text }
}

/// A prefix with what may follow it.
fn path(matcher: &Matcher) -> String {
    let text = matcher.path.text();
    match (matcher.path.is_prefix(), text.ends_with('/')) {
        (false, _) => text.to_owned(),
        (true, true) => format!("{text}…"),
        (true, false) => format!("{text}[/…]"),
    }
}

fn methods(matcher: &Matcher) -> String {
    if matcher.websocket { "websocket".to_owned() } else { or_star(matcher.methods.join(" ")) }
}

fn credentials(accepted: &Accepted) -> String {
    let Accepted { bearer, query, subprotocol, api_key } = accepted;
    let mut kinds = Vec::new();
    kinds.extend(bearer.then(|| "bearer".to_owned()));
    kinds.extend(query.iter().map(|name| format!("query:{name}")));
    kinds.extend(subprotocol.then(|| "subprotocol".to_owned()));
    kinds.extend(api_key.then(|| "api_key".to_owned()));
    if kinds.is_empty() { "none".to_owned() } else { kinds.join(", ") }
}

fn allow(access: &Access, origins: &[Box<str>]) -> String {
    let Access::Caller(demands) = access else { return "anyone".to_owned() };
    let listed = |kind: &str, names: &Names| {
        let (names, word) = match names {
            Names::All(names) => (names, " and "),
            Names::Any(names) => (names, " or "),
        };
        format!("{kind} {}", names.join(word))
    };
    let mut all = Vec::new();
    all.extend(callers(&demands.callers));
    all.extend(demands.permissions.as_ref().map(|names| listed("permission", names)));
    all.extend(demands.roles.as_ref().map(|names| listed("role", names)));
    all.extend((!demands.methods.is_empty()).then(|| format!("amr {}", demands.methods.join(" or "))));
    all.extend(demands.max_age.map(|seconds| format!("login within {seconds} s")));
    if all.is_empty() {
        all.push("authenticated".to_owned());
    }
    all.extend((!origins.is_empty()).then(|| format!("pages of {}", origins.join(" or "))));
    all.join("; ")
}

/// Who may pass besides, or instead of, users.
fn callers(callers: &Callers) -> Option<String> {
    let services = |names: &[Box<str>]| match names {
        [] => "any service".to_owned(),
        names => format!("service {}", names.join(" or ")),
    };
    match callers {
        Callers::Users => None,
        Callers::Services(names) => Some(services(names)),
        Callers::Both(names) => Some(format!("any user or {}", services(names))),
    }
}

fn shown(Example { method, path, host, websocket }: &Example) -> String {
    let mut request = format!("{method} {path}");
    if let Some(host) = host {
        request.push(' ');
        request.push_str(host);
    }
    if *websocket {
        request.push_str(" websocket");
    }
    request
}

/// Columns as wide as what stands in them.
fn table(rows: &[Row]) -> String {
    let head = ["#", "rule", "host", "path", "methods", "credentials", "allow", "mode"].map(str::to_owned);
    let lines: Vec<_> = [head].into_iter().chain(rows.iter().map(Row::cells)).collect();
    let mut widths = [0; 8];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut table = String::new();
    for line in &lines {
        let mut text = String::new();
        for (width, cell) in widths.into_iter().zip(line) {
            // Writing to a string does not fail.
            let _ = write!(text, "{cell:<width$}  ");
        }
        table.push_str(text.trim_end());
        table.push('\n');
    }
    table
}
