//! How AWS KMS is asked, how it answers, and how long that takes.

use std::time::Duration;

use aws_sdk_kms::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kms::error::{BoxError, ProvideErrorMetadata, SdkError};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Counts; cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    calls: Family<Asked, Counter>,
    durations: Family<Kind, Histogram, fn() -> Histogram>,
    requests: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    call: Call,
    outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    call: Call,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Call {
    encrypt,
    decrypt,
    re_encrypt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
pub(super) enum Outcome {
    done,
    /// The wrapped key does not fit the key or the place.
    forged,
    throttled,
    /// The key may not be used, or there is none such.
    refused,
    timeout,
    unreachable,
}

impl Outcome {
    pub(super) fn of<E: ProvideErrorMetadata>(error: &SdkError<E>) -> Self {
        match (error, error.code()) {
            (_, Some("InvalidCiphertextException" | "IncorrectKeyException")) => Self::forged,
            (_, Some("ThrottlingException" | "RequestLimitExceeded" | "TooManyRequestsException")) => {
                Self::throttled
            }
            (_, Some(_)) => Self::refused,
            (SdkError::TimeoutError(_), None) => Self::timeout,
            _ => Self::unreachable,
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.5 ms to 8 s.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 15));
        Self {
            calls: Family::default(),
            durations: Family::new_with_constructor(histogram),
            requests: Counter::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "What AWS KMS was asked, and what came of it";
        registry.register("kms_calls", help, self.calls.clone());
        let help = "How long calls of AWS KMS took, with what was tried again";
        registry.register_with_unit("kms_call_duration", help, Unit::Seconds, self.durations.clone());
        let help = "Requests sent to AWS KMS: more than calls where it was asked again";
        registry.register("kms_requests", help, self.requests.clone());
    }

    pub(super) fn observe(&self, call: Call, outcome: Outcome, took: Duration) {
        self.calls.get_or_create(&Asked { call, outcome }).inc();
        self.durations.get_or_create(&Kind { call }).observe(took.as_secs_f64());
    }

    pub(super) fn requests(&self) -> Requests {
        Requests(self.requests.clone())
    }
}

/// Counts each request that the SDK sends.
#[derive(Debug)]
pub(super) struct Requests(Counter);

impl Intercept for Requests {
    fn name(&self) -> &'static str {
        "Requests"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.inc();
        Ok(())
    }
}
