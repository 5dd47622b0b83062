//! How many requests there were, of which kind, and how long they took.

use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Figures of every request; cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Family<Kind, Counter>,
    durations: Family<Route, Histogram, fn() -> Histogram>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.5 ms to 16 s.
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        Self { requests: Family::default(), durations: Family::new_with_constructor(histogram) }
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests by route template and status";
        registry.register("http_requests", help, self.requests.clone());
        let help = "How long requests took, from the head to the answer";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, self.durations.clone());
    }

    /// Only names of ours become labels, so that nobody can make any number of them.
    pub(super) fn observe(&self, method: &str, route: Option<&str>, status: StatusCode, took: Duration) {
        let method = match method {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "POST" => "POST",
            "PATCH" => "PATCH",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            _ => "other",
        };
        let route = route.unwrap_or("none").to_owned();
        self.durations.get_or_create(&Route { route: route.clone() }).observe(took.as_secs_f64());
        self.requests.get_or_create(&Kind { method, route, status: status.as_u16() }).inc();
    }
}
