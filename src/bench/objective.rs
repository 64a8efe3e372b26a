//! What latencies should be: objectives like `p99=50us`.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// A percentile of the latencies and what it may be at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Objective {
    /// Above 0, at most 100.
    pub percentile: f64,
    pub limit: Duration,
}

/// An objective, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    pub objective: Objective,
    /// The percentile that was measured; none where nothing was answered.
    pub measured: Option<Duration>,
}

impl Objective {
    /// Looks the percentile up.
    pub fn outcome(self, latency_ns: &Histogram<u64>) -> Outcome {
        let measured = || Duration::from_nanos(latency_ns.value_at_percentile(self.percentile));
        Outcome { objective: self, measured: (!latency_ns.is_empty()).then(measured) }
    }
}

impl Outcome {
    /// Whether the percentile is at most what it may be. Where nothing was answered, nothing is met.
    pub fn is_met(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.objective.limit)
    }

    /// The outcome in a line.
    pub fn line(&self) -> String {
        let Self { objective: Objective { percentile, limit }, measured } = self;
        let verdict = if self.is_met() { "met" } else { "missed" };
        match measured {
            Some(measured) => format!("p{percentile} at most {limit:?}: {verdict} with {measured:?}"),
            None => format!("p{percentile} at most {limit:?}: {verdict}, nothing was answered"),
        }
    }

    /// The outcome as JSON.
    pub fn json(&self) -> Value {
        json!({
            "percentile": self.objective.percentile,
            "limit_ns": self.objective.limit.as_nanos() as u64,
            "measured_ns": self.measured.map(|measured| measured.as_nanos() as u64),
            "met": self.is_met(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objective_is_met_up_to_its_limit() {
        let mut latency_ns = Histogram::<u64>::new(3).unwrap();
        let objective = |percentile, limit_ns| Objective { percentile, limit: Duration::from_nanos(limit_ns) };
        assert!(!objective(50.0, 1_000).outcome(&latency_ns).is_met(), "nothing was answered");
        (1..=1_000).for_each(|value_ns| latency_ns.record(value_ns).unwrap());
        for (percentile, limit_ns, met) in
            [(50.0, 500, true), (50.0, 499, false), (75.0, 750, true), (75.0, 749, false), (100.0, 1_000, true)]
        {
            let outcome = objective(percentile, limit_ns).outcome(&latency_ns);
            assert_eq!(outcome.is_met(), met, "{}", outcome.line());
            assert_eq!(outcome.json()["met"], met);
        }
    }

    #[test]
    fn lines_say_what_came_of_it() {
        let mut latency_ns = Histogram::<u64>::new(3).unwrap();
        let objective = Objective { percentile: 99.9, limit: Duration::from_micros(50) };
        assert_eq!(objective.outcome(&latency_ns).line(), "p99.9 at most 50µs: missed, nothing was answered");
        latency_ns.record(1_500).unwrap();
        assert_eq!(objective.outcome(&latency_ns).line(), "p99.9 at most 50µs: met with 1.5µs");
    }
}
