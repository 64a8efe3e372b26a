//! What a replay has shown, as a table for people and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::churn::ChurnSummary;
use super::fill::{Fill, FillSummary};
use super::queue::{PERCENTILES, QueueSummary};
use super::run::{Plan, PolicyResult};
use super::statistic::Statistic;
use super::trace::{ResourceIndex, Trace};

/// What was replayed and what came out.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    pub trace: &'a Trace,
    /// The resource that is counted.
    pub scarcest: ResourceIndex,
    pub plan: &'a Plan,
    pub results: &'a [PolicyResult],
}

impl Report<'_> {
    /// Tables, a policy a row.
    pub fn table(&self) -> String {
        let mut text = String::new();
        line(&mut text, &self.header());
        if let Some(fill) = &self.plan.fill {
            self.fill_tables(&mut text, fill);
        }
        if let Some(churn) = &self.plan.churn {
            let (largest, name) = (churn.largest(self.trace), self.scarcest_name());
            line(
                &mut text,
                &format!("\nchurn at {} of {name}: share of the demand that was blocked, in %", churn.load),
            );
            let names = self.resource_names().chain([format!("of {largest} {name}")]);
            self.rows(&mut text, "blocked", names, &|result| {
                let ChurnSummary { blocked, blocked_largest, .. } = result.churn.as_ref()?;
                Some(self.resources().map(|resource| blocked[resource]).chain([*blocked_largest]).collect())
            });
            self.utilisation_table(&mut text, &|result| Some(&result.churn.as_ref()?.utilisation));
            if let Some(offered) = self.results.iter().find_map(|result| Some(&result.churn.as_ref()?.offered)) {
                let offered = self.cell(offered);
                line(&mut text, &format!("with no task blocked it would be {offered} % of {name}, under every policy"));
            }
        }
        if self.plan.queue.is_some() {
            line(&mut text, "\nqueue, first come first served: makespan and waits in s");
            let names = ["makespan".to_owned()].into_iter();
            let names = names.chain(PERCENTILES.map(|(_, name)| format!("wait {name}")));
            let names = names.chain(["ran", "infeasible"].map(str::to_owned));
            self.rows(&mut text, "queue", names, &|result| {
                let queue = result.queue.as_ref()?;
                let figures = [queue.makespan].into_iter().chain(queue.waits.iter().copied());
                Some(figures.chain([queue.placed, queue.infeasible]).collect())
            });
            self.utilisation_table(&mut text, &|result| Some(&result.queue.as_ref()?.utilisation));
        }
        text.push('\n');
        line(&mut text, &row("", ["decisions/s".to_owned()].into_iter()));
        for result in self.results {
            let rate = result.decisions.per_second().map_or("-".to_owned(), |rate| format!("{rate:.0}"));
            line(&mut text, &row(result.name, [rate].into_iter()));
        }
        text
    }

    /// What was replayed, in a line.
    fn header(&self) -> String {
        let Self { trace, plan, .. } = self;
        let seeds = match (plan.seeds.start(), plan.seeds.end()) {
            (start, end) if start == end => format!("seed {start}"),
            (start, end) => format!("seeds {start} to {end}, mean ±deviation"),
        };
        format!(
            "{}, {} with {}, {seeds}; scarcest: {}, {:.1} % of it asked for by the tasks",
            count(trace.nodes.len(), "node"),
            count(trace.tasks.len(), "task"),
            count(trace.demands.len(), "distinct demand"),
            self.scarcest_name(),
            100.0 * self.asked_over_capacity(),
        )
    }

    fn fill_tables(&self, text: &mut String, fill: &Fill) {
        line(
            text,
            &format!(
                "\nfill, {} order: allocated, in %, when so many % of the {} there is have been asked for",
                fill.order.name(),
                self.scarcest_name()
            ),
        );
        for resource in self.resources() {
            let names = fill.levels.iter().map(|level| format!("at {level}"));
            self.rows(text, &self.trace.resources[resource], names, &|result| {
                Some(result.fill.as_ref()?.allocated.iter().map(|statistics| statistics[resource]).collect())
            });
        }
        let names = ["1st rejection %", "placed", "rejected"].into_iter().map(str::to_owned);
        self.rows(text, "tasks", names, &|result| {
            let fill = result.fill.as_ref()?;
            Some(vec![fill.first_rejection, fill.placed, fill.rejected])
        });
    }

    fn utilisation_table(&self, text: &mut String, figures: &dyn Fn(&PolicyResult) -> Option<&Vec<Statistic>>) {
        self.rows(text, "utilisation %", self.resource_names(), &|result| {
            let utilisation = figures(result)?;
            Some(self.resources().map(|resource| utilisation[resource]).collect())
        });
    }

    /// A row of names and a row a policy.
    fn rows(
        &self,
        text: &mut String,
        title: &str,
        names: impl Iterator<Item = String>,
        figures: &dyn Fn(&PolicyResult) -> Option<Vec<Statistic>>,
    ) {
        line(text, &row(title, names));
        for result in self.results {
            let figures = figures(result).unwrap_or_default();
            line(text, &row(result.name, figures.iter().map(|figure| self.cell(figure))));
        }
    }

    /// A mean, and the deviation where there are several seeds.
    fn cell(&self, figure: &Statistic) -> String {
        let Some((mean, deviation)) = figure.mean().zip(figure.deviation()) else { return "-".to_owned() };
        // Shares need two digits, seconds and numbers of tasks none.
        let digits = if mean.abs() < 1000.0 { 2 } else { 0 };
        if self.plan.seeds.start() == self.plan.seeds.end() {
            return format!("{mean:.digits$}");
        }
        format!("{mean:.digits$} ±{deviation:.digits$}")
    }

    /// Every figure and what it was made with.
    pub fn json(&self) -> Value {
        let mut policies = json!({});
        for result in self.results {
            policies[result.name] = self.policy_json(result);
        }
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "debug_build": cfg!(debug_assertions),
            "configuration": self.configuration(),
            "policies": policies,
        })
    }

    fn configuration(&self) -> Value {
        let Plan { seeds, unit_resources, fill, churn, queue } = self.plan;
        json!({
            "nodes": self.trace.nodes.len(),
            "tasks": self.trace.tasks.len(),
            "demands": self.trace.demands.len(),
            "scarcest": self.scarcest_name(),
            "asked_over_capacity": self.asked_over_capacity(),
            "seed": seeds.start(),
            "seeds": seeds.end() - seeds.start() + 1,
            "order": fill.as_ref().map(|fill| fill.order.name()),
            "arrivals_percent": fill.as_ref().and_then(|fill| fill.levels.last()),
            "churn_load": churn.as_ref().map(|churn| churn.load),
            "churn_warmup": churn.as_ref().map(|churn| churn.warmup),
            "churn_measured": churn.as_ref().map(|churn| churn.measured),
            "unit_resources": unit_resources.names().collect::<Vec<_>>(),
            "queue": queue.is_some(),
        })
    }

    fn policy_json(&self, result: &PolicyResult) -> Value {
        let mut value = json!({});
        if let (Some(fill), Some(summary)) = (&self.plan.fill, &result.fill) {
            self.fill_json(&mut value, fill, summary);
        }
        if let Some(churn) = &result.churn {
            self.set_by_resource(&mut value, "blocked", &churn.blocked);
            set(&mut value, "blocked_largest", &churn.blocked_largest);
            self.set_by_resource(&mut value, "utilisation", &churn.utilisation);
            set(&mut value, "offered", &churn.offered);
        }
        if let Some(queue) = &result.queue {
            value["queue"] = self.queue_json(queue);
        }
        value["decisions"] = result.decisions.count.into();
        value["decisions_per_second"] = result.decisions.per_second().into();
        value
    }

    fn fill_json(&self, value: &mut Value, fill: &Fill, summary: &FillSummary) {
        for (name, figure) in FIGURES {
            let mut allocated = json!({});
            for resource in self.resources() {
                let mut levels = json!({});
                for (level, statistics) in fill.levels.iter().zip(&summary.allocated) {
                    levels[level.to_string()] = figure(&statistics[resource]).into();
                }
                allocated[&self.trace.resources[resource]] = levels;
            }
            value[format!("allocated{name}")] = allocated;
        }
        set(value, "first_rejection", &summary.first_rejection);
        set(value, "placed", &summary.placed);
        set(value, "rejected", &summary.rejected);
    }

    fn queue_json(&self, queue: &QueueSummary) -> Value {
        let mut value = json!({});
        set(&mut value, "makespan_seconds", &queue.makespan);
        for (name, figure) in FIGURES {
            let mut waits = json!({});
            for ((_, percentile), wait) in PERCENTILES.iter().zip(&queue.waits) {
                waits[*percentile] = figure(wait).into();
            }
            value[format!("wait_seconds{name}")] = waits;
        }
        set(&mut value, "placed", &queue.placed);
        set(&mut value, "infeasible", &queue.infeasible);
        self.set_by_resource(&mut value, "utilisation", &queue.utilisation);
        if let Some(series) = &queue.series {
            let mut over_time = json!({ "step_seconds": series.step() });
            let mut shares = json!({});
            for resource in self.resources() {
                shares[&self.trace.resources[resource]] = series.shares(resource).into();
            }
            over_time["shares"] = shares;
            value["utilisation_over_time"] = over_time;
        }
        value
    }

    fn set_by_resource(&self, value: &mut Value, key: &str, statistics: &[Statistic]) {
        for (name, figure) in FIGURES {
            let mut by_resource = json!({});
            for resource in self.resources() {
                by_resource[&self.trace.resources[resource]] = figure(&statistics[resource]).into();
            }
            value[format!("{key}{name}")] = by_resource;
        }
    }

    /// The resources that are reported: those that some node has, the scarcest first.
    fn resources(&self) -> impl Iterator<Item = ResourceIndex> {
        let others = self.trace.present().filter(|&resource| resource != self.scarcest);
        [self.scarcest].into_iter().chain(others)
    }

    fn resource_names(&self) -> impl Iterator<Item = String> {
        self.resources().map(|resource| self.trace.resources[resource].clone())
    }

    fn scarcest_name(&self) -> &str {
        &self.trace.resources[self.scarcest]
    }

    fn asked_over_capacity(&self) -> f64 {
        self.trace.asked[self.scarcest] as f64 / self.trace.capacity[self.scarcest] as f64
    }
}

type Figure = fn(&Statistic) -> Option<f64>;

/// The figures of a statistic, with what is added to its name in JSON.
const FIGURES: [(&str, Figure); 2] = [("", Statistic::mean), ("_deviation", Statistic::deviation)];

fn set(value: &mut Value, key: &str, statistic: &Statistic) {
    for (name, figure) in FIGURES {
        value[format!("{key}{name}")] = figure(statistic).into();
    }
}

/// So many of something: `1 node`, `2 nodes`.
fn count(number: usize, name: &str) -> String {
    if number == 1 { format!("1 {name}") } else { format!("{number} {name}s") }
}

fn row(name: &str, values: impl Iterator<Item = String>) -> String {
    values.fold(format!("{name:<15}"), |mut row, value| {
        // Writing to a string does not fail.
        _ = write!(row, " {value:>15}");
        row
    })
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}
