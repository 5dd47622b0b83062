//! Held against ed25519-dalek's `verify_strict`, case by case: the plain equation and the tables both.
//! Millions of cases: `COUNTERSIGN_CASES=2000000 cargo test -p countersign-claims --test differential`.

mod corpus;

use std::collections::BTreeMap;

use corpus::{BothWays, Case, Kind};
use ed25519_dalek::Verifier;

fn strict(case: &Case) -> bool {
    ed25519_dalek::VerifyingKey::from_bytes(&case.public)
        .is_ok_and(|key| key.verify_strict(&case.message, &case.signature.into()).is_ok())
}

#[test]
fn the_small_order_cases_hold_for_who_does_not_look() {
    let lax = |case: &Case| {
        ed25519_dalek::VerifyingKey::from_bytes(&case.public)
            .is_ok_and(|key| key.verify(&case.message, &case.signature.into()).is_ok())
    };
    let cases = (0..5_000).map(corpus::case).filter(|(kind, _)| *kind == Kind::SmallOrder);
    assert!(cases.filter(|(_, case)| lax(case)).count() > 20);
}

/// Cases of a kind: accepted, refused, and decided by a table.
type Tally = BTreeMap<Kind, [u64; 3]>;

fn compare(numbers: impl Iterator<Item = u64>) -> Tally {
    let mut ours = BothWays::default();
    let mut tally = Tally::new();
    for number in numbers {
        let (kind, case) = corpus::case(number);
        let strict = strict(&case);
        let (plain, by_table) = ours.decide(number);
        assert_eq!(plain, strict, "case {number}, {kind:?}");
        assert_eq!(by_table.unwrap_or(strict), strict, "case {number}, {kind:?}, by table");
        let [accepted, refused, tables] = tally.entry(kind).or_default();
        *if strict { accepted } else { refused } += 1;
        *tables += u64::from(by_table.is_some());
    }
    tally
}

#[test]
fn decides_as_verify_strict_does_with_and_without_a_table() {
    let count = corpus::count(20_000);
    let halves = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || compare((half..count).step_by(2))));
        halves.map(|half| half.join().unwrap())
    });
    for kind in Kind::ALL {
        let [accepted, refused, tables] =
            [0, 1, 2].map(|i| halves.iter().map(|half| half[&kind][i]).sum::<u64>());
        println!("{kind:?}: {accepted} accepted, {refused} refused, {tables} by a table too");
        match kind {
            Kind::Honest | Kind::TorsionThatCancels => assert_eq!(refused, 0, "{kind:?}"),
            Kind::Torsion => assert!(accepted > 0 && refused > 0),
            _ => assert_eq!(accepted, 0, "{kind:?}"),
        }
        assert!(tables > 0 || kind == Kind::NotCanonical, "{kind:?}");
    }
}
