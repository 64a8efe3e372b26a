//! What the machine itself stalls, without any server: a loop that does nothing but look at the clock, like
//! `redis-cli --intrinsic-latency`.
//!
//! A gap between two looks is time in which nothing of ours ran: interrupts, other programs, a hypervisor that gave the
//! core to another guest. No server on this machine can promise less than that.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::generator::Progress;
use super::measurement::{empty_histogram, nanoseconds};
use super::report;

/// Gaps are counted from these lengths on.
const LIMITS: [Duration; 5] = [
    Duration::from_micros(1),
    Duration::from_micros(10),
    Duration::from_micros(100),
    Duration::from_millis(1),
    Duration::from_millis(10),
];

/// Looks at the clock between two tellings of the progress, which is not counted as a gap: about a tenth of a second.
const LOOKS: u32 = 2_000_000;

/// Gaps between looks at the clock.
#[derive(Clone, Debug)]
pub struct Gaps {
    gaps_ns: Histogram<u64>,
    elapsed: Duration,
}

/// Looks at the clock for so long.
pub fn run(duration: Duration, progress: Progress<'_>) -> Gaps {
    let mut gaps_ns = empty_histogram();
    let start = Instant::now();
    while start.elapsed() < duration {
        progress(start.elapsed().as_secs_f64() / duration.as_secs_f64());
        let mut last = Instant::now();
        for _ in 0..LOOKS {
            let now = Instant::now();
            gaps_ns.saturating_record(nanoseconds(now - last));
            last = now;
            if now - start >= duration {
                break;
            }
        }
    }
    Gaps { gaps_ns, elapsed: start.elapsed() }
}

impl Gaps {
    /// How many gaps are at least so long, and the share of the time that they take.
    fn at_least(&self, limit: Duration) -> (u64, f64) {
        let limit_ns = nanoseconds(limit);
        let mut gaps = (0, 0.0);
        for step in self.gaps_ns.iter_recorded().filter(|step| step.value_iterated_to() >= limit_ns) {
            gaps.0 += step.count_at_value();
            gaps.1 += step.count_at_value() as f64 * step.value_iterated_to() as f64;
        }
        (gaps.0, gaps.1 / nanoseconds(self.elapsed).max(1) as f64)
    }

    /// The gaps as a table.
    pub fn table(&self) -> String {
        let seconds = self.elapsed.as_secs_f64();
        let mut text = format!("looked at the clock for {seconds:.2} s, {} times\n", self.gaps_ns.len());
        text.push_str("gaps of at least     count  a second  share of the time\n");
        for limit in LIMITS {
            let (count, share) = self.at_least(limit);
            let limit = format!("{limit:?}");
            // Writing to a string does not fail.
            _ = writeln!(text, "{limit:<14}{count:>12}{:>10.1}{:>17.4} %", count as f64 / seconds, 100.0 * share);
        }
        _ = writeln!(
            text,
            "longest {} µs: no server on this machine can promise its clients less",
            report::microseconds(self.gaps_ns.max() as f64)
        );
        text
    }

    /// The gaps as JSON.
    pub fn json(&self) -> Value {
        let counts = LIMITS.map(|limit| {
            let (count, share) = self.at_least(limit);
            json!({ "at_least_ns": nanoseconds(limit), "count": count, "share": share })
        });
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seconds": self.elapsed.as_secs_f64(),
            "gap_ns": report::histogram(&self.gaps_ns),
            "gaps": counts,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_counted_from_their_limit_on() {
        let mut gaps_ns = empty_histogram();
        for gap_ns in [20, 20, 2_000, 50_000, 2_000_000] {
            gaps_ns.record(gap_ns).unwrap();
        }
        let gaps = Gaps { gaps_ns, elapsed: Duration::from_millis(10) };
        assert_eq!(LIMITS.map(|limit| gaps.at_least(limit).0), [3, 2, 1, 1, 0]);
        let (_, share) = gaps.at_least(Duration::from_millis(1));
        assert!((share - 0.2).abs() < 1e-3, "{share}");
        assert!(gaps.table().contains("longest 20"), "{}", gaps.table());
    }
}
