//! The load generator, with short runs.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

use common::bench::{assert_complete, bench, counted_report, json, number, report};
use common::{DONE, REFUSED, Server, frame, placed, run};

#[test]
fn a_closed_loop_is_measured() {
    let report = report(&["--duration", "1s"]);
    assert_complete(&report);
    let configuration = &report["configuration"];
    for (key, value) in [("connections", 1.0), ("nodes", 20.0), ("pipeline", 1.0), ("duration_seconds", 1.0)] {
        assert_eq!(number(configuration, key), value, "{key}");
    }
    assert_eq!(configuration["mix"], "schedule");
    assert_eq!(configuration["rate"], Value::Null);
}

#[test]
fn an_open_loop_keeps_to_its_rate() {
    let report = report(&["--rate", "2000", "--duration", "1s"]);
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
        println!("{arguments:?}");
        let report = counted_report(arguments);
        assert_complete(&report);
        assert_eq!(report["configuration"][key], value, "{arguments:?}");
    }
}

#[test]
fn messages_of_the_ray_mix_are_more_than_its_schedules() {
    let report = counted_report(&["--mix", "ray"]);
    // Each placement is followed by a remove and an add.
    assert!(number(&report, "messages") > 2.0 * number(&report, "requests"), "{report:#}");
    let update = counted_report(&["--mix", "update"]);
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
    let arguments = ["--rate", "100..400", "--steps", "3"];
    let report = counted_report(&arguments);
    let steps = report["steps"].as_array().expect("a list");
    assert_eq!(steps.len(), 3);
    for (step, rate) in steps.iter().zip([100.0, 200.0, 400.0]) {
        assert_complete(step);
        assert!((number(&step["configuration"], "rate") - rate).abs() < 1e-6, "{step:#}");
        assert_eq!(number(&step["configuration"], "duration_seconds"), 20.0);
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
    let crowded = counted_report(&["--rate", "1M", "--pipeline", "1"]);
    assert!(number(&crowded, "held_back") > 0.0, "{crowded:#}");
    assert_eq!(number(&report(&[]), "held_back"), 0.0);
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
        let report = counted_report(arguments);
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
fn requests_that_are_late_in_an_open_loop_count_from_when_they_were_due() {
    const STALL: Duration = Duration::from_millis(200);
    let answer = |n, nodes: &[i64]| {
        if n == 100 {
            thread::sleep(STALL);
        }
        Some(placed(nodes[0]))
    };
    let port = false_server(Arc::new(answer)).port().to_string();
    for polling in [&[][..], &["--busy-poll", "client"]] {
        // While the server stands still, 200 of the 400 become due.
        let arguments = ["-p", &port, "--shapes", "1", "--rate", "1000", "--requests", "400", "--duration", "60s"];
        let report = report(&[&arguments[..], &["--warmup", "0s", "--pipeline", "1"], polling].concat());
        assert_complete(&report);
        let p90 = |latencies| number(&report[latencies], "p90");
        assert!(p90("latency_ns") - p90("uncorrected_latency_ns") > STALL.as_nanos() as f64 / 4.0, "{report:#}");
    }
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
