//! A shared view as the protocol describes it: a cluster, and whose its nodes and placements are.

use std::collections::BTreeMap;
use std::time::Instant;

use external_scheduler::wire::NodeId;
use serde_json::Value;

use super::cluster::{Amounts, Demand, Model};

/// An owner of a view. It keeps its place when it is gone.
struct Owner {
    name: String,
    connected: usize,
    /// When it goes, if it is not gone.
    due: Option<Instant>,
    is_gone: bool,
}

/// A placement that has not been released.
pub struct Held {
    owner: usize,
    pub node: NodeId,
    pub demand: Demand,
}

/// A view as the protocol describes it.
#[derive(Default)]
pub struct World {
    pub cluster: Model,
    owners: Vec<Owner>,
    pub held: Vec<Held>,
    /// Which connection has reported each node, by its number.
    reporters: BTreeMap<NodeId, usize>,
    /// When the nodes of connections that have left go.
    departed: BTreeMap<usize, Instant>,
}

impl World {
    /// A connection joins, for an owner. Returns the place of the owner.
    pub fn join(&mut self, name: &str) -> usize {
        let is_it = |owner: &Owner| !name.is_empty() && owner.name == name && !owner.is_gone;
        let owner = self.owners.iter().position(is_it).unwrap_or_else(|| {
            self.owners.push(Owner { name: name.to_owned(), connected: 0, due: None, is_gone: false });
            self.owners.len() - 1
        });
        self.owners[owner].connected += 1;
        self.owners[owner].due = None;
        owner
    }

    /// A connection has ended; what it leaves behind goes when `due`.
    pub fn leave(&mut self, connection: usize, owner: usize, due: Instant) {
        if self.reporters.values().any(|&reporter| reporter == connection) {
            self.departed.insert(connection, due);
        }
        let holds = self.held.iter().any(|held| held.owner == owner);
        let owner = &mut self.owners[owner];
        owner.connected -= 1;
        if owner.connected == 0 {
            owner.due = holds.then_some(due);
            owner.is_gone = !holds;
        }
    }

    /// When the first of who has left goes.
    pub fn due(&self) -> Option<Instant> {
        let has_nodes = |connection: &usize| self.reporters.values().any(|reporter| reporter == connection);
        let departed = self.departed.iter().filter(|(connection, _)| has_nodes(connection)).map(|(_, &due)| due);
        departed.chain(self.owners.iter().filter_map(|owner| owner.due)).min()
    }

    /// What is due by now goes.
    pub fn expire(&mut self, now: Instant) {
        // One after the other, for the slots that they leave are taken again in their order.
        let mut departed: Vec<(Instant, usize)> = self.departed.iter().map(|(&id, &due)| (due, id)).collect();
        departed.sort_unstable();
        for (_, connection) in departed.into_iter().filter(|&(due, _)| due <= now) {
            self.departed.remove(&connection);
            let nodes: Vec<NodeId> =
                self.reporters.iter().filter(|&(_, &id)| id == connection).map(|(&id, _)| id).collect();
            nodes.into_iter().for_each(|node| self.remove(node));
        }
        for owner in 0..self.owners.len() {
            if self.owners[owner].due.is_some_and(|due| due <= now) {
                (self.owners[owner].due, self.owners[owner].is_gone) = (None, true);
                while let Some(place) = self.held.iter().position(|held| held.owner == owner) {
                    self.release_at(place);
                }
            }
        }
    }

    /// Whether nothing is left, so that the view is forgotten.
    pub fn is_empty(&self) -> bool {
        self.reporters.is_empty() && self.owners.iter().all(|owner| owner.is_gone)
    }

    /// A connection reports a node.
    pub fn update(&mut self, connection: usize, node: NodeId, available: &Amounts, total: &Amounts) {
        let mut updated = self.cluster.node(node).cloned().unwrap_or_default();
        updated.available = available.iter().cloned().collect();
        updated.total = total.iter().cloned().collect();
        self.cluster.set(node, updated);
        self.reporters.insert(node, connection);
    }

    /// A node goes, and with it the placements there.
    pub fn remove(&mut self, node: NodeId) {
        self.cluster.remove(node);
        self.held.retain(|held| held.node != node);
        self.reporters.remove(&node);
    }

    /// Enters a placement of an owner.
    pub fn place(&mut self, owner: usize, demand: Demand, node: NodeId) {
        self.cluster.node_mut(node).expect("the decision was checked").place(&demand);
        self.held.push(Held { owner, node, demand });
    }

    /// How many placements of a demand an owner has on a node.
    pub fn count(&self, owner: usize, node: NodeId, demand: &Demand) -> usize {
        self.held.iter().filter(|held| held.owner == owner && held.node == node && held.demand == *demand).count()
    }

    /// Ends a placement that there is.
    pub fn release(&mut self, owner: usize, node: NodeId, demand: &Demand) {
        let is_it = |held: &Held| held.owner == owner && held.node == node && held.demand == *demand;
        let place = self.held.iter().position(is_it).expect("it was counted");
        self.release_at(place);
    }

    fn release_at(&mut self, place: usize) {
        let Held { node, demand, .. } = self.held.swap_remove(place);
        let node = self.cluster.node_mut(node).expect("placements go with their node");
        node.queued -= 1;
        for (name, amount) in demand {
            *node.reserved.get_mut(&name).expect("it was reserved") -= amount;
        }
    }

    /// Compares a view with what stats say of it.
    pub fn compare(&self, view: &Value) {
        self.cluster.compare_shown(view);
        assert_eq!(view["placements"], self.held.len());
        let mut owners: Vec<(&str, usize, usize)> = Vec::new();
        for (id, owner) in self.owners.iter().enumerate().filter(|(_, owner)| !owner.is_gone) {
            owners.push((&owner.name, owner.connected, self.held.iter().filter(|held| held.owner == id).count()));
        }
        owners.sort_unstable();
        let number = |owner: &Value, name| owner[name].as_u64().expect("a number") as usize;
        let shown = view["owners"].as_array().expect("stats list owners").iter();
        let shown = shown.map(|owner| {
            (owner["name"].as_str().expect("a name"), number(owner, "connections"), number(owner, "placements"))
        });
        let mut shown: Vec<_> = shown.collect();
        shown.sort_unstable();
        assert_eq!(shown, owners);
    }
}
