//! What a run has measured, as a table for people and as JSON.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::difference::median;
use super::generator::Config;
use super::intervals::Interval;
use super::measurement::{Errors, Measurement};
use super::ramp::Step;

/// The percentiles that are reported, with their names in the table and in JSON.
pub const PERCENTILES: [(f64, &str, &str); 5] = [
    (50.0, "p50", "p50"),
    (90.0, "p90", "p90"),
    (99.0, "p99", "p99"),
    (99.9, "p99.9", "p99_9"),
    (99.99, "p99.99", "p99_99"),
];

/// A table of one measurement.
pub fn table(config: &Config, target: &str, measurement: &Measurement) -> String {
    let mut text = String::new();
    line(&mut text, &header(config, target));
    let names = PERCENTILES.map(|(_, name, _)| name);
    line(&mut text, &row("µs", names.into_iter().chain(["max", "mean"]).map(str::to_owned)));
    for (name, histogram) in histograms(config, measurement) {
        line(&mut text, &row(name, values_ns(histogram).map(microseconds)));
    }
    summary(measurement).iter().for_each(|summary| line(&mut text, summary));
    text
}

/// What is shown of a measurement, by name.
pub fn histograms<'m>(config: &Config, measurement: &'m Measurement) -> Vec<(&'static str, &'m Histogram<u64>)> {
    let mut histograms = vec![("latency", &measurement.latency_ns)];
    if config.rate.is_some() {
        histograms.push(("uncorrected", &measurement.uncorrected_ns));
        histograms.push(("generator lag", &measurement.lag_ns));
    }
    histograms
}

/// The percentiles, the maximum and the mean.
pub fn values_ns(histogram: &Histogram<u64>) -> impl Iterator<Item = f64> {
    let percentiles = PERCENTILES.map(|(percentile, ..)| histogram.value_at_percentile(percentile) as f64);
    percentiles.into_iter().chain([histogram.max() as f64, histogram.mean()])
}

/// How much was answered, and what went wrong, in lines.
pub fn summary(measurement: &Measurement) -> Vec<String> {
    let answered = format!(
        "{:.0} requests/s ({:.0} messages/s), {} in {:.2} s, {} errors",
        measurement.requests_per_second(),
        measurement.messages_per_second(),
        measurement.schedules,
        measurement.elapsed.as_secs_f64(),
        measurement.errors.total()
    );
    let fairness = measurement.fairness().map(|fairness| {
        let [median, worst] = [fairness.median_p99_ns, fairness.worst_p99_ns].map(|ns| microseconds(ns as f64));
        format!("p99 of the median connection {median} µs, of the worst {worst} µs ({:.2} times)", fairness.ratio())
    });
    let first = measurement.errors.first.iter().map(|first| format!("first error: {first}"));
    [answered].into_iter().chain(fairness).chain(first).collect()
}

/// A table of a ramp, a row a step.
pub fn ramp_table(steps: &[Step]) -> String {
    let mut text = String::new();
    let names = ["offered/s", "achieved/s", "p50 µs", "p99 µs", "p99.9 µs", "lag p99"];
    line(&mut text, &row("", names.map(str::to_owned).into_iter()));
    for (number, Step { offered, measurement }) in steps.iter().enumerate() {
        let Measurement { latency_ns, lag_ns, .. } = measurement;
        let times = [(latency_ns, 50.0), (latency_ns, 99.0), (latency_ns, 99.9), (lag_ns, 99.0)];
        // Far beyond the knee all that is answered was due in the warm-up.
        let time = |(histogram, percentile): (&Histogram<u64>, f64)| match histogram.is_empty() {
            true => "-".to_owned(),
            false => microseconds(histogram.value_at_percentile(percentile) as f64),
        };
        let rates = [*offered, measurement.requests_per_second()].map(|rate| format!("{rate:.0}"));
        let values = rates.into_iter().chain(times.map(time));
        line(&mut text, &row(&format!("step {}", number + 1), values));
    }
    text
}

/// What was measured, in a line.
pub fn header(config: &Config, target: &str) -> String {
    let loop_kind = match config.rate {
        Some(rate) => format!("open loop at {rate:.0}/s"),
        None => "closed loop".to_owned(),
    };
    format!(
        "{target}: {} connections{} x {} nodes, {} in flight, {} mix of {} shapes, {loop_kind}{}{}",
        config.connections,
        if config.threads > 1 { format!(" of {} threads", config.threads) } else { String::new() },
        config.nodes,
        config.pipeline,
        config.mix.name(),
        config.shapes,
        if config.busy_poll { ", polling client" } else { "" },
        if config.split_writes { ", split writes" } else { "" }
    )
}

fn row(name: &str, values: impl Iterator<Item = String>) -> String {
    values.fold(format!("{name:<14}"), |mut row, value| {
        // Writing to a string does not fail.
        _ = write!(row, "{value:>11}");
        row
    })
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// Nanoseconds as microseconds, for people.
pub fn microseconds(nanoseconds: f64) -> String {
    format!("{:.1}", nanoseconds / 1e3)
}

/// Every figure of a measurement and what it was made with.
pub fn json(config: &Config, target: &str, measurement: &Measurement) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "debug_build": cfg!(debug_assertions),
        "target": target,
        "configuration": configuration(config),
        "latency_ns": histogram(&measurement.latency_ns),
        "uncorrected_latency_ns": histogram(&measurement.uncorrected_ns),
        "generator_lag_ns": histogram(&measurement.lag_ns),
        "connections_p99_ns": measurement.fairness().map(|fairness| {
            json!({ "median": fairness.median_p99_ns, "worst": fairness.worst_p99_ns, "ratio": fairness.ratio() })
        }),
        "requests": measurement.schedules,
        "messages": measurement.messages,
        "held_back": measurement.held_back,
        "seconds": measurement.elapsed.as_secs_f64(),
        "requests_per_second": measurement.requests_per_second(),
        "messages_per_second": measurement.messages_per_second(),
        "intervals": measurement.intervals.iter().map(interval).collect::<Vec<_>>(),
        "errors": measurement.errors.total(),
        "errors_by_kind": errors(&measurement.errors),
    })
}

/// What a measurement was made with.
pub fn configuration(config: &Config) -> Value {
    json!({
        "connections": config.connections,
        "threads": config.threads,
        "nodes": config.nodes,
        "pipeline": config.pipeline,
        "duration_seconds": config.duration.as_secs_f64(),
        "warmup_seconds": config.warmup.as_secs_f64(),
        "interval_seconds": config.interval.as_secs_f64(),
        "requests": config.requests_max,
        "seed": config.seed,
        "shapes": config.shapes,
        "mix": config.mix.name(),
        "rate": config.rate,
        "busy_poll": config.busy_poll,
        "split_writes": config.split_writes,
        "echo": config.echo,
    })
}

/// Percentiles, maximum, mean and count.
pub fn histogram(histogram: &Histogram<u64>) -> Value {
    let mut value = json!({});
    for (percentile, _, name) in PERCENTILES {
        value[name] = histogram.value_at_percentile(percentile).into();
    }
    value["max"] = histogram.max().into();
    value["mean"] = histogram.mean().into();
    value["count"] = histogram.len().into();
    value
}

fn interval(interval: &Interval) -> Value {
    json!({
        "start_seconds": interval.start.as_secs_f64(),
        "seconds": interval.length.as_secs_f64(),
        "requests_per_second": interval.requests_per_second(),
        "latency_ns": histogram(&interval.latency_ns()),
    })
}

fn errors(errors: &Errors) -> Value {
    json!({
        "wrong_kind": errors.kind,
        "unknown_node": errors.unknown_node,
        "does_not_fit": errors.does_not_fit,
        "refused_though_feasible": errors.refused_though_feasible,
        "breaks_strategy": errors.breaks_strategy,
        "unanswered": errors.unanswered,
        "connections_lost": errors.connections_lost,
        "first": errors.first,
    })
}

/// Two peers measured in turns: the medians over the rounds, and their ratios.
#[derive(Clone, Debug)]
pub struct Comparison {
    pub scheduler: Medians,
    pub echo: Medians,
}

/// Medians over the rounds of one peer. Latencies in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Medians {
    pub p50_ns: f64,
    pub p99_ns: f64,
    pub requests_per_second: f64,
}

impl Medians {
    /// The medians of several rounds, at least one.
    pub fn of(rounds: &[Measurement]) -> Self {
        let median_of = |figure: &dyn Fn(&Measurement) -> f64| median(&rounds.iter().map(figure).collect::<Vec<_>>());
        Self {
            p50_ns: median_of(&|round| round.latency_ns.value_at_percentile(50.0) as f64),
            p99_ns: median_of(&|round| round.latency_ns.value_at_percentile(99.0) as f64),
            requests_per_second: median_of(&Measurement::requests_per_second),
        }
    }

    fn json(&self) -> Value {
        json!({ "p50_ns": self.p50_ns, "p99_ns": self.p99_ns, "requests_per_second": self.requests_per_second })
    }
}

impl Comparison {
    /// The scheduler's figures over the echo's.
    fn ratios(&self) -> [(&'static str, f64); 3] {
        [
            ("p50", self.scheduler.p50_ns / self.echo.p50_ns),
            ("p99", self.scheduler.p99_ns / self.echo.p99_ns),
            ("requests_per_second", self.scheduler.requests_per_second / self.echo.requests_per_second),
        ]
    }

    /// The comparison as a table.
    pub fn table(&self, rounds: usize) -> String {
        let mut text = String::new();
        line(&mut text, &format!("medians of {rounds} interleaved rounds, µs and requests/s"));
        line(&mut text, &row("", ["p50", "p99", "rate"].into_iter().map(str::to_owned)));
        for (name, medians) in [("scheduler", &self.scheduler), ("echo", &self.echo)] {
            let latencies = [medians.p50_ns, medians.p99_ns].map(microseconds);
            line(&mut text, &row(name, latencies.into_iter().chain([format!("{:.0}", medians.requests_per_second)])));
        }
        line(&mut text, &row("ratio", self.ratios().into_iter().map(|(_, ratio)| format!("{ratio:.3}"))));
        text
    }

    /// The comparison as JSON.
    pub fn json(&self) -> Value {
        let mut ratio = json!({});
        for (name, value) in self.ratios() {
            ratio[name] = value.into();
        }
        json!({ "scheduler": self.scheduler.json(), "echo": self.echo.json(), "ratio": ratio })
    }
}
