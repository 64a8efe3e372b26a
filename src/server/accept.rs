//! Accepting connections: how many, from whom, and what happens when the operating system has no more.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use log::Level;
use mio::{Registry, Token};

use super::close::CloseReason;
use super::connection::Connection;
use super::listener::Listener;
use super::log_limit::Line;
use super::service::Service;
use super::stream::{Peer, Stream};
use super::waits::Wait;
use super::{GENERATIONS, KEY_BITS, LISTENER_TOKEN_MAX, Server};

/// Connections accepted from one listener in a round, before those that are connected get their turns.
const ACCEPTS_PER_ROUND: usize = 64;

/// How long accepting rests when the operating system has no descriptor or memory for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The listeners of a server. They are gone once it stops.
#[derive(Debug)]
pub struct Listeners {
    states: Vec<State>,
}

#[derive(Debug)]
struct State {
    listener: Listener,
    /// Connections may wait to be accepted.
    ready: bool,
    paused_until: Option<Instant>,
}

impl Listeners {
    /// Watches listeners that listen already.
    pub fn register(listeners: Vec<Listener>, registry: &Registry) -> io::Result<Self> {
        let mut states = Vec::with_capacity(listeners.len());
        for (index, mut listener) in listeners.into_iter().enumerate() {
            listener.register(registry, Token(LISTENER_TOKEN_MAX - index))?;
            states.push(State { listener, ready: false, paused_until: None });
        }
        Ok(Self { states })
    }

    /// Whether a token is that of a listener, about which there is an event then.
    #[inline]
    pub fn event(&mut self, token: Token) -> bool {
        let state = LISTENER_TOKEN_MAX.checked_sub(token.0).and_then(|index| self.states.get_mut(index));
        state.map(|state| state.ready = true).is_some()
    }

    /// How long to wait until connections can be accepted, if any wait.
    #[inline]
    pub fn due(&self, now: Instant) -> Option<Instant> {
        let accepting = self.states.iter().filter(|state| state.ready);
        accepting.map(|state| state.paused_until.unwrap_or(now)).min()
    }

    /// Stops listening.
    pub fn stop(&mut self, registry: &Registry) {
        for mut state in self.states.drain(..) {
            state.listener.deregister(registry);
        }
    }
}

/// Shows where it listens, with commas between.
impl fmt::Display for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, state) in self.states.iter().enumerate() {
            write!(f, "{}{}", if index > 0 { ", " } else { "" }, state.listener)?;
        }
        Ok(())
    }
}

impl<V: Service> Server<V> {
    /// Accepts the connections that wait, as far as this round's budget and the limits allow.
    #[inline]
    pub(super) fn accept(&mut self) {
        for index in 0..self.listeners.states.len() {
            if self.listeners.states[index].ready {
                self.accept_from(index);
            }
        }
    }

    fn accept_from(&mut self, index: usize) {
        for _ in 0..ACCEPTS_PER_ROUND {
            let state = &mut self.listeners.states[index];
            if !state.ready || state.paused_until.is_some_and(|until| self.now < until) {
                return;
            }
            match state.listener.accept() {
                Ok((stream, peer)) => {
                    state.paused_until = None;
                    self.telemetry.counters.accepted += 1;
                    match self.admit(&peer) {
                        Ok(()) => self.open(stream, peer),
                        Err(reason) => self.turn_away(&peer, &reason),
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => state.ready = false,
                    // The client has gone before it was accepted.
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    _ => {
                        state.paused_until = Some(self.now + ACCEPT_PAUSE);
                        self.telemetry.counters.accept_errors += 1;
                        let text = format_args!("{}: cannot accept connections for now: {error}", state.listener);
                        self.log_limits.log(Line::CannotAccept, Level::Error, text);
                    }
                },
            }
        }
    }

    /// Whether a peer that has connected may stay.
    fn admit(&self, peer: &Peer) -> Result<(), CloseReason> {
        if !self.limits.allow.allows(peer) {
            return Err(CloseReason::NotAllowed);
        }
        if self.connections.len() >= self.limits.connections_max {
            return Err(CloseReason::TooManyConnections);
        }
        if self.limits.memory.is_near() {
            return Err(CloseReason::OutOfMemory);
        }
        Ok(())
    }

    /// Counts and logs a connection that never was one of the server's.
    fn turn_away(&mut self, peer: &Peer, reason: &CloseReason) {
        self.telemetry.counters.closed[reason.index()] += 1;
        let text = format_args!("{peer}: refused: {reason}");
        self.log_limits.log(Line::Closed(reason.index()), Level::Warn, text);
    }

    fn open(&mut self, stream: Stream, peer: Peer) {
        let entry = self.connections.vacant_entry();
        let key = entry.key();
        self.generation = (self.generation + 1) % GENERATIONS;
        let token = Token(self.generation << KEY_BITS | key);
        let owes_frame = self.service.wants_first_message();
        let connection = entry.insert(Connection::new(stream, peer, token, self.service.open(), owes_frame));
        self.telemetry.connections += 1;
        let set_up = connection.stream.set_nodelay().and_then(|()| {
            // What has arrived already is an event too.
            connection.stream.register(self.poll.registry(), token)
        });
        if owes_frame {
            self.waits.begin(key, Wait::Frame, self.now);
        }
        if let Err(error) = set_up {
            self.close(token, CloseReason::Lost(error));
        }
    }
}
