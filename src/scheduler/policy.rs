//! Policies: which of the nodes that fit is taken. `policy/definitions.rs` is the one file to touch to add another.
//!
//! A policy is a pure function from a demand and a node to a score; the highest is taken, ties go to the lower slot.
//! What of the score is the same for every demand is a function of the node alone, which the node table keeps. A few
//! policies choose among the free nodes otherwise ([`Selection`]). Everything else is the same for all of them:
//! [`Rank`](super::rank::Rank) puts free nodes before those where the task has to queue.

mod definitions;

pub use definitions::DEFINITIONS;
pub(super) use definitions::HYBRID_AVOIDED;

use super::cells::{Cell, Cells, Slot};
use super::node_table::{Demand, Node};
use super::profile::{Asked, Outlook, Profile, Vector};

/// What a score may depend on besides the node.
#[derive(Clone, Copy, Debug)]
pub struct Scoring<'a> {
    pub demand: &'a Demand,
    pub profile: &'a Profile,
    /// What the demand [asks for](Profile::asked) of the profile's resources.
    pub asked: &'a Asked,
}

/// The part of a score that depends on the node alone.
pub type NodeTerm = [f32; 2];

/// One resource of a node, as a node term sees it.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub cell: Cell,
    /// 1 / `m`, in units of the amount; 0 where nothing positive was reported.
    pub largest_inverse: f32,
    /// Whether it is one of [`MEMORY`].
    pub is_memory: bool,
}

/// Ray's names for memory.
pub const MEMORY: [&[u8]; 2] = [b"memory", b"object_store_memory"];

/// How a node is chosen among those that are free. Where none is, the rank alone decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selection {
    /// The highest score.
    Highest,
    /// At random among the highest scores: as many as the share of all nodes that `--hybrid-top` gives.
    RandomOfTop,
    /// The next in the order of slots after the one taken last.
    Next,
    /// Any, at random.
    Random,
    /// The higher score of two at random.
    RandomPair,
}

/// A policy by name.
#[derive(Debug)]
pub struct Definition {
    /// The name on the command line.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    /// The part of the score that depends on the node alone, if there is one.
    node_term: Option<fn(&Cells, Slot) -> NodeTerm>,
    score: Score,
    /// Whether the score is the first value of the node term and nothing else.
    scores_by_term: bool,
    selection: Selection,
}

/// How good it is to place a demand on a node.
#[derive(Debug)]
enum Score {
    /// By the two alone.
    Direct(fn(&Policy, &Scoring<'_>, Node<'_>) -> f32),
    /// By a profile of what was seen, too. What of it does not depend on the demand is the term of the node's outlook.
    Learned { term: fn(&Profile, &Vector, Node<'_>) -> NodeTerm, score: fn(&Scoring<'_>, &Outlook, Node<'_>) -> f32 },
}

/// The parameters that policies have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters {
    /// `hybrid`: utilisation below this counts as none.
    pub spread_threshold: f32,
    /// `hybrid`: share of all nodes among whose best is chosen at random; 0 for the best alone.
    pub hybrid_top: f32,
    /// Seed of the policies that choose at random.
    pub seed: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { spread_threshold: 0.5, hybrid_top: 0.2, seed: 1 }
    }
}

/// A policy with its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    definition: &'static Definition,
    parameters: Parameters,
}

impl Default for Policy {
    fn default() -> Self {
        Self { definition: &DEFINITIONS[0], parameters: Parameters::default() }
    }
}

impl Policy {
    /// The policy of a name.
    pub fn named(name: &str, parameters: Parameters) -> Option<Self> {
        let definition = DEFINITIONS.iter().find(|definition| definition.name == name)?;
        Some(Self { definition, parameters })
    }

    /// The policy at a place among [`DEFINITIONS`].
    pub fn at(index: usize, parameters: Parameters) -> Option<Self> {
        Some(Self { definition: DEFINITIONS.get(index)?, parameters })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.definition.name
    }

    /// Whether it is the same, whatever the parameters.
    #[inline]
    pub fn is_same(&self, other: &Policy) -> bool {
        std::ptr::eq(self.definition, other.definition)
    }

    /// Its parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// How it chooses among the nodes that are free.
    #[inline]
    pub fn selection(&self) -> Selection {
        self.definition.selection
    }

    /// Whether a score is the first value of the node term and nothing else.
    #[inline]
    pub fn scores_by_term(&self) -> bool {
        self.definition.scores_by_term
    }

    /// Whether its scores depend on the profile of what was seen.
    #[inline]
    pub fn learns(&self) -> bool {
        matches!(self.definition.score, Score::Learned { .. })
    }

    /// What a profile says of a node, whatever the demand.
    pub fn outlook(&self, profile: &Profile, node: Node<'_>) -> Outlook {
        let mut outlook = Outlook::default();
        outlook.set_free(profile, node);
        outlook.term = self.outlook_term(profile, &outlook, node);
        outlook
    }

    /// The policy's part of the outlook of a node whose free amounts it has.
    #[inline]
    pub fn outlook_term(&self, profile: &Profile, outlook: &Outlook, node: Node<'_>) -> NodeTerm {
        match self.definition.score {
            Score::Direct(_) => NodeTerm::default(),
            Score::Learned { term, .. } => term(profile, &outlook.free, node),
        }
    }

    /// The part of the scores that depends on a node alone. The same for the same resources in any order.
    #[inline]
    pub fn node_term(&self, cells: &Cells, slot: Slot) -> NodeTerm {
        self.definition.node_term.map_or(NodeTerm::default(), |term| term(cells, slot))
    }

    /// Whether a part of the scores depends on a node alone.
    #[inline]
    pub fn has_node_term(&self) -> bool {
        self.definition.node_term.is_some()
    }

    /// How good it is to place the demand on the node. Never NaN.
    ///
    /// The node is feasible; it is free unless the task would queue there.
    pub fn score(&self, scoring: &Scoring<'_>, node: Node<'_>) -> f32 {
        match self.definition.score {
            Score::Direct(score) => score(self, scoring, node),
            Score::Learned { score, .. } => score(scoring, &self.outlook(scoring.profile, node), node),
        }
    }

    /// The same where the node's outlook by the profile is known, if the policy learns.
    #[inline]
    pub fn score_by(&self, scoring: &Scoring<'_>, outlook: &Outlook, node: Node<'_>) -> f32 {
        match self.definition.score {
            Score::Direct(score) => score(self, scoring, node),
            Score::Learned { score, .. } => score(scoring, outlook, node),
        }
    }
}
