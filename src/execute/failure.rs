//! Why a well-formed request of an extension is not carried out.

use std::fmt;

use crate::scheduler::gang::GangError;
use crate::scheduler::node_table::Full;
use crate::scheduler::shared_view::{OWNERS_MAX, PLACEMENTS_MAX};
use crate::scheduler::view::{GangUnplaced, OverRelease, Unplaced};
use crate::wire::NodeId;
use crate::wire::extension::ErrorCode;
use crate::wire::extension::reply::{MESSAGE_LENGTH_MAX, NotPlaced};

/// Shared views of a server at most. Each is a cluster, or several jobs' part of one.
pub const VIEWS_MAX: usize = 1024;

/// Why a request is not carried out. Nothing is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    HelloNotFirst,
    /// The connection is closed.
    BadToken,
    UnknownPolicy(u8),
    UnknownNode(NodeId),
    OverRelease(OverRelease),
    Full(Full),
    TooManyViews,
    TooManyOwners,
    TooManyPlacements,
    TooMuchWork,
    ReplyTooLong,
    OutOfMemory,
}

impl Failure {
    /// What programs are told.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::HelloNotFirst => ErrorCode::HelloNotFirst,
            Self::BadToken => ErrorCode::BadToken,
            Self::UnknownPolicy(_) => ErrorCode::UnknownPolicy,
            Self::UnknownNode(_) => ErrorCode::UnknownNode,
            Self::OverRelease(_) => ErrorCode::OverRelease,
            Self::Full(Full::Nodes) => ErrorCode::TooManyNodes,
            Self::Full(Full::Names) => ErrorCode::TooManyNames,
            Self::Full(Full::Memory) | Self::OutOfMemory => ErrorCode::OutOfMemory,
            Self::TooManyViews => ErrorCode::TooManyViews,
            Self::TooManyOwners => ErrorCode::TooManyOwners,
            Self::TooManyPlacements => ErrorCode::TooManyPlacements,
            Self::TooMuchWork => ErrorCode::TooManyEntries,
            Self::ReplyTooLong => ErrorCode::ReplyTooLong,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HelloNotFirst => f.write_str("a hello comes before all other messages of its connection"),
            Self::BadToken => {
                f.write_str("this server asks for a token (--token-file): begin with a hello that carries it")
            }
            Self::UnknownPolicy(number) => write!(f, "there is no policy {number}"),
            Self::UnknownNode(node) => write!(f, "there is no node {node}"),
            Self::OverRelease(OverRelease { held: 0 }) => f.write_str("none is held here"),
            Self::OverRelease(OverRelease { held: 1 }) => f.write_str("1 is held here"),
            Self::OverRelease(OverRelease { held }) => write!(f, "{held} are held here"),
            Self::Full(full) => full.fmt(f),
            Self::OutOfMemory => Full::Memory.fmt(f),
            Self::TooManyViews => write!(f, "the server has {VIEWS_MAX} shared views already"),
            Self::TooManyOwners => write!(f, "the view has {OWNERS_MAX} owners already"),
            Self::TooManyPlacements => write!(f, "the owner would hold more than {PLACEMENTS_MAX} placements"),
            Self::TooMuchWork => f.write_str("too many different demands for so many nodes: send fewer at once"),
            Self::ReplyTooLong => write!(f, "the reply would be longer than {MESSAGE_LENGTH_MAX} bytes"),
        }
    }
}

/// Why an extension is not answered with what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    Failed(Failure),
    NotPlaced(NotPlaced),
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Unplaced> for Unanswered {
    fn from(unplaced: Unplaced) -> Self {
        Self::NotPlaced(match unplaced {
            Unplaced::Infeasible => NotPlaced::NothingFeasible,
            Unplaced::NothingFree => NotPlaced::NothingFree,
            Unplaced::NoNodes => NotPlaced::NoNodes,
        })
    }
}

impl From<GangUnplaced> for Unanswered {
    fn from(unplaced: GangUnplaced) -> Self {
        match unplaced {
            GangUnplaced::NoNodes => Self::NotPlaced(NotPlaced::NoNodes),
            GangUnplaced::Gang(GangError::Infeasible) => Self::NotPlaced(NotPlaced::NothingFeasible),
            GangUnplaced::Gang(GangError::NothingFree) => Self::NotPlaced(NotPlaced::NothingFree),
            GangUnplaced::Gang(GangError::TooMuchWork) => Self::Failed(Failure::TooMuchWork),
        }
    }
}
