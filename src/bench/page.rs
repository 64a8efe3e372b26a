//! A measurement as one page of HTML, with charts, that needs nothing else and no network.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde_json::Value;

use super::chart::{Axis, Chart, Series, escape};
use super::generator::Config;
use super::intervals::Interval;
use super::measurement::Measurement;
use super::objective::Outcome;
use super::report;

/// Forbids all that a page could load or run: there is nothing of the kind in it.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
background:#fff;color:#222}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:right;\
border-bottom:1px solid #8884}th:first-child,.names td{text-align:left}svg{width:100%;height:auto;margin:1rem 0}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}}";

/// Steps of a percentile curve for each halving of what is left above: enough for a smooth line.
const STEPS_PER_HALVING: u32 = 10;

const NANOSECONDS_IN_MICROSECOND: f64 = 1e3;

/// The page of a measurement.
pub fn html(config: &Config, target: &str, measurement: &Measurement, outcomes: &[Outcome]) -> String {
    let header = escape(&report::header(config, target));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{header}</title>\n<style>{STYLE}</style></head>\n\
         <body><h1>Latency of schedule requests</h1>\n<p>{header}</p>\n"
    );
    append_figures(&mut page, config, measurement);
    for outcome in outcomes {
        append(&mut page, format_args!("<p>{}</p>\n", escape(&outcome.line())));
    }
    for chart in charts(config, measurement) {
        page.push_str(&chart.svg());
    }
    append_configuration(&mut page, config);
    page.push_str("</body></html>\n");
    page
}

fn append_figures(page: &mut String, config: &Config, measurement: &Measurement) {
    page.push_str("<table><tr><th>µs</th>");
    for (_, name, _) in report::PERCENTILES {
        append(page, format_args!("<th>{name}</th>"));
    }
    page.push_str("<th>max</th><th>mean</th></tr>\n");
    for (name, histogram) in report::histograms(config, measurement) {
        append(page, format_args!("<tr><th>{name}</th>"));
        for value in report::values_ns(histogram) {
            append(page, format_args!("<td>{}</td>", report::microseconds(value)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
    report::summary(measurement).iter().for_each(|line| append(page, format_args!("<p>{}</p>\n", escape(line))));
}

fn append_configuration(page: &mut String, config: &Config) {
    page.push_str("<h2>Configuration</h2>\n<table class=\"names\">");
    if let Value::Object(fields) = report::configuration(config) {
        for (name, value) in fields {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let name = name.replace('_', " ");
            append(page, format_args!("<tr><td>{}</td><td>{}</td></tr>\n", escape(&name), escape(&value)));
        }
    }
    append(page, format_args!("<tr><td>version</td><td>{}</td></tr></table>\n", env!("CARGO_PKG_VERSION")));
}

fn charts(config: &Config, measurement: &Measurement) -> [Chart; 3] {
    let parts: Vec<Part> = measurement.intervals.iter().map(Part::of).collect();
    let seconds = measurement.elapsed.as_secs_f64();
    [percentile_curve(config, measurement), latency_over_time(&parts, seconds), throughput(&parts, seconds)]
}

/// Latency against percentile.
fn percentile_curve(config: &Config, measurement: &Measurement) -> Chart {
    let count = measurement.latency_ns.len();
    let series: Vec<Series> = report::histograms(config, measurement)
        .into_iter()
        .map(|(name, histogram)| Series { name, points: quantiles(histogram, count) })
        .collect();
    let (low, high) = range(&series);
    Chart {
        title: "Latency by percentile", x: Axis::percentiles(count), y: Axis::logarithmic("µs", low, high), series
    }
}

/// Points at 1 / (1 - quantile), up to the value that is the highest of `count`.
fn quantiles(histogram: &Histogram<u64>, count: u64) -> Vec<Option<(f64, f64)>> {
    let points = histogram.iter_quantiles(STEPS_PER_HALVING).map(|step| {
        let rest = (1.0 - step.quantile_iterated_to()).max(1.0 / count.max(1) as f64);
        Some((1.0 / rest, microseconds(step.value_iterated_to())))
    });
    points.collect()
}

/// What is drawn of an interval.
struct Part {
    /// Its middle, in seconds.
    time: f64,
    requests_per_second: f64,
    /// p50, p99 and maximum in microseconds; none where nothing was answered.
    latencies: Option<[f64; 3]>,
}

impl Part {
    fn of(interval: &Interval) -> Self {
        let latency_ns = interval.latency_ns();
        let values_ns =
            || [latency_ns.value_at_percentile(50.0), latency_ns.value_at_percentile(99.0), latency_ns.max()];
        Self {
            time: (interval.start + interval.length / 2).as_secs_f64(),
            requests_per_second: interval.requests_per_second(),
            latencies: (!latency_ns.is_empty()).then(|| values_ns().map(microseconds)),
        }
    }
}

fn latency_over_time(parts: &[Part], seconds: f64) -> Chart {
    let line = |(index, name)| {
        let point = |part: &Part| part.latencies.map(|latencies| (part.time, latencies[index]));
        Series { name, points: parts.iter().map(point).collect() }
    };
    let series: Vec<Series> = [(0, "p50"), (1, "p99"), (2, "max")].map(line).into();
    let (low, high) = range(&series);
    Chart { title: "Latency over time", x: Axis::linear("s", seconds), y: Axis::logarithmic("µs", low, high), series }
}

fn throughput(parts: &[Part], seconds: f64) -> Chart {
    let points = parts.iter().map(|part| Some((part.time, part.requests_per_second))).collect();
    let series = vec![Series { name: "answered", points }];
    let (_, high) = range(&series);
    Chart { title: "Throughput over time", x: Axis::linear("s", seconds), y: Axis::linear("requests/s", high), series }
}

/// The lowest value above 0 and the highest; infinite where there is none.
fn range(series: &[Series]) -> (f64, f64) {
    let values = || series.iter().flat_map(|series| series.points.iter().flatten().map(|point| point.1));
    (values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / NANOSECONDS_IN_MICROSECOND
}

fn append(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::measurement::Recording;
    use crate::bench::workload::Mix;

    fn config(rate: Option<f64>) -> Config {
        Config {
            connections: 1,
            threads: 1,
            nodes: 1,
            pipeline: 1,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            interval: Duration::from_secs(1),
            requests_max: None,
            seed: 1,
            shapes: 1,
            mix: Mix::Schedule,
            rate,
            busy_poll: false,
            split_writes: false,
            echo: false,
        }
    }

    #[test]
    fn a_page_has_a_line_for_each_histogram_and_escapes_names() {
        let mut measurement = Recording::new(Duration::from_secs(1), 1).finish();
        (1..=1_000).for_each(|value_us| measurement.latency_ns.record(value_us * 1_000).unwrap());
        // In an open loop the percentile curve has two lines more.
        for (rate, lines) in [(None, 5), (Some(1e3), 7)] {
            let page = html(&config(rate), "<script>&", &measurement, &[]);
            assert_eq!(page.matches("<path class=\"line line").count(), 2 * lines, "a line and its key each");
            assert_eq!(page.matches("<svg ").count(), 3);
            assert!(page.contains("&lt;script&gt;&amp;") && !page.contains("<script"), "{page}");
        }
    }

    #[test]
    fn nothing_measured_is_no_fault() {
        let page = html(&config(Some(1.0)), "", &Recording::new(Duration::from_secs(1), 1).finish(), &[]);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}
