//! Medians and their spread. A few rounds on a shared machine: the middle is what to believe, the ends say how much.

use serde::Serialize;

/// A quantity over several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// Median absolute deviation from the median.
    pub mad: f64,
}

impl Spread {
    /// `None` of no values at all.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let median = middle(&values);
        let mut deviations: Vec<_> = values.iter().map(|value| (value - median).abs()).collect();
        deviations.sort_by(f64::total_cmp);
        Some(Self { median, min, max, mad: middle(&deviations) })
    }
}

/// How much one quantity is of another, when both come from the same rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// Of the two medians. Not the median of the ratios: what a filter costs is a small difference of large numbers,
    /// and one round in which the smaller comes near zero would say anything.
    pub value: f64,
    /// The least and the most that it would be without one of the rounds.
    pub low: f64,
    pub high: f64,
    /// Whether another run can be expected to say about the same.
    pub steady: bool,
}

/// A ratio is steady if nothing of what is known of its error is more than this part of it.
const STEADY: f64 = 0.1;
/// Fewer rounds say nothing of how they scatter.
const ENOUGH_ROUNDS: usize = 5;

impl Ratio {
    /// `None` of no rounds. Each pair is of one round.
    pub fn of(rounds: &[(f64, f64)]) -> Option<Self> {
        let value = median_ratio(rounds.iter().copied())?;
        let without = |left_out: usize| {
            rounds.iter().enumerate().filter(move |(at, _)| *at != left_out).map(|(_, pair)| *pair)
        };
        let (mut low, mut high) = (value, value);
        for other in (0..rounds.len()).filter_map(|left_out| median_ratio(without(left_out))) {
            low = low.min(other);
            high = high.max(other);
        }
        let steady = rounds.len() >= ENOUGH_ROUNDS
            && (high - value).max(value - low) <= STEADY * value
            && scatter(rounds)? <= STEADY;
        Some(Self { value, low, high, steady })
    }
}

fn median_ratio(rounds: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let of = Spread::of(rounds.clone().map(|(of, _)| of))?.median;
    Some(of / Spread::of(rounds.map(|(_, to)| to))?.median)
}

/// The standard error of the ratio of two medians, as a part of it.
fn scatter(rounds: &[(f64, f64)]) -> Option<f64> {
    // Of a normal distribution: the standard deviation is 1.4826 median absolute deviations, and the median of n
    // values has 1.2533 times the standard error of their mean.
    let error =
        |Spread { median, mad, .. }: Spread| 1.2533 * 1.4826 * mad / (rounds.len() as f64).sqrt() / median;
    let of = Spread::of(rounds.iter().map(|(of, _)| *of))?;
    let to = Spread::of(rounds.iter().map(|(_, to)| *to))?;
    Some(error(of).hypot(error(to)))
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { (sorted[half - 1] + sorted[half]) / 2.0 } else { sorted[half] }
}

/// The slope of the line that fits `points` best (least squares); zero if they all have one x.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let along: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let across: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if across > 0.0 { along / across } else { 0.0 }
}

/// How a quantity is spread over many trials.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Percentiles {
    /// `None` of no values at all.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        // The least value that so many of them do not exceed.
        let percentile = |percent: usize| values[(values.len() * percent).div_ceil(100).max(1) - 1];
        Some(Self { p50: percentile(50), p95: percentile(95), p99: percentile(99), max: values[last] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wild_round_moves_neither_median_nor_mad_far() {
        let spread = Spread::of([10.0, 11.0, 90.0, 12.0, 10.0]).unwrap();
        assert_eq!(spread, Spread { median: 11.0, min: 10.0, max: 90.0, mad: 1.0 });
        assert_eq!(Spread::of([2.0, 4.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_round_that_was_disturbed_shows_in_the_range_and_not_in_the_ratio() {
        let ratio = Ratio::of(&[(2.0, 4.0), (2.0, 4.0), (2.0, 0.1)]).unwrap();
        assert_eq!((ratio.value, ratio.low), (0.5, 0.5));
        assert!(ratio.high > 0.9, "{ratio:?}");
        assert_eq!(Ratio::of(&[]), None);
    }

    #[test]
    fn a_ratio_is_called_steady_only_if_its_rounds_agree() {
        let steady = |rounds: &[(f64, f64)]| Ratio::of(rounds).unwrap().steady;
        let alike: Vec<_> = (0..10).map(|round| (3.0 + 0.02 * f64::from(round % 5), 4.0)).collect();
        assert!(steady(&alike));
        assert!(!steady(&alike[..4]), "too few");
        let scattered: Vec<_> = (0..10).map(|round| (3.0 + 0.9 * f64::from(round % 5), 4.0)).collect();
        assert!(!steady(&scattered));
        // Two groups, and no round between them: the median is anywhere.
        assert!(!steady(&[(2.0, 4.0), (2.0, 4.0), (2.0, 4.0), (3.0, 4.0), (3.0, 4.0)]));
        assert!(!steady(&[(0.0, 4.0); 10]) && !steady(&[(2.0, 0.0); 10]));
    }

    #[test]
    fn a_percentile_is_a_value_that_was_seen() {
        let of = |count: u32| Percentiles::of((1..=count).rev().map(f64::from)).unwrap();
        assert_eq!(of(200), Percentiles { p50: 100.0, p95: 190.0, p99: 198.0, max: 200.0 });
        assert_eq!(of(1), Percentiles { p50: 1.0, p95: 1.0, p99: 1.0, max: 1.0 });
        assert_eq!(Percentiles::of([]), None);
    }

    #[test]
    fn a_steady_series_has_no_slope() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)]), 0.0);
        assert_eq!(slope(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope(&[(1.0, 1.0)]), 0.0);
    }
}
