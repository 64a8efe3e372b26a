//! `external-scheduler replay`: offline evaluation of policies.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use argh::FromArgs;

use super::{CommandError, output, values};
use crate::replay::churn::Churn;
use crate::replay::csv_table::CsvFile;
use crate::replay::fill::{Fill, Order};
use crate::replay::plot;
use crate::replay::queue::Queue;
use crate::replay::report::Report;
use crate::replay::run::Plan;
use crate::replay::trace::{ResourceIndex, Trace};
use crate::scheduler::policy::{DEFINITIONS, Parameters};
use crate::scheduler::units::{UNIT_RESOURCES, UnitResources};

/// Compare policies offline: place the tasks of a file on the nodes of a file, with the server's own core.
/// The README describes the files and the tests.
#[derive(FromArgs, Debug)]
#[argh(subcommand, name = "replay")]
pub struct Replay {
    /// CSV file of nodes: a column 'node' and a column for each resource, or the openb format
    #[argh(option, arg_name = "file")]
    nodes: PathBuf,

    /// CSV file of tasks: 'arrival' and 'duration' in seconds and a column for each resource, or the openb format
    #[argh(option, arg_name = "file")]
    tasks: PathBuf,

    /// policies to compare: names with commas between, or 'all' (default all)
    #[argh(option, arg_name = "names", default = "ALL.to_owned()")]
    policy: String,

    /// first seed of the random orders and policies (default 1)
    #[argh(option, default = "1")]
    seed: u64,

    /// how many seeds to take the mean over (default 10)
    #[argh(option, default = "10", from_str_fn(values::positive))]
    seeds: usize,

    /// fill test: in which order tasks arrive first: arrival, as they stand in the file where it has no times; or shuffle
    /// (default shuffle)
    #[argh(option, default = "Order::Shuffle", from_str_fn(order))]
    order: Order,

    /// fill test: until so many times what there is of the scarcest resource is asked for; 0 leaves the test out
    /// (default 1.3)
    #[argh(option, arg_name = "multiple", default = "1.3", from_str_fn(arrivals))]
    arrivals: f64,

    /// churn test as well: tasks come and leave at random, and ask for this share of what there is (0.95)
    #[argh(option, arg_name = "load", from_str_fn(load))]
    churn: Option<f64>,

    /// churn test: arrivals before any counts (default 15000)
    #[argh(option, arg_name = "tasks", default = "15_000", from_str_fn(churn_tasks))]
    warmup: u64,

    /// churn test: arrivals that count (default 15000)
    #[argh(option, arg_name = "tasks", default = "15_000", from_str_fn(churn_tasks))]
    measured: u64,

    /// keep the devices behind the sum of a unit resource apart, as on a real node; without, a node's sum is all that counts
    #[argh(switch)]
    units: bool,

    /// resources that come in units, for --units; names with commas between (default GPU)
    #[argh(
        option,
        arg_name = "names",
        default = "UnitResources::named(UNIT_RESOURCES)",
        from_str_fn(values::unit_resources)
    )]
    unit_resources: UnitResources,

    /// queue test as well: tasks come and run as the file says, and wait until they fit
    #[argh(switch)]
    queue: bool,

    /// hybrid: utilisation below this counts as none (default 0.5)
    #[argh(option, default = "Parameters::default().spread_threshold", from_str_fn(values::share))]
    spread_threshold: f32,

    /// hybrid: the share of all nodes among whose best one is chosen at random; 0 for the best alone (default 0.2)
    #[argh(option, default = "Parameters::default().hybrid_top", from_str_fn(values::share))]
    hybrid_top: f32,

    /// write every figure as JSON to a file, or to standard output ('-'), and the table then to standard error
    #[argh(option, arg_name = "file")]
    json: Option<String>,

    /// draw the fill test as SVG: what is allocated against what is asked for
    #[argh(option, arg_name = "file")]
    plot: Option<PathBuf>,
}

const ALL: &str = "all";

/// More than this many times what there is asked for tells nothing new.
const MULTIPLE_MAX: f64 = 100.0;

/// Arrivals of a churn test at most, before and while they count.
const CHURN_TASKS_MAX: u64 = 100_000_000;

/// Seeds at most: all of them are run.
const SEEDS_MAX: usize = 1_000_000;

fn order(value: &str) -> Result<Order, String> {
    [Order::Arrival, Order::Shuffle]
        .into_iter()
        .find(|order| order.name() == value)
        .ok_or_else(|| format!("'{value}' is not an order: give arrival or shuffle"))
}

fn arrivals(value: &str) -> Result<f64, String> {
    let number = value.parse().ok();
    number
        .filter(|&arrivals: &f64| arrivals == 0.0 || (0.01..=MULTIPLE_MAX).contains(&arrivals))
        .ok_or_else(|| format!("'{value}' is not a multiple: give a number from 0.01 to 100, or 0 for no fill test"))
}

fn load(value: &str) -> Result<f64, String> {
    let number = value.parse().ok();
    number
        .filter(|&load: &f64| load > 0.0 && load <= MULTIPLE_MAX)
        .ok_or_else(|| format!("'{value}' is not a load: give a number above 0 and up to 100, like 0.95"))
}

fn churn_tasks(value: &str) -> Result<u64, String> {
    let number = value.parse().ok();
    number
        .filter(|&tasks| tasks <= CHURN_TASKS_MAX)
        .ok_or_else(|| format!("'{value}' is not a number of tasks up to {CHURN_TASKS_MAX}"))
}

impl Replay {
    pub fn run(self) -> Result<ExitCode, CommandError> {
        let policies = self.policies()?;
        self.check_usage()?;
        if cfg!(debug_assertions) {
            log::warn!("this is a debug build: it is slow (cargo run --release -- replay)");
        }
        let trace = self.trace()?;
        let scarcest = self.scarcest(&trace)?;
        let plan = self.plan(&trace, scarcest)?;
        self.check_outputs()?;
        let bar = output::progress_bar();
        let parameters =
            Parameters { spread_threshold: self.spread_threshold, hybrid_top: self.hybrid_top, seed: self.seed };
        let results = plan.run(&trace, &policies, parameters, &mut |part| {
            bar.set_position((part * output::PROGRESS_STEPS as f64) as u64);
        });
        bar.finish_and_clear();

        let report = Report { trace: &trace, scarcest, plan: &plan, results: &results };
        output::show(&report.table(), self.json.as_deref(), || report.json())?;
        if let (Some(path), Some(fill)) = (&self.plot, &plan.fill) {
            let failure = |cause: &dyn std::fmt::Display| {
                CommandError::failure(format!("cannot write {}", path.display()), cause)
            };
            let svg = plot::svg(&trace.resources[scarcest], fill, &results).map_err(|error| failure(&error))?;
            std::fs::write(path, svg).map_err(|error| failure(&error))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Whether results can be written, before they are computed.
    fn check_outputs(&self) -> Result<(), CommandError> {
        let json = self.json.as_deref().filter(|file| *file != "-").map(Path::new);
        json.into_iter().chain(self.plot.as_deref()).try_for_each(output::check_writable)
    }

    fn check_usage(&self) -> Result<(), CommandError> {
        let usage = |message: &str| Err(CommandError::Usage(message.to_owned()));
        if self.arrivals == 0.0 && self.churn.is_none() && !self.queue {
            return usage("nothing is left to run: give --arrivals above 0, --churn or --queue");
        }
        if self.arrivals == 0.0 && self.plot.is_some() {
            return usage("--plot draws the fill test: give --arrivals above 0");
        }
        if self.churn.is_some() && self.measured == 0 {
            return usage("--measured must be above 0");
        }
        if self.seeds > SEEDS_MAX {
            return usage("--seeds is at most 1000000");
        }
        if self.seed.checked_add(self.seeds as u64).is_none() {
            return usage("--seed is too large");
        }
        Ok(())
    }

    /// The names of the policies to compare, each once.
    fn policies(&self) -> Result<Vec<&'static str>, CommandError> {
        let known = || DEFINITIONS.iter().map(|definition| definition.name);
        let mut policies = Vec::new();
        for name in self.policy.split(',').map(str::trim) {
            let named: Vec<&'static str> = known().filter(|&policy| name == ALL || policy == name).collect();
            if named.is_empty() {
                let known: Vec<&str> = known().collect();
                return Err(CommandError::Usage(format!(
                    "there is no policy '{name}': give {ALL}, or some of {} ('serve --policy help' says what they do)",
                    known.join(",")
                )));
            }
            policies.extend(named.into_iter().filter(|policy| !policies.contains(policy)).collect::<Vec<_>>());
        }
        Ok(policies)
    }

    fn trace(&self) -> Result<Trace, CommandError> {
        let read = |path| CsvFile::read(path).map_err(|error| CommandError::Failure(error.to_string()));
        let (nodes, tasks) = (read(&self.nodes)?, read(&self.tasks)?);
        Trace::read(&nodes, &tasks).map_err(|error| CommandError::Failure(error.to_string()))
    }

    fn scarcest(&self, trace: &Trace) -> Result<ResourceIndex, CommandError> {
        let present: Vec<&str> = trace.present().map(|resource| trace.resources[resource].as_str()).collect();
        let present = present.join(", ");
        let scarcest = trace.scarcest().ok_or_else(|| {
            let (tasks, nodes) = (self.tasks.display(), self.nodes.display());
            let missing: Vec<&str> = trace.missing().collect();
            CommandError::Failure(match (present.as_str(), missing.is_empty()) {
                ("", _) => format!("{nodes}: the nodes have nothing"),
                (_, true) => format!("{tasks}: the tasks ask for nothing"),
                (_, false) => {
                    format!(
                        "{tasks}: the tasks ask for {} alone, and the nodes in {nodes} have {present}",
                        missing.join(", ")
                    )
                }
            })
        })?;
        for name in trace.missing() {
            log::warn!("tasks ask for {name}, which no node has: they fit nowhere (the nodes have {present})");
        }
        Ok(scarcest)
    }

    fn plan(&self, trace: &Trace, scarcest: ResourceIndex) -> Result<Plan, CommandError> {
        let in_tasks = |message: &str| CommandError::Failure(format!("{}: {message}", self.tasks.display()));
        let fill = match self.arrivals {
            0.0 => None,
            arrivals => Some(Fill::new(trace, scarcest, self.order, arrivals).map_err(|error| in_tasks(&error))?),
        };
        let churn = self.churn.map(|load| Churn { scarcest, load, warmup: self.warmup, measured: self.measured });
        if let Some(churn) = &churn {
            let lifetime = churn.arrival_rate(trace);
            if lifetime > self.warmup as f64 {
                log::warn!(
                    "--warmup {} is less than the {lifetime:.0} tasks that come in a mean lifetime",
                    self.warmup
                );
            }
        }
        let queue = match self.queue {
            true => Some(Queue::new(trace).ok_or_else(|| in_tasks("--queue needs columns arrival and duration"))?),
            false => None,
        };
        // The last seed was checked not to overflow.
        let seeds = self.seed..=self.seed + (self.seeds as u64 - 1);
        let unit_resources = if self.units { self.unit_resources.clone() } else { UnitResources::default() };
        Ok(Plan { seeds, unit_resources, fill, churn, queue })
    }
}
