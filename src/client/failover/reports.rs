//! What a client has reported, to be reported again.

use std::collections::HashMap;

use super::{Client, ClientError};
use crate::wire::NodeId;

/// Reports of nodes.
#[derive(Debug, Default)]
pub(super) struct Reports {
    nodes: HashMap<NodeId, Report>,
    /// How many nodes have been reported so far, those that are gone included.
    count: u64,
}

#[derive(Debug)]
struct Report {
    /// Nodes are reported in their order, since a server decides ties by it.
    order: u64,
    available: Vec<(String, f64)>,
    total: Vec<(String, f64)>,
    draining: bool,
}

impl Reports {
    pub(super) fn update(&mut self, node: NodeId, available: &[(&str, f64)], total: &[(&str, f64)]) {
        let (before, order) = (self.nodes.get(&node), self.count);
        let report = Report {
            order: before.map_or(order, |before| before.order),
            available: owned(available),
            total: owned(total),
            draining: before.is_some_and(|before| before.draining),
        };
        if self.nodes.insert(node, report).is_none() {
            self.count += 1;
        }
    }

    pub(super) fn remove(&mut self, node: NodeId) {
        self.nodes.remove(&node);
    }

    pub(super) fn drain(&mut self, node: NodeId, on: bool) {
        if let Some(report) = self.nodes.get_mut(&node) {
            report.draining = on;
        }
    }

    /// Reports all nodes to a server.
    pub(super) fn give(&self, client: &mut Client) -> Result<(), ClientError> {
        let mut nodes: Vec<_> = self.nodes.iter().collect();
        nodes.sort_unstable_by_key(|(_, report)| report.order);
        let mut batch = client.batch();
        for (node, report) in &nodes {
            batch.update_node(**node, &borrowed(&report.available), &borrowed(&report.total))?;
        }
        batch.send()?.into_iter().try_for_each(|outcome| outcome.map(drop))?;
        nodes.iter().filter(|(_, report)| report.draining).try_for_each(|(node, _)| client.drain(**node, true))
    }
}

fn owned(resources: &[(&str, f64)]) -> Vec<(String, f64)> {
    resources.iter().map(|&(name, amount)| (name.to_owned(), amount)).collect()
}

fn borrowed(resources: &[(String, f64)]) -> Vec<(&str, f64)> {
    resources.iter().map(|(name, amount)| (name.as_str(), *amount)).collect()
}
