//! How refreshes go.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Outcome, Refusal};
use crate::web::Problem;

/// Counts refreshes by outcome; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics(Family<Refreshes, Counter>);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refreshes {
    outcome: Word,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "these are the labels, as they are shown")]
enum Word {
    rotated,
    repeated,
    refused,
    reused,
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("refreshes", "Refresh tokens presented, by outcome", self.0.clone());
    }

    pub(super) fn count(&self, outcome: &Outcome) {
        self.inc(match outcome {
            Outcome::Rotated(_) => Word::rotated,
            Outcome::Repeated(_) => Word::repeated,
            Outcome::Refused(Refusal::Reused(_)) => Word::reused,
            Outcome::Refused(_) => Word::refused,
        });
    }

    /// Counts what was refused before the database was asked.
    pub(super) fn refused(&self, problem: Problem) -> Problem {
        self.inc(Word::refused);
        problem
    }

    fn inc(&self, outcome: Word) {
        self.0.get_or_create(&Refreshes { outcome }).inc();
    }
}
