//! What the server knows of itself.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::counters::ConnectionCounters;

/// The longest latency that is told apart, in nanoseconds.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// Digits of a latency that are kept: 1 %, in some 30 KB.
const LATENCY_DIGITS: u8 = 2;

/// The state of a server.
#[derive(Debug)]
pub struct ServerTelemetry {
    started: Instant,
    /// Open connections.
    pub connections: usize,
    /// What happened to connections.
    pub counters: ConnectionCounters,
    latency_ns: Histogram<u64>,
}

impl Default for ServerTelemetry {
    fn default() -> Self {
        let latency_ns = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS);
        Self {
            started: Instant::now(),
            connections: 0,
            counters: ConnectionCounters::default(),
            latency_ns: latency_ns.expect("the bounds are a range"),
        }
    }
}

impl ServerTelemetry {
    /// How long the server has run.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// So many requests were answered after this time: from when they were complete, or the first of those of other connections that
    /// were answered together with them, to when the last reply was queued.
    #[inline]
    pub fn answered(&mut self, requests: u64, time: Duration) {
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(LATENCY_NS_MAX);
        self.latency_ns.saturating_record_n(time_ns.max(1), requests);
    }

    /// Latencies inside the server, from a complete request to its queued reply, in nanoseconds.
    pub fn latency_ns(&self) -> &Histogram<u64> {
        &self.latency_ns
    }
}
