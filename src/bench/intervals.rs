//! A run cut into intervals: what changes while it lasts, and how much figures vary.

use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};

/// Intervals of a run at most: some kilobytes each, which are kept to its end.
pub const INTERVALS_MAX: u32 = 10_000;

/// The shortest interval: in less than this too little is answered for a percentile.
pub const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The longest interval that is taken where none is asked for.
const INTERVAL_DEFAULT_MAX: Duration = Duration::from_secs(1);

/// Intervals of a short run where none are asked for: enough to compare it with another.
const INTERVALS_DEFAULT: u32 = 20;

/// The length of the intervals of a run where none is asked for.
pub fn default_length(duration: Duration) -> Duration {
    (duration / INTERVALS_DEFAULT).clamp(INTERVAL_MIN, INTERVAL_DEFAULT_MAX).max(duration / INTERVALS_MAX)
}

/// What happened in one interval.
#[derive(Clone, Debug)]
pub struct Interval {
    /// From the start of the measurement to that of the interval.
    pub start: Duration,
    /// Shorter in the last interval of a run.
    pub length: Duration,
    /// Schedules answered in it.
    pub answered: u64,
    /// Latencies as in HdrHistogram's logs: a hundredth of their size in memory.
    packed: Vec<u8>,
}

impl Interval {
    /// Schedules answered a second.
    pub fn requests_per_second(&self) -> f64 {
        self.answered as f64 / self.length.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Latencies of the schedules answered in it, in nanoseconds from when each was due. The last interval also has
    /// those that were answered after the end.
    pub fn latency_ns(&self) -> Histogram<u64> {
        Deserializer::new().deserialize(&mut &self.packed[..]).expect("they were packed here")
    }

    /// Adds what other connections saw in the same interval.
    fn add(&mut self, other: &Self) {
        let mut latency_ns = self.latency_ns();
        latency_ns.add(other.latency_ns()).expect("all histograms have the same bounds");
        self.packed = pack(&latency_ns);
        self.answered += other.answered;
        self.length = self.length.max(other.length);
    }
}

fn pack(latency_ns: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(latency_ns, &mut bytes).expect("memory takes all, and no count reaches 2^63");
    bytes.shrink_to_fit();
    bytes
}

/// Adds what other connections saw in the same run.
pub fn add(intervals: &mut Vec<Interval>, mut other: Vec<Interval>) {
    let more = other.split_off(other.len().min(intervals.len()));
    intervals.iter_mut().zip(&other).for_each(|(interval, other)| interval.add(other));
    intervals.extend(more);
}

/// Sorts answers into intervals as they come. Times are nanoseconds after the start of the measurement, and never go
/// back.
#[derive(Clone, Debug)]
pub struct Recorder {
    length_ns: u64,
    closed: Vec<Interval>,
    /// The interval that is not over.
    start_ns: u64,
    answered: u64,
    latency_ns: Histogram<u64>,
}

impl Recorder {
    /// A recorder of intervals of this length, above 0. `empty` is a histogram with the bounds that all shall have.
    pub fn new(length: Duration, empty: Histogram<u64>) -> Self {
        let length_ns = length.as_nanos() as u64;
        Self { length_ns, closed: Vec::new(), start_ns: 0, answered: 0, latency_ns: empty }
    }

    /// Counts an answer.
    #[inline]
    pub fn count(&mut self, time_ns: u64) {
        self.advance(time_ns);
        self.answered += 1;
    }

    /// Records the latency of an answer.
    #[inline]
    pub fn record(&mut self, time_ns: u64, latency_ns: u64) {
        self.advance(time_ns);
        self.latency_ns.saturating_record(latency_ns);
    }

    #[inline]
    fn advance(&mut self, time_ns: u64) {
        while time_ns - self.start_ns >= self.length_ns {
            self.close(self.length_ns);
        }
    }

    /// Kept apart: it is rare.
    #[cold]
    fn close(&mut self, length_ns: u64) {
        self.closed.push(Interval {
            start: Duration::from_nanos(self.start_ns),
            length: Duration::from_nanos(length_ns),
            answered: std::mem::take(&mut self.answered),
            packed: pack(&self.latency_ns),
        });
        self.latency_ns.reset();
        self.start_ns += length_ns;
    }

    /// The intervals of a measurement that lasted so long, which nothing was recorded after.
    pub fn finish(mut self, elapsed: Duration) -> Vec<Interval> {
        let elapsed_ns = elapsed.as_nanos() as u64;
        if elapsed_ns > 0 {
            self.advance(elapsed_ns - 1);
            self.close(elapsed_ns - self.start_ns);
        }
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorder() -> Recorder {
        Recorder::new(Duration::from_nanos(100), Histogram::new_with_max(1 << 40, 3).unwrap())
    }

    fn figures(intervals: &[Interval]) -> Vec<(u128, u128, u64, u64)> {
        let figures = intervals.iter().map(|interval| {
            (interval.start.as_nanos(), interval.length.as_nanos(), interval.answered, interval.latency_ns().max())
        });
        figures.collect()
    }

    #[test]
    fn answers_are_sorted_by_time_and_a_stall_leaves_empty_intervals() {
        let mut recorder = recorder();
        for (time_ns, latency_ns) in [(0, 5), (99, 7), (100, 3), (420, 300)] {
            recorder.count(time_ns);
            recorder.record(time_ns, latency_ns);
        }
        let expected = [(0, 100, 2, 7), (100, 100, 1, 3), (200, 100, 0, 0), (300, 100, 0, 0), (400, 50, 1, 300)];
        assert_eq!(figures(&recorder.finish(Duration::from_nanos(450))), expected);
    }

    #[test]
    fn the_last_interval_ends_with_the_measurement() {
        for (elapsed_ns, lengths) in [(0, &[][..]), (1, &[1]), (100, &[100]), (101, &[100, 1]), (300, &[100, 100, 100])]
        {
            let intervals = recorder().finish(Duration::from_nanos(elapsed_ns));
            assert_eq!(intervals.iter().map(|interval| interval.length.as_nanos()).collect::<Vec<_>>(), lengths);
        }
    }

    #[test]
    fn intervals_of_several_threads_are_added() {
        let record = |latencies_ns: &[u64], elapsed_ns| {
            let mut recorder = recorder();
            for (number, latency_ns) in latencies_ns.iter().enumerate() {
                recorder.count(100 * number as u64);
                recorder.record(100 * number as u64, *latency_ns);
            }
            recorder.finish(Duration::from_nanos(elapsed_ns))
        };
        let expected = [(0, 100, 2, 9), (100, 100, 2, 8), (200, 30, 1, 6)];
        for (one, other) in [((&[1, 8][..], 150), (&[9, 2, 6][..], 230)), ((&[9, 2, 6], 230), (&[1, 8], 150))] {
            let mut intervals = record(one.0, one.1);
            add(&mut intervals, record(other.0, other.1));
            assert_eq!(figures(&intervals), expected);
        }
    }

    #[test]
    fn the_default_length_suits_the_run() {
        for (duration, length) in [
            (Duration::from_millis(20), INTERVAL_MIN),
            (Duration::from_secs(5), Duration::from_millis(250)),
            (Duration::from_secs(60), Duration::from_secs(1)),
            (Duration::from_secs(100_000), Duration::from_secs(10)),
        ] {
            assert_eq!(default_length(duration), length);
        }
    }
}
