//! Many requests, sent without waiting for each reply.

use super::{Client, ClientError, encode};
use crate::wire::NodeId;
use crate::wire::extension::reply::{self, Answer};

/// Bytes of requests that are sent before their replies are read. They fit the buffers of any socket, so that sending
/// them never waits for a server that waits for its replies to be read.
const UNANSWERED_LENGTH_MAX: usize = 16 * 1024;

/// Requests that are sent together; see [`Client::batch`].
#[derive(Debug)]
pub struct Batch<'c> {
    client: &'c mut Client,
    frames: Vec<u8>,
    /// What each request asks for, and where its frame ends.
    requests: Vec<(Kind, usize)>,
}

/// What a request of a batch has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Carried out.
    Done,
    /// A schedule: the task runs on this node.
    Placed(NodeId),
    /// A schedule: no node fits.
    NotPlaced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Change,
    Schedule,
}

impl<'c> Batch<'c> {
    pub(super) fn new(client: &'c mut Client) -> Self {
        Self { client, frames: Vec::new(), requests: Vec::new() }
    }

    /// Adds a [`Client::add_node`].
    pub fn add_node(&mut self, node: NodeId, resources: &[(&str, f64)]) -> Result<(), ClientError> {
        encode::add_node(&mut self.frames, node, resources)?;
        self.push(Kind::Change);
        Ok(())
    }

    /// Adds a [`Client::remove_node`].
    pub fn remove_node(&mut self, node: NodeId) {
        encode::remove_node(&mut self.frames, node);
        self.push(Kind::Change);
    }

    /// Adds a [`Client::schedule`].
    pub fn schedule(&mut self, demand: &[(&str, f64)]) -> Result<(), ClientError> {
        encode::schedule(&mut self.frames, demand)?;
        self.push(Kind::Schedule);
        Ok(())
    }

    /// Adds a [`Client::update_node`].
    pub fn update_node(
        &mut self,
        node: NodeId,
        available: &[(&str, f64)],
        total: &[(&str, f64)],
    ) -> Result<(), ClientError> {
        encode::update_node(&mut self.frames, node, available, total)?;
        self.push(Kind::Change);
        Ok(())
    }

    /// Adds a [`Client::release`].
    pub fn release(&mut self, node: NodeId, resources: &[(&str, f64)], count: u32) -> Result<(), ClientError> {
        encode::release(&mut self.frames, node, resources, count)?;
        self.push(Kind::Change);
        Ok(())
    }

    fn push(&mut self, kind: Kind) {
        self.requests.push((kind, self.frames.len()));
    }

    /// Sends all requests and returns what has come of each, in their order.
    ///
    /// Those of a small batch leave in one write. A large one is sent in parts, each when the one before is answered, so
    /// that a batch may be of any length.
    ///
    /// # Errors
    /// When the connection fails; what has come of the requests is not known then. What the server refuses is an error of
    /// that request alone.
    pub fn send(self) -> Result<Vec<Result<Outcome, ClientError>>, ClientError> {
        let Self { client, frames, requests } = self;
        let mut outcomes = Vec::with_capacity(requests.len());
        let mut start = 0;
        let mut rest = &requests[..];
        while let Some((_, first_end)) = rest.first() {
            // At least one, however long.
            let limit = (start + UNANSWERED_LENGTH_MAX).max(*first_end);
            let (part, after) = rest.split_at(rest.partition_point(|(_, end)| *end <= limit));
            let end = part.last().map_or(start, |(_, end)| *end);
            client.connection.send(&frames[start..end])?;
            for (kind, _) in part {
                outcomes.push(outcome(*kind, client.connection.receive()?));
            }
            (start, rest) = (end, after);
        }
        Ok(outcomes)
    }
}

/// What the reply to a request of this kind says.
pub(super) fn outcome(kind: Kind, message: &[u8]) -> Result<Outcome, ClientError> {
    match (kind, super::answer(message)?) {
        (Kind::Change, Answer::Done { body: [] }) => Ok(Outcome::Done),
        (Kind::Change, Answer::Refused) => Err(ClientError::NotUnderstood),
        (Kind::Schedule, Answer::Refused) => Ok(Outcome::NotPlaced),
        (Kind::Schedule, Answer::Done { body }) => {
            let node = reply::parse_nodes(body, 1).and_then(|mut nodes| nodes.next());
            node.map(Outcome::Placed).ok_or(ClientError::InvalidReply)
        }
        _ => Err(ClientError::InvalidReply),
    }
}
