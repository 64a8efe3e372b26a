//! What the loop serves: it knows connections and frames, a service knows what is in them.

use std::fmt::Debug;
use std::time::Instant;

use crate::execute::Refusal;
use crate::prefetch::Step;
use crate::ring::{Pool, Ring};
use crate::telemetry::server::ServerTelemetry;
use crate::wire::reply::Reply;

/// Answers the messages of connections.
pub trait Service {
    /// What a connection keeps between messages.
    type Session: Debug;

    /// A new connection's session.
    fn open(&mut self) -> Self::Session;

    /// Whether a connection has to begin with a message right away, to show who it is.
    fn wants_first_message(&self) -> bool {
        false
    }

    /// Answers one message with exactly one reply frame, and says if the request was not carried out and why.
    fn execute(&mut self, session: &mut Self::Session, message: &[u8], output: &mut Output<'_>) -> Option<Refusal>;

    /// Loads what a message will need that is [executed](Self::execute) soon, as far as a step of the way goes.
    #[inline]
    fn prefetch(&mut self, _step: Step, _session: &mut Self::Session, _message: &[u8]) {}

    /// What the requests since this was last asked have cost beyond the usual, in usual requests. It goes off the budget of
    /// their connection's turn, so that costly ones do not keep others waiting for as many of them as cheap ones.
    #[inline]
    fn take_work(&mut self) -> usize {
        0
    }

    /// A connection has ended.
    fn close(&mut self, _session: Self::Session, _now: Instant) {}

    /// When [`Service::do_due`] has something to do.
    #[inline]
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Does some of what is due. It is called again soon if something is left.
    fn do_due(&mut self, _now: Instant) {}

    /// What was served, in a few words for the log.
    fn summary(&self) -> String;
}

/// Where the replies of a turn gather.
#[derive(Debug)]
pub struct Output<'a> {
    ring: &'a mut Ring,
    pool: &'a mut Pool,
    telemetry: &'a ServerTelemetry,
    out_of_memory: bool,
}

impl<'a> Output<'a> {
    /// Replies gather in `ring`.
    pub fn new(ring: &'a mut Ring, pool: &'a mut Pool, telemetry: &'a ServerTelemetry) -> Self {
        Self { ring, pool, telemetry, out_of_memory: false }
    }

    /// What the server knows of itself.
    #[inline]
    pub fn telemetry(&self) -> &'a ServerTelemetry {
        self.telemetry
    }

    /// Appends a reply frame.
    #[inline]
    pub fn append(&mut self, frame: &[u8]) {
        self.out_of_memory |= self.ring.append(frame, self.pool).is_err();
    }

    /// Appends a reply of version 1.
    #[inline]
    pub fn append_reply(&mut self, reply: Reply) {
        let frame = reply.to_frame();
        let (bytes, length) = frame.padded();
        self.out_of_memory |= self.ring.append_first(bytes, length, self.pool).is_err();
    }

    /// Bytes of replies that wait.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.waiting().len()
    }

    /// Whether no reply waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a reply was lost because there was no memory for it: the connection cannot go on.
    #[inline]
    pub fn is_out_of_memory(&self) -> bool {
        self.out_of_memory
    }
}
