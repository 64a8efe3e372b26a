//! What the load generator makes of its runs: intervals, objectives, logs, pages, comparisons.

mod common;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

use common::bench::{assert_complete, bench, json, number, report};

#[test]
fn intervals_make_up_the_whole_run() {
    let report = report(&["--duration", "1150ms", "--interval", "250ms"]);
    assert_complete(&report);
    let intervals = report["intervals"].as_array().expect("a list");
    assert_eq!(intervals.len(), 5);
    let mut end = 0.0;
    for interval in intervals {
        assert!((number(interval, "start_seconds") - end).abs() < 1e-9, "{interval:#}");
        end += number(interval, "seconds");
    }
    assert!((end - 1.15).abs() < 1e-9, "{end}");
    let sum = |figure: &dyn Fn(&Value) -> f64| intervals.iter().map(figure).sum::<f64>();
    let requests = sum(&|interval| number(interval, "requests_per_second") * number(interval, "seconds"));
    assert!((requests - number(&report, "requests")).abs() < 0.01, "{report:#}");
    let latencies = sum(&|interval| number(&interval["latency_ns"], "count"));
    assert_eq!(latencies, number(&report["latency_ns"], "count"));
    let max = intervals.iter().map(|interval| number(&interval["latency_ns"], "max")).fold(0.0, f64::max);
    assert_eq!(max, number(&report["latency_ns"], "max"));
}

#[test]
fn objectives_are_met_or_missed() {
    let (slow, fast) = ("p99.9=1m", "p50=0");
    for (objectives, code, words) in [
        (&[slow][..], 0, &["p99.9 at most 60s: met with"][..]),
        (&[fast], 99, &["p50 at most 0ns: missed with"]),
        (&[slow, fast], 99, &["p99.9 at most 60s: met with", "p50 at most 0ns: missed with"]),
    ] {
        let arguments: Vec<&str> = objectives.iter().flat_map(|objective| ["--slo", objective]).collect();
        let arguments = [&["--requests", "20", "--duration", "60s", "--warmup", "0"], &arguments[..]].concat();
        let ended = bench(&arguments);
        ended.assert_code(code, &format!("{objectives:?}"));
        for word in words {
            assert!(ended.stdout.contains(word), "{objectives:?} says {word}:\n{}", ended.stdout);
        }
        let report = json(&bench(&[&arguments[..], &["--json", "-"]].concat()));
        let met: Vec<bool> = objectives.iter().map(|objective| *objective == slow).collect();
        let outcomes = report["objectives"].as_array().expect("a list");
        assert_eq!(outcomes.iter().map(|outcome| outcome["met"] == true).collect::<Vec<_>>(), met);
    }
}

#[test]
fn the_interval_log_has_the_histograms_of_the_intervals() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("intervals.hlog");
    let report = report(&["--rate", "1k", "--interval", "100ms", "--hdr-log", path.to_str().unwrap()]);
    let log = std::fs::read(&path).unwrap();
    let mut histogram = Histogram::<u64>::new(3).unwrap();
    let (mut starts, mut seconds) = (0, 0.0);
    for entry in IntervalLogIterator::new(&log) {
        match entry.expect("an entry") {
            LogEntry::StartTime(_) => starts += 1,
            LogEntry::BaseTime(_) => panic!("times count from the start alone"),
            LogEntry::Interval(interval) => {
                assert!((interval.start_timestamp().as_secs_f64() - seconds).abs() < 1e-9);
                seconds += interval.duration().as_secs_f64();
                let bytes = BASE64_STANDARD.decode(interval.encoded_histogram()).unwrap();
                let part: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
                assert!((interval.max() - part.max() as f64 / 1e6).abs() <= 0.0005, "maxima are milliseconds");
                histogram.add(part).unwrap();
            }
        }
    }
    assert_eq!((starts, seconds), (1, 0.2));
    let latency = &report["latency_ns"];
    assert_eq!(histogram.len() as f64, number(latency, "count"));
    assert_eq!(histogram.value_at_percentile(99.0) as f64, number(latency, "p99"));
    let text = String::from_utf8(log).unwrap();
    assert!(text.contains("#[Histogram log format version 1.3]\n"), "{text}");
}

#[test]
fn the_page_stands_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.html");
    let ended = bench(&[
        "--rate",
        "1k",
        "--duration",
        "1s",
        "--interval",
        "20ms",
        "--slo",
        "p50=1m",
        "--report",
        path.to_str().unwrap(),
    ]);
    ended.assert_code(0, "a page");
    let page = std::fs::read_to_string(&path).unwrap();
    let words =
        ["<!DOCTYPE html>", "Latency by percentile", "Latency over time", "Throughput over time", ">99 %<", ">seed<"];
    for word in [&words[..], &["open loop at 1000/s", "p50 at most 60s: met", "0 errors", "</html>"]].concat() {
        assert!(page.contains(word), "{word}:\n{page}");
    }
    // Nothing to load and nothing to run. The only address is the name of SVG.
    for word in ["<script", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(word), "{word}:\n{page}");
    }
    assert_eq!(page.matches("://").count(), page.matches("http://www.w3.org/2000/svg").count());
    for (element, count) in [("svg", 3), ("table", 2), ("h1", 1), ("body", 1), ("html", 1)] {
        assert_eq!(page.matches(&format!("<{element}")).count(), count, "{element}");
        assert_eq!(page.matches(&format!("</{element}>")).count(), count, "{element}");
    }
    let curves = page.split("<path class=\"line ").skip(1).map(|rest| rest.split('"').nth(2).unwrap_or_default());
    // Few points where the machine was busy with something else.
    assert!(curves.filter(|curve| curve.contains('L')).count() >= 7, "{page}");
}

#[test]
fn two_results_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (first, slower, short) = (path("first.json"), path("slower.json"), path("short.json"));
    bench(&["--json", &first, "--duration", "1s", "--interval", "20ms"]).assert_code(0, "the first");
    bench(&["--json", &short, "--interval", "100ms"]).assert_code(0, "two intervals");
    // The same run with ten times the latencies.
    let mut result: Value = serde_json::from_str(&std::fs::read_to_string(&first).unwrap()).unwrap();
    for interval in result["intervals"].as_array_mut().unwrap() {
        for (_, value) in interval["latency_ns"].as_object_mut().unwrap() {
            *value = (value.as_f64().unwrap() * 10.0).into();
        }
    }
    result["configuration"]["nodes"] = 21.into();
    std::fs::write(&slower, result.to_string()).unwrap();

    for (one, other, verdict) in [(&first, &slower, "worse"), (&slower, &first, "better"), (&first, &first, "noise")] {
        let compared = json(&bench(&["--compare", one, other, "--json", "-"]));
        for figure in compared["figures"].as_array().expect("a list") {
            let expected = if figure["figure"] == "requests/s" { "noise" } else { verdict };
            assert_eq!(figure["verdict"], expected, "{compared:#}");
        }
        let table = bench(&["--compare", one, other]).stdout;
        assert!(table.contains("p99.9 µs") && table.contains(verdict), "{table}");
        assert_eq!(table.contains("nodes was 2"), verdict != "noise", "{table}");
    }
    for (name, file) in [("too few intervals", short.as_str()), ("no file", "nowhere"), ("no JSON", "Cargo.toml")] {
        let ended = bench(&["--compare", &first, file]);
        ended.assert_code(1, name);
        assert!(ended.stderr.contains(file), "{name}: {}", ended.stderr);
    }
}

#[test]
fn the_machine_itself_is_looked_at() {
    let report = report(&["--intrinsic"]);
    assert!(number(&report, "seconds") >= 0.2, "{report:#}");
    let gap = &report["gap_ns"];
    assert!(number(gap, "count") > 1_000.0 && number(gap, "max") >= number(gap, "p99"), "{report:#}");
    let counts: Vec<f64> = report["gaps"].as_array().expect("a list").iter().map(|gap| number(gap, "count")).collect();
    assert!(counts.is_sorted_by(|one, other| one >= other), "{report:#}");
    let table = bench(&["--intrinsic"]).stdout;
    assert!(table.contains("gaps of at least") && table.contains("longest"), "{table}");
}

#[test]
fn the_report_goes_to_a_file_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.json");
    let ended = bench(&["--json", path.to_str().unwrap()]);
    ended.assert_code(0, "a file");
    assert!(ended.stdout.contains("requests/s"), "the table comes all the same:\n{}", ended.stdout);
    assert_complete(&serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap());

    let ended = bench(&["--json", directory.path().to_str().unwrap()]);
    ended.assert_code(1, "a file that cannot be written");
    assert!(ended.stderr.contains(directory.path().to_str().unwrap()), "{}", ended.stderr);
}
