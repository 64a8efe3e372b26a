//! Requests of the protocol's extensions, codes 0x10 and above, and their [`reply`]s.
//!
//! | code | message | body |
//! |---|---|---|
//! | `0x10` | hello | version `u16`, view name, owner name, token |
//! | `0x11` | update node | node ID, list available, list total |
//! | `0x12` | release | node ID, list, count `u32` |
//! | `0x13` | schedule many | strategy `u8`, flags `u8`, count `u16`, so many lists |
//! | `0x14` | schedule with hints | flags `u8`, policy `u8`, preferred nodes, avoided nodes, list |
//! | `0x15` | explain | resources, to the end |
//! | `0x16` | drain | node ID, `u8` 1 on or 0 off |
//! | `0x17` | stats | |
//! | `0x18` | ping | any bytes, to the end |
//!
//! Integers are little-endian. A list is a `u32` length in bytes and that many bytes of resources; a name is a `u8`
//! length and that many bytes of UTF-8; a token is a `u16` length and bytes; nodes are a `u8` count and node IDs.

mod error;
mod fields;
pub mod reply;
#[cfg(test)]
mod tests;

pub use self::error::{ErrorCode, ExtensionError, Field, NameError};
pub use self::fields::{Demands, Name, NodeIds, append_list};

use self::fields::{Fields, append_name, append_nodes, append_token};
use super::NodeId;
use super::request::append_frame;
use super::resources::{Meaning, Resources};

/// The version of the protocol that has these extensions. A hello names it.
pub const VERSION: u16 = 2;

/// Demands of one schedule many at most. Deciding so many takes milliseconds, in which no other client is answered.
pub const SCHEDULE_MANY_MAX: usize = 10_000;

/// Flag of a schedule many or a schedule with hints: place on free nodes only.
const STRICT: u8 = 1 << 0;
/// Flag of a schedule with hints: decide, and change nothing.
const DRY_RUN: u8 = 1 << 1;

/// The first byte of an extension's request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Hello = 0x10,
    UpdateNode = 0x11,
    Release = 0x12,
    ScheduleMany = 0x13,
    ScheduleWithHints = 0x14,
    Explain = 0x15,
    Drain = 0x16,
    Stats = 0x17,
    Ping = 0x18,
}

impl Code {
    /// All codes, in the order of their bytes.
    pub const ALL: [Code; 9] = [
        Self::Hello,
        Self::UpdateNode,
        Self::Release,
        Self::ScheduleMany,
        Self::ScheduleWithHints,
        Self::Explain,
        Self::Drain,
        Self::Stats,
        Self::Ping,
    ];

    /// The code of a byte, if it is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|code| *code as u8 == byte)
    }

    /// The request in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::UpdateNode => "update node",
            Self::Release => "release",
            Self::ScheduleMany => "schedule many",
            Self::ScheduleWithHints => "schedule with hints",
            Self::Explain => "explain",
            Self::Drain => "drain",
            Self::Stats => "stats",
            Self::Ping => "ping",
        }
    }
}

/// Which extensions a server serves, as its hello says: bit `code - 0x10` for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl Capabilities {
    pub const HELLO: Self = Self::of(Code::Hello);
    pub const UPDATE_NODE: Self = Self::of(Code::UpdateNode);
    pub const RELEASE: Self = Self::of(Code::Release);
    pub const SCHEDULE_MANY: Self = Self::of(Code::ScheduleMany);
    pub const SCHEDULE_WITH_HINTS: Self = Self::of(Code::ScheduleWithHints);
    pub const EXPLAIN: Self = Self::of(Code::Explain);
    pub const DRAIN: Self = Self::of(Code::Drain);
    pub const STATS: Self = Self::of(Code::Stats);
    pub const PING: Self = Self::of(Code::Ping);

    /// All that there is in this version.
    pub const ALL: Self = Self((1 << Code::ALL.len()) - 1);

    /// The capability to serve the requests of a code.
    pub const fn of(code: Code) -> Self {
        Self(1 << (code as u8 - Code::Hello as u8))
    }

    /// Whether all of `other` is in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// How the demands of a schedule many belong together. All but [`Strategy::Each`] are all or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Strategy {
    /// Each on its own: one that fits nowhere leaves the others as they are.
    Each = 0,
    /// On as few nodes as possible.
    Pack = 1,
    /// On as many nodes as possible.
    Spread = 2,
    /// On one node.
    StrictPack = 3,
    /// Each on a node of its own.
    StrictSpread = 4,
}

impl Strategy {
    /// All strategies, in the order of their bytes.
    pub const ALL: [Strategy; 5] = [Self::Each, Self::Pack, Self::Spread, Self::StrictPack, Self::StrictSpread];

    /// The strategy of a byte, if it is one.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }
}

/// A request of an extension. Borrows the message it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension<'a> {
    /// Join a view, in the version of the protocol that these requests have. An empty view name keeps the
    /// connection's own view; an empty owner is the connection alone; the token is empty where none is needed.
    Hello { view: Name<'a>, owner: Name<'a>, token: &'a [u8] },
    /// A node is there, with these resources available of these in total; `None` where they are the same.
    UpdateNode { node: NodeId, available: Resources<'a>, total: Option<Resources<'a>> },
    /// So many placements of these resources on this node have ended.
    Release { node: NodeId, resources: Resources<'a>, count: u32 },
    /// Which nodes should run tasks that ask for these?
    ScheduleMany { strategy: Strategy, strict: bool, demands: Demands<'a> },
    /// Which node should run a task that asks for this? `policy` 0 is the view's, else the place of a policy among
    /// [`DEFINITIONS`](crate::scheduler::policy::DEFINITIONS), counted from 1.
    ScheduleWithHints {
        strict: bool,
        dry_run: bool,
        policy: u8,
        preferred: NodeIds<'a>,
        avoided: NodeIds<'a>,
        demand: Resources<'a>,
    },
    /// Why would a task that asks for this be placed where it would, or not at all?
    Explain { demand: Resources<'a> },
    /// A node takes no new placements from now on, or does again.
    Drain { node: NodeId, on: bool },
    /// How is the view?
    Stats,
    /// Answer with the same bytes.
    Ping { payload: &'a [u8] },
}

impl<'a> Extension<'a> {
    /// Parses the body of a request, what follows its code. All of it is checked here, field by field, and the first
    /// fault is the one told.
    pub fn parse(code: Code, body: &'a [u8]) -> Result<Self, ExtensionError> {
        let mut fields = Fields::new(body);
        let extension = match code {
            Code::Hello => {
                // How other versions go on is not known.
                match fields.u16(Field::Version)? {
                    VERSION => {}
                    version => return Err(ExtensionError::Version(version)),
                }
                Self::Hello {
                    view: fields.name(Field::View)?,
                    owner: fields.name(Field::Owner)?,
                    token: fields.token(Field::Token)?,
                }
            }
            Code::UpdateNode => {
                let node = fields.node_id(Field::NodeId)?;
                if node == NodeId::NIL {
                    return Err(ExtensionError::NodeIdNil);
                }
                let available = fields.list(Meaning::Report, Field::Available)?;
                let total = fields.list(Meaning::Report, Field::Total)?;
                Self::UpdateNode { node, available, total: Some(total).filter(|total| *total != Resources::EMPTY) }
            }
            Code::Release => Self::Release {
                node: fields.node_id(Field::NodeId)?,
                resources: fields.list(Meaning::Demand, Field::Resources)?,
                count: fields.u32(Field::Count)?,
            },
            Code::ScheduleMany => {
                let strategy = fields.u8(Field::Strategy)?;
                let strategy = Strategy::from_byte(strategy).ok_or(ExtensionError::Strategy(strategy))?;
                let flags = fields.flags(STRICT)?;
                Self::ScheduleMany { strategy, strict: flags & STRICT != 0, demands: fields.demands()? }
            }
            Code::ScheduleWithHints => {
                let flags = fields.flags(STRICT | DRY_RUN)?;
                Self::ScheduleWithHints {
                    strict: flags & STRICT != 0,
                    dry_run: flags & DRY_RUN != 0,
                    policy: fields.u8(Field::Policy)?,
                    preferred: fields.node_ids(Field::Preferred)?,
                    avoided: fields.node_ids(Field::Avoided)?,
                    demand: fields.list(Meaning::Demand, Field::Demand)?,
                }
            }
            Code::Explain => {
                let demand = Resources::parse(fields.rest(), Meaning::Demand);
                Self::Explain { demand: demand.map_err(|error| ExtensionError::Resources(Field::Demand, error))? }
            }
            Code::Drain => Self::Drain { node: fields.node_id(Field::NodeId)?, on: fields.switch()? },
            Code::Stats => Self::Stats,
            Code::Ping => Self::Ping { payload: fields.rest() },
        };
        fields.end()?;
        Ok(extension)
    }

    /// The code of the request.
    pub fn code(&self) -> Code {
        match self {
            Self::Hello { .. } => Code::Hello,
            Self::UpdateNode { .. } => Code::UpdateNode,
            Self::Release { .. } => Code::Release,
            Self::ScheduleMany { .. } => Code::ScheduleMany,
            Self::ScheduleWithHints { .. } => Code::ScheduleWithHints,
            Self::Explain { .. } => Code::Explain,
            Self::Drain { .. } => Code::Drain,
            Self::Stats => Code::Stats,
            Self::Ping { .. } => Code::Ping,
        }
    }

    /// Appends the frame of the request.
    ///
    /// # Panics
    /// When a token is longer than 65,535 bytes, or a list longer than 4 GiB: no message can hold them.
    pub fn append(&self, out: &mut Vec<u8>) {
        append_frame(out, |out| {
            out.push(self.code() as u8);
            self.append_body(out);
        });
    }

    fn append_body(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Hello { view, owner, token } => {
                out.extend_from_slice(&VERSION.to_le_bytes());
                append_name(out, view);
                append_name(out, owner);
                append_token(out, token);
            }
            Self::UpdateNode { node, available, total } => {
                out.extend_from_slice(&node.0.to_le_bytes());
                append_list(out, available);
                append_list(out, total.unwrap_or(Resources::EMPTY));
            }
            Self::Release { node, resources, count } => {
                out.extend_from_slice(&node.0.to_le_bytes());
                append_list(out, resources);
                out.extend_from_slice(&count.to_le_bytes());
            }
            Self::ScheduleMany { strategy, strict, demands } => {
                out.extend_from_slice(&[strategy as u8, if strict { STRICT } else { 0 }]);
                demands.append(out);
            }
            Self::ScheduleWithHints { strict, dry_run, policy, preferred, avoided, demand } => {
                let flags = if strict { STRICT } else { 0 } | if dry_run { DRY_RUN } else { 0 };
                out.extend_from_slice(&[flags, policy]);
                append_nodes(out, preferred);
                append_nodes(out, avoided);
                append_list(out, demand);
            }
            Self::Explain { demand } => out.extend_from_slice(demand.as_bytes()),
            Self::Drain { node, on } => {
                out.extend_from_slice(&node.0.to_le_bytes());
                out.push(u8::from(on));
            }
            Self::Stats => {}
            Self::Ping { payload } => out.extend_from_slice(payload),
        }
    }
}
