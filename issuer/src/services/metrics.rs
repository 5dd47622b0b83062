//! What services ask for.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Scope, ServiceName};
use crate::web::Problem;

/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    tokens: Family<ByOutcome, Counter>,
    calls: Family<ByService, Counter>,
    refused: Family<ByReason, Counter>,
    limited: Family<ByCall, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Word {
    issued,
    /// No such service, or not its secret.
    invalid_client,
    unauthorized_client,
    invalid_scope,
    /// Too many failures, or too many tokens.
    limited,
}

/// Only names that we have given out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByService {
    service: String,
    scope: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCall {
    call: Call,
}

/// What has a limit for each service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Call {
    tokens,
    credentials,
    trading_accounts,
    authz_check,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Tokens that services have asked for, by what was answered";
        registry.register("service_tokens", help, self.tokens.clone());
        let help = "Calls of /v1/internal, by the service and the scope that they need";
        registry.register("service_calls", help, self.calls.clone());
        let help = "Calls of /v1/internal that were refused for their service token or for what it may do";
        registry.register("service_calls_refused", help, self.refused.clone());
        let help = "Calls of services beyond what each may do in a minute";
        registry.register("service_calls_limited", help, self.limited.clone());
    }

    pub(super) fn count(&self, outcome: Word) {
        self.tokens.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(super) fn count_call(&self, name: &ServiceName, scope: Scope) {
        let label = ByService { service: name.to_string(), scope: scope.as_str() };
        self.calls.get_or_create(&label).inc();
    }

    /// Counts a refusal, and answers with it.
    pub(super) fn refused(&self, problem: Problem) -> Problem {
        self.refused.get_or_create(&ByReason { reason: problem.reason() }).inc();
        problem
    }

    pub(super) fn count_limited(&self, call: Call) {
        self.limited.get_or_create(&ByCall { call }).inc();
    }
}
