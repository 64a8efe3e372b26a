//! The placements that will end, the next one first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::cluster::Cluster;
use crate::wire::NodeId;

/// A placement that will end.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    pub time: f64,
    pub node: NodeId,
    /// Index in [`Trace::demands`](super::trace::Trace::demands).
    pub demand: usize,
}

impl Ord for Departure {
    /// The greatest is the next.
    fn cmp(&self, other: &Self) -> Ordering {
        other.time.total_cmp(&self.time).then(other.node.cmp(&self.node)).then(other.demand.cmp(&self.demand))
    }
}

impl PartialOrd for Departure {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Departure {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Departure {}

/// The placements that will end.
#[derive(Clone, Debug, Default)]
pub struct Departures {
    heap: BinaryHeap<Departure>,
}

impl Departures {
    /// A placement ends at a time.
    pub fn push(&mut self, time: f64, node: NodeId, demand: usize) {
        self.heap.push(Departure { time, node, demand });
    }

    /// When the next one ends.
    pub fn next_time(&self) -> Option<f64> {
        self.heap.peek().map(|departure| departure.time)
    }

    /// Takes the next one out, if it is due by a time.
    pub fn pop_due(&mut self, time: f64) -> Option<Departure> {
        self.next_time().filter(|&next| next <= time)?;
        self.heap.pop()
    }

    /// Ends the next one, if that is due by a time.
    pub fn end_next(&mut self, cluster: &mut Cluster<'_>, time: f64) -> bool {
        let departure = self.pop_due(time);
        if let Some(Departure { node, demand, .. }) = departure {
            cluster.release(node, demand);
        }
        departure.is_some()
    }
}
