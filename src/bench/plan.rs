//! When requests should be sent.

use std::time::Duration;

/// The send times of an open loop: request `i` of all leaves at `first + i / rate` after the start, on connection
/// `i % connections`. A plan of several threads is one for each, with a share of the rate and a later first request.
///
/// The plan does not depend on the answers. A connection that cannot send in time sends as soon as it can, and the
/// request's latency still counts from when it was due.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    first_ns: u64,
    interval_ns: f64,
    connections: u64,
}

impl Plan {
    /// A plan for `rate` requests a second over all of so many connections, from `first_ns` after the start on.
    pub fn new(rate: f64, connections: usize, first_ns: u64) -> Self {
        Self { first_ns, interval_ns: 1e9 / rate, connections: connections as u64 }
    }

    /// How many requests are due by a time after the start.
    #[inline]
    pub fn due(&self, elapsed_ns: u64) -> u64 {
        match elapsed_ns.checked_sub(self.first_ns) {
            Some(since_ns) => (since_ns as f64 / self.interval_ns) as u64 + 1,
            None => 0,
        }
    }

    /// When request `index` of all is due, in nanoseconds after the start.
    #[inline]
    pub fn time_ns(&self, index: u64) -> u64 {
        self.first_ns + (index as f64 * self.interval_ns).ceil() as u64
    }

    /// The connection of request `index` of all.
    #[inline]
    pub fn connection(&self, index: u64) -> usize {
        (index % self.connections) as usize
    }

    /// When request number `count` of one connection is due, in nanoseconds after the start.
    #[inline]
    pub fn connection_time_ns(&self, connection: usize, count: u64) -> u64 {
        self.time_ns(count * self.connections + connection as u64)
    }

    /// How long until request `index` of all is due.
    #[inline]
    pub fn wait(&self, index: u64, elapsed_ns: u64) -> Duration {
        Duration::from_nanos(self.time_ns(index).saturating_sub(elapsed_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_evenly_and_in_turn() {
        let plan = Plan::new(1e6, 3, 0);
        assert_eq!([0, 999, 1_000, 2_500].map(|elapsed_ns| plan.due(elapsed_ns)), [1, 1, 2, 3]);
        assert_eq!([0, 1, 2, 3].map(|index| plan.connection(index)), [0, 1, 2, 0]);
        assert_eq!(plan.connection_time_ns(1, 2), 7_000);
        assert_eq!(plan.wait(7, 6_500), Duration::from_nanos(500));
        assert_eq!(plan.wait(7, 9_000), Duration::ZERO);
        let later = Plan::new(1e6, 3, 400);
        assert_eq!([0, 399, 400, 1_399, 1_400].map(|elapsed_ns| later.due(elapsed_ns)), [0, 0, 1, 1, 2]);
        assert_eq!(later.connection_time_ns(1, 2), 7_400);
    }

    #[test]
    fn a_request_is_due_exactly_from_its_time_on() {
        let plan = Plan::new(333_333.3, 7, 123);
        for index in 0..10_000 {
            let time_ns = plan.time_ns(index);
            assert!(plan.due(time_ns) > index, "{index}");
            assert!(plan.due(time_ns - 1) <= index, "{index}");
        }
    }
}
