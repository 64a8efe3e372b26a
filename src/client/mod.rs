//! A client of the server: blocking, over TCP or a Unix socket.
//!
//! ```no_run
//! use external_scheduler::client::{Client, ClientError, Timeouts};
//! use external_scheduler::wire::NodeId;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut client = Client::connect(&"127.0.0.1:44444".parse()?, Timeouts::default())?;
//!     client.hello("cluster", "job 7", b"")?;
//!     client.update_node(NodeId(1), &[("CPU", 16.0), ("memory", 64e9)], &[])?;
//!
//!     let demand = [("CPU", 4.0)];
//!     if let Some(node) = client.schedule(&demand)? {
//!         println!("runs on node {node}");
//!         client.release(node, &demand, 1)?;
//!     }
//!
//!     let mut batch = client.batch();
//!     for _ in 0..1_000 {
//!         batch.schedule(&[("CPU", 0.1)])?;
//!     }
//!     for outcome in batch.send()? {
//!         println!("{:?}", outcome?);
//!     }
//!     Ok(())
//! }
//! ```
//!
//! A connection that has failed is not made again by itself: the caller connects anew, says hello, and reports its
//! nodes if it is another [`Welcome::instance`] that answers. What a lost connection was asked last may or may not
//! have been done; in a shared view, what its owner holds is kept for the lease. A [`FailoverClient`] does all that, with
//! several servers to go to.

mod address;
mod batch;
mod connection;
mod encode;
mod error;
pub mod failover;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::address::{Address, AddressError};
pub use self::batch::{Batch, Outcome};
pub use self::error::ClientError;
pub use self::failover::{FailoverClient, FailoverError, FailoverOptions, Placed};
pub use crate::wire::extension::reply::{NotPlaced, Placement, Welcome};
pub use crate::wire::extension::{Capabilities, ErrorCode, Strategy};

use self::batch::Kind;
use self::connection::Connection;
use crate::wire::NodeId;
use crate::wire::extension::reply::{self, Answer};
use crate::wire::extension::{Extension, Name};
use crate::wire::resources::Meaning;

/// How long a client waits. None may be zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a TCP connection to stand, for each address of the host.
    pub connect: Duration,
    /// For the server to take a request, or to go on with a reply.
    pub reply: Duration,
}

impl Default for Timeouts {
    /// Long enough for a busy server, short enough for a person to wait.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), reply: Duration::from_secs(5) }
    }
}

/// What else a placement should take into account; see [`Client::schedule_with_hints`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints<'h> {
    /// Take free nodes only; the task queues nowhere.
    pub strict: bool,
    /// Decide, and place nothing.
    pub dry_run: bool,
    /// 0 for the view's policy, else the place of another among
    /// [`DEFINITIONS`](crate::scheduler::policy::DEFINITIONS), counted from 1.
    pub policy: u8,
    /// Nodes that are taken before others if they are free. At most 255.
    pub preferred: &'h [NodeId],
    /// Nodes that are not taken. At most 255.
    pub avoided: &'h [NodeId],
}

/// A connection to a server.
///
/// Resources and demands are names with amounts: `&[("CPU", 4.0), ("memory", 8e9)]`. Every method is one request, and
/// waits for its reply. See [`ClientError`] for what can go wrong.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    /// The frame of a request, kept for its memory.
    frame: Vec<u8>,
}

impl Client {
    /// Connects to a server. A Unix socket is there or it is not: only TCP may take its time.
    pub fn connect(address: &Address, timeouts: Timeouts) -> Result<Self, ClientError> {
        Ok(Self { connection: Connection::open(address, timeouts)?, frame: Vec::new() })
    }

    /// Joins a shared view as one of an owner's connections, and shows the token where the server asks for one. Has to
    /// be the first request. An empty view name keeps the connection's own view; an empty owner is this connection alone.
    pub fn hello(&mut self, view: &str, owner: &str, token: &[u8]) -> Result<Welcome, ClientError> {
        if token.len() > usize::from(u16::MAX) {
            return Err(ClientError::InvalidRequest("a token longer than 65,535 bytes"));
        }
        self.begin();
        Extension::Hello { view: Name::new(view)?, owner: Name::new(owner)?, token }.append(&mut self.frame);
        self.ask(Welcome::parse)
    }

    /// Reports a node: what it has, all of it available. Replaces what was reported of it before.
    pub fn add_node(&mut self, node: NodeId, resources: &[(&str, f64)]) -> Result<(), ClientError> {
        self.begin();
        encode::add_node(&mut self.frame, node, resources)?;
        self.change()
    }

    /// Removes a node, whether it is there or not.
    pub fn remove_node(&mut self, node: NodeId) -> Result<(), ClientError> {
        self.begin();
        encode::remove_node(&mut self.frame, node);
        self.change()
    }

    /// Places a task. `None` if no node fits.
    pub fn schedule(&mut self, demand: &[(&str, f64)]) -> Result<Option<NodeId>, ClientError> {
        self.begin();
        encode::schedule(&mut self.frame, demand)?;
        match batch::outcome(Kind::Schedule, self.exchange()?)? {
            Outcome::Placed(node) => Ok(Some(node)),
            _ => Ok(None),
        }
    }

    /// Reports a node: what is available of what it has in total; an empty total is the same as what is available.
    pub fn update_node(
        &mut self,
        node: NodeId,
        available: &[(&str, f64)],
        total: &[(&str, f64)],
    ) -> Result<(), ClientError> {
        self.begin();
        encode::update_node(&mut self.frame, node, available, total)?;
        self.change()
    }

    /// Ends `count` placements of these resources on the node.
    pub fn release(&mut self, node: NodeId, resources: &[(&str, f64)], count: u32) -> Result<(), ClientError> {
        self.begin();
        encode::release(&mut self.frame, node, resources, count)?;
        self.change()
    }

    /// Places many tasks, up to [`SCHEDULE_MANY_MAX`](crate::wire::extension::SCHEDULE_MANY_MAX): a node for each, in
    /// order. With [`Strategy::Each`] one that fits nowhere has [`NodeId::NIL`]; else all are placed or none is.
    pub fn schedule_many(
        &mut self,
        strategy: Strategy,
        strict: bool,
        demands: &[&[(&str, f64)]],
    ) -> Result<Result<Vec<NodeId>, NotPlaced>, ClientError> {
        self.begin();
        encode::schedule_many(&mut self.frame, strategy, strict, demands)?;
        self.place(|body| reply::parse_nodes(body, demands.len()).map(Iterator::collect))
    }

    /// Places a task with hints where to.
    pub fn schedule_with_hints(
        &mut self,
        hints: &Hints<'_>,
        demand: &[(&str, f64)],
    ) -> Result<Result<Placement, NotPlaced>, ClientError> {
        self.begin();
        encode::schedule_with_hints(&mut self.frame, hints, demand)?;
        self.place(Placement::parse)
    }

    /// Asks why a task would be placed where it would, or not at all. Answered in JSON.
    pub fn explain(&mut self, demand: &[(&str, f64)]) -> Result<String, ClientError> {
        self.begin();
        let mut bytes = Vec::new();
        Extension::Explain { demand: encode::list(&mut bytes, demand, Meaning::Demand)? }.append(&mut self.frame);
        self.ask(text)
    }

    /// Lets a node take no new placements, or lets it again.
    pub fn drain(&mut self, node: NodeId, on: bool) -> Result<(), ClientError> {
        self.begin();
        Extension::Drain { node, on }.append(&mut self.frame);
        self.change()
    }

    /// Asks how the view is. Answered in JSON.
    pub fn stats(&mut self) -> Result<String, ClientError> {
        self.begin();
        Extension::Stats.append(&mut self.frame);
        self.ask(text)
    }

    /// Sends bytes, and waits for the same to come back.
    pub fn ping(&mut self, payload: &[u8]) -> Result<(), ClientError> {
        self.begin();
        Extension::Ping { payload }.append(&mut self.frame);
        self.ask(|body| (body == payload).then_some(()))
    }

    /// Begins a batch of requests that do not wait for each other's replies: one round trip for all, not one for each.
    pub fn batch(&mut self) -> Batch<'_> {
        Batch::new(self)
    }

    fn begin(&mut self) {
        self.frame.clear();
    }

    fn exchange(&mut self) -> Result<&[u8], ClientError> {
        self.connection.send(&self.frame)?;
        self.connection.receive()
    }

    /// Sends a request that is answered with no more than that it is done.
    fn change(&mut self) -> Result<(), ClientError> {
        batch::outcome(Kind::Change, self.exchange()?).map(drop)
    }

    /// Sends a request for something that there is in any case; `parse` takes it from the reply.
    fn ask<T>(&mut self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<T, ClientError> {
        match self.place(parse)? {
            Ok(value) => Ok(value),
            Err(_) => Err(ClientError::InvalidReply),
        }
    }

    /// Sends a request that may find no node; `parse` takes what it finds from the reply.
    fn place<T>(&mut self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Result<Result<T, NotPlaced>, ClientError> {
        match answer(self.exchange()?)? {
            Answer::Done { body } => parse(body).map(Ok).ok_or(ClientError::InvalidReply),
            Answer::NotPlaced(why) => Ok(Err(why)),
            _ => Err(ClientError::NotUnderstood),
        }
    }
}

/// The answer in a message; an error where it is one.
fn answer(message: &[u8]) -> Result<Answer<'_>, ClientError> {
    match Answer::parse(message).ok_or(ClientError::InvalidReply)? {
        Answer::Error { number, text } => Err(ClientError::Refused { number, text: text.to_owned() }),
        answer => Ok(answer),
    }
}

fn text(body: &[u8]) -> Option<String> {
    std::str::from_utf8(body).ok().map(str::to_owned)
}
