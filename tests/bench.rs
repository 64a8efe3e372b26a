//! The load generator, with short runs.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;

use common::{DONE, Ended, REFUSED, Server, frame, placed, run};

/// A run takes two cores for itself; several at once would starve each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Runs the load generator, for a short while with a few nodes where nothing else is said.
fn bench(arguments: &[&str]) -> Ended {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let short = [["--duration", "200ms"], ["--warmup", "50ms"], ["-n", "20"]];
    let short = short.iter().filter(|[name, _]| !arguments.contains(name)).flatten();
    run(&["bench"].iter().chain(short).chain(arguments).copied().collect::<Vec<_>>())
}

/// Runs it, which must go well, and returns its report.
fn report(arguments: &[&str]) -> Value {
    let ended = bench(&[arguments, &["--json", "-"]].concat());
    ended.assert_code(0, &format!("{arguments:?}"));
    json(&ended)
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout)
        .unwrap_or_else(|error| panic!("standard output is JSON alone: {error}\n{}", ended.stdout))
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is a number in {value:#}"))
}

/// Checks what every report of a run without errors has.
#[track_caller]
fn assert_complete(report: &Value) {
    let latency = &report["latency_ns"];
    let values = ["p50", "p90", "p99", "p99_9", "p99_99", "max"].map(|key| number(latency, key));
    assert!(values.is_sorted() && values[0] > 0.0, "{latency:#}");
    let mean = number(latency, "mean");
    assert!(mean > 0.0 && mean <= values[5], "{latency:#}");
    assert!(number(report, "requests_per_second") > 0.0, "{report:#}");
    assert!(number(report, "requests") > 0.0, "{report:#}");
    assert_eq!(report["errors"], 0, "{report:#}");
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    let seconds = number(report, "seconds");
    let rate = number(report, "requests") / seconds;
    assert!((rate / number(report, "requests_per_second") - 1.0).abs() < 1e-3, "{report:#}");
}

#[test]
fn a_closed_loop_is_measured() {
    let report = report(&[]);
    assert_complete(&report);
    let configuration = &report["configuration"];
    for (key, value) in [("connections", 1.0), ("nodes", 20.0), ("pipeline", 1.0), ("duration_seconds", 0.2)] {
        assert_eq!(number(configuration, key), value, "{key}");
    }
    assert_eq!(configuration["mix"], "schedule");
    assert_eq!(configuration["rate"], Value::Null);
}

#[test]
fn intervals_make_up_the_whole_run() {
    let report = report(&["--duration", "230ms", "--interval", "50ms"]);
    assert_complete(&report);
    let intervals = report["intervals"].as_array().expect("a list");
    assert_eq!(intervals.len(), 5);
    let mut end = 0.0;
    for interval in intervals {
        assert!((number(interval, "start_seconds") - end).abs() < 1e-9, "{interval:#}");
        end += number(interval, "seconds");
    }
    assert!((end - 0.23).abs() < 1e-9, "{end}");
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
    let ended = bench(&["--rate", "1k", "--slo", "p50=1m", "--report", path.to_str().unwrap()]);
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
    assert!(curves.filter(|curve| curve.matches('L').count() > 5).count() >= 7, "{page}");
}

#[test]
fn an_open_loop_keeps_to_its_rate() {
    let report = report(&["--rate", "2000"]);
    assert_complete(&report);
    assert_eq!(number(&report["configuration"], "rate"), 2000.0);
    // Less on a slow machine. More where what was due in the warm-up came late.
    assert!(number(&report, "requests_per_second") < 3000.0, "{report:#}");
    assert!(number(&report["uncorrected_latency_ns"], "max") <= number(&report["latency_ns"], "max"), "{report:#}");
}

#[test]
fn every_kind_of_run_goes_well() {
    let cases: [(&[&str], &str, Value); 21] = [
        (&["--mix", "ray"], "mix", "ray".into()),
        (&["--mix", "ray", "-c", "3", "--pipeline", "4"], "connections", 3.into()),
        (&["--pipeline", "16", "-c", "4"], "pipeline", 16.into()),
        (&["--split-writes"], "split_writes", true.into()),
        (&["--over-unix"], "split_writes", false.into()),
        (&["--echo"], "echo", true.into()),
        (&["--shapes", "40", "-n", "50"], "shapes", 40.into()),
        (&["--rate", "1k", "--mix", "ray", "-c", "2"], "mix", "ray".into()),
        (&["--threads", "2", "-c", "5", "--pipeline", "2"], "threads", 2.into()),
        (&["--threads", "3", "-c", "3", "--rate", "1k"], "threads", 3.into()),
        (&["--mix", "update"], "mix", "update".into()),
        (&["--mix", "update", "-c", "3", "--pipeline", "4"], "connections", 3.into()),
        (&["--mix", "lifecycle"], "mix", "lifecycle".into()),
        (&["--mix", "lifecycle", "-c", "30", "--pipeline", "4", "-n", "40"], "connections", 30.into()),
        (&["--mix", "lifecycle", "-c", "4", "--threads", "2", "--over-unix"], "threads", 2.into()),
        (&["--mix", "lifecycle", "--rate", "1k", "-c", "8"], "rate", 1000.0.into()),
        (&["--mix", "gang"], "mix", "gang".into()),
        (&["--mix", "gang", "-n", "1", "--pipeline", "4"], "nodes", 1.into()),
        (&["--mix", "gang", "--echo"], "echo", true.into()),
        (&["--mix", "lifecycle", "--echo", "-c", "2"], "echo", true.into()),
        (&["--seed", "7", "-n", "1"], "seed", 7.into()),
    ];
    for (arguments, key, value) in cases {
        let report = report(arguments);
        println!("{arguments:?}");
        assert_complete(&report);
        assert_eq!(report["configuration"][key], value, "{arguments:?}");
    }
}

#[test]
fn messages_of_the_ray_mix_are_more_than_its_schedules() {
    let report = report(&["--mix", "ray"]);
    // Each placement is followed by a remove and an add.
    assert!(number(&report, "messages") > 2.0 * number(&report, "requests"), "{report:#}");
    let update = self::report(&["--mix", "update"]);
    // By an update, or more where tasks end.
    assert!(number(&update, "messages") > 1.5 * number(&update, "requests"), "{update:#}");
}

#[test]
fn writes_apart_do_not_wait_for_late_acknowledgements() {
    let report = report(&["--split-writes"]);
    // 40 ms where they do.
    assert!(number(&report["latency_ns"], "p50") < 20e6, "{report:#}");
}

#[test]
fn the_scheduler_is_compared_with_the_echo() {
    let report = report(&["--against-echo", "--rounds", "2", "-c", "2", "--duration", "1s"]);
    for side in ["scheduler", "echo"] {
        for key in ["p50_ns", "p99_ns", "requests_per_second"] {
            assert!(number(&report[side], key) > 0.0, "{side} {key}");
            let short = key.trim_end_matches("_ns");
            let ratio = number(&report["scheduler"], key) / number(&report["echo"], key);
            assert!((number(&report["ratio"], short) / ratio - 1.0).abs() < 1e-6, "ratio of {key}");
        }
        let rounds = report["rounds"][side].as_array().expect("a list");
        assert_eq!(rounds.len(), 2);
        rounds.iter().for_each(assert_complete);
    }
    assert_eq!(report["errors"], 0);
}

#[test]
fn a_ramp_finds_the_knee() {
    let arguments = ["--rate", "100..400", "--steps", "3", "--duration", "600ms"];
    let report = report(&arguments);
    let steps = report["steps"].as_array().expect("a list");
    assert_eq!(steps.len(), 3);
    for (step, rate) in steps.iter().zip([100.0, 200.0, 400.0]) {
        assert_complete(step);
        assert!((number(&step["configuration"], "rate") - rate).abs() < 1e-6, "{step:#}");
        assert_eq!(number(&step["configuration"], "duration_seconds"), 0.2);
    }
    // Where it is depends on the machine; that something is said of it does not.
    assert!(report["knee"]["rate"].is_number() || report["knee"]["limit"].is_string(), "{report:#}");
    assert_eq!(report["errors"], 0);

    let table = bench(&arguments).stdout;
    for word in ["offered/s", "achieved/s", "step 3", "p99 below 5 times", "0 errors"] {
        assert!(table.contains(word), "{word}:\n{table}");
    }
}

#[test]
fn requests_that_wait_for_room_are_counted() {
    // More than can be answered with one in flight, and never more than is due.
    let crowded = report(&["--rate", "1M", "--pipeline", "1"]);
    assert!(number(&crowded, "held_back") > 0.0, "{crowded:#}");
    assert_eq!(number(&report(&[]), "held_back"), 0.0);
}

#[test]
fn two_results_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (first, slower, short) = (path("first.json"), path("slower.json"), path("short.json"));
    bench(&["--json", &first]).assert_code(0, "the first");
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
fn a_running_server_is_measured() {
    let server = Server::start(&[]);
    let port = server.address.port().to_string();
    let socket = server.socket.to_str().unwrap();
    let address = server.address.to_string();
    let cases: [(&[&str], &str); 4] = [
        (&["-a", "127.0.0.1", "-p", &port], &address),
        (&["-p", &port, "--mix", "ray"], &address),
        (&["--unix", socket], socket),
        (&["--unix", socket, "--mix", "ray", "--pipeline", "8", "-c", "2"], socket),
    ];
    for (arguments, target) in cases {
        let report = report(arguments);
        assert_complete(&report);
        let name = report["target"].as_str().expect("a text");
        assert!(name.contains(target), "{arguments:?}: {name}");
    }
    // A connection of the generator leaves nothing to complain about.
    let log = server.log();
    assert!(log.contains("closed by the peer") && !log.contains("WARN"), "{log}");
}

#[test]
fn the_table_is_for_people() {
    for (arguments, words) in [
        (&[][..], &["p50", "p99.99", "requests/s", " 0 errors"][..]),
        (&["--rate", "2000"], &["uncorrected", "generator lag", "open loop at 2000/s"]),
        (&["--against-echo", "--rounds", "2"], &["medians of 2", "ratio", "0 errors"]),
    ] {
        let ended = bench(arguments);
        ended.assert_code(0, &format!("{arguments:?}"));
        for word in words {
            assert!(ended.stdout.contains(word), "{arguments:?} says {word}:\n{}", ended.stdout);
        }
    }
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

#[test]
fn a_number_of_requests_ends_the_run_early() {
    for threads in [&[][..], &["--threads", "3", "-c", "4"]] {
        let report = report(&[&["--requests", "100", "--duration", "60m"], threads].concat());
        assert_complete(&report);
        assert_eq!(number(&report, "requests"), 100.0);
    }
}

/// What a false server does with its `n`-th schedule, knowing the nodes added on the connection: the message of its
/// reply, or `None` to close.
type Answer = dyn Fn(usize, &[i64]) -> Option<Vec<u8>> + Send + Sync;

/// A server that acknowledges adds and removes as it should, and answers schedules its own way.
fn false_server(answer: Arc<Answer>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the tests.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = answer.clone();
            thread::spawn(move || _ = serve(stream.unwrap(), &*answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &Answer) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut nodes = Vec::new();
    let mut schedules = 0;
    loop {
        let mut prefix = [0; 8];
        stream.read_exact(&mut prefix)?;
        let mut message = vec![0; u64::from_le_bytes(prefix) as usize];
        stream.read_exact(&mut message)?;
        let reply = match message[0] {
            0 => {
                nodes.push(i64::from_le_bytes(message[1..9].try_into().unwrap()));
                DONE.to_vec()
            }
            1 => DONE.to_vec(),
            _ => match answer(schedules, &nodes) {
                Some(reply) => {
                    schedules += 1;
                    reply
                }
                None => return Ok(()),
            },
        };
        stream.write_all(&frame(&reply))?;
    }
}

/// How many reads of a server find a length and nothing else. The server reads as much as there is.
fn lengths_alone(arguments: &[&str]) -> usize {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || -> std::io::Result<usize> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut alone = 0;
        let mut waiting = Vec::new();
        let mut node = Vec::new();
        loop {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes)?;
            if count == 0 {
                return Ok(alone);
            }
            alone += usize::from(count == 8 && waiting.is_empty());
            waiting.extend_from_slice(&bytes[..count]);
            while let Some((prefix, rest)) = waiting.split_first_chunk::<8>()
                && let Some(message) = rest.get(..u64::from_le_bytes(*prefix) as usize)
            {
                if message[0] == 0 {
                    node = message[1..9].to_vec();
                }
                let reply = if message[0] == 2 { frame(&[&[0], &node[..]].concat()) } else { frame(DONE) };
                stream.write_all(&reply)?;
                waiting.drain(..8 + message.len());
            }
        }
    });
    assert_complete(&report(&[&["-p", &port, "-n", "1", "--shapes", "1"], arguments].concat()));
    server.join().unwrap().unwrap()
}

#[test]
fn lengths_and_bodies_are_written_apart_only_where_asked_for() {
    assert_eq!(lengths_alone(&[]), 0);
    assert!(lengths_alone(&["--split-writes"]) > 0);
}

fn unknown(nodes: &[i64]) -> Vec<u8> {
    placed((1..).find(|node| !nodes.contains(node)).unwrap())
}

#[test]
fn wrong_replies_are_noticed() {
    let always = u64::MAX;
    // What is answered, how many errors of which kind that gives.
    let cases: [(&str, Arc<Answer>, &str, u64); 7] = [
        ("a node that was never added", Arc::new(|_, nodes| Some(unknown(nodes))), "unknown_node", always),
        ("refused though it is feasible", Arc::new(|_, _| Some(REFUSED.to_vec())), "refused_though_feasible", always),
        ("the reply to an add", Arc::new(|_, _| Some(DONE.to_vec())), "wrong_kind", always),
        (
            "a byte too many",
            Arc::new(|_, nodes| Some([&placed(nodes[0])[..], b"\0"].concat())),
            // No reply is so long: the connection is given up.
            "connections_lost",
            1,
        ),
        (
            "one wrong node among right ones",
            Arc::new(|n, nodes| Some(if n == 5 { unknown(nodes) } else { placed(nodes[0]) })),
            "unknown_node",
            1,
        ),
        (
            "one refusal among placements",
            Arc::new(|n, nodes| Some(if n == 5 { REFUSED.to_vec() } else { placed(nodes[0]) })),
            "refused_though_feasible",
            1,
        ),
        (
            "a connection that is closed",
            Arc::new(|n, nodes| if n == 5 { None } else { Some(placed(nodes[0])) }),
            "connections_lost",
            1,
        ),
    ];
    for (name, answer, kind, count) in cases {
        let port = false_server(answer).port().to_string();
        // One shape, which fits on every node.
        let ended = bench(&["-p", &port, "--shapes", "1", "--json", "-"]);
        ended.assert_code(1, name);
        let report = json(&ended);
        let counted = report["errors_by_kind"][kind].as_u64().expect("a count");
        assert!(if count == always { counted > 1 } else { counted == count }, "{name}: {report:#}");
        assert!(report["errors"].as_u64() >= Some(counted), "{name}: {report:#}");
        assert!(report["errors_by_kind"]["first"].is_string(), "{name}: {report:#}");
    }
}

#[test]
fn right_replies_of_another_server_are_right() {
    // So that the cases above fail for what is wrong in them.
    let port = false_server(Arc::new(|_, nodes| Some(placed(nodes[0])))).port().to_string();
    assert_complete(&report(&["-p", &port, "--shapes", "1"]));
}

#[test]
fn no_server_at_the_address_is_said() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let port = address.port().to_string();
    let cases: [(&[&str], &str); 2] =
        [(&["-p", &port], &address.to_string()), (&["--unix", socket.to_str().unwrap()], socket.to_str().unwrap())];
    for (arguments, word) in cases {
        let ended = bench(arguments);
        ended.assert_code(1, &format!("{arguments:?}"));
        assert_eq!(ended.stdout, "", "{arguments:?}");
        let last = ended.stderr.lines().last().unwrap_or_default();
        assert!(last.starts_with("external-scheduler: ") && last.contains(word), "{arguments:?}: {}", ended.stderr);
        assert!(ended.elapsed < Duration::from_secs(5), "{arguments:?}");
    }
}

#[test]
fn numbers_beyond_reason_are_refused_by_name() {
    for name in ["--nodes", "--shapes", "--connections", "--threads", "--pipeline", "--rounds", "--steps"] {
        let ended = run(&["bench", name, "99999999999"]);
        ended.assert_code(2, name);
        assert!(ended.stderr.contains(&format!("{name} is at most ")), "{}", ended.stderr);
    }
}
