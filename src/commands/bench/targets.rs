//! The servers that are measured: one that runs, or processes of our own.

use std::net::{IpAddr, SocketAddr};

use super::{Bench, Sides};
use crate::bench::client::Target;
use crate::bench::peer::{Peer, PeerKind, PeerOptions};
use crate::commands::{CommandError, process};

/// Where measured servers are, and the processes that are ours.
pub struct Targets {
    pub scheduler: Target,
    pub echo: Option<Target>,
    _peers: Vec<Peer>,
}

impl Bench {
    /// Finds the server to measure, or starts one, and moves each side to a core of its own.
    pub fn targets(&self) -> Result<Targets, CommandError> {
        let cores = process::available_cores();
        let (peer_core, own_cores) = match &cores[..] {
            [first, others @ ..] if !others.is_empty() => (Some(*first), &others[..self.threads.min(others.len())]),
            _ => (None, &[][..]),
        };
        let mut peers = Vec::new();
        let options = PeerOptions {
            core: peer_core,
            busy_poll: self.busy_poll.is_some_and(Sides::has_server),
            connections: self.connections,
            nodes: self.nodes,
        };
        let mut start = |kind| -> Result<Target, CommandError> {
            let peer = Peer::start(kind, options)
                .map_err(|error| CommandError::failure("cannot start a server to measure", error))?;
            let target = if self.is_unix() { peer.unix() } else { peer.tcp() };
            peers.push(peer);
            Ok(target)
        };
        let scheduler = match self.running_server() {
            Some(target) => target,
            None => start(if self.echo { PeerKind::Echo } else { PeerKind::Scheduler })?,
        };
        let echo = if self.against_echo { Some(start(PeerKind::Echo)?) } else { None };
        if !own_cores.is_empty() && !peers.is_empty() {
            process::pin_to_cores(own_cores).map_err(|error| CommandError::failure("cannot pin to a core", error))?;
        }
        if own_cores.len() < self.threads && self.threads > 1 {
            log::warn!("{} threads share {} processor cores, and are late for it", self.threads, own_cores.len());
        }
        Ok(Targets { scheduler, echo, _peers: peers })
    }

    pub fn is_unix(&self) -> bool {
        self.over_unix || self.unix.is_some()
    }

    pub fn running_server(&self) -> Option<Target> {
        match (&self.unix, self.address, self.port) {
            (Some(path), ..) => Some(Target::Unix(path.clone())),
            (None, None, None) => None,
            (None, address, port) => {
                let address = address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
                Some(Target::Tcp(SocketAddr::new(address, port.unwrap_or(44444))))
            }
        }
    }
}
