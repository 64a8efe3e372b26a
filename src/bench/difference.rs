//! What differs between two results, and what is only noise.
//!
//! The intervals of a run repeat its measurement, so that they tell how much a figure varies by itself. A figure is
//! better or worse where the rank test of Mann and Whitney ("On a test of whether one of two random variables is
//! stochastically larger than the other", 1947) finds its intervals of one run above those of the other, and where the
//! medians differ by more than a trifle. The test needs no normal distribution, which latencies do not have. It knows
//! nothing of what changes between runs, like where a program lies in memory: a run repeated shows that.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// How far in standard deviations the rank sum must be from the expected one: 1 % of runs alike are called different.
const DEVIATIONS_MIN: f64 = 2.576;

/// Relative difference of medians below which a figure is the same to any user, however surely it differs.
const DIFFERENCE_MIN: f64 = 0.02;

/// Intervals of each run at least: with fewer the normal approximation of the rank sum does not hold.
const INTERVALS_MIN: usize = 8;

/// What is compared: a name, how it is found in an interval, whether more of it is better, and its unit in parts of the
/// one in the JSON.
const FIGURES: [(&str, &str, bool, f64); 5] = [
    ("p50 µs", "/latency_ns/p50", false, 1e3),
    ("p99 µs", "/latency_ns/p99", false, 1e3),
    ("p99.9 µs", "/latency_ns/p99_9", false, 1e3),
    ("max µs", "/latency_ns/max", false, 1e3),
    ("requests/s", "/requests_per_second", true, 1.0),
];

/// What of a result is compared.
#[derive(Clone, Debug)]
pub struct Run {
    /// Of each figure, its values in the intervals.
    figures: [Vec<f64>; FIGURES.len()],
    configuration: Value,
    errors: u64,
}

impl Run {
    /// Reads the JSON of one measurement. Intervals that were cut short or had no answer do not count.
    ///
    /// # Errors
    /// What is missing there.
    pub fn parse(result: &Value) -> Result<Self, String> {
        let length = result.pointer("/configuration/interval_seconds").and_then(Value::as_f64);
        let intervals = result["intervals"].as_array();
        let (Some(length), Some(intervals)) = (length, intervals) else {
            return Err("no result of one measurement with intervals".to_owned());
        };
        let is_whole = |interval: &&Value| {
            let number = |pointer| interval.pointer(pointer).and_then(Value::as_f64).unwrap_or(0.0);
            number("/seconds") >= length * (1.0 - 1e-6) && number("/latency_ns/count") > 0.0
        };
        let whole: Vec<&Value> = intervals.iter().filter(is_whole).collect();
        if whole.len() < INTERVALS_MIN {
            return Err(format!("{} whole intervals with answers: {INTERVALS_MIN} are needed", whole.len()));
        }
        let mut figures = <[Vec<f64>; FIGURES.len()]>::default();
        for (values, (name, pointer, _, unit)) in figures.iter_mut().zip(FIGURES) {
            let numbers = whole.iter().map(|interval| interval.pointer(pointer).and_then(Value::as_f64));
            let numbers: Option<Vec<f64>> = numbers.collect();
            *values = numbers.ok_or_else(|| format!("an interval without {name}"))?;
            values.iter_mut().for_each(|value| *value /= unit);
        }
        let errors = result["errors"].as_u64().unwrap_or(0);
        Ok(Self { figures, configuration: result["configuration"].clone(), errors })
    }
}

/// What a difference means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Better,
    Worse,
    Noise,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Noise => "noise",
        }
    }

    fn of(first: &[f64], second: &[f64], more_is_better: bool) -> Self {
        let (first_median, second_median) = (median(first), median(second));
        let is_small = (second_median - first_median).abs() < DIFFERENCE_MIN * first_median.abs();
        let deviations = deviations(first, second);
        if is_small || deviations.abs() < DEVIATIONS_MIN {
            Self::Noise
        } else if (deviations > 0.0) == more_is_better {
            Self::Better
        } else {
            Self::Worse
        }
    }
}

/// By how many standard deviations the ranks of the second values are above what they would be if both were alike:
/// Mann-Whitney's U by its normal approximation, with the correction for ties.
fn deviations(first: &[f64], second: &[f64]) -> f64 {
    let mut values: Vec<(f64, bool)> = first.iter().map(|value| (*value, false)).collect();
    values.extend(second.iter().map(|value| (*value, true)));
    values.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (mut rank_sum, mut ties, mut before) = (0.0, 0.0, 0.0);
    for tied in values.chunk_by(|one, other| one.0 == other.0) {
        let count = tied.len() as f64;
        let rank = before + (count + 1.0) / 2.0;
        rank_sum += rank * tied.iter().filter(|(_, is_second)| *is_second).count() as f64;
        ties += count * count * count - count;
        before += count;
    }
    let (n, m) = (first.len() as f64, second.len() as f64);
    let all = n + m;
    let variance = n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)));
    let difference = rank_sum - m * (m + 1.0) / 2.0 - n * m / 2.0;
    if variance > 0.0 { difference / variance.sqrt() } else { 0.0 }
}

/// The middle of some figures, at least one.
pub fn median(figures: &[f64]) -> f64 {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 }
}

/// Two runs, and what became of the first's figures in the second.
#[derive(Clone, Debug)]
pub struct Difference {
    first: Run,
    second: Run,
}

impl Difference {
    pub fn of(first: Run, second: Run) -> Self {
        Self { first, second }
    }

    fn rows(&self) -> impl Iterator<Item = (&'static str, f64, f64, Verdict)> {
        FIGURES.into_iter().zip(self.first.figures.iter().zip(&self.second.figures)).map(
            |((name, _, more_is_better, _), (first, second))| {
                (name, median(first), median(second), Verdict::of(first, second, more_is_better))
            },
        )
    }

    /// The parts of the configuration that differ: name, first, second.
    fn configurations(&self) -> Vec<(&str, &Value, &Value)> {
        let (first, second) = (&self.first.configuration, &self.second.configuration);
        let names = [first, second].into_iter().filter_map(Value::as_object).flat_map(|fields| fields.keys());
        let mut differing: Vec<_> = names.map(|name| (name.as_str(), &first[name], &second[name])).collect();
        differing.retain(|(_, first, second)| first != second);
        differing.sort_by_key(|(name, ..)| *name);
        differing.dedup_by_key(|(name, ..)| *name);
        differing
    }

    /// The difference as a table.
    pub fn table(&self) -> String {
        let mut text = format!(
            "medians of {} and {} intervals\n{:<12}{:>12}{:>12}{:>10}  verdict\n",
            self.first.figures[0].len(),
            self.second.figures[0].len(),
            "",
            "first",
            "second",
            "change"
        );
        for (name, first, second, verdict) in self.rows() {
            let change = format!("{:+.1} %", 100.0 * (second / first - 1.0));
            // Writing to a string does not fail.
            _ = writeln!(text, "{name:<12}{first:>12.1}{second:>12.1}{change:>10}  {}", verdict.name());
        }
        for (name, first, second) in self.configurations() {
            _ = writeln!(text, "not measured alike: {name} was {first}, then {second}");
        }
        for (which, run) in [("first", &self.first), ("second", &self.second)] {
            if run.errors > 0 {
                _ = writeln!(text, "the {which} has {} errors: its figures mean little", run.errors);
            }
        }
        text
    }

    /// The difference as JSON.
    pub fn json(&self) -> Value {
        let figures = self.rows().map(|(name, first, second, verdict)| {
            json!({ "figure": name, "first": first, "second": second, "verdict": verdict.name() })
        });
        let configurations = self.configurations().into_iter();
        json!({
            "figures": figures.collect::<Vec<_>>(),
            "configuration_differs_in": configurations.map(|(name, ..)| name).collect::<Vec<_>>(),
            "errors": { "first": self.first.errors, "second": self.second.errors },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn the_rank_test_agrees_with_figures_worked_by_hand() {
        // Ranks of the second: 5 to 8. U = 16 of 16, variance 4 * 4 * 9 / 12.
        assert_eq!(deviations(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]), 8.0 / 12f64.sqrt());
        assert_eq!(deviations(&[5.0, 6.0, 7.0, 8.0], &[1.0, 2.0, 3.0, 4.0]), -8.0 / 12f64.sqrt());
        // All tied: nothing is known.
        assert_eq!(deviations(&[2.0; 9], &[2.0; 9]), 0.0);
        // Ranks 1, 2.5 and 2.5, 4; one tie of two. U = 3.5, variance 4 / 12 * (5 - 6 / 12).
        assert!((deviations(&[1.0, 2.0], &[2.0, 3.0]) - 1.5 / (4.5f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn verdicts_need_a_difference_that_is_sure_and_matters() {
        let around = |middle: f64, spread: f64| -> Vec<f64> {
            (0..20).map(|number| middle + spread * (f64::from(number % 7) - 3.0)).collect()
        };
        let cases = [
            ("clearly more", around(100.0, 1.0), around(150.0, 1.0), Verdict::Worse),
            ("clearly less", around(100.0, 1.0), around(50.0, 1.0), Verdict::Better),
            ("the same", around(100.0, 1.0), around(100.0, 1.0), Verdict::Noise),
            ("sure, but nothing that matters", around(100.0, 0.01), around(101.0, 0.01), Verdict::Noise),
            ("more, but within the spread", around(100.0, 30.0), around(105.0, 30.0), Verdict::Noise),
        ];
        for (name, first, second, verdict) in cases {
            assert_eq!(Verdict::of(&first, &second, false), verdict, "{name}");
            let opposite = match verdict {
                Verdict::Better => Verdict::Worse,
                Verdict::Worse => Verdict::Better,
                Verdict::Noise => Verdict::Noise,
            };
            assert_eq!(Verdict::of(&first, &second, true), opposite, "{name}");
        }
    }

    #[test]
    fn runs_alike_are_seldom_called_different() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values = || -> Vec<f64> { (0..20).map(|_| random.f64() + 0.1).collect() };
        let different = (0..2_000).filter(|_| Verdict::of(&values(), &values(), false) != Verdict::Noise).count();
        // 1 % of them, 20, with a standard deviation of 4.5.
        assert!((1..60).contains(&different), "{different} of 2000");
    }
}
