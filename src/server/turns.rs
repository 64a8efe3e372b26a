//! Turns that several connections have together: all are read, then all are answered, then all are written to.

use std::time::Instant;

use mio::Token;

use super::connection::{REQUESTS_PER_TURN, Shared};
use super::service::Service;
use super::{KEY_MASK, Server};
use crate::prefetch::Step;

/// Connections whose turns go together: all are read, then all are answered, then all are written to. With 100 connections this
/// answers 1.02 times the requests of a bare echo instead of 0.93, presumably since code stays in the processor's cache and a
/// client that has several of them is woken once. A reply waits for the requests of the others, which cost
/// [`REQUESTS_PER_TURN`] before it is written, and one turn of that more at most.
const TURNS_TOGETHER_MAX: usize = 16;

/// Fewer connections have their views in the processor's cache without being [prefetched](crate::prefetch).
const PREFETCH_CONNECTIONS_MIN: usize = 64;

impl<V: Service> Server<V> {
    /// Begins a connection's turn, which [goes on](Self::finish_turns) together with those of others.
    #[inline]
    pub(super) fn begin_turn(&mut self, token: Token) {
        let Self { connections, pool, log_limits, .. } = self;
        let Some(connection) = connections.get_mut(token.0 & KEY_MASK) else { return };
        if let Some(turn) = connection.read(pool, log_limits) {
            self.end_turn(token, turn);
            return;
        }
        if self.turns_begun.is_empty() {
            self.first_read_at = Instant::now();
        }
        self.turns_begun.push(token);
        if self.turns_begun.len() == TURNS_TOGETHER_MAX {
            self.finish_turns();
        }
    }

    /// Executes what was read in turns that have begun, and then writes the replies: for several connections together, as long as
    /// that costs little.
    #[inline]
    pub(super) fn finish_turns(&mut self) {
        let turns = std::mem::take(&mut self.turns_begun);
        if turns.len() > 1 && self.connections.len() >= PREFETCH_CONNECTIONS_MIN {
            self.prefetch(&turns);
        }
        let (mut unsent, mut cost) = (0, 0);
        for (end, &token) in (1..).zip(&turns) {
            cost += self.execute(token);
            if cost >= REQUESTS_PER_TURN || end == turns.len() {
                for &token in &turns[unsent..end] {
                    self.send(token);
                }
                (unsent, cost) = (end, 0);
            }
        }
        self.turns_begun = turns;
        self.turns_begun.clear();
    }

    /// Loads what the next requests of several connections need: see [`prefetch`](crate::prefetch).
    fn prefetch(&mut self, turns: &[Token]) {
        let Self { connections, service, limits, .. } = self;
        for step in Step::ALL {
            for token in turns {
                if let Some(connection) = connections.get_mut(token.0 & KEY_MASK) {
                    connection.prefetch(step, service, limits.frame_length_max);
                }
            }
        }
    }

    /// The second part of a turn. Returns what its requests have cost.
    #[inline]
    pub(super) fn execute(&mut self, token: Token) -> usize {
        let shared = Shared {
            pool: &mut self.pool,
            telemetry: &mut self.telemetry,
            log_limits: &mut self.log_limits,
            frame_length_max: self.limits.frame_length_max,
        };
        let connection = self.connections.get_mut(token.0 & KEY_MASK).filter(|connection| connection.token == token);
        connection.map_or(0, |connection| connection.execute(self.first_read_at, &mut self.service, shared))
    }

    /// The last part of a turn.
    #[inline]
    pub(super) fn send(&mut self, token: Token) {
        let Self { connections, pool, .. } = self;
        let connection = connections.get_mut(token.0 & KEY_MASK).filter(|connection| connection.token == token);
        if let Some(turn) = connection.map(|connection| connection.send(pool)) {
            self.end_turn(token, turn);
        }
    }
}
