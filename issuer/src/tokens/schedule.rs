//! Which key signs and which keys are published at a given time, from the `sign_from` lines alone. Pure: every
//! issuer that reads the same lines and clock agrees without talking. It never panics, wherever time moves.

use std::ops::Range;

use crate::config::KeyLine;

/// A key as the schedule sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    pub kid: String,
    /// Unix seconds.
    pub sign_from: i64,
    pub revoked: bool,
}

/// What a key is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Published, so that verifiers know it before it signs.
    Scheduled,
    Signing,
    /// Still published, because tokens it signed are alive until then.
    Retiring {
        until: i64,
    },
    Retired,
    /// Unpublished at once.
    Revoked,
}

/// Keys by the time from which they sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Sorted by `sign_from`, revoked ones last.
    slots: Vec<Slot>,
    /// How long a key outlives its last signature: the lifetime of a token plus clock skew, in seconds.
    overlap: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    #[error("two keys have the kid {0:?}")]
    DuplicateKid(String),
    #[error("{0:?} and {1:?} sign from the same moment, so which of them signs is undecided")]
    SameMoment(String, String),
}

impl From<&KeyLine> for Slot {
    fn from(line: &KeyLine) -> Self {
        Self { kid: line.kid.clone(), sign_from: line.sign_from, revoked: line.revoked }
    }
}

impl Schedule {
    /// The schedule of the lines of a configuration.
    ///
    /// # Errors
    /// As [`Schedule::new`].
    pub fn of(lines: &[KeyLine], overlap: i64) -> Result<Self, InvalidSchedule> {
        Self::new(lines.iter().map(Slot::from).collect(), overlap)
    }

    /// # Errors
    /// [`InvalidSchedule`] if the lines contradict each other. That no key signs at the moment is not an error
    /// here, because it depends on the moment: see [`Schedule::signing`].
    pub fn new(mut slots: Vec<Slot>, overlap: i64) -> Result<Self, InvalidSchedule> {
        slots.sort_by(|a, b| (a.revoked, a.sign_from, &a.kid).cmp(&(b.revoked, b.sign_from, &b.kid)));
        for (index, slot) in slots.iter().enumerate() {
            for other in slots.iter().skip(index + 1) {
                if slot.kid == other.kid {
                    return Err(InvalidSchedule::DuplicateKid(slot.kid.clone()));
                }
                if slot.sign_from == other.sign_from && !slot.revoked && !other.revoked {
                    return Err(InvalidSchedule::SameMoment(slot.kid.clone(), other.kid.clone()));
                }
            }
        }
        Ok(Self { slots, overlap })
    }

    /// Every key with its state, in the order in which they sign, revoked ones last.
    pub fn states(&self, now: i64) -> impl Iterator<Item = (&Slot, State)> {
        self.slots.iter().enumerate().map(move |(index, slot)| {
            let successor = self.slots.get(index + 1).filter(|next| !next.revoked).map(|next| next.sign_from);
            let state = match successor {
                _ if slot.revoked => State::Revoked,
                _ if now < slot.sign_from => State::Scheduled,
                None => State::Signing,
                Some(next) if now < next => State::Signing,
                Some(next) if now < next.saturating_add(self.overlap) => {
                    State::Retiring { until: next.saturating_add(self.overlap) }
                }
                Some(_) => State::Retired,
            };
            (slot, state)
        })
    }

    /// The kid of the key that signs: of those whose time has come, the latest. `None` is a gap.
    pub fn signing(&self, now: i64) -> Option<&str> {
        self.states(now).find(|(_, state)| *state == State::Signing).map(|(slot, _)| slot.kid.as_str())
    }

    /// When this key begins to sign.
    pub fn sign_from(&self, kid: &str) -> Option<i64> {
        self.slots.iter().find(|slot| slot.kid == kid).map(|slot| slot.sign_from)
    }

    /// The kids that verifiers must know.
    pub fn published(&self, now: i64) -> impl Iterator<Item = &str> {
        self.states(now)
            .filter(|(_, state)| matches!(state, State::Scheduled | State::Signing | State::Retiring { .. }))
            .map(|(slot, _)| slot.kid.as_str())
    }

    /// The span around `now` in which neither the signing key nor the published set changes.
    pub fn span(&self, now: i64) -> Range<i64> {
        let starts = self.slots.iter().filter(|slot| !slot.revoked).map(|slot| slot.sign_from);
        let ends = starts.clone().skip(1).map(|start| start.saturating_add(self.overlap));
        let (mut start, mut end) = (i64::MIN, i64::MAX);
        for moment in starts.chain(ends) {
            if moment <= now {
                start = start.max(moment);
            } else {
                end = end.min(moment);
            }
        }
        start..end
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OVERLAP: i64 = 930;

    fn slot(kid: &str, sign_from: i64) -> Slot {
        Slot { kid: kid.into(), sign_from, revoked: false }
    }

    fn schedule(slots: &[Slot]) -> Schedule {
        Schedule::new(slots.to_vec(), OVERLAP).unwrap()
    }

    fn states(schedule: &Schedule, now: i64) -> Vec<State> {
        schedule.states(now).map(|(_, state)| state).collect()
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_after_it_signed() {
        let schedule = schedule(&[slot("new", 10_000), slot("old", 0)]);
        assert_eq!(states(&schedule, 9_999), [State::Signing, State::Scheduled]);
        assert_eq!(states(&schedule, 10_000), [State::Retiring { until: 10_930 }, State::Signing]);
        assert_eq!(states(&schedule, 10_929), [State::Retiring { until: 10_930 }, State::Signing]);
        assert_eq!(states(&schedule, 10_930), [State::Retired, State::Signing]);
        assert_eq!(schedule.published(10_930).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn before_the_first_key_nothing_signs() {
        let schedule = schedule(&[slot("first", 100)]);
        assert_eq!(schedule.signing(99), None);
        assert_eq!(schedule.published(99).collect::<Vec<_>>(), ["first"]);
        assert_eq!(schedule.signing(i64::MIN), None);
        assert_eq!(schedule.signing(i64::MAX), Some("first"));
    }

    #[test]
    fn a_revoked_key_is_gone_at_once_and_the_one_before_it_signs_again() {
        let mut slots = [slot("old", 0), slot("leaked", 100)];
        slots[1].revoked = true;
        let schedule = schedule(&slots);
        assert_eq!(schedule.signing(5_000), Some("old"));
        assert_eq!(schedule.published(5_000).collect::<Vec<_>>(), ["old"]);
        assert_eq!(states(&schedule, 5_000), [State::Signing, State::Revoked]);
    }

    #[test]
    fn contradictions_are_refused() {
        let same_kid = Schedule::new(vec![slot("a", 0), slot("b", 1), slot("a", 2)], OVERLAP);
        assert_eq!(same_kid, Err(InvalidSchedule::DuplicateKid("a".into())));
        let same_moment = Schedule::new(vec![slot("a", 1), slot("b", 1)], OVERLAP);
        assert_eq!(same_moment, Err(InvalidSchedule::SameMoment("a".into(), "b".into())));
        let mut revoked = slot("b", 1);
        revoked.revoked = true;
        assert!(Schedule::new(vec![slot("a", 1), revoked], OVERLAP).is_ok());
    }

    fn any_schedule() -> impl Strategy<Value = Schedule> {
        prop::collection::btree_map(-5_000i64..5_000, any::<bool>(), 1..8).prop_map(|slots| {
            let slots = slots.into_iter().enumerate().map(|(index, (sign_from, revoked))| Slot {
                kid: format!("k{index}"),
                sign_from,
                revoked,
            });
            Schedule::new(slots.collect(), OVERLAP).unwrap()
        })
    }

    proptest! {
        #[test]
        fn whatever_signs_is_published_for_as_long_as_its_tokens_live(
            schedule in any_schedule(), signed_at in -6_000i64..6_000, age in 0..OVERLAP,
        ) {
            if let Some(kid) = schedule.signing(signed_at) {
                prop_assert!(schedule.published(signed_at + age).any(|published| published == kid));
            }
        }

        #[test]
        fn one_key_signs_once_the_first_has_begun(schedule in any_schedule(), now in -6_000i64..6_000) {
            let signing = schedule.states(now).filter(|(_, state)| *state == State::Signing).count();
            let begun = schedule.states(now).any(|(slot, _)| !slot.revoked && slot.sign_from <= now);
            prop_assert_eq!(signing, usize::from(begun));
        }

        #[test]
        fn nothing_changes_within_a_span(schedule in any_schedule(), now in -6_000i64..6_000, other in -6_000i64..6_000) {
            let span = schedule.span(now);
            prop_assert!(span.contains(&now));
            if span.contains(&other) {
                prop_assert_eq!(schedule.signing(now), schedule.signing(other));
                let published = |at| schedule.published(at).map(str::to_owned).collect::<Vec<_>>();
                prop_assert_eq!(published(now), published(other));
            }
        }

        #[test]
        fn no_moment_panics(schedule in any_schedule(), now in any::<i64>()) {
            let _ = (schedule.signing(now), schedule.published(now).count(), schedule.span(now));
        }
    }
}
