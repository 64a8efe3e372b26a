//! Whether others feel the end of large clients: `scripts/sweep-latency` runs it.
//!
//! One client that leaves holds a placement on each of 10,000 nodes that stay; another takes its 10,000 nodes along. A third
//! goes on scheduling and releasing, and measures its round trips before and while what the two have left is swept. Every
//! reply is checked. Prints the time of a round, and percentiles in microseconds over all rounds.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use external_scheduler::client::{Address, Client, ErrorCode, Strategy, Timeouts};
use external_scheduler::wire::NodeId;
use hdrhistogram::Histogram;

const NODES: i64 = 10_000;
const LEASE: Duration = Duration::from_secs(1);
/// A sweep takes milliseconds, so that one has few round trips beside it.
const ROUNDS: u32 = 20;
/// The longest round trip that is told apart.
const ROUND_TRIP_MAX_NS: u64 = 10_000_000_000;
/// The node of the client that measures.
const OWN_NODE: NodeId = NodeId(0);
/// The first of the nodes that stay, and of those that go.
const FIRST_STAYING: i64 = 100_000;
const FIRST_GOING: i64 = 200_000;
/// Only the node of the client that measures has so much.
const DEMAND: &[(&str, f64)] = &[("CPU", 2.0)];
const ONE: &[(&str, f64)] = &[("CPU", 1.0)];

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// A server on a free port. Killed when dropped.
struct Server {
    child: Child,
    address: Address,
}

impl Server {
    fn start() -> Outcome<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_external-scheduler"));
        command.args(["serve", "-p", "0", "--lease", &LEASE.as_secs().to_string()]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("a pipe")?).read_line(&mut line)?;
        let address = line.trim().strip_prefix("listening on ").ok_or("an address")?.parse()?;
        Ok(Self { child, address })
    }

    fn join(&self) -> Outcome<Client> {
        let mut client = Client::connect(&self.address, Timeouts::default())?;
        client.hello("sweep", "", b"")?;
        Ok(client)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn report(client: &mut Client, first: i64) -> Outcome<()> {
    let mut batch = client.batch();
    for node in first..first + NODES {
        batch.update_node(NodeId(node), ONE, &[])?;
    }
    for outcome in batch.send()? {
        outcome?;
    }
    Ok(())
}

/// Schedules and releases once, and records the round trip of the schedule.
fn work(client: &mut Client, round_trips_ns: &mut Histogram<u64>) -> Outcome<()> {
    let start = Instant::now();
    let node = client.schedule(DEMAND)?;
    round_trips_ns.saturating_record(start.elapsed().as_nanos() as u64);
    if node != Some(OWN_NODE) {
        return Err(format!("placed on {node:?}").into());
    }
    client.release(OWN_NODE, DEMAND, 1)?;
    Ok(())
}

/// Whether the last of the nodes that go is there.
fn is_there(client: &mut Client) -> Outcome<bool> {
    match client.release(NodeId(FIRST_GOING + NODES - 1), ONE, 0) {
        Ok(()) => Ok(true),
        Err(error) if error.error_code() == Some(ErrorCode::UnknownNode) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn print(what: &str, Measurement { round_trips_ns, time }: &Measurement) {
    let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percentile| round_trips_ns.value_at_percentile(percentile));
    let in_us = |latency_ns: u64| latency_ns as f64 / 1e3;
    println!(
        "{what:<15} {:>6.0} ms, {:>7} schedules, p50 {:>6.1}, p99 {:>6.1}, p99.9 {:>6.1}, longest {:>6.1}",
        time.as_secs_f64() * 1e3 / f64::from(ROUNDS),
        round_trips_ns.len(),
        in_us(p50),
        in_us(p99),
        in_us(p999),
        in_us(round_trips_ns.max())
    );
}

/// Round trips, and in how much time they were measured.
struct Measurement {
    round_trips_ns: Histogram<u64>,
    time: Duration,
}

impl Measurement {
    fn new() -> Outcome<Self> {
        Ok(Self { round_trips_ns: Histogram::new_with_max(ROUND_TRIP_MAX_NS, 3)?, time: Duration::ZERO })
    }
}

/// A server and a sweep.
fn round(before: &mut Measurement, during: &mut Measurement) -> Outcome<()> {
    let server = Server::start()?;
    let (mut staying, mut placing, mut going, mut client) =
        (server.join()?, server.join()?, server.join()?, server.join()?);
    report(&mut staying, FIRST_STAYING)?;
    let placed = placing.schedule_many(Strategy::Each, true, &vec![ONE; NODES as usize])?;
    let mut placed = placed.map_err(|_| "no room")?;
    placed.sort_unstable();
    placed.dedup();
    assert!(placed.len() == NODES as usize && placed[0].0 >= FIRST_STAYING, "a placement on each node");
    report(&mut going, FIRST_GOING)?;
    client.update_node(OWN_NODE, &[("CPU", 1e6)], &[])?;
    for _ in 0..1_000 {
        work(&mut client, &mut Measurement::new()?.round_trips_ns)?;
    }
    // What is due first is swept first: with the last of the nodes all is done.
    let start = Instant::now();
    drop(placing);
    drop(going);
    // The server hears of it within the next moments, so that the sweep begins shortly after this.
    let due = start + LEASE;
    while Instant::now() < due {
        work(&mut client, &mut before.round_trips_ns)?;
        is_there(&mut client)?;
    }
    before.time += LEASE;
    while is_there(&mut client)? {
        work(&mut client, &mut during.round_trips_ns)?;
    }
    during.time += due.elapsed();
    Ok(())
}

fn main() -> Outcome<()> {
    let (mut before, mut during) = (Measurement::new()?, Measurement::new()?);
    for _ in 0..ROUNDS {
        round(&mut before, &mut during)?;
    }
    print("before a sweep:", &before);
    print("during a sweep:", &during);
    Ok(())
}
