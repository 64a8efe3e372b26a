//! What a run has measured.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;

use super::client::Answered;
use super::intervals::{self, Interval, Recorder};
use super::workload::{Operation, WrongReply};

/// What went wrong in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Wrong replies, by kind.
    pub kind: u64,
    pub unknown_node: u64,
    pub does_not_fit: u64,
    pub refused_though_feasible: u64,
    pub breaks_strategy: u64,
    /// Requests without a reply some seconds after the run ended, or when their connection was lost.
    pub unanswered: u64,
    /// Connections lost.
    pub connections_lost: u64,
    /// The first error in words.
    pub first: Option<String>,
}

impl Errors {
    /// All errors together.
    pub fn total(&self) -> u64 {
        self.kind
            + self.unknown_node
            + self.does_not_fit
            + self.refused_though_feasible
            + self.breaks_strategy
            + self.unanswered
            + self.connections_lost
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Errors) {
        self.kind += other.kind;
        self.unknown_node += other.unknown_node;
        self.does_not_fit += other.does_not_fit;
        self.refused_though_feasible += other.refused_though_feasible;
        self.breaks_strategy += other.breaks_strategy;
        self.unanswered += other.unanswered;
        self.connections_lost += other.connections_lost;
        self.first = self.first.take().or_else(|| other.first.clone());
    }

    fn wrong_reply(&mut self, wrong: WrongReply, operation: &Operation) {
        *match wrong {
            WrongReply::Kind => &mut self.kind,
            WrongReply::UnknownNode => &mut self.unknown_node,
            WrongReply::DoesNotFit => &mut self.does_not_fit,
            WrongReply::RefusedThoughFeasible => &mut self.refused_though_feasible,
            WrongReply::BreaksStrategy => &mut self.breaks_strategy,
        } += 1;
        self.first.get_or_insert_with(|| format!("wrong reply ({wrong:?}) to {operation:?}"));
    }
}

/// What a run has measured. Latencies in nanoseconds.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Of schedules, from when each was due. In a closed loop that is when it was sent.
    pub latency_ns: Histogram<u64>,
    /// Of schedules, from when each was sent.
    pub uncorrected_ns: Histogram<u64>,
    /// How much later than due schedules were sent.
    pub lag_ns: Histogram<u64>,
    /// Schedules answered in the measured time.
    pub schedules: u64,
    /// Requests of all kinds answered in the measured time.
    pub messages: u64,
    /// Schedules sent in the measured time that had waited for their connection to have fewer in flight.
    pub held_back: u64,
    /// When the measurement began, after the warm-up.
    pub started: SystemTime,
    /// The measured time.
    pub elapsed: Duration,
    /// The measured time in parts, without gaps.
    pub intervals: Vec<Interval>,
    /// The 99th percentile of each connection's latencies, in ascending order, to 1 %; of those that had any.
    pub connections_p99_ns: Vec<u64>,
    pub errors: Errors,
}

/// How unequally connections are served. Latencies in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fairness {
    /// The 99th percentile of the connection in the middle.
    pub median_p99_ns: u64,
    /// That of the connection where it is the highest.
    pub worst_p99_ns: u64,
}

impl Fairness {
    /// How much higher the worst is.
    pub fn ratio(self) -> f64 {
        self.worst_p99_ns as f64 / self.median_p99_ns.max(1) as f64
    }
}

/// Significant digits of the histograms.
const DIGITS: u8 = 3;

/// Significant digits of a single connection's.
const CONNECTION_DIGITS: u8 = 2;

/// The longest latency that is told from longer ones: more than a run may last.
const LATENCY_MAX_NS: u64 = 100 * 3600 * 1_000_000_000;

/// An empty histogram of latencies in nanoseconds. All have the same bounds.
pub fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENCY_MAX_NS, DIGITS).expect("bounds and digits are constants")
}

impl Measurement {
    fn new() -> Self {
        Self {
            latency_ns: empty_histogram(),
            uncorrected_ns: empty_histogram(),
            lag_ns: empty_histogram(),
            schedules: 0,
            messages: 0,
            held_back: 0,
            started: SystemTime::now(),
            elapsed: Duration::ZERO,
            intervals: Vec::new(),
            connections_p99_ns: Vec::new(),
            errors: Errors::default(),
        }
    }

    /// Adds what other connections measured at the same time.
    pub fn add(&mut self, other: Measurement) {
        let histograms = [
            (&mut self.latency_ns, &other.latency_ns),
            (&mut self.uncorrected_ns, &other.uncorrected_ns),
            (&mut self.lag_ns, &other.lag_ns),
        ];
        for (histogram, other) in histograms {
            histogram.add(other).expect("all histograms have the same bounds");
        }
        self.schedules += other.schedules;
        self.messages += other.messages;
        self.held_back += other.held_back;
        self.elapsed = self.elapsed.max(other.elapsed);
        intervals::add(&mut self.intervals, other.intervals);
        self.connections_p99_ns.extend(other.connections_p99_ns);
        self.connections_p99_ns.sort_unstable();
        self.errors.add(&other.errors);
    }

    /// Schedules answered a second.
    pub fn requests_per_second(&self) -> f64 {
        self.schedules as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// How the connections were served: the 99th percentile of the median connection, and of the worst. `None` of one
    /// connection or less.
    pub fn fairness(&self) -> Option<Fairness> {
        match self.connections_p99_ns[..] {
            [] | [_] => None,
            [.., worst_p99_ns] => {
                let median_p99_ns = self.connections_p99_ns[self.connections_p99_ns.len() / 2];
                Some(Fairness { median_p99_ns, worst_p99_ns })
            }
        }
    }

    /// Messages of all kinds answered a second.
    pub fn messages_per_second(&self) -> f64 {
        self.messages as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }
}

/// A measurement while it is made. Times are nanoseconds after the start of the run.
#[derive(Clone, Debug)]
pub struct Recording {
    from_ns: u64,
    until_ns: u64,
    recorder: Recorder,
    /// Latencies of each connection, coarsely: they grow as they must, to a few kilobytes.
    connections_ns: Vec<Histogram<u32>>,
    pub measurement: Measurement,
}

impl Recording {
    /// A recording of so many connections that has not begun: errors alone are counted.
    pub fn new(interval: Duration, connections: usize) -> Self {
        let coarse = Histogram::new(CONNECTION_DIGITS).expect("digits are a constant");
        Self {
            from_ns: u64::MAX,
            until_ns: u64::MAX,
            recorder: Recorder::new(interval, empty_histogram()),
            connections_ns: vec![coarse; connections],
            measurement: Measurement::new(),
        }
    }

    /// Says from when until when is measured, as a run starts.
    pub fn begin(&mut self, warmup: Duration, duration: Duration) {
        self.from_ns = nanoseconds(warmup);
        self.until_ns = self.from_ns + nanoseconds(duration);
        self.measurement.started = SystemTime::now() + warmup;
    }

    /// The end of the measured time.
    pub fn until_ns(&self) -> u64 {
        self.until_ns
    }

    /// Enters an answer that came at this time, on one of the connections.
    #[inline]
    pub fn enter(&mut self, connection: usize, answer: &Answered, now_ns: u64) {
        let in_time = u64::from(self.is_in_time(now_ns));
        let Self { from_ns, until_ns, recorder, connections_ns, measurement } = self;
        let Answered { request, result } = answer;
        if let Err(wrong) = result {
            measurement.errors.wrong_reply(*wrong, &request.operation);
        }
        measurement.messages += in_time;
        if !request.operation.is_schedule() {
            return;
        }
        measurement.schedules += in_time;
        // What is answered after the end belongs to the last interval.
        let time_ns = now_ns.min(*until_ns - 1).saturating_sub(*from_ns);
        if in_time > 0 {
            recorder.count(time_ns);
        }
        if request.due_ns >= *from_ns {
            measurement.latency_ns.saturating_record(now_ns - request.due_ns);
            measurement.uncorrected_ns.saturating_record(now_ns - request.sent_ns);
            measurement.lag_ns.saturating_record(request.sent_ns - request.due_ns);
            recorder.record(time_ns, now_ns - request.due_ns);
            // It resizes itself, so that no latency is too long.
            _ = connections_ns[connection].record(now_ns - request.due_ns);
        }
    }

    /// Enters a schedule that is sent at this time and had to wait for room in the pipeline.
    pub fn enter_held_back(&mut self, now_ns: u64) {
        self.measurement.held_back += u64::from(self.is_in_time(now_ns));
    }

    #[inline]
    fn is_in_time(&self, now_ns: u64) -> bool {
        now_ns >= self.from_ns && now_ns < self.until_ns
    }

    /// Ends the measured time, now at the latest. Replies that come later belong to requests that were measured, but not
    /// to the time.
    pub fn end(&mut self, now_ns: u64) {
        self.until_ns = self.until_ns.min(now_ns).max(self.from_ns);
        self.measurement.elapsed = Duration::from_nanos(self.until_ns - self.from_ns);
    }

    /// What was measured.
    pub fn finish(self) -> Measurement {
        let Self { recorder, connections_ns, measurement, .. } = self;
        let answered = connections_ns.iter().filter(|latency_ns| !latency_ns.is_empty());
        let mut connections_p99_ns: Vec<u64> =
            answered.map(|latency_ns| latency_ns.value_at_percentile(99.0)).collect();
        connections_p99_ns.sort_unstable();
        Measurement { intervals: recorder.finish(measurement.elapsed), connections_p99_ns, ..measurement }
    }
}

/// A duration in nanoseconds; 584 years fit.
#[inline]
pub fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_about_the_worst_connection_and_the_one_in_the_middle() {
        let mut measurement = Measurement::new();
        assert_eq!(measurement.fairness(), None);
        for (connections, expected) in
            [(&[5][..], None), (&[10, 4, 6], Some((6, 10))), (&[7, 7], Some((7, 7))), (&[1, 9, 3, 2], Some((3, 9)))]
        {
            measurement.connections_p99_ns.clear();
            measurement.add(Measurement { connections_p99_ns: connections.to_vec(), ..Measurement::new() });
            let fairness = measurement.fairness();
            assert_eq!(fairness.map(|fairness| (fairness.median_p99_ns, fairness.worst_p99_ns)), expected);
        }
    }
}
