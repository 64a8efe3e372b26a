//! The loop of the load generator.

use std::hint;
use std::io;
use std::panic::resume_unwind;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Token};

use super::client::{Client, Received, Target};
use super::measurement::{Measurement, Recording, nanoseconds};
use super::plan::Plan;
use super::workload::{Mix, Workload, WorkloadOptions};
use crate::ring::Pool;

/// What a run does.
#[derive(Clone, Debug)]
pub struct Config {
    pub connections: usize,
    /// Threads that share the connections, at most as many as there are.
    pub threads: usize,
    /// Nodes of each connection; in a shared view, of all together.
    pub nodes: usize,
    /// Requests in flight on a connection at most.
    pub pipeline: usize,
    /// How long is measured, after the warm-up.
    pub duration: Duration,
    pub warmup: Duration,
    /// Length of the intervals whose figures are kept apart.
    pub interval: Duration,
    /// Ends the measurement early, after so many schedules.
    pub requests_max: Option<u64>,
    pub seed: u64,
    /// Number of different demands.
    pub shapes: usize,
    pub mix: Mix,
    /// Schedules a second over all connections, for an open loop; a closed loop sends when a reply has come.
    pub rate: Option<f64>,
    /// Poll for replies without sleeping. An open loop polls whenever the next request is due soon.
    pub busy_poll: bool,
    /// Send prefix and body in two writes with Nagle's algorithm on, as the original client does.
    pub split_writes: bool,
    /// The peer is the echo, whose answers are fixed.
    pub echo: bool,
}

/// Told how far a run is, from 0 to 1, now and then.
pub type Progress<'a> = &'a mut dyn FnMut(f64);

/// Requests sent to set a connection up before replies are awaited: all nodes are reported first.
const SET_UP_PIPELINE: usize = 256;

/// How long the last replies may take when a run ends, and the first when it sets up.
const PATIENCE: Duration = Duration::from_secs(5);

/// A wait for the next request in an open loop that is shorter than this is spent polling, since a sleep
/// is too coarse. Such a thread takes a whole core.
const SPIN: Duration = Duration::from_millis(2);

/// A wait that is shorter than this is spent looking at the clock alone: a poll takes about as long, and one that finds a
/// reply longer, so that the request would be late.
const AIM: Duration = Duration::from_micros(1);

/// How often a closed loop of one connection that polls asks its socket before it looks at anything else: some microseconds.
const READS_ALONE: u32 = 32;

const PROGRESS_INTERVAL_NS: u64 = 500_000_000;

const EVENTS_MAX: usize = 1024;

/// Drives some of the connections of a run, all of them where one thread does.
struct Generator<'a> {
    config: &'a Config,
    share: Share,
    poll: Poll,
    /// It polls for the replies of one connection, whose socket says more than a poll does, in one system call less. That no poll
    /// watches the socket saves the kernel some 5 % of a round trip.
    is_alone: bool,
    pool: Pool,
    clients: Vec<Option<Client>>,
    start: Instant,
    plan: Option<Plan>,
    /// Requests of the plan that their connections know to be due.
    planned: u64,
    /// No new schedules are sent.
    stopping: bool,
    recording: Recording,
}

/// One thread's part of what all do.
#[derive(Clone, Copy, Debug)]
struct Share {
    thread: usize,
    threads: usize,
}

impl Share {
    /// How many of `total` things are its own: number `thread`, and each `threads`-th after that.
    fn of(self, total: u64) -> u64 {
        total.saturating_sub(self.thread as u64).div_ceil(self.threads as u64)
    }

    /// Its plan for a rate over all of so many connections. Threads with equally many connections send in turns.
    fn plan(self, rate: f64, connections: usize) -> Plan {
        let own = self.of(connections as u64) as usize;
        let first_ns = (self.thread as f64 * 1e9 / rate) as u64;
        Plan::new(rate * own as f64 / connections as f64, own, first_ns)
    }
}

/// Runs the load against a server.
///
/// # Errors
/// When no connection can be made, or setting up fails. Later faults are counted.
pub fn run(config: &Config, target: &Target, progress: Progress<'_>) -> io::Result<Measurement> {
    // What an earlier run has left in a server, for the lease, is not this one's.
    let now_ns = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
    let view = format!("bench-{}-{now_ns}", std::process::id());
    let shares = (0..config.threads).map(|thread| Share { thread, threads: config.threads });
    let generators =
        shares.map(|share| Generator::set_up(config, share, target, &view)).collect::<io::Result<Vec<_>>>()?;
    let start = Instant::now();
    thread::scope(|scope| {
        let mut generators = generators.into_iter();
        let first = generators.next();
        let others: Vec<_> =
            generators.map(|generator| scope.spawn(move || generator.run(start, &mut |_| {}))).collect();
        // The first has this thread.
        let mut measurement = first.ok_or(io::ErrorKind::InvalidInput)?.run(start, progress)?;
        for other in others {
            measurement.add(other.join().unwrap_or_else(|panic| resume_unwind(panic))?);
        }
        Ok(measurement)
    })
}

impl<'a> Generator<'a> {
    fn set_up(config: &'a Config, share: Share, target: &Target, view: &str) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut clients = Vec::new();
        let is_alone = config.busy_poll && share.of(config.connections as u64) == 1;
        for number in (share.thread..config.connections).step_by(share.threads) {
            let workload = Workload::new(WorkloadOptions {
                mix: config.mix,
                echo: config.echo,
                nodes: config.nodes,
                shapes: config.shapes,
                seed: config.seed,
                connection: number,
                connections: config.connections,
                view,
            });
            let mut client = Client::connect(target, workload, config.split_writes)?;
            if !is_alone {
                client.stream.register(poll.registry(), Token(clients.len()))?;
            }
            clients.push(Some(client));
        }
        let recording = Recording::new(config.interval, clients.len());
        let mut generator = Self {
            recording,
            config,
            share,
            poll,
            is_alone,
            pool: Pool::default(),
            clients,
            start: Instant::now(),
            plan: None,
            planned: 0,
            stopping: true,
        };
        generator.report_nodes()?;
        Ok(generator)
    }

    /// Reports the nodes of every connection and waits for the acknowledgements.
    fn report_nodes(&mut self) -> io::Result<()> {
        for index in 0..self.clients.len() {
            self.send_due(index, SET_UP_PIPELINE);
        }
        let deadline = Instant::now() + PATIENCE.max(Duration::from_millis(self.config.nodes as u64));
        self.drain(SET_UP_PIPELINE, deadline)?;
        if self.clients.iter().flatten().any(|client| client.in_flight() > 0) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not acknowledge the nodes"));
        }
        let errors = &self.recording.measurement.errors;
        match &errors.first {
            Some(first) => Err(io::Error::other(format!("reporting the nodes failed: {first}"))),
            None => Ok(()),
        }
    }

    /// Runs to the end; the run started at `start`.
    fn run(mut self, start: Instant, progress: Progress<'_>) -> io::Result<Measurement> {
        self.start = start;
        self.plan = self.config.rate.map(|rate| self.share.plan(rate, self.config.connections));
        self.stopping = false;
        self.recording.begin(self.config.warmup, self.config.duration);
        let whole_ns = self.recording.until_ns();
        let mut progress_at_ns = 0;
        let mut events = Events::with_capacity(EVENTS_MAX);
        if self.plan.is_none() {
            (0..self.clients.len()).for_each(|index| self.send_due(index, self.config.pipeline));
        }
        loop {
            let now_ns = self.elapsed_ns();
            if now_ns >= whole_ns || self.is_enough() || self.clients.iter().all(Option::is_none) {
                break;
            }
            if now_ns >= progress_at_ns {
                progress_at_ns = now_ns + PROGRESS_INTERVAL_NS;
                progress(now_ns as f64 / whole_ns as f64);
            }
            self.send_planned();
            let rest = Duration::from_nanos(whole_ns - now_ns).min(Duration::from_millis(500));
            self.poll_once(&mut events, self.wait(rest), self.config.pipeline)?;
        }
        self.recording.end(self.elapsed_ns());
        self.stopping = true;
        self.drain(self.config.pipeline, Instant::now() + PATIENCE)?;
        for client in self.clients.iter().flatten() {
            self.recording.measurement.errors.unanswered += client.in_flight() as u64;
        }
        let errors = &mut self.recording.measurement.errors;
        if errors.unanswered > 0 {
            errors.first.get_or_insert_with(|| "no reply within 5 s of the end".to_owned());
        }
        progress(1.0);
        Ok(self.recording.finish())
    }

    /// How long to sleep at most. A closed loop has nothing to do until a reply comes.
    fn wait(&self, rest: Duration) -> Duration {
        if self.config.busy_poll {
            return Duration::ZERO;
        }
        let Some(plan) = &self.plan else { return rest };
        plan.wait(self.planned, self.elapsed_ns()).checked_sub(SPIN).map_or(Duration::ZERO, |wait| rest.min(wait))
    }

    /// Waits for all replies; a wrong one or a lost connection is counted.
    fn drain(&mut self, pipeline: usize, deadline: Instant) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.clients.iter().flatten().any(|client| client.in_flight() > 0) {
            let rest = deadline.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break;
            }
            self.poll_once(&mut events, rest, pipeline)?;
        }
        Ok(())
    }

    fn poll_once(&mut self, events: &mut Events, wait: Duration, pipeline: usize) -> io::Result<()> {
        if self.is_alone {
            // In an open loop the next request may be due.
            let attempts = if self.plan.is_none() { READS_ALONE } else { 1 };
            self.serve(0, false, attempts, pipeline);
            return Ok(());
        }
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &*events {
            let Token(index) = event.token();
            self.serve(index, event.is_read_closed(), 1, pipeline);
            // Many replies to read do not make other connections late.
            self.send_planned();
        }
        Ok(())
    }

    /// Reads a connection's replies, in so many attempts at most, and sends what it should send now.
    fn serve(&mut self, index: usize, closed: bool, attempts: u32, pipeline: usize) {
        for _ in 0..attempts {
            match self.receive(index, closed) {
                Ok(false) => {}
                Ok(true) => break,
                Err(error) => return self.lose(index, &error),
            }
        }
        self.send_due(index, pipeline);
    }

    /// Reads replies until there are none; where the server has closed, until its end. Returns whether there were any.
    #[inline]
    fn receive(&mut self, index: usize, closed: bool) -> io::Result<bool> {
        let Some(client) = &mut self.clients[index] else { return Ok(false) };
        let mut any = false;
        loop {
            let received = client.read(&mut self.pool)?;
            if received != Received::Nothing {
                any = true;
                let now_ns = nanoseconds(self.start.elapsed());
                while let Some(answer) = client.next_answer()? {
                    self.recording.enter(index, &answer, now_ns);
                }
            }
            if received != Received::Full && !closed {
                return Ok(any);
            }
        }
    }

    /// Tells connections which of the plan's requests are due, and lets them send.
    fn send_planned(&mut self) {
        let Some(plan) = self.plan else { return };
        let mut now_ns = self.elapsed_ns();
        if plan.wait(self.planned, now_ns) < AIM {
            let time_ns = plan.time_ns(self.planned);
            while now_ns < time_ns {
                hint::spin_loop();
                now_ns = self.elapsed_ns();
            }
        }
        let due = plan.due(now_ns);
        // Each connection is told once, however many of its requests have become due.
        let first = self.planned.max(due.saturating_sub(self.clients.len() as u64));
        self.planned = self.planned.max(due);
        for index in first..due {
            self.send_due(plan.connection(index), self.config.pipeline);
        }
    }

    /// Sends what a connection should send now, as far as its pipeline allows.
    fn send_due(&mut self, index: usize, pipeline: usize) {
        let plan = self.plan.map(|plan| (plan, self.elapsed_ns()));
        let Some(client) = &mut self.clients[index] else { return };
        let was_full = client.was_full;
        while client.in_flight() < pipeline {
            if let Some(operation) = client.workload.next_follow_up() {
                client.push(operation, None);
                continue;
            }
            if self.stopping {
                break;
            }
            let mut due = None;
            if let Some((plan, now_ns)) = plan {
                let due_ns = plan.connection_time_ns(index, client.planned_sent);
                if due_ns > now_ns {
                    break;
                }
                if was_full && due_ns < now_ns {
                    self.recording.enter_held_back(now_ns);
                }
                due = Some(due_ns);
                client.planned_sent += 1;
            }
            let operation = client.workload.next_schedule();
            client.push(operation, due);
        }
        client.was_full = client.in_flight() >= pipeline;
        let result = client.flush(|| nanoseconds(self.start.elapsed())).and_then(|()| {
            let blocked = client.is_write_blocked();
            if !self.is_alone && blocked != std::mem::replace(&mut client.write_interest, blocked) {
                client.stream.set_write_interest(self.poll.registry(), Token(index), blocked)?;
            }
            Ok(())
        });
        if let Err(error) = result {
            self.lose(index, &error);
        }
    }

    fn lose(&mut self, index: usize, error: &io::Error) {
        if let Some(client) = self.clients[index].take() {
            let errors = &mut self.recording.measurement.errors;
            errors.connections_lost += 1;
            errors.unanswered += client.in_flight() as u64;
            errors.first.get_or_insert_with(|| format!("connection lost: {error}"));
        }
    }

    fn is_enough(&self) -> bool {
        let requests_max = self.config.requests_max.map(|requests_max| self.share.of(requests_max));
        requests_max.is_some_and(|requests_max| self.recording.measurement.schedules >= requests_max)
    }

    #[inline]
    fn elapsed_ns(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_make_up_the_whole() {
        for (total, threads) in [(0, 1), (1, 1), (7, 3), (8, 4), (2, 5), (1_000, 7)] {
            let shares: Vec<u64> = (0..threads).map(|thread| Share { thread, threads }.of(total)).collect();
            assert_eq!(shares.iter().sum::<u64>(), total, "{shares:?}");
            let own = |thread: usize| (thread as u64..total).step_by(threads).count() as u64;
            assert!(shares.iter().enumerate().all(|(thread, share)| *share == own(thread)), "{shares:?}");
        }
    }

    #[test]
    fn threads_with_equally_many_connections_send_in_turns() {
        let plans = [0, 1, 2].map(|thread| Share { thread, threads: 3 }.plan(1e6, 6));
        for index in 0..12 {
            assert_eq!(plans[index % 3].time_ns(index as u64 / 3), 1_000 * index as u64);
        }
    }
}
