//! The server: one thread, one poll loop, connections in a slab.
//!
//! The loop knows connections and turns. What is said on a connection is the business of a
//! [`service::Service`]: the scheduler, or the do-nothing peer it is measured against.
//!
//! Events are edge-triggered. An event marks its connection readable and gives it a turn: one read, the requests
//! it completes, one write ([`connection`]). Several connections have their turns together: all reads, then all requests, then
//! all writes. A connection that has more to do after its turn gets the next one when all others had theirs. Tokens carry a
//! generation, so that an event meant for a closed connection does not reach a new one in its place.
//!
//! Peers that do not finish what they have begun are closed after a time ([`waits`]). The server judges by its own time:
//! where it did not run for a while (a stopped process, a suspended machine), everybody's time begins anew.

mod accept;
pub mod allow;
mod alone;
pub mod busy_poll;
pub mod close;
pub mod connection;
pub mod listener;
pub mod log_limit;
pub mod manager;
pub mod service;
pub mod signals;
pub mod stream;
mod turns;
pub mod waits;

use std::io;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;

use self::accept::Listeners;
use self::allow::AllowList;
use self::alone::Alone;
use self::busy_poll::{BusyPoll, Vigil};
use self::close::CloseReason;
use self::connection::{Connection, Shared, Turn};
use self::listener::Listener;
use self::log_limit::{Line, LogLimits};
use self::manager::ServiceManager;
use self::service::Service;
use self::signals::StopSignals;
use self::waits::{Timeouts, Wait, Waits};
use crate::memory::MemoryLimit;
use crate::ring::Pool;
use crate::telemetry::server::ServerTelemetry;

/// Events taken from the kernel at once.
const EVENTS_MAX: usize = 1024;

/// How often the loop goes round at least while something is to happen at a certain time.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A round that comes later than this after the one before was not held up by work: the process did not run.
const GAP_MIN: Duration = Duration::from_secs(3);

/// Connections closed in a round because their time is up, before others get their turns.
const OVERDUE_PER_ROUND: usize = 64;

/// How long connections may take at exit to be answered what they have asked, where nothing else is said. Well below the
/// time after which service managers kill.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

const STOP_TOKEN: Token = Token(usize::MAX);
/// Listeners count down from here.
const LISTENER_TOKEN_MAX: usize = usize::MAX - 1;
/// A connection's token is its key in the slab with a generation above.
const KEY_BITS: u32 = usize::BITS / 2;
const KEY_MASK: usize = (1 << KEY_BITS) - 1;
/// Below the greatest that would fit, so that no connection has the token of a listener.
const GENERATIONS: usize = KEY_MASK;

/// Limits of a server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at most; more are closed at once.
    pub connections_max: usize,
    /// Length in bytes of the longest message.
    pub frame_length_max: usize,
    /// How long peers may take.
    pub timeouts: Timeouts,
    /// How long connections may take at exit to be answered what they have asked.
    pub shutdown_timeout: Duration,
    /// From where connections are accepted.
    pub allow: AllowList,
    /// How much memory all may take.
    pub memory: MemoryLimit,
}

/// A server. See [`Server::run`].
#[derive(Debug)]
pub struct Server<V: Service> {
    poll: Poll,
    _stop_signals: StopSignals,
    listeners: Listeners,
    connections: Slab<Connection<V::Session>>,
    /// Goes into the token of the next connection.
    generation: usize,
    /// Connections that get another turn in the next round.
    queue: Vec<Token>,
    /// The memory of the last round's queue.
    queue_spare: Vec<Token>,
    /// Connections whose turns have begun: see [`Server::finish_turns`].
    turns_begun: Vec<Token>,
    /// When the first of them had been read.
    first_read_at: Instant,
    /// When this round began.
    now: Instant,
    /// What connections are waited for.
    waits: Waits,
    /// Nothing of the service's is due before: clients that could not reach it meanwhile come back first.
    service_paused_until: Option<Instant>,
    log_limits: LogLimits,
    manager: ServiceManager,
    pool: Pool,
    service: V,
    limits: Limits,
    vigil: Vigil,
    alone: Alone,
    telemetry: ServerTelemetry,
    /// Set once the server stops: when it stops waiting for its connections.
    stop_at: Option<Instant>,
}

impl<V: Service> Server<V> {
    /// Prepares a server for listeners that listen already. It sleeps when nothing has come for as long as `busy_poll` says.
    ///
    /// # Errors
    /// When the operating system has no poll, or refuses to watch a listener or signals.
    pub fn new(listeners: Vec<Listener>, service: V, limits: Limits, busy_poll: BusyPoll) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stop_signals = StopSignals::register(poll.registry(), STOP_TOKEN)?;
        let listeners = Listeners::register(listeners, poll.registry())?;
        Ok(Self {
            poll,
            _stop_signals: stop_signals,
            listeners,
            connections: Slab::new(),
            generation: 0,
            queue: Vec::new(),
            queue_spare: Vec::new(),
            turns_begun: Vec::new(),
            first_read_at: Instant::now(),
            now: Instant::now(),
            waits: Waits::new(limits.timeouts),
            service_paused_until: None,
            log_limits: LogLimits::default(),
            manager: ServiceManager::default(),
            pool: Pool::new(limits.memory),
            service,
            limits,
            vigil: Vigil::new(busy_poll),
            alone: Alone::default(),
            telemetry: ServerTelemetry::default(),
            stop_at: None,
        })
    }

    /// The server, which tells a service manager how it is.
    pub fn with_manager(self, manager: ServiceManager) -> Self {
        Self { manager, ..self }
    }

    /// Serves until SIGINT or SIGTERM, then answers what was received and returns.
    ///
    /// # Errors
    /// When polling fails, which no peer can cause.
    pub fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.now = Instant::now();
        self.manager.tell_ready(&format!("listening on {}", self.listeners), self.now);
        while !self.is_finished() {
            match self.vigil.is_awake() {
                true => self.ask_alone(),
                false => self.end_alone(),
            }
            let timeout = self.poll_timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                result => result?,
            }
            if !events.is_empty() {
                self.count_alone(only(&events).map(Event::token));
            }
            self.begin_round(timeout.is_some());
            self.vigil.polled(!events.is_empty() || !self.queue.is_empty(), self.now);
            self.round(&events);
            self.close_overdue();
            if self.service_due().is_some_and(|due| due <= self.now) {
                self.service.do_due(self.now);
            }
            self.log_limits.summarize(self.now);
            self.manager.tell_alive(self.now);
        }
        for token in self.connections.iter().map(|(_, connection)| connection.token).collect::<Vec<_>>() {
            self.close(token, CloseReason::Shutdown);
        }
        self.log_limits.finish();
        log::info!("stopped: {}; {}", self.telemetry.counters, self.service.summary());
        Ok(())
    }

    /// Looks at the clock, once a round. Where the round before is too long ago, although the poll `had_timeout`, peers and
    /// the service are given the time that the server was away for.
    #[inline]
    fn begin_round(&mut self, had_timeout: bool) {
        let before = std::mem::replace(&mut self.now, Instant::now());
        let gap = self.now - before;
        if had_timeout && gap > GAP_MIN {
            log::warn!(
                "the server did not run for {:.1} s: the time of waiting clients begins anew",
                gap.as_secs_f64()
            );
            self.waits.restart(self.now);
            self.service_paused_until = Some(self.now + gap);
        }
    }

    /// Everything that one poll has brought, and what was left over from the round before.
    #[inline]
    fn round(&mut self, events: &Events) {
        let mut waiting = std::mem::replace(&mut self.queue, std::mem::take(&mut self.queue_spare));
        for event in events {
            match event.token() {
                STOP_TOKEN => self.stop(),
                token if self.listeners.event(token) => {}
                token => self.connection_event(token, event),
            }
        }
        // Those that wait have sent much. Others do not wait for them.
        self.finish_turns();
        for token in waiting.drain(..) {
            if let Some(connection) = self.connection(token) {
                connection.queued = false;
                self.begin_turn(token);
            }
        }
        self.finish_turns();
        self.queue_spare = waiting;
        self.accept();
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
            self.begin_turn(token);
        }
    }

    /// Gives a connection a turn.
    #[inline]
    fn turn(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(token.0 & KEY_MASK) else { return };
        let shared = Shared {
            pool: &mut self.pool,
            telemetry: &mut self.telemetry,
            log_limits: &mut self.log_limits,
            frame_length_max: self.limits.frame_length_max,
        };
        let turn = connection.turn(&mut self.service, shared);
        self.end_turn(token, turn);
    }

    /// Does what a connection needs next.
    #[inline]
    fn end_turn(&mut self, token: Token, turn: Turn) {
        let Some(connection) = self.connections.get_mut(token.0 & KEY_MASK) else { return };
        if connection.has_progressed() {
            self.waits.end(token.0 & KEY_MASK);
        }
        match turn {
            Turn::Wait | Turn::Nothing => {
                if let Some(wait) = connection.wait() {
                    self.waits.begin(token.0 & KEY_MASK, wait, self.now);
                }
                let blocked = connection.is_write_blocked();
                if self.stop_at.is_some() && connection.is_drained() {
                    self.close(token, CloseReason::Shutdown);
                } else if blocked != connection.write_interest {
                    self.set_write_interest(token, blocked);
                }
            }
            Turn::Again => {
                if !std::mem::replace(&mut connection.queued, true) {
                    self.queue.push(token);
                }
            }
            Turn::Close(reason) => self.close(token, reason),
        }
    }

    /// Asks the poll for an event once the socket of a connection takes more, or no longer.
    #[cold]
    fn set_write_interest(&mut self, token: Token, wanted: bool) {
        // It has to watch the socket.
        self.end_alone();
        let registry = self.poll.registry();
        let connection = self.connections.get_mut(token.0 & KEY_MASK).filter(|connection| connection.token == token);
        let Some(connection) = connection else { return };
        connection.write_interest = wanted;
        if let Err(error) = connection.stream.set_write_interest(registry, token, wanted) {
            self.close(token, CloseReason::Lost(error));
        }
    }

    /// Closes connections whose peers have let the server wait too long.
    #[inline]
    fn close_overdue(&mut self) {
        for _ in 0..OVERDUE_PER_ROUND {
            let Some(key) = self.waits.overdue(self.now) else { return };
            let Some(token) = self.connections.get(key).map(|connection| connection.token) else {
                debug_assert!(false, "only connections are waited for");
                return self.waits.end(key);
            };
            if !self.close_if_late(token) {
                return;
            }
        }
    }

    /// Closes a connection that is overdue, unless what it was waited for has come and was only not seen yet. Returns
    /// whether that is decided: not where more of it is to be read in another turn.
    #[cold]
    fn close_if_late(&mut self, token: Token) -> bool {
        let Some(connection) = self.connection(token) else { return true };
        if !connection.queued {
            connection.set_readable(false);
            self.turn(token);
        }
        match self.waits.is_overdue(token.0 & KEY_MASK, self.now) {
            None => return true,
            Some(_) if self.connection(token).is_some_and(|connection| connection.queued) => return false,
            Some(Wait::Frame) => self.close(token, CloseReason::FrameTimeout),
            Some(Wait::Room) => self.close(token, CloseReason::WriteTimeout),
        }
        true
    }

    /// The one way in which a connection ends.
    fn close(&mut self, token: Token, reason: CloseReason) {
        let Some(mut connection) = self.connections.try_remove(token.0 & KEY_MASK) else { return };
        debug_assert_eq!(connection.token, token);
        connection.stream.deregister(self.poll.registry());
        self.waits.end(token.0 & KEY_MASK);
        self.telemetry.connections -= 1;
        self.telemetry.counters.closed[reason.index()] += 1;
        let level = if reason.is_normal() { log::Level::Info } else { log::Level::Warn };
        let text = format_args!("{}: closed: {reason}", connection.peer);
        self.log_limits.log(Line::Closed(reason.index()), level, text);
        let session = connection.end(&mut self.pool);
        self.service.close(session, Instant::now());
    }

    /// Stops accepting, and gives every connection the turns it needs to be answered what it has sent.
    fn stop(&mut self) {
        if self.stop_at.is_some() {
            return;
        }
        log::info!("stopping: {} connections open", self.connections.len());
        self.manager.tell_stopping();
        self.stop_at = Some(self.now + self.limits.shutdown_timeout);
        self.listeners.stop(self.poll.registry());
        for (_, connection) in &mut self.connections {
            connection.set_readable(false);
            if !std::mem::replace(&mut connection.queued, true) {
                self.queue.push(connection.token);
            }
        }
    }

    fn is_finished(&self) -> bool {
        self.stop_at.is_some_and(|stop_at| self.connections.is_empty() || self.now >= stop_at)
    }

    /// When the service has something to do.
    #[inline]
    fn service_due(&self) -> Option<Instant> {
        self.service.due().map(|due| self.service_paused_until.map_or(due, |until| until.max(due)))
    }

    /// How long the next poll may sleep; `None` is for ever.
    #[inline]
    fn poll_timeout(&self) -> Option<Duration> {
        if !self.queue.is_empty() || self.vigil.is_awake() {
            return Some(Duration::ZERO);
        }
        let dues = [
            self.listeners.due(self.now),
            self.waits.due(),
            self.service_due(),
            self.log_limits.due(),
            self.manager.due(),
            self.stop_at,
        ];
        let due = dues.into_iter().flatten().min()?;
        Some(due.saturating_duration_since(self.now).min(HEARTBEAT))
    }
}

/// The event, if there is just one.
fn only(events: &Events) -> Option<&Event> {
    let mut events = events.iter();
    events.next().filter(|_| events.next().is_none())
}
