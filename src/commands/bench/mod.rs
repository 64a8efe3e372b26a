//! `external-scheduler bench`: the load generator.

mod runs;
mod targets;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;

use super::values::{self, Rates};
use super::{CommandError, output, process};
use crate::bench::generator::Config;
use crate::bench::intervals::{self, INTERVAL_MIN, INTERVALS_MAX};
use crate::bench::objective::Objective;
use crate::bench::ramp;
use crate::bench::workload::Mix;

/// Measure schedule latency: drive a server with the traffic of Ray clients and check every reply.
/// Without an address or socket it starts a server of its own.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "bench")]
pub struct Bench {
    /// address of a running server
    #[argh(option, short = 'a')]
    address: Option<IpAddr>,

    /// port of a running server
    #[argh(option, short = 'p')]
    port: Option<u16>,

    /// unix socket of a running server
    #[argh(option, arg_name = "path")]
    unix: Option<PathBuf>,

    /// reach the server started here by its unix socket; else by TCP
    #[argh(switch)]
    over_unix: bool,

    /// connections (default 1)
    #[argh(option, short = 'c', default = "1", from_str_fn(values::positive))]
    connections: usize,

    /// threads that share the connections and drive them (default 1); in an open loop each takes a core
    #[argh(option, default = "1", from_str_fn(values::positive))]
    threads: usize,

    /// nodes of each connection, in the lifecycle mix of all (default 1000)
    #[argh(option, short = 'n', default = "1000", from_str_fn(values::positive))]
    nodes: usize,

    /// requests in flight on a connection at most (default 1; in an open loop 1024)
    #[argh(option, arg_name = "depth", from_str_fn(values::positive))]
    pipeline: Option<usize>,

    /// how long to measure: 10, 500ms, 2m (default 5s)
    #[argh(option, default = "Duration::from_secs(5)", from_str_fn(values::duration))]
    duration: Duration,

    /// how long to run before that (default 1s)
    #[argh(option, default = "Duration::from_secs(1)", from_str_fn(values::duration))]
    warmup: Duration,

    /// end the measurement after so many schedule requests
    #[argh(option)]
    requests: Option<u64>,

    /// seed of the random cluster and tasks (default 1)
    #[argh(option, default = "1")]
    seed: u64,

    /// number of different demands (default 16)
    #[argh(option, default = "16", from_str_fn(values::positive))]
    shapes: usize,

    /// what is sent: schedule (schedules alone), ray (what raylets send), update (nodes updated in place), lifecycle (a
    /// shared view, placements released), gang (many demands in a message) (default schedule)
    #[argh(option, default = "Mix::Schedule", from_str_fn(mix))]
    mix: Mix,

    /// open loop: schedules a second, 5000 or 200k; latency counts from when each was due. It polls without sleeping and
    /// takes a core for that. 10k..200k: ever higher rates, to find the knee
    #[argh(option, from_str_fn(values::rates))]
    rate: Option<Rates>,

    /// steps of a ramp of rates, which share the duration; each has its warm-up (default 10)
    #[argh(option, default = "10", from_str_fn(values::positive))]
    steps: usize,

    /// who polls without sleeping: client, server (the one started here), or both. Each that does takes a core
    #[argh(option, arg_name = "sides", from_str_fn(sides))]
    busy_poll: Option<Sides>,

    /// write the length and the body of a message apart, as the original client does
    #[argh(switch)]
    split_writes: bool,

    /// measure a do-nothing peer instead of the scheduler
    #[argh(switch)]
    echo: bool,

    /// measure the scheduler and the do-nothing peer in turns, and print the ratios
    #[argh(switch)]
    against_echo: bool,

    /// rounds of --against-echo, which share the duration (default 9)
    #[argh(option, default = "9", from_str_fn(values::positive))]
    rounds: usize,

    /// length of the intervals whose figures are kept apart (default 1s, less in a short run)
    #[argh(option, from_str_fn(values::duration))]
    interval: Option<Duration>,

    /// what a percentile of the latency may be at most: p99=50us, repeatable; where one is missed the exit code is 99
    #[argh(option, arg_name = "objective", from_str_fn(values::objective))]
    slo: Vec<Objective>,

    /// write the intervals as an interval log of HdrHistogram
    #[argh(option, arg_name = "file")]
    hdr_log: Option<String>,

    /// compare the results in two files that --json has written, this one and another, and run nothing
    #[argh(option, arg_name = "file")]
    compare: Option<PathBuf>,

    /// the second file of --compare
    #[argh(positional)]
    second: Option<PathBuf>,

    /// show what the machine itself stalls in a loop that only looks at the clock, and measure no server
    #[argh(switch)]
    intrinsic: bool,

    /// write a page of HTML with charts
    #[argh(option, arg_name = "file")]
    report: Option<String>,

    /// write every figure as JSON to a file, or to standard output ('-')
    #[argh(option, arg_name = "file")]
    json: Option<String>,
}

/// Which sides of the connections poll without sleeping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sides {
    Client,
    Server,
    Both,
}

impl Sides {
    fn has_client(self) -> bool {
        self != Self::Server
    }

    fn has_server(self) -> bool {
        self != Self::Client
    }
}

fn sides(value: &str) -> Result<Sides, String> {
    match value {
        "client" => Ok(Sides::Client),
        "server" => Ok(Sides::Server),
        "both" => Ok(Sides::Both),
        _ => Err(format!("'{value}' does not say who polls: give client, server or both")),
    }
}

fn mix(value: &str) -> Result<Mix, String> {
    let names = Mix::ALL.map(Mix::name).join(", ");
    Mix::ALL
        .into_iter()
        .find(|mix| mix.name() == value)
        .ok_or_else(|| format!("'{value}' is not a mix: give one of {names}"))
}

/// Requests in flight in an open loop where nothing else is said: in effect all that are due.
const OPEN_LOOP_PIPELINE: usize = 1024;

/// Far more than can be measured: whatever is larger is a slip, and would only end for lack of memory.
const LARGEST: usize = 10_000_000;
const PIPELINE_MAX: usize = 1_000_000;
const THREADS_MAX: usize = 1_024;
const ROUNDS_MAX: usize = 1_000;
/// The histograms of each step are kept, a megabyte.
const STEPS_MAX: usize = 100;

impl Bench {
    pub fn run(self) -> Result<ExitCode, CommandError> {
        self.check_usage()?;
        if let (Some(first), Some(second)) = (&self.compare, &self.second) {
            return self.compare_files(first, second);
        }
        if cfg!(debug_assertions) {
            log::warn!("this is a debug build: its figures mean nothing (cargo run --release -- bench)");
        }
        if self.intrinsic {
            return self.run_intrinsic();
        }
        process::raise_descriptor_limit();
        let targets = self.targets()?;
        match self.rate {
            Some(Rates::Ramp(from, to)) => self.run_ramp(&targets, &ramp::rates(from, to, self.steps)),
            _ if self.against_echo => self.run_against_echo(&targets),
            _ => self.run_once(&targets),
        }
    }

    fn check_usage(&self) -> Result<(), CommandError> {
        let usage = |message: &str| Err(CommandError::Usage(message.to_owned()));
        if self.compare.is_some() != self.second.is_some() {
            return usage("--compare takes two files: --compare FIRST.json SECOND.json");
        }
        if self.unix.is_some() && (self.address.is_some() || self.port.is_some()) {
            return usage("give --unix or --address and --port, not both");
        }
        if self.over_unix && self.running_server().is_some() {
            return usage("--over-unix is about the server started here: leave out --unix, --address and --port");
        }
        if self.running_server().is_some() && self.busy_poll.is_some_and(Sides::has_server) {
            return usage("--busy-poll server is about the server started here: a running one has 'serve --busy-poll'");
        }
        if self.echo && self.against_echo {
            return usage("give --echo or --against-echo, not both");
        }
        if self.split_writes && self.is_unix() {
            return usage("--split-writes is about TCP: leave out --unix and --over-unix");
        }
        let ramp = matches!(self.rate, Some(Rates::Ramp(..)));
        if self.against_echo && ramp {
            return usage("--against-echo is about one rate, not a ramp");
        }
        if (self.against_echo || ramp) && (self.hdr_log.is_some() || self.report.is_some() || !self.slo.is_empty()) {
            return usage(
                "--hdr-log, --report and --slo are about one measurement: leave out --against-echo and ramps",
            );
        }
        for (name, value, largest) in [
            ("--nodes", self.nodes, LARGEST),
            ("--shapes", self.shapes, LARGEST),
            ("--connections", self.connections, LARGEST),
            ("--threads", self.threads, THREADS_MAX),
            ("--pipeline", self.pipeline.unwrap_or(1), PIPELINE_MAX),
            ("--rounds", self.rounds, ROUNDS_MAX),
            ("--steps", self.steps, STEPS_MAX),
        ] {
            if value > largest {
                return usage(&format!("{name} is at most {largest}"));
            }
        }
        if self.threads > self.connections {
            return usage("--threads is at most --connections, which they share");
        }
        if self.duration.is_zero() {
            return usage("--duration must be above 0");
        }
        if let Some(interval) = self.interval
            && (interval < INTERVAL_MIN || interval < self.duration / INTERVALS_MAX)
        {
            return usage(&format!("--interval is at least {INTERVAL_MIN:?}, and a {INTERVALS_MAX}th of --duration"));
        }
        Ok(())
    }

    fn config(&self, duration: Duration, echo: bool) -> Config {
        Config {
            connections: self.connections,
            threads: self.threads,
            nodes: self.nodes,
            pipeline: self.pipeline.unwrap_or(if self.rate.is_some() { OPEN_LOOP_PIPELINE } else { 1 }),
            duration,
            warmup: self.warmup,
            interval: self.interval.unwrap_or_else(|| intervals::default_length(duration)),
            requests_max: self.requests,
            seed: self.seed,
            shapes: self.shapes,
            mix: self.mix,
            rate: match self.rate {
                None => None,
                Some(Rates::One(rate) | Rates::Ramp(rate, _)) => Some(rate),
            },
            busy_poll: self.busy_poll.is_some_and(Sides::has_client),
            split_writes: self.split_writes,
            echo,
        }
    }
}
