//! A ramp: the same load at ever higher rates, and the knee beyond which it is too much.

use serde_json::{Value, json};

use super::measurement::Measurement;

/// Share of the offered rate that must be achieved up to the knee. What is missing is less than what a run's end cuts off.
const ACHIEVED_SHARE_MIN: f64 = 0.99;

/// Up to the knee p99 is less than this multiple of p99 at the lowest rate. In the simplest queue (M/M/1) times are five
/// times those of an idle server at 80 % of full load, and rise ever faster from there.
const P99_FACTOR_MAX: f64 = 5.0;

/// Where a request's lag is at least this share of its latency, the wait was before it was sent.
const LAG_SHARE_MIN: f64 = 0.5;

/// So many rates from the lowest to the highest, each by the same factor above the one before.
pub fn rates(from: f64, to: f64, steps: usize) -> Vec<f64> {
    let intervals = steps.saturating_sub(1).max(1) as f64;
    (0..steps).map(|step| from * (to / from).powf(step as f64 / intervals)).collect()
}

/// One rate of a ramp.
#[derive(Clone, Debug)]
pub struct Step {
    /// Schedules a second that were due.
    pub offered: f64,
    pub measurement: Measurement,
}

/// What keeps a step from keeping up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Connections had as many requests in flight as they may: replies came too slowly.
    Replies,
    /// Requests left late although their connections had room.
    Generator,
    /// All were sent in time and answered, but waited for one another.
    Queueing,
}

impl Limit {
    /// What was the limit, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Replies => {
                "the server, or the way to it: requests were held back until replies made room in the pipeline"
            }
            Self::Generator => {
                "the generator, not the server: requests left late although there was room for them (see --threads, and \
                 give it a core of its own)"
            }
            Self::Queueing => "the server, or the way to it: requests left in time and waited for one another there",
        }
    }
}

impl Step {
    fn p99_ns(&self) -> f64 {
        self.measurement.latency_ns.value_at_percentile(99.0) as f64
    }

    /// Whether nearly all of what was offered was achieved, at a p99 near that of the lowest step.
    fn keeps_up(&self, lowest: &Step) -> bool {
        let achieved = self.measurement.requests_per_second();
        achieved >= ACHIEVED_SHARE_MIN * self.offered && self.p99_ns() < P99_FACTOR_MAX * lowest.p99_ns()
    }

    fn limit(&self) -> Limit {
        if self.measurement.held_back > 0 {
            Limit::Replies
        } else if self.measurement.lag_ns.value_at_percentile(99.0) as f64 >= LAG_SHARE_MIN * self.p99_ns() {
            Limit::Generator
        } else {
            Limit::Queueing
        }
    }
}

/// Where the knee of a ramp is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Knee {
    /// The highest rate that was kept up with.
    pub offered: Option<f64>,
    /// What was the limit at the next step; none where there is none.
    pub limit: Option<Limit>,
}

impl Knee {
    /// The knee of steps at rising rates.
    pub fn of(steps: &[Step]) -> Self {
        let last = steps.iter().rposition(|step| step.keeps_up(&steps[0]));
        let next = last.map_or(0, |last| last + 1);
        Self { offered: last.map(|last| steps[last].offered), limit: steps.get(next).map(Step::limit) }
    }

    /// The knee in words.
    pub fn words(&self) -> String {
        let rule = format!(
            "achieved at least {:.0} % of what was offered, p99 below {P99_FACTOR_MAX} times that of the lowest rate",
            ACHIEVED_SHARE_MIN * 100.0
        );
        match (self.offered, self.limit) {
            (Some(offered), Some(limit)) => format!("knee at {offered:.0}/s ({rule}); beyond, {}", limit.words()),
            (Some(offered), None) => format!("no knee up to {offered:.0}/s ({rule}): try higher rates"),
            (None, limit) => {
                format!(
                    "no rate was kept up with ({rule}): try lower ones. The limit was {}",
                    limit.map_or("", Limit::words)
                )
            }
        }
    }

    /// The knee as JSON.
    pub fn json(&self) -> Value {
        json!({
            "rate": self.offered,
            "limit": self.limit.map(Limit::words),
            "achieved_share_min": ACHIEVED_SHARE_MIN,
            "p99_factor_max": P99_FACTOR_MAX,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::measurement::Recording;

    /// A step of one second with its achieved share, and p99 and lag in microseconds.
    fn step(offered: f64, share: f64, p99_us: u64, lag_us: u64, held_back: u64) -> Step {
        let mut measurement = Recording::new(Duration::from_secs(1), 1).finish();
        measurement.elapsed = Duration::from_secs(1);
        measurement.schedules = (offered * share).round() as u64;
        measurement.latency_ns.record(p99_us * 1_000).unwrap();
        measurement.lag_ns.record(lag_us * 1_000).unwrap();
        measurement.held_back = held_back;
        Step { offered, measurement }
    }

    #[test]
    fn rates_rise_by_a_factor() {
        for (steps, expected) in
            [(1, &[1_000.0][..]), (2, &[1_000.0, 8_000.0]), (4, &[1_000.0, 2_000.0, 4_000.0, 8_000.0])]
        {
            let rates = rates(1_000.0, 8_000.0, steps);
            assert_eq!(rates.len(), expected.len());
            assert!(rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-6), "{rates:?}");
        }
    }

    #[test]
    fn the_knee_is_the_highest_step_that_keeps_up() {
        let good = |offered| step(offered, 1.0, 100, 1, 0);
        let cases = [
            (vec![good(1e3), good(2e3), step(4e3, 0.98, 100, 1, 7)], Some(2e3), Some(Limit::Replies)),
            (vec![good(1e3), good(2e3), step(4e3, 0.98, 100, 60, 0)], Some(2e3), Some(Limit::Generator)),
            (vec![good(1e3), step(2e3, 1.0, 500, 1, 0)], Some(1e3), Some(Limit::Queueing)),
            (vec![good(1e3), step(2e3, 1.0, 490, 1, 0)], Some(2e3), None),
            // One bad step between good ones was bad luck.
            (vec![good(1e3), step(2e3, 0.5, 900, 1, 0), good(4e3)], Some(4e3), None),
            (vec![step(1e3, 0.5, 100, 1, 9)], None, Some(Limit::Replies)),
        ];
        for (steps, offered, limit) in cases {
            let knee = Knee::of(&steps);
            assert_eq!(knee, Knee { offered, limit }, "{}", knee.words());
        }
    }
}
