//! Why a demand is placed where it is, or not at all.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;

use foldhash::fast::RandomState;

use super::{Hints, Unplaced, View};
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::Cell;
use crate::scheduler::node_table::Node;
use crate::scheduler::rank::Fit;
use crate::scheduler::resource_names::{EscapedName, ResourceId};
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

/// Resources times nodes that are looked at for an explanation at most. Each takes some 20 ns, so this is the tenth of a
/// second that other clients of a server might be kept waiting.
const WORK_MAX: usize = 1 << 22;

/// A demand has too many resources for so many nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMuchToExplain;

/// One resource of a demand.
#[derive(Clone, Copy)]
struct Demanded<'a> {
    name: &'a [u8],
    /// `None` where no node has or had it.
    id: Option<ResourceId>,
    amount: Amount,
}

impl Demanded<'_> {
    /// What a node has of it.
    fn cell(self, node: Node<'_>) -> Cell {
        self.id.map_or(Cell::default(), |id| node.cell(id))
    }
}

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
    ///
    /// # Errors
    /// When that is too much to look at.
    pub fn explain(&mut self, resources: Resources<'_>, strict: bool) -> Result<Explanation, TooMuchToExplain> {
        self.settle();
        let demanded = self.demanded(resources);
        // What no node has is the same for all of them.
        let known: Vec<Demanded<'_>> = demanded.iter().copied().filter(|demanded| demanded.id.is_some()).collect();
        if known.len().saturating_mul(self.table.len()) > WORK_MAX {
            return Err(TooMuchToExplain);
        }
        self.looked_at(self.table.slot_count());
        let mut explanation = Explanation {
            verdict: self.verdict(resources, strict),
            nodes: self.table.len(),
            draining: self.nodes().filter(|node| node.is_draining()).count(),
            feasible: 0,
            free: 0,
            resources: Vec::with_capacity(demanded.len()),
            closest: None,
        };
        let open_count = explanation.nodes - explanation.draining;
        let mut shortages: Vec<Shortage> = known.iter().map(|&demanded| Shortage::of(demanded)).collect();
        for node in self.nodes().filter(|node| !node.is_draining()) {
            let fit = count_shortages(&mut shortages, node, &known);
            explanation.feasible += usize::from(fit != Fit::Infeasible);
            explanation.free += usize::from(fit == Fit::Free);
        }
        if known.len() < demanded.len() {
            (explanation.feasible, explanation.free) = (0, 0);
        }
        let mut shortages = shortages.into_iter();
        explanation.resources.extend(demanded.iter().map(|&demanded| match demanded.id {
            Some(_) => shortages.next().expect("every known resource has been looked at"),
            None => Shortage { lacking: open_count, ..Shortage::of(demanded) },
        }));
        if explanation.free == 0 {
            let candidates = self.nodes().filter(|node| !node.is_draining());
            let closest = candidates.min_by(|one, other| compare(*one, *other, &known));
            explanation.closest = closest.map(|node| closest_of(node, &demanded));
        }
        Ok(explanation)
    }

    fn verdict(&mut self, resources: Resources<'_>, strict: bool) -> Verdict {
        let hints = Hints { dry_run: true, strict, ..Hints::default() };
        match self.schedule_with_hints(resources, &hints) {
            Ok(placement) if placement.is_free => Verdict::Runs(placement.node),
            Ok(placement) => Verdict::Queues(placement.node),
            Err(Unplaced::NoNodes) => Verdict::NoNodes,
            Err(Unplaced::NothingFree) => Verdict::NothingFree,
            Err(Unplaced::Infeasible) => Verdict::Infeasible,
        }
    }

    /// What a list asks for: the last amount of each name, if it is positive.
    fn demanded<'a>(&self, resources: Resources<'a>) -> Vec<Demanded<'a>> {
        let mut demanded: Vec<Demanded<'_>> = Vec::new();
        let mut places: HashMap<&[u8], usize, RandomState> = HashMap::default();
        for (name, amount) in resources {
            let place = *places.entry(name).or_insert(demanded.len());
            match demanded.get_mut(place) {
                Some(before) => before.amount = amount,
                None => demanded.push(Demanded { name, id: self.table.names().get(name), amount }),
            }
        }
        demanded.retain(|demanded| demanded.amount > Amount::ZERO);
        demanded
    }
}

impl Standing {
    fn of(node: Node<'_>, demanded: Demanded<'_>) -> Self {
        let (cell, amount) = (demanded.cell(node), demanded.amount);
        let can_host = || demanded.id.and_then(|id| node.units(id)).is_none_or(|units| units.can_host(amount));
        if cell.total <= Amount::ZERO {
            Self::Lacks
        } else if cell.total < amount {
            Self::TooLittleTotal
        } else if cell.free() < amount || !can_host() {
            Self::TooLittleFree
        } else {
            Self::Enough
        }
    }
}

impl Shortage {
    /// That no node has too little, as yet.
    fn of(demanded: Demanded<'_>) -> Self {
        let name = EscapedName(demanded.name).to_string();
        Self { name, demanded: demanded.amount, lacking: 0, too_little_total: 0, too_little_free: 0 }
    }
}

/// Enters of which resources a node has too little. Returns how the demand fits there.
fn count_shortages(shortages: &mut [Shortage], node: Node<'_>, demanded: &[Demanded<'_>]) -> Fit {
    let mut fit = Fit::Free;
    for (shortage, &demanded) in shortages.iter_mut().zip(demanded) {
        let (count, worst) = match Standing::of(node, demanded) {
            Standing::Lacks => (&mut shortage.lacking, Fit::Infeasible),
            Standing::TooLittleTotal => (&mut shortage.too_little_total, Fit::Infeasible),
            Standing::TooLittleFree => (&mut shortage.too_little_free, Fit::Queues),
            Standing::Enough => continue,
        };
        *count += 1;
        if fit != Fit::Infeasible {
            fit = worst;
        }
    }
    fit
}

/// The order of nodes by how little is missing: first what they do not have at all, then what is not free.
fn compare(one: Node<'_>, other: Node<'_>, demanded: &[Demanded<'_>]) -> Ordering {
    let missing = |node: Node<'_>| {
        let share = |demanded: Amount, there: Amount| {
            demanded.saturating_sub(there).max(Amount::ZERO).units() as f64 / demanded.units() as f64
        };
        let cells = demanded.iter().map(|&demanded| (demanded.amount, demanded.cell(node)));
        let total: f64 = cells.clone().map(|(amount, cell)| share(amount, cell.total)).sum();
        let free: f64 = cells.map(|(amount, cell)| share(amount, cell.free())).sum();
        (total, free)
    };
    let (one, other) = (missing(one), missing(other));
    one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1))
}

fn closest_of(node: Node<'_>, demanded: &[Demanded<'_>]) -> Closest {
    let missing = demanded.iter().filter(|&&demanded| Standing::of(node, demanded) != Standing::Enough);
    let missing = missing.map(|&demanded| {
        let cell = demanded.cell(node);
        let name = EscapedName(demanded.name).to_string();
        Missing { name, demanded: demanded.amount, total: cell.total, free: cell.free() }
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
