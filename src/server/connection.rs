//! One connection: its socket, its buffers, its session.

use std::io;
use std::time::Instant;

use mio::Token;

use super::close::CloseReason;
use super::log_limit::{Line, LogLimits};
use super::service::{Output, Service};
use super::stream::{Peer, Stream};
use super::waits::Wait;
use crate::execute::Refusal;
use crate::prefetch::Step;
use crate::ring::{Pool, Ring, STORAGE_LENGTH};
use crate::telemetry::server::ServerTelemetry;
use crate::wire::frame::{self, Frame};

/// Requests that a connection may have answered in one turn before others get theirs. Large enough that a
/// system call is shared by many requests, small enough that a client with one request in flight waits little behind
/// each busy connection.
pub const REQUESTS_PER_TURN: usize = 256;

/// Bytes of replies after which a turn ends early, so that a turn's replies fit the storage that a ring starts with.
const REPLY_BYTES_PER_TURN: usize = STORAGE_LENGTH / 2;

/// Room offered to a read at least. A frame that needs more makes the ring grow as its bytes arrive, never because it
/// was announced.
const READ_LENGTH_MIN: usize = STORAGE_LENGTH / 4;

/// What the connections of a server share.
#[derive(Debug)]
pub struct Shared<'a> {
    pub pool: &'a mut Pool,
    pub telemetry: &'a mut ServerTelemetry,
    pub log_limits: &'a mut LogLimits,
    pub frame_length_max: usize,
}

/// What a connection needs next.
#[derive(Debug)]
pub enum Turn {
    /// Nothing had come after all.
    Nothing,
    /// Nothing until its socket becomes readable, or writable where replies wait.
    Wait,
    /// Another turn soon: it has more to do.
    Again,
    /// To be closed.
    Close(CloseReason),
}

/// A connection.
#[derive(Debug)]
pub struct Connection<S> {
    pub stream: Stream,
    pub peer: Peer,
    session: S,
    input: Ring,
    output: Ring,
    /// The socket may have bytes, or its end, that were not read yet.
    readable: bool,
    /// The peer has closed its side: behind the bytes in the socket is its end, which is no new event.
    end_announced: bool,
    /// The peer sends nothing more: what was received is answered, then the connection ends.
    ended: bool,
    /// The last turn spent its budget: the input may hold whole frames.
    unfinished: bool,
    /// Why the connection ends once the replies are sent.
    fault: Option<CloseReason>,
    /// The last turn has brought the peer forward: it took a whole frame, or the socket took replies that waited.
    has_progressed: bool,
    /// The peer has sent something.
    is_heard: bool,
    /// The peer has to begin with a frame right away.
    owes_frame: bool,
    /// Whether writable events are asked for.
    pub write_interest: bool,
    /// Whether it waits for another turn.
    pub queued: bool,
    /// Tells it from others that had its place in the slab.
    pub token: Token,
    /// Which reasons for refusing a request have been logged, a bit each.
    refusals_logged: u32,
}

const _: () = assert!(Refusal::REASONS <= u32::BITS as usize);

impl<S> Connection<S> {
    /// A connection whose peer, where it `owes_frame`, is to send one at once.
    pub fn new(stream: Stream, peer: Peer, token: Token, session: S, owes_frame: bool) -> Self {
        Self {
            stream,
            peer,
            session,
            input: Ring::default(),
            output: Ring::default(),
            readable: false,
            end_announced: false,
            ended: false,
            unfinished: false,
            fault: None,
            has_progressed: false,
            is_heard: false,
            owes_frame,
            write_interest: false,
            queued: false,
            token,
            refusals_logged: 0,
        }
    }

    /// The socket has become readable, up to its end where `end_announced`.
    #[inline]
    pub fn set_readable(&mut self, end_announced: bool) {
        self.readable = !self.ended;
        self.end_announced |= end_announced;
    }

    /// Whether replies wait for the socket to take them.
    #[inline]
    pub fn is_write_blocked(&self) -> bool {
        !self.output.is_empty()
    }

    /// What is to come from the peer next, if anything has to.
    #[inline]
    pub fn wait(&self) -> Option<Wait> {
        if self.is_write_blocked() {
            Some(Wait::Room)
        } else if self.owes_frame || !self.input.is_empty() {
            Some(Wait::Frame)
        } else {
            None
        }
    }

    /// Whether the last turn has brought the peer forward, so that it has its full time for what comes next.
    #[inline]
    pub fn has_progressed(&self) -> bool {
        self.has_progressed
    }

    /// Whether nothing that was received is unanswered, as far as is known.
    pub fn is_drained(&self) -> bool {
        !self.readable && !self.unfinished && self.output.is_empty()
    }

    /// Gives the buffers back and ends the connection. Returns its session.
    pub fn end(mut self, pool: &mut Pool) -> S {
        self.input.clear(pool);
        self.output.clear(pool);
        self.session
    }

    /// One turn, from its [read](Self::read) to its [write](Self::send).
    pub fn turn<V>(&mut self, service: &mut V, shared: Shared<'_>) -> Turn
    where
        V: Service<Session = S>,
    {
        let Shared { pool, telemetry, log_limits, frame_length_max } = shared;
        if let Some(turn) = self.read(pool, log_limits) {
            return turn;
        }
        self.execute(Instant::now(), service, Shared { pool, telemetry, log_limits, frame_length_max });
        self.send(pool)
    }

    /// The first part of a turn: at most one read. Returns the turn where there is nothing to execute.
    ///
    /// While replies wait for the socket nothing is read or executed, so that a peer that sends and does not read
    /// stops itself and its buffers stay bounded.
    #[inline]
    pub fn read(&mut self, pool: &mut Pool, log_limits: &mut LogLimits) -> Option<Turn> {
        self.try_read(pool, log_limits).unwrap_or_else(|reason| Some(self.close(reason)))
    }

    /// Loads what the first request that was read needs, as far as a step of the way goes.
    #[inline]
    pub fn prefetch<V>(&mut self, step: Step, service: &mut V, frame_length_max: usize)
    where
        V: Service<Session = S>,
    {
        if let Ok(Frame::Complete { message, .. }) = frame::split(self.input.waiting(), frame_length_max) {
            service.prefetch(step, &mut self.session, message);
        }
    }

    /// The second part: the requests that the read has completed, which were complete at a time. Returns what they have cost, in usual
    /// requests.
    #[inline]
    pub fn execute<V>(&mut self, complete_at: Instant, service: &mut V, shared: Shared<'_>) -> usize
    where
        V: Service<Session = S>,
    {
        let Shared { pool, telemetry, log_limits, frame_length_max } = shared;
        let (requests, cost, executed) =
            self.try_execute(service, Shared { pool, telemetry, log_limits, frame_length_max });
        if requests > 0 {
            self.has_progressed = true;
            self.owes_frame = false;
            telemetry.answered(requests, complete_at.elapsed());
        }
        self.fault = executed.err();
        // The next connection takes the storage while it is in the cache.
        self.input.rest(pool);
        cost
    }

    /// The last part: one write.
    #[inline]
    pub fn send(&mut self, pool: &mut Pool) -> Turn {
        self.try_send(pool).unwrap_or_else(|reason| self.close(reason))
    }

    fn close(&self, reason: CloseReason) -> Turn {
        match reason {
            CloseReason::EndOfStream | CloseReason::Lost(_) if !self.is_heard => Turn::Close(CloseReason::Unused),
            reason => Turn::Close(reason),
        }
    }

    fn try_read(&mut self, pool: &mut Pool, log_limits: &mut LogLimits) -> Result<Option<Turn>, CloseReason> {
        self.has_progressed = false;
        if self.is_write_blocked() {
            self.has_progressed = self.flush(pool)?;
            if self.is_write_blocked() {
                return Ok(Some(Turn::Wait));
            }
        }
        if self.readable && !self.unfinished && !self.fill(pool, log_limits)? {
            self.rest(pool);
            return Ok(Some(Turn::Nothing));
        }
        Ok(None)
    }

    fn try_send(&mut self, pool: &mut Pool) -> Result<Turn, CloseReason> {
        // What was answered before a fault is still sent.
        self.flush(pool)?;
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.is_write_blocked() {
            return Ok(Turn::Wait);
        }
        if self.unfinished || self.readable {
            return Ok(Turn::Again);
        }
        if self.ended {
            let inside_frame = !self.input.is_empty();
            return Err(if inside_frame { CloseReason::EndInsideFrame } else { CloseReason::EndOfStream });
        }
        self.rest(pool);
        Ok(Turn::Wait)
    }

    /// There is nothing more to read for now.
    fn rest(&mut self, pool: &mut Pool) {
        if self.input.is_empty() {
            self.input.rest(pool);
        } else {
            // Part of a frame: the peer may hold the rest back until it hears that this part has arrived.
            self.stream.acknowledge_now();
        }
    }

    /// Reads once. Returns whether something has come, be it the end.
    fn fill(&mut self, pool: &mut Pool, log_limits: &mut LogLimits) -> Result<bool, CloseReason> {
        let room = self.input.room(READ_LENGTH_MIN, pool).map_err(|_| CloseReason::OutOfMemory)?;
        let room_length = room.len();
        match self.stream.read(room) {
            Ok(0) => {
                self.ended = true;
                self.readable = false;
            }
            Ok(length) => {
                self.input.produce(length);
                if !std::mem::replace(&mut self.is_heard, true) {
                    log_limits.log(Line::Connected, log::Level::Info, format_args!("{}: connected", self.peer));
                }
                // A read that leaves room has emptied the socket. What comes later is a new event, so the read
                // that would find nothing is spared.
                self.readable = length == room_length || self.end_announced;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(false);
            }
            Err(error) => return Err(CloseReason::Lost(error)),
        }
        Ok(true)
    }

    /// Executes the whole frames in the input until the budget of the turn is spent. Returns how many there were, and what they have
    /// cost in usual requests.
    #[inline]
    fn try_execute<V>(&mut self, service: &mut V, shared: Shared<'_>) -> (u64, usize, Result<(), CloseReason>)
    where
        V: Service<Session = S>,
    {
        let Shared { pool, telemetry, log_limits, frame_length_max } = shared;
        let mut output = Output::new(&mut self.output, pool, telemetry);
        let mut consumed_total = 0;
        let (mut requests, mut budget) = (0, REQUESTS_PER_TURN);
        let waiting = self.input.waiting();
        let mut end = Ok(());
        self.unfinished = false;
        loop {
            match frame::split(&waiting[consumed_total..], frame_length_max) {
                Ok(Frame::Complete { message, consumed }) => {
                    if budget == 0 || output.len() > REPLY_BYTES_PER_TURN {
                        self.unfinished = true;
                        break;
                    }
                    requests += 1;
                    let refusal = service.execute(&mut self.session, message, &mut output);
                    budget = budget.saturating_sub(1 + service.take_work());
                    consumed_total += consumed;
                    if let Some(refusal) = refusal {
                        log_refusal_once(refusal, &self.peer, &mut self.refusals_logged, log_limits);
                        if refusal.is_final() {
                            end = Err(CloseReason::Unauthorized);
                            break;
                        }
                    }
                }
                Ok(Frame::Partial { .. }) => break,
                Err(error) => {
                    end = Err(CloseReason::Frame(error));
                    break;
                }
            }
        }
        if output.is_out_of_memory() {
            end = Err(CloseReason::OutOfMemory);
        }
        self.input.consume(consumed_total);
        (requests, REQUESTS_PER_TURN - budget, end)
    }

    /// Writes what waits, once. Returns whether the socket took any of it.
    #[inline]
    fn flush(&mut self, pool: &mut Pool) -> Result<bool, CloseReason> {
        if self.output.is_empty() {
            return Ok(false);
        }
        match self.stream.write(self.output.waiting()) {
            Ok(length) => {
                self.output.consume(length);
                self.output.rest(pool);
                Ok(length > 0)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(CloseReason::Lost(error)),
        }
    }
}

#[cold]
fn log_refusal_once(refusal: Refusal, peer: &Peer, logged: &mut u32, log_limits: &mut LogLimits) {
    let bit = 1 << refusal.index();
    if *logged & bit == 0 {
        *logged |= bit;
        let text = format_args!("{peer}: {refusal} (logged once for this connection)");
        log_limits.log(Line::Refused(refusal.index()), log::Level::Warn, text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use mio::net::UnixStream;

    use super::*;

    /// Answers with the message, and says that each request has cost as much as its first byte says.
    #[derive(Default)]
    struct Costly {
        work: usize,
        executed: usize,
    }

    impl Service for Costly {
        type Session = ();

        fn open(&mut self) {}

        fn execute(&mut self, (): &mut (), message: &[u8], output: &mut Output<'_>) -> Option<Refusal> {
            self.work += usize::from(message[0]) * 10;
            self.executed += 1;
            output.append(message);
            None
        }

        fn take_work(&mut self) -> usize {
            std::mem::take(&mut self.work)
        }

        fn summary(&self) -> String {
            String::new()
        }
    }

    #[test]
    fn a_turn_ends_after_fewer_requests_where_they_are_costly() {
        for (cost, expected) in [(0, 256), (1, 24), (10, 3), (25, 2), (26, 1), (255, 1)] {
            let (stream, mut peer) = UnixStream::pair().unwrap();
            let request = [&frame::prefix(1)[..], &[cost]].concat();
            peer.write_all(&request.repeat(300)).unwrap();
            let mut connection = Connection::new(Stream::Unix(stream), Peer::Unix(1), Token(0), (), false);
            connection.set_readable(false);
            let mut service = Costly::default();
            let (mut pool, mut telemetry, mut log_limits) =
                (Pool::default(), ServerTelemetry::default(), LogLimits::default());
            let mut turn = || {
                let shared = Shared {
                    pool: &mut pool,
                    telemetry: &mut telemetry,
                    log_limits: &mut log_limits,
                    frame_length_max: 1,
                };
                let before = service.executed;
                let turn = connection.turn(&mut service, shared);
                while peer.read(&mut [0; 4096]).is_ok() {}
                (turn, service.executed - before)
            };
            let (first, count) = turn();
            assert!(matches!(first, Turn::Again), "{cost}: {first:?}");
            assert_eq!(count, expected, "requests that cost {cost}");
            let rest: usize =
                std::iter::repeat_with(&mut turn).map(|(_, count)| count).take_while(|count| *count > 0).sum();
            assert_eq!(count + rest, 300, "none is lost");
        }
    }
}
