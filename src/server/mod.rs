//! The server: one thread, one poll loop, connections in a slab.
//!
//! The loop knows connections and turns. What is said on a connection is the business of a
//! [`service::Service`]: the scheduler, or the do-nothing peer it is measured against.
//!
//! Events are edge-triggered. An event marks its connection readable and gives it a turn: one read, the requests
//! it completes, one write ([`connection`]). A connection that has more to do after its turn gets the next one
//! when all others had theirs. Tokens carry a generation, so that an event meant for a closed connection does not
//! reach a new one in its place.

pub mod busy_poll;
pub mod close;
pub mod connection;
pub mod listener;
pub mod service;
pub mod signals;
pub mod stream;

use std::io;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;

use self::busy_poll::{BusyPoll, Vigil};
use self::close::CloseReason;
use self::connection::{Connection, Shared, Turn};
use self::listener::Listener;
use self::service::Service;
use self::signals::StopSignals;
use self::stream::{Peer, Stream};
use crate::ring::Pool;
use crate::telemetry::server::ServerTelemetry;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// Connections accepted from one listener in a round, before those that are connected get their turns.
const ACCEPTS_PER_ROUND: usize = 64;

/// Rounds in a row that must have served one connection alone before a loop that polls without sleeping asks its socket.
const ALONE_ROUNDS: u32 = 8;

/// How often that connection's socket is asked before the others are looked at: they wait some microseconds for it.
const ALONE_READS: u32 = 16;

/// How long accepting rests when the operating system has no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long connections may take at exit to be answered what they have asked. Leaves time to exit within 2 s.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(1500);

const STOP_TOKEN: Token = Token(usize::MAX);
/// Listeners count down from here.
const LISTENER_TOKEN_MAX: usize = usize::MAX - 1;
/// A connection's token is its key in the slab with a generation above.
const KEY_BITS: u32 = usize::BITS / 2;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;
/// Below the greatest that would fit, so that no connection has the token of a listener.
const GENERATIONS: usize = KEY_MASK;

/// Limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at most; more are closed at once.
    pub connections_max: usize,
    /// Length in bytes of the longest message.
    pub frame_length_max: usize,
}

/// A server. See [`Server::run`].
#[derive(Debug)]
pub struct Server<V: Service> {
    poll: Poll,
    _stop_signals: StopSignals,
    listeners: Vec<AcceptState>,
    connections: Slab<Connection<V::Session>>,
    /// Goes into the token of the next connection.
    generation: usize,
    /// Connections that get another turn in the next round.
    queue: Vec<Token>,
    /// The memory of the last round's queue.
    queue_spare: Vec<Token>,
    /// New connections are being refused, which has been logged.
    refusing: bool,
    pool: Pool,
    service: V,
    limits: Limits,
    vigil: Vigil,
    alone: Alone,
    telemetry: ServerTelemetry,
    /// Set once the server stops: when it stops waiting for its connections.
    stop_at: Option<Instant>,
}

/// The connection that alone has something to say, while one has.
#[derive(Debug, Default)]
struct Alone {
    token: Option<Token>,
    /// Rounds in a row that have served it and no other.
    rounds: u32,
}

impl Alone {
    /// A round has served one connection, or none or several.
    #[inline]
    fn served(&mut self, token: Option<Token>) {
        self.rounds = if token == self.token { self.rounds.saturating_add(1) } else { 0 };
        self.token = token;
    }

    /// The connection, if it has been alone for long enough to go on like this.
    #[inline]
    fn token(&self) -> Option<Token> {
        self.token.filter(|_| self.rounds >= ALONE_ROUNDS)
    }
}

#[derive(Debug)]
struct AcceptState {
    listener: Listener,
    /// Connections may wait to be accepted.
    ready: bool,
    paused_until: Option<Instant>,
}

impl<V: Service> Server<V> {
    /// Prepares a server for listeners that listen already. It sleeps when nothing has come for as long as `busy_poll` says.
    ///
    /// # Errors
    /// When the operating system has no poll, or refuses to watch a listener or signals.
    pub fn new(listeners: Vec<Listener>, service: V, limits: Limits, busy_poll: BusyPoll) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stop_signals = StopSignals::register(poll.registry(), STOP_TOKEN)?;
        let mut states = Vec::with_capacity(listeners.len());
        for (index, mut listener) in listeners.into_iter().enumerate() {
            listener.register(poll.registry(), Token(LISTENER_TOKEN_MAX - index))?;
            states.push(AcceptState { listener, ready: false, paused_until: None });
        }
        Ok(Self {
            poll,
            _stop_signals: stop_signals,
            listeners: states,
            connections: Slab::new(),
            generation: 0,
            queue: Vec::new(),
            queue_spare: Vec::new(),
            refusing: false,
            pool: Pool::default(),
            service,
            limits,
            vigil: Vigil::new(busy_poll),
            alone: Alone::default(),
            telemetry: ServerTelemetry::default(),
            stop_at: None,
        })
    }

    /// Serves until SIGINT or SIGTERM, then answers what was received and returns.
    ///
    /// # Errors
    /// When polling fails, which no peer can cause.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_finished() {
            if self.vigil.is_awake() {
                self.ask_alone();
            }
            match self.poll.poll(&mut events, self.poll_timeout()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            self.vigil.polled(!events.is_empty() || !self.queue.is_empty());
            if !events.is_empty() {
                self.alone.served(only(&events).map(Event::token));
            }
            self.round(&events);
            if self.service.due().is_some_and(|due| due <= Instant::now()) {
                self.service.do_due(Instant::now());
            }
        }
        for token in self.connections.iter().map(|(_, connection)| connection.token).collect::<Vec<_>>() {
            self.close(token, CloseReason::Shutdown);
        }
        log::info!("stopped: {}; {}", self.telemetry.counters, self.service.summary());
        Ok(())
    }

    /// Reads from the connection that has been alone for a while, without asking the poll first whether it has something: that is
    /// one system call less before its reply. The poll comes after the reply, while the peer is busy with it.
    #[inline]
    fn ask_alone(&mut self) {
        let Some(token) = self.alone.token() else { return };
        if !self.queue.is_empty() {
            return;
        }
        for _ in 0..ALONE_READS {
            let Some(connection) = self.connection(token) else { return };
            connection.set_readable(false);
            if self.turn(token) {
                self.vigil.polled(true);
                return;
            }
        }
    }

    /// Everything that one poll has brought, and what was left over from the round before.
    #[inline]
    fn round(&mut self, events: &Events) {
        let mut waiting = std::mem::replace(&mut self.queue, std::mem::take(&mut self.queue_spare));
        for event in events {
            match event.token() {
                STOP_TOKEN => self.stop(),
                Token(token) if token > LISTENER_TOKEN_MAX - self.listeners.len() => {
                    self.listeners[LISTENER_TOKEN_MAX - token].ready = true;
                }
                token => self.connection_event(token, event),
            }
        }
        for token in waiting.drain(..) {
            if let Some(connection) = self.connection(token) {
                connection.queued = false;
                self.turn(token);
            }
        }
        self.queue_spare = waiting;
        for index in 0..self.listeners.len() {
            self.accept(index);
        }
    }

    /// The connection of a token, unless it has been closed.
    #[inline]
    fn connection(&mut self, token: Token) -> Option<&mut Connection<V::Session>> {
        self.connections.get_mut(token.0 & KEY_MASK).filter(|connection| connection.token == token)
    }

    #[inline]
    fn connection_event(&mut self, token: Token, event: &Event) {
        let Some(connection) = self.connection(token) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            connection.set_readable(event.is_read_closed());
        }
        // One that waits for its turn has it in this round anyway.
        if !connection.queued {
            self.turn(token);
        }
    }

    /// Gives a connection a turn. Returns whether it had something to do.
    #[inline]
    fn turn(&mut self, token: Token) -> bool {
        let Some(connection) = self.connections.get_mut(token.0 & KEY_MASK) else { return false };
        let shared = Shared {
            pool: &mut self.pool,
            telemetry: &mut self.telemetry,
            frame_length_max: self.limits.frame_length_max,
        };
        match connection.turn(&mut self.service, shared) {
            turn @ (Turn::Wait | Turn::Nothing) => {
                let blocked = connection.is_write_blocked();
                if blocked != connection.write_interest {
                    connection.write_interest = blocked;
                    if let Err(error) = connection.stream.set_write_interest(self.poll.registry(), token, blocked) {
                        self.close(token, CloseReason::Lost(error));
                        return true;
                    }
                }
                if self.stop_at.is_some() && connection.is_drained() {
                    self.close(token, CloseReason::Shutdown);
                }
                return matches!(turn, Turn::Wait);
            }
            Turn::Again => {
                connection.queued = true;
                self.queue.push(token);
            }
            Turn::Close(reason) => self.close(token, reason),
        }
        true
    }

    /// Accepts the connections that wait at a listener, as far as this round's budget and the limits allow.
    fn accept(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let state = &mut self.listeners[index];
            if !state.ready || state.paused_until.is_some_and(|until| Instant::now() < until) {
                return;
            }
            match state.listener.accept() {
                Ok((stream, peer)) => {
                    state.paused_until = None;
                    self.open(stream, peer);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => state.ready = false,
                    // The client has gone before it was accepted.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        if state.paused_until.is_none() {
                            log::error!("{}: cannot accept connections for now: {error}", state.listener);
                        }
                        state.paused_until = Some(Instant::now() + ACCEPT_PAUSE);
                        self.telemetry.counters.accept_errors += 1;
                    }
                },
            }
        }
    }

    fn open(&mut self, stream: Stream, peer: Peer) {
        self.telemetry.counters.accepted += 1;
        if self.connections.len() >= self.limits.connections_max {
            if !std::mem::replace(&mut self.refusing, true) {
                log::warn!("{peer}: refused, as others from now on: {}", CloseReason::TooManyConnections);
            }
            self.telemetry.counters.closed[CloseReason::TooManyConnections.index()] += 1;
            return;
        }
        self.refusing = false;
        let entry = self.connections.vacant_entry();
        self.generation = (self.generation + 1) % GENERATIONS;
        let token = Token(self.generation << KEY_BITS | entry.key());
        let connection = entry.insert(Connection::new(stream, peer, token, self.service.open()));
        self.telemetry.connections += 1;
        let set_up = connection.stream.set_nodelay().and_then(|()| {
            // What has arrived already is an event too.
            connection.stream.register(self.poll.registry(), token)
        });
        match set_up {
            Ok(()) => log::info!("{peer}: connected"),
            Err(error) => self.close(token, CloseReason::Lost(error)),
        }
    }

    /// The one way in which a connection ends.
    fn close(&mut self, token: Token, reason: CloseReason) {
        let Some(mut connection) = self.connections.try_remove(token.0 & KEY_MASK) else { return };
        debug_assert_eq!(connection.token, token);
        connection.stream.deregister(self.poll.registry());
        self.telemetry.connections -= 1;
        self.telemetry.counters.closed[reason.index()] += 1;
        let level = if reason.is_normal() { log::Level::Info } else { log::Level::Warn };
        log::log!(level, "{}: closed: {reason}", connection.peer);
        let session = connection.end(&mut self.pool);
        self.service.close(session, Instant::now());
    }

    /// Stops accepting, and gives every connection the turns it needs to be answered what it has sent.
    fn stop(&mut self) {
        if self.stop_at.is_some() {
            return;
        }
        log::info!("stopping: {} connections open", self.connections.len());
        self.stop_at = Some(Instant::now() + SHUTDOWN_TIMEOUT);
        for mut state in self.listeners.drain(..) {
            state.listener.deregister(self.poll.registry());
        }
        for (_, connection) in &mut self.connections {
            connection.set_readable(false);
            if !std::mem::replace(&mut connection.queued, true) {
                self.queue.push(connection.token);
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.stop_at.is_some_and(|stop_at| self.connections.is_empty() || Instant::now() >= stop_at)
    }

    /// How long the next poll may sleep; `None` is for ever.
    fn poll_timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.vigil.is_awake() {
            return Some(Duration::ZERO);
        }
        let accepting = self.listeners.iter().filter(|state| state.ready);
        let accept_at = accepting.map(|state| state.paused_until.map_or(Duration::ZERO, until)).min();
        accept_at.into_iter().chain(self.stop_at.map(until)).chain(self.service.due().map(until)).min()
    }
}

/// The event, if there is just one.
fn only(events: &Events) -> Option<&Event> {
    let mut events = events.iter();
    events.next().filter(|_| events.next().is_none())
}

fn until(instant: Instant) -> Duration {
    instant.saturating_duration_since(Instant::now())
}
