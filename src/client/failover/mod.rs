//! A client that knows several servers, and goes on with another when the one that it uses fails.
//!
//! ```no_run
//! use external_scheduler::client::{FailoverClient, FailoverError, FailoverOptions};
//! use external_scheduler::wire::NodeId;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let addresses = ["10.0.0.1:44444".parse()?, "10.0.0.2:44444".parse()?];
//!     let options = FailoverOptions { view: "cluster".into(), owner: "job 7".into(), ..FailoverOptions::default() };
//!     let mut client = FailoverClient::new(addresses, options);
//!     client.update_node(NodeId(1), &[("CPU", 16.0)], &[])?;
//!
//!     let demand = [("CPU", 4.0)];
//!     match client.schedule(&demand) {
//!         Ok(Some(placed)) => {
//!             println!("runs on node {}", placed.node);
//!             client.release(placed, &demand, 1)?;
//!         }
//!         Ok(None) => println!("no node fits"),
//!         // A server that is still there may have placed it when the connection broke.
//!         Err(FailoverError::OutcomeUnknown(_)) => println!("placed or not: it goes with the job"),
//!         Err(error) => return Err(error.into()),
//!     }
//!     Ok(())
//! }
//! ```
//!
//! There is no thread behind it: a call that finds its connection broken connects again, joins the view, reports the nodes
//! of this client, and repeats the request. The addresses are tried in their order, one round at once, and then rounds with
//! pauses that grow and are random in length, so that the clients of a server that comes back do not all come at once.
//!
//! What there is to know:
//!
//! - Nobody notices anything for a client that makes no calls. One that only reports nodes should
//!   [ask](FailoverClient::ask) for a ping now and then, well within the lease.
//! - Servers know what their clients report, and nothing of placements that an earlier server has made. Report as available
//!   what is really unused ([`FailoverClient::update_node`]) where tasks outlive a server. A [`Placed`] remembers its server,
//!   and a release of one that is gone with its server is done at once.
//! - All clients of a view have to be at the same server. They are when all have the same addresses in the same order and
//!   the first is not started again while they are at the second: a client only leaves a server that fails. To bring them
//!   back to the first, start it and stop the second.

mod error;
mod reports;
#[cfg(test)]
mod tests;

use std::thread;
use std::time::{Duration, Instant};

pub use self::error::FailoverError;

use self::reports::Reports;
use super::{Address, Client, ClientError, Hints, NotPlaced, Strategy, Timeouts};
use crate::wire::NodeId;

/// How a [`FailoverClient`] goes about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailoverOptions {
    /// The shared view that is joined; empty for a view of this client's own.
    pub view: String,
    /// The owner of the placements; empty for this client alone, whose placements then end with its connection.
    pub owner: String,
    /// What is shown to servers that ask for a token.
    pub token: Vec<u8>,
    /// How long a server may take. A killed server is noticed at once; one whose machine is gone only by these.
    pub timeouts: Timeouts,
    /// The pause after the first round of addresses without a server is at most this long, twice as long after the next, …
    pub pause_min: Duration,
    /// … and never longer than this.
    pub pause_max: Duration,
    /// How long a call goes on trying.
    pub patience: Duration,
}

impl Default for FailoverOptions {
    /// Shorter timeouts than those of a single [`Client`], since there is somewhere else to go; patience for a server to
    /// be started again.
    fn default() -> Self {
        Self {
            view: String::new(),
            owner: String::new(),
            token: Vec::new(),
            timeouts: Timeouts { connect: Duration::from_millis(250), reply: Duration::from_secs(1) },
            pause_min: Duration::from_millis(20),
            pause_max: Duration::from_millis(500),
            patience: Duration::from_secs(10),
        }
    }
}

/// A placement, and which run of which server has made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where the task runs.
    pub node: NodeId,
    /// Whether the node was free for it. Else it queues there. Unknown to [`FailoverClient::schedule`].
    pub free: Option<bool>,
    /// By whom it was made: see [`FailoverClient::instance`].
    pub instance: u64,
}

/// A client of several servers, of which one is used: see the [module](self).
///
/// The calls are those of [`Client`].
#[derive(Debug)]
pub struct FailoverClient {
    addresses: Vec<Address>,
    options: FailoverOptions,
    connected: Option<Connected>,
    reports: Reports,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Connected {
    client: Client,
    address: Address,
    instance: u64,
}

/// Whether a request may be carried out twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repeat {
    /// Twice is as good as once.
    Freely,
    /// Only by a server that does not know of the first time.
    Elsewhere,
}

impl FailoverClient {
    /// A client of the servers at these addresses. It connects with its first call.
    pub fn new(addresses: impl IntoIterator<Item = Address>, options: FailoverOptions) -> Self {
        Self {
            addresses: addresses.into_iter().collect(),
            options,
            connected: None,
            reports: Reports::default(),
            random: fastrand::Rng::new(),
        }
    }

    /// The address of the server that is used, while there is a connection.
    pub fn address(&self) -> Option<&Address> {
        self.connected.as_ref().map(|connected| &connected.address)
    }

    /// Connects, unless it is connected, and says to which run of which server: its
    /// [instance](super::Welcome::instance). A number that has changed says that placements made before are gone. Those of a
    /// view or an owner without a name go with the connection already, of which each has a number of its own then.
    pub fn instance(&mut self) -> Result<u64, FailoverError> {
        let mut effort = Effort::new(&self.options);
        self.connect(&mut effort).map(|connected| connected.instance)
    }

    /// Reports a node: see [`Client::update_node`]. The report is remembered, also where no server is found to take it, and
    /// given to every server that is connected to from now on.
    pub fn update_node(
        &mut self,
        node: NodeId,
        available: &[(&str, f64)],
        total: &[(&str, f64)],
    ) -> Result<(), FailoverError> {
        self.reports.update(node, available, total);
        self.call(Repeat::Freely, |client| client.update_node(node, available, total))
    }

    /// Removes a node: see [`Client::remove_node`]. Its report is forgotten.
    pub fn remove_node(&mut self, node: NodeId) -> Result<(), FailoverError> {
        self.reports.remove(node);
        self.call(Repeat::Freely, |client| client.remove_node(node))
    }

    /// Lets a node take no new placements, or lets it again: see [`Client::drain`]. Remembered if the node is this client's.
    pub fn drain(&mut self, node: NodeId, on: bool) -> Result<(), FailoverError> {
        self.reports.drain(node, on);
        self.call(Repeat::Freely, |client| client.drain(node, on))
    }

    /// Places a task: see [`Client::schedule`].
    pub fn schedule(&mut self, demand: &[(&str, f64)]) -> Result<Option<Placed>, FailoverError> {
        let node = self.call(Repeat::Elsewhere, |client| client.schedule(demand))?;
        Ok(node.map(|node| self.placed(node, None)))
    }

    /// Places a task with hints where to: see [`Client::schedule_with_hints`].
    pub fn schedule_with_hints(
        &mut self,
        hints: &Hints<'_>,
        demand: &[(&str, f64)],
    ) -> Result<Result<Placed, NotPlaced>, FailoverError> {
        let repeat = if hints.dry_run { Repeat::Freely } else { Repeat::Elsewhere };
        let placement = self.call(repeat, |client| client.schedule_with_hints(hints, demand))?;
        Ok(placement.map(|placement| self.placed(placement.node, Some(placement.free))))
    }

    /// Places many tasks: see [`Client::schedule_many`]. With [`Strategy::Each`] one that fits nowhere is on
    /// [`NodeId::NIL`].
    pub fn schedule_many(
        &mut self,
        strategy: Strategy,
        strict: bool,
        demands: &[&[(&str, f64)]],
    ) -> Result<Result<Vec<Placed>, NotPlaced>, FailoverError> {
        let nodes = self.call(Repeat::Elsewhere, |client| client.schedule_many(strategy, strict, demands))?;
        Ok(nodes.map(|nodes| nodes.into_iter().map(|node| self.placed(node, None)).collect()))
    }

    /// Ends `count` placements of these resources: see [`Client::release`]. Those of a server that is not used any more
    /// are gone, and nothing is left to do.
    pub fn release(&mut self, placed: Placed, resources: &[(&str, f64)], count: u32) -> Result<(), FailoverError> {
        let mut effort = Effort::new(&self.options);
        loop {
            let connected = self.connect(&mut effort)?;
            if connected.instance != placed.instance {
                return Ok(());
            }
            match connected.client.release(placed.node, resources, count) {
                Err(error) if error.is_lost() => self.lose(Repeat::Elsewhere, error, &mut effort)?,
                result => return Ok(result?),
            }
        }
    }

    /// Any request that may be carried out twice, such as [`Client::stats`] or [`Client::explain`].
    pub fn ask<T>(&mut self, ask: impl FnMut(&mut Client) -> Result<T, ClientError>) -> Result<T, FailoverError> {
        self.call(Repeat::Freely, ask)
    }

    fn call<T>(
        &mut self,
        repeat: Repeat,
        mut ask: impl FnMut(&mut Client) -> Result<T, ClientError>,
    ) -> Result<T, FailoverError> {
        let mut effort = Effort::new(&self.options);
        loop {
            match ask(&mut self.connect(&mut effort)?.client) {
                Err(error) if error.is_lost() => self.lose(repeat, error, &mut effort)?,
                result => return Ok(result?),
            }
        }
    }

    /// The connection broke under a request. Goes on with another one, where the request may be repeated.
    fn lose(&mut self, repeat: Repeat, error: ClientError, effort: &mut Effort) -> Result<(), FailoverError> {
        let Some(lost) = self.connected.take() else { return Ok(()) };
        // A request that breaks every connection is not repeated in haste, nor for ever.
        if std::mem::replace(&mut effort.has_lost, true) && !effort.pause(&mut self.random) {
            return Err(FailoverError::Unavailable(vec![(lost.address, error)]));
        }
        let may_know = self.connect(effort)?.instance == lost.instance;
        match repeat {
            Repeat::Elsewhere if may_know => Err(FailoverError::OutcomeUnknown(error)),
            Repeat::Freely | Repeat::Elsewhere => Ok(()),
        }
    }

    fn placed(&self, node: NodeId, free: Option<bool>) -> Placed {
        let instance = self.connected.as_ref().map_or(0, |connected| connected.instance);
        Placed { node, free, instance }
    }

    /// The connection, made if there is none.
    fn connect(&mut self, effort: &mut Effort) -> Result<&mut Connected, FailoverError> {
        let connected = match self.connected.take() {
            Some(connected) => connected,
            None => self.find_server(effort)?,
        };
        Ok(self.connected.insert(connected))
    }

    /// Tries the addresses, round by round.
    fn find_server(&mut self, effort: &mut Effort) -> Result<Connected, FailoverError> {
        loop {
            let mut failures = Vec::new();
            for address in &self.addresses {
                match self.try_address(address) {
                    Ok(connected) => return Ok(connected),
                    Err(error) if error.is_lost() => failures.push((address.clone(), error)),
                    Err(error) => return Err(FailoverError::Client(error)),
                }
            }
            if failures.is_empty() || !effort.pause(&mut self.random) {
                return Err(FailoverError::Unavailable(failures));
            }
        }
    }

    /// Connects to a server and tells it all that it has to know.
    fn try_address(&self, address: &Address) -> Result<Connected, ClientError> {
        let FailoverOptions { view, owner, token, timeouts, .. } = &self.options;
        let mut client = Client::connect(address, *timeouts)?;
        let welcome = client.hello(view, owner, token)?;
        self.reports.give(&mut client)?;
        let outlives_connection = !view.is_empty() && !owner.is_empty();
        let instance = if outlives_connection { welcome.instance } else { fastrand::u64(..) };
        Ok(Connected { client, address: address.clone(), instance })
    }
}

/// What a call has spent of its patience.
#[derive(Debug)]
struct Effort {
    deadline: Instant,
    /// The next pause is at most this long.
    pause_max: Duration,
    pause_limit: Duration,
    /// Whether a connection was lost already.
    has_lost: bool,
}

impl Effort {
    fn new(options: &FailoverOptions) -> Self {
        Self {
            deadline: Instant::now() + options.patience,
            pause_max: options.pause_min,
            pause_limit: options.pause_max,
            has_lost: false,
        }
    }

    /// Waits before another try. Whether there is patience for one.
    ///
    /// Source: "full jitter" of Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    fn pause(&mut self, random: &mut fastrand::Rng) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::sleep(self.pause_max.mul_f64(random.f64()).min(left));
        self.pause_max = (self.pause_max * 2).min(self.pause_limit);
        true
    }
}
