//! `external-scheduler bench`: the load generator.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use argh::FromArgs;
use indicatif::ProgressBar;
use serde_json::Value;

use super::{CommandError, output, process, values};
use crate::bench::client::Target;
use crate::bench::generator::{self, Config, Measurement};
use crate::bench::peer::{Peer, PeerKind};
use crate::bench::report::{self, Comparison, Medians};
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

    /// nodes of each connection (default 1000)
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

    /// what is sent: schedule (schedules alone), ray (what raylets send) (default schedule)
    #[argh(option, default = "Mix::Schedule", from_str_fn(mix))]
    mix: Mix,

    /// open loop: schedules a second, 5000 or 200k; latency counts from when each was due
    #[argh(option, from_str_fn(values::rate))]
    rate: Option<f64>,

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

    /// write every figure as JSON to a file, or to standard output ('-')
    #[argh(option, arg_name = "file")]
    json: Option<String>,
}

fn mix(value: &str) -> Result<Mix, String> {
    [Mix::Schedule, Mix::Ray]
        .into_iter()
        .find(|mix| mix.name() == value)
        .ok_or_else(|| format!("'{value}' is not a mix: give schedule or ray"))
}

/// Requests in flight in an open loop where nothing else is said: in effect all that are due.
const OPEN_LOOP_PIPELINE: usize = 1024;

/// Far more than can be measured: whatever is larger is a slip, and would only end for lack of memory.
const LARGEST: usize = 10_000_000;
const PIPELINE_MAX: usize = 1_000_000;
const ROUNDS_MAX: usize = 1_000;

/// Where measured servers are, and the processes that are ours.
struct Targets {
    scheduler: Target,
    echo: Option<Target>,
    _peers: Vec<Peer>,
}

impl Bench {
    pub fn run(self) -> Result<ExitCode, CommandError> {
        self.check_usage()?;
        if cfg!(debug_assertions) {
            log::warn!("this is a debug build: its figures mean nothing (cargo run --release -- bench)");
        }
        process::raise_descriptor_limit();
        let targets = self.targets()?;
        if self.against_echo { self.compare(&targets) } else { self.measure(&targets) }
    }

    fn check_usage(&self) -> Result<(), CommandError> {
        let usage = |message: &str| Err(CommandError::Usage(message.to_owned()));
        if self.unix.is_some() && (self.address.is_some() || self.port.is_some()) {
            return usage("give --unix or --address and --port, not both");
        }
        if self.over_unix && self.running_server().is_some() {
            return usage("--over-unix is about the server started here: leave out --unix, --address and --port");
        }
        if self.echo && self.against_echo {
            return usage("give --echo or --against-echo, not both");
        }
        if self.split_writes && self.is_unix() {
            return usage("--split-writes is about TCP: leave out --unix and --over-unix");
        }
        for (name, value, largest) in [
            ("--nodes", self.nodes, LARGEST),
            ("--shapes", self.shapes, LARGEST),
            ("--connections", self.connections, LARGEST),
            ("--pipeline", self.pipeline.unwrap_or(1), PIPELINE_MAX),
            ("--rounds", self.rounds, ROUNDS_MAX),
        ] {
            if value > largest {
                return usage(&format!("{name} is at most {largest}"));
            }
        }
        if self.duration.is_zero() {
            return usage("--duration must be above 0");
        }
        Ok(())
    }

    fn config(&self, duration: Duration, echo: bool) -> Config {
        Config {
            connections: self.connections,
            nodes: self.nodes,
            pipeline: self.pipeline.unwrap_or(if self.rate.is_some() { OPEN_LOOP_PIPELINE } else { 1 }),
            duration,
            warmup: self.warmup,
            requests_max: self.requests,
            seed: self.seed,
            shapes: self.shapes,
            mix: self.mix,
            rate: self.rate,
            split_writes: self.split_writes,
            echo,
        }
    }

    /// Finds the server to measure, or starts one, and moves each side to a core of its own.
    fn targets(&self) -> Result<Targets, CommandError> {
        let (peer_core, own_core) = match process::available_cores()[..] {
            [first, second, ..] => (Some(first), Some(second)),
            _ => (None, None),
        };
        let mut peers = Vec::new();
        let mut start = |kind| -> Result<Target, CommandError> {
            let peer = Peer::start(kind, peer_core, self.connections, self.nodes)
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
        if let Some(core) = own_core
            && !peers.is_empty()
        {
            process::pin_to_core(core).map_err(|error| CommandError::failure("cannot pin to a core", error))?;
        }
        Ok(Targets { scheduler, echo, _peers: peers })
    }

    fn is_unix(&self) -> bool {
        self.over_unix || self.unix.is_some()
    }

    fn running_server(&self) -> Option<Target> {
        match (&self.unix, self.address, self.port) {
            (Some(path), ..) => Some(Target::Unix(path.clone())),
            (None, None, None) => None,
            (None, address, port) => {
                let address = address.unwrap_or(IpAddr::from([127, 0, 0, 1]));
                Some(Target::Tcp(SocketAddr::new(address, port.unwrap_or(44444))))
            }
        }
    }

    fn measure(&self, targets: &Targets) -> Result<ExitCode, CommandError> {
        let config = self.config(self.duration, self.echo);
        let bar = output::progress_bar();
        let measurement = run(&config, &targets.scheduler, &bar, |share| share)?;
        bar.finish_and_clear();
        let name = name(&targets.scheduler, self.echo);
        let json = || report::json(&config, &name, &measurement);
        output::show(&report::table(&config, &name, &measurement), self.json.as_deref(), json)?;
        Ok(exit_code(measurement.errors.total()))
    }

    fn compare(&self, targets: &Targets) -> Result<ExitCode, CommandError> {
        let echo_target = targets.echo.as_ref().unwrap_or(&targets.scheduler);
        let duration = self.duration / u32::try_from(self.rounds).unwrap_or(u32::MAX);
        let bar = output::progress_bar();
        let mut scheduler: Vec<Measurement> = Vec::new();
        let mut echo: Vec<Measurement> = Vec::new();
        let runs = 2.0 * self.rounds as f64;
        for _ in 0..self.rounds {
            let done = (scheduler.len() + echo.len()) as f64;
            let config = self.config(duration, false);
            scheduler.push(run(&config, &targets.scheduler, &bar, |share| (done + share) / runs)?);
            let config = self.config(duration, true);
            echo.push(run(&config, echo_target, &bar, |share| (done + 1.0 + share) / runs)?);
        }
        bar.finish_and_clear();

        let comparison = Comparison { scheduler: Medians::of(&scheduler), echo: Medians::of(&echo) };
        let errors: u64 = scheduler.iter().chain(&echo).map(|measurement| measurement.errors.total()).sum();
        let name = name(&targets.scheduler, false);
        let config = self.config(duration, false);
        let text = format!("{}\n{}", report::header(&config, &name), comparison.table(self.rounds));
        output::show(&format!("{text}{errors} errors\n"), self.json.as_deref(), || {
            let rounds = |measurements: &[Measurement]| -> Vec<Value> {
                measurements.iter().map(|measurement| report::json(&config, &name, measurement)).collect()
            };
            let mut value = comparison.json();
            value["errors"] = errors.into();
            value["rounds"] = serde_json::json!({ "scheduler": rounds(&scheduler), "echo": rounds(&echo) });
            value
        })?;
        Ok(exit_code(errors))
    }
}

fn name(target: &Target, echo: bool) -> String {
    format!("{} at {target}", if echo { "echo" } else { "scheduler" })
}

fn run(
    config: &Config,
    target: &Target,
    bar: &ProgressBar,
    share: impl Fn(f64) -> f64,
) -> Result<Measurement, CommandError> {
    let mut progress = |part: f64| bar.set_position((share(part) * output::PROGRESS_STEPS as f64) as u64);
    generator::run(config, target, &mut progress).map_err(|error| CommandError::failure(format!("{target}"), error))
}

/// 1 where anything went wrong.
fn exit_code(errors: u64) -> ExitCode {
    if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
