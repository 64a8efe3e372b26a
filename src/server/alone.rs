//! The connection that alone has something to say, while one has.
//!
//! A loop that polls without sleeping reads from it without asking the poll first whether it has something: that is one system
//! call less before its reply. The poll comes after the reply, while the peer is busy with it, and only for the others: it no
//! longer watches the socket, since the kernel then does less in each read and write of both sides, some 5 % of a round trip over
//! a Unix socket.

use std::time::Instant;

use mio::Token;

use super::close::CloseReason;
use super::connection::Turn;
use super::service::Service;
use super::{KEY_MASK, Server};

/// Rounds in a row that must have served one connection alone: so many that to watch its socket no longer, and again later, costs
/// little beside them.
const ROUNDS_MIN: u32 = 32;

/// How often its socket is asked before the others are looked at: they wait some microseconds for it.
const READS_MAX: u32 = 16;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Alone {
    token: Option<Token>,
    /// Rounds in a row that have served it and no other.
    rounds: u32,
    /// The poll does not watch its socket.
    is_unwatched: bool,
}

impl<V: Service> Server<V> {
    /// A poll has brought something for one connection, or for several.
    #[inline]
    pub(super) fn count_alone(&mut self, token: Option<Token>) {
        if token == self.alone.token {
            self.alone.rounds = self.alone.rounds.saturating_add(1);
        } else {
            self.end_alone();
            self.alone.token = token;
        }
    }

    /// Reads from the connection that has been alone for a while, if there is one, and gives it a turn where something has come.
    #[inline]
    pub(super) fn ask_alone(&mut self) {
        let Some(token) = self.alone.token.filter(|_| self.alone.rounds >= ROUNDS_MIN) else { return };
        let Self { connections, pool, log_limits, poll, alone, .. } = self;
        let connection = connections.get_mut(token.0 & KEY_MASK).filter(|connection| connection.token == token);
        let Some(connection) = connection else { return };
        // Turns that are waited for come first, and what the socket does not take the poll has to watch.
        if !self.queue.is_empty() || connection.write_interest {
            return;
        }
        if !std::mem::replace(&mut alone.is_unwatched, true) {
            connection.stream.deregister(poll.registry());
        }
        let reads = (0..READS_MAX).map(|_| {
            connection.set_readable(false);
            connection.read(pool, log_limits)
        });
        let Some(read) = reads.into_iter().find(|read| !matches!(read, Some(Turn::Nothing))) else { return };
        self.vigil.polled(true, self.now);
        match read {
            Some(turn) => self.end_turn(token, turn),
            None => {
                self.first_read_at = Instant::now();
                self.execute(token);
                self.send(token);
            }
        }
    }

    /// Lets the poll watch the connection again, which is alone no longer: others have something to say, or the loop is about to
    /// sleep.
    #[inline]
    pub(super) fn end_alone(&mut self) {
        self.alone.rounds = 0;
        if std::mem::take(&mut self.alone.is_unwatched) {
            self.watch_again();
        }
    }

    #[cold]
    fn watch_again(&mut self) {
        let Some(token) = self.alone.token else { return };
        let registry = self.poll.registry();
        let connection = self.connections.get_mut(token.0 & KEY_MASK).filter(|connection| connection.token == token);
        // What has come meanwhile is an event too.
        if let Some(Err(error)) = connection.map(|connection| connection.stream.register(registry, token)) {
            self.close(token, CloseReason::Lost(error));
        }
    }
}
