//! Why a demand is placed where it is, or not at all.

use std::cmp::Ordering;
use std::fmt;

use super::{Hints, Unplaced, View};
use crate::scheduler::amount::Amount;
use crate::scheduler::node_table::Node;
use crate::scheduler::resource_names::EscapedName;
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// What would happen to a demand now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It would run on this node.
    Runs(NodeId),
    /// It would wait on this node.
    Queues(NodeId),
    /// It would not be placed: nodes could take it, but none is free, and it may wait on none.
    NothingFree,
    /// No node could ever take it.
    Infeasible,
    /// There are no nodes.
    NoNodes,
}

/// On how many of the nodes that take placements a resource is the reason against them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The name as it is shown.
    pub name: String,
    pub demanded: Amount,
    /// Nodes without any of it.
    pub lacking: usize,
    /// Nodes that have some, but not enough in total.
    pub too_little_total: usize,
    /// Nodes that have enough, but too little that is free, or not in one piece where it comes in units.
    pub too_little_free: usize,
}

/// What is missing of one resource on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The name as it is shown.
    pub name: String,
    pub demanded: Amount,
    pub total: Amount,
    pub free: Amount,
}

/// The node where least is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closest {
    pub node: NodeId,
    pub missing: Vec<Missing>,
}

/// Why a demand is placed where it is, or not at all. `Display` says it in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    pub verdict: Verdict,
    pub nodes: usize,
    /// Nodes that take no new placements. They are in none of the other numbers.
    pub draining: usize,
    pub feasible: usize,
    pub free: usize,
    /// Every resource that is demanded.
    pub resources: Vec<Shortage>,
    /// Where the demand is not free anywhere.
    pub closest: Option<Closest>,
}

/// One resource of a demand, by name: a name may be known to no node.
type Demanded<'a> = (&'a [u8], Amount);

/// How a node stands to one demanded resource.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Lacks,
    TooLittleTotal,
    TooLittleFree,
    Enough,
}

impl View {
    /// Explains what would happen to a demand now that may, if `strict`, be placed on free nodes only. Changes nothing,
    /// and looks at every node.
    pub fn explain(&mut self, resources: Resources<'_>, strict: bool) -> Explanation {
        let demanded = demanded(resources);
        let hints = Hints { dry_run: true, strict, ..Hints::default() };
        let verdict = match self.schedule_with_hints(resources, &hints) {
            Ok(placement) if placement.is_free => Verdict::Runs(placement.node),
            Ok(placement) => Verdict::Queues(placement.node),
            Err(Unplaced::NoNodes) => Verdict::NoNodes,
            Err(Unplaced::NothingFree) => Verdict::NothingFree,
            Err(Unplaced::Infeasible) => Verdict::Infeasible,
        };
        let shortage = |&(name, demanded): &Demanded<'_>| Shortage {
            name: EscapedName(name).to_string(),
            demanded,
            lacking: 0,
            too_little_total: 0,
            too_little_free: 0,
        };
        let mut explanation = Explanation {
            verdict,
            nodes: self.table.len(),
            draining: 0,
            feasible: 0,
            free: 0,
            resources: demanded.iter().map(shortage).collect(),
            closest: None,
        };
        for node in self.nodes() {
            explanation.count(node, &demanded);
        }
        if explanation.free == 0 {
            let candidates = self.nodes().filter(|node| !node.is_draining());
            let closest = candidates.min_by(|one, other| compare(*one, *other, &demanded));
            explanation.closest = closest.map(|node| closest_of(node, &demanded));
        }
        explanation
    }
}

/// What a list asks for: the last amount of each name, if it is positive.
fn demanded(resources: Resources<'_>) -> Vec<Demanded<'_>> {
    let mut demanded: Vec<Demanded<'_>> = Vec::new();
    for (name, amount) in resources {
        demanded.retain(|(other, _)| *other != name);
        demanded.push((name, amount));
    }
    demanded.retain(|&(_, amount)| amount > Amount::ZERO);
    demanded
}

impl Standing {
    fn of(node: Node<'_>, (name, demanded): Demanded<'_>) -> Self {
        let cell = node.cell_of(name);
        let can_host = || node.id_of(name).and_then(|id| node.units(id)).is_none_or(|units| units.can_host(demanded));
        if cell.total <= Amount::ZERO {
            Self::Lacks
        } else if cell.total < demanded {
            Self::TooLittleTotal
        } else if cell.free() < demanded || !can_host() {
            Self::TooLittleFree
        } else {
            Self::Enough
        }
    }
}

impl Explanation {
    fn count(&mut self, node: Node<'_>, demanded: &[Demanded<'_>]) {
        if node.is_draining() {
            self.draining += 1;
            return;
        }
        let (mut is_feasible, mut is_free) = (true, true);
        for (shortage, &demanded) in self.resources.iter_mut().zip(demanded) {
            let standing = Standing::of(node, demanded);
            match standing {
                Standing::Lacks => shortage.lacking += 1,
                Standing::TooLittleTotal => shortage.too_little_total += 1,
                Standing::TooLittleFree => shortage.too_little_free += 1,
                Standing::Enough => {}
            }
            is_feasible &= matches!(standing, Standing::TooLittleFree | Standing::Enough);
            is_free &= standing == Standing::Enough;
        }
        self.feasible += usize::from(is_feasible);
        self.free += usize::from(is_free);
    }
}

/// The order of nodes by how little is missing: first what they do not have at all, then what is not free.
fn compare(one: Node<'_>, other: Node<'_>, demanded: &[Demanded<'_>]) -> Ordering {
    let missing = |node: Node<'_>| {
        let share = |demanded: Amount, there: Amount| {
            demanded.saturating_sub(there).max(Amount::ZERO).units() as f64 / demanded.units() as f64
        };
        let cells = demanded.iter().map(|&(name, amount)| (amount, node.cell_of(name)));
        let total: f64 = cells.clone().map(|(amount, cell)| share(amount, cell.total)).sum();
        let free: f64 = cells.map(|(amount, cell)| share(amount, cell.free())).sum();
        (total, free)
    };
    let (one, other) = (missing(one), missing(other));
    one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1))
}

fn closest_of(node: Node<'_>, demanded: &[Demanded<'_>]) -> Closest {
    let missing = demanded.iter().filter(|&&demanded| Standing::of(node, demanded) != Standing::Enough);
    let missing = missing.map(|&(name, demanded)| {
        let cell = node.cell_of(name);
        Missing { name: EscapedName(name).to_string(), demanded, total: cell.total, free: cell.free() }
    });
    Closest { node: node.id(), missing: missing.collect() }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.verdict {
            Verdict::Runs(node) => {
                let &Self { free, nodes, .. } = self;
                return write!(f, "It would run on node {node} now: {free} of {nodes} nodes have all of it free.");
            }
            Verdict::Queues(node) => {
                write!(f, "It would wait on node {node}: nodes have all of it, but none has it free.")?;
            }
            Verdict::NothingFree => {
                f.write_str("It would not be placed now: nodes have all of it, but none has it free (--strict).")?;
            }
            Verdict::NoNodes => return f.write_str("There are no nodes."),
            Verdict::Infeasible if self.draining == self.nodes => {
                return f.write_str("It cannot run anywhere: every node is draining.");
            }
            Verdict::Infeasible => {
                f.write_str("It cannot run anywhere, however long it waits: no node has all of it.")?
            }
        }
        for shortage in &self.resources {
            shortage.fmt(f)?;
        }
        match self.draining {
            0 => {}
            1 => f.write_str(" 1 more is draining.")?,
            count => write!(f, " {count} more are draining.")?,
        }
        if let Some(closest) = &self.closest {
            write!(f, " Closest is node {}:", closest.node)?;
            for (index, Missing { name, demanded, total, free }) in closest.missing.iter().enumerate() {
                let separator = if index == 0 { "" } else { ";" };
                let [demanded, total, free] = [demanded, total, free].map(|amount| amount.readable(name));
                write!(f, "{separator} it has {total} {name}, {free} of it free, and {demanded} asked for")?;
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, demanded, .. } = self;
        let reasons = [
            (self.lacking, "none"),
            (self.too_little_total, "too little in total"),
            (self.too_little_free, "too little free"),
        ];
        let mut separator = format!(" {name} {}:", demanded.readable(name));
        for (count, reason) in reasons.into_iter().filter(|(count, _)| *count > 0) {
            let nodes = if count == 1 { "node has" } else { "nodes have" };
            write!(f, "{separator} {count} {nodes} {reason}")?;
            separator = ",".to_owned();
        }
        if separator == "," { f.write_str(".") } else { Ok(()) }
    }
}
