//! The wire protocol: bytes to typed values and back. Nothing here knows a socket or a scheduler.
//!
//! Every message, in both directions, is a [`frame`]: an 8-byte length and that many bytes. The server
//! reads [`request`]s and writes [`reply`]s; clients do the reverse. A list of [`resources`] is the body
//! of most requests. What version 1 of the protocol does not have is an [`extension`].
//!
//! `PROTOCOL.md` in this folder describes the protocol as a whole.

pub mod extension;
pub mod frame;
pub mod reply;
pub mod request;
pub mod resources;

/// A node's identifier: any 64-bit number but [`NodeId::NIL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub i64);

impl NodeId {
    /// Ray's nil, which no node has.
    pub const NIL: NodeId = NodeId(-1);

    /// Length in bytes of an identifier on the wire.
    pub const LENGTH: usize = 8;
}

impl std::fmt::Display for NodeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
