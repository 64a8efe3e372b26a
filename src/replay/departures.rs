//! The placements that will end, the next one first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::cluster::Cluster;
use crate::wire::NodeId;

/// A placement that will end.
#[derive(Clone, Copy, Debug)]
struct Departure {
    time: f64,
    node: NodeId,
    demand: usize,
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

    /// Ends the next one, if that is due by a time.
    pub fn end_next(&mut self, cluster: &mut Cluster<'_>, time: f64) -> bool {
        if self.next_time().is_none_or(|next| next > time) {
            return false;
        }
        if let Some(departure) = self.heap.pop() {
            cluster.release(departure.node, departure.demand);
        }
        true
    }
}
