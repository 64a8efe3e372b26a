//! The command line: what it says, what it exits with, and how a server starts and stops.

mod common;

use std::fs;
use std::io::Write;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::thread::{CapabilitySet, capabilities};
use tempfile::tempdir;

use common::{
    Client, PATIENCE, PROGRAM, Process, Server, Transport, add, announce, flood, placed, program, random, run, schedule,
};

const X: &[(&str, f64)] = &[("x", 1.0)];

/// The server promises to stop within this time, whatever its clients do: `--shutdown-timeout`, and a while to exit.
const STOP_TIME_MAX: Duration = Duration::from_secs(4);

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is plain")
}

#[test]
fn help_and_version_are_no_errors() {
    let cases: [(&[&str], &[&str]); 10] = [
        (&["--help"], &["Usage", "serve", "bench", "status", "explain", "drain", "undrain"]),
        (
            &["serve", "--help"],
            &[
                "--port",
                "--unix-mode",
                "--strict",
                "--max-frame",
                "--frame-timeout",
                "--allow",
                "--max-memory",
                "44444",
            ],
        ),
        (&["bench", "--help"], &["--pipeline", "--rate", "--against-echo", "--json"]),
        (&["status", "--help"], &["--watch", "--view", "--json", "--token-file", "44444"]),
        (&["explain", "--help"], &["memory=8GiB", "--view", "--json", "--unix"]),
        (&["drain", "--help"], &["<node>", "--view", "--"]),
        (&["undrain", "--help"], &["<node>", "--view", "--"]),
        (&["help"], &["Usage"]),
        (&["--version"], &[concat!("external-scheduler ", env!("CARGO_PKG_VERSION"))]),
        (&["-V"], &[env!("CARGO_PKG_VERSION")]),
    ];
    for (arguments, words) in cases {
        let ended = run(arguments);
        ended.assert_code(0, &format!("{arguments:?}"));
        for word in words {
            assert!(ended.stdout.contains(word), "{arguments:?} says {word}:\n{}", ended.stdout);
        }
        assert_eq!(ended.stderr, "", "{arguments:?}");
    }
}

#[test]
fn wrong_arguments_exit_with_2_and_say_what_is_wrong() {
    let cases: [(&[&str], &str); 40] = [
        (&[], "subcommand"),
        (&["frobnicate"], "frobnicate"),
        (&["--frobnicate"], "--frobnicate"),
        (&["serve", "--frobnicate"], "--frobnicate"),
        (&["serve", "more"], "more"),
        (&["serve", "-p"], "-p"),
        (&["serve", "-a", "nowhere"], "nowhere"),
        (&["serve", "-a", "127.0.0.1:80"], "127.0.0.1:80"),
        (&["serve", "-p", "65536"], "65536"),
        (&["serve", "-p", "-1"], "-1"),
        (&["serve", "-p", "http"], "http"),
        (&["serve", "--unix-mode", "999"], "999"),
        (&["serve", "--unix-mode", "rw"], "rw"),
        (&["serve", "--max-frame", "1.5MiB"], "1.5MiB"),
        (&["serve", "--max-frame", "much"], "much"),
        (&["serve", "--max-connections", "0"], "'0'"),
        (&["serve", "--max-nodes", "-5"], "-5"),
        (&["serve", "--pin-cpu", "first"], "first"),
        (&["serve", "--busy-poll", "often"], "'often'"),
        (&["bench", "--busy-poll", "everybody"], "'everybody'"),
        (&["bench", "--busy-poll", "both", "-p", "1"], "--busy-poll"),
        (&["bench", "--mix", "cocktail"], "cocktail"),
        (&["bench", "--rate", "0"], "'0'"),
        (&["bench", "--duration", "soon"], "soon"),
        (&["bench", "--duration", "0"], "--duration"),
        (&["bench", "-c", "0"], "'0'"),
        (&["bench", "--threads", "2"], "--threads"),
        (&["bench", "--slo", "p99"], "'p99'"),
        (&["bench", "--slo", "p99=1s", "--against-echo"], "--slo"),
        (&["bench", "--interval", "1us"], "--interval"),
        (&["bench", "--against-echo", "--report", "x"], "--report"),
        (&["bench", "--compare", "x"], "--compare"),
        (&["bench", "x"], "--compare"),
        (&["bench", "--rate", "2k..1k"], "'2k..1k'"),
        (&["bench", "--rate", "1k..2k", "--against-echo"], "--against-echo"),
        (&["bench", "--rate", "1k..2k", "--hdr-log", "x"], "--hdr-log"),
        (&["bench", "--echo", "--against-echo"], "--against-echo"),
        (&["bench", "--unix", "somewhere", "-p", "1"], "--unix"),
        (&["bench", "--over-unix", "-p", "1"], "--over-unix"),
        (&["bench", "--over-unix", "--split-writes"], "--split-writes"),
    ];
    for (arguments, word) in cases {
        let ended = run(arguments);
        ended.assert_code(2, &format!("{arguments:?}"));
        assert_eq!(ended.stdout, "", "{arguments:?}");
        let first = ended.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("external-scheduler: "), "{arguments:?}:\n{}", ended.stderr);
        assert!(ended.stderr.contains(word), "{arguments:?} names {word}:\n{}", ended.stderr);
        assert!(ended.stderr.lines().count() <= 20 && !ended.stderr.contains("panicked"), "{}", ended.stderr);
    }
}

/// A server that must fail to start: one clear line, no address, exit code 1.
fn assert_cannot_start(arguments: &[&str], word: &str) {
    let ended = run(&[&["serve"], arguments].concat());
    ended.assert_code(1, &format!("{arguments:?}"));
    assert_eq!(ended.stdout, "", "{arguments:?}");
    let lines: Vec<&str> = ended.stderr.lines().collect();
    let [line] = lines[..] else { panic!("{arguments:?} gives one line:\n{}", ended.stderr) };
    assert!(line.starts_with("external-scheduler: ") && line.contains(word), "{arguments:?} names {word}: {line}");
}

#[test]
fn an_address_that_cannot_be_had_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap();
    assert_cannot_start(&["-p", &taken.port().to_string()], &taken.to_string());
    // An address for documentation, which no machine has.
    assert_cannot_start(&["-a", "192.0.2.1", "-p", "0", "--insecure"], "192.0.2.1:0");
    assert_cannot_start(&["-p", "0", "--pin-cpu", "100000"], "--pin-cpu 100000");
    let directory = tempdir().unwrap();
    let missing = directory.path().join("missing/socket");
    assert_cannot_start(&["-p", "0", "--unix", text(&missing)], text(&missing));
    let long = directory.path().join("a".repeat(200));
    assert_cannot_start(&["-p", "0", "--unix", text(&long)], text(&long));
}

#[test]
fn the_address_comes_first_and_is_the_real_one() {
    let process = Process::start(&mut program(&["serve", "-p", "0"]));
    let lines = process.stdout.wait_for_lines(1);
    let port = lines[0].strip_prefix("listening on 127.0.0.1:").expect("the address comes first");
    let port: u16 = port.parse().unwrap();
    assert_ne!(port, 0);
    Client::tcp(([127, 0, 0, 1], port).into()).round_trip();
    assert_eq!(process.stop(Signal::TERM).stdout, format!("listening on 127.0.0.1:{port}\n"));
}

#[test]
fn it_listens_on_ipv6_too() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("skipped: there is no IPv6 here");
        return;
    }
    let process = Process::start(&mut program(&["serve", "-a", "::1", "-p", "0"]));
    let lines = process.stdout.wait_for_lines(1);
    let address = lines[0].strip_prefix("listening on ").unwrap();
    assert!(address.starts_with("[::1]:"), "{address}");
    Client::tcp(address.parse().unwrap()).round_trip();
}

/// Waits until something is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: never");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_polling_server_answers_sleeps_as_it_was_told_and_stops() {
    for (time, sleeps) in [("0", true), ("1ms", true), ("always", false)] {
        let server = Server::start(&["--busy-poll", time]);
        for transport in Transport::ALL {
            // One that is alone for a while, others that come meanwhile, and its end.
            let mut alone = server.connect_over(transport);
            (0..100).for_each(|_| alone.round_trip());
            let mut others = Transport::ALL.map(|transport| server.connect_over(transport));
            others.iter_mut().for_each(Client::round_trip);
            alone.round_trip();
            alone.end_sending();
            alone.assert_closed("it has sent all");
            (0..100).for_each(|_| others[0].round_trip());
        }
        let mut alone = server.connect();
        (0..100).for_each(|_| alone.round_trip());
        if sleeps {
            wait_until("it sleeps", || server.process.is_asleep());
            alone.round_trip();
            server.connect().round_trip();
        } else {
            let ticks = server.process.processor_ticks();
            wait_until("it polls", || server.process.processor_ticks() > ticks + 2);
        }
        let ended = server.terminate();
        ended.assert_code(0, time);
        assert!(ended.elapsed < STOP_TIME_MAX, "{time}: {:?}", ended.elapsed);
    }
}

#[test]
fn memory_is_locked_or_the_limit_is_named() {
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -l 64; exec \"$0\" \"$@\"", PROGRAM]);
    let arguments = ["serve", "-p", "0", "--lock-memory"];
    if capabilities(None).unwrap().effective.contains(CapabilitySet::IPC_LOCK) {
        let server = Server::start_as(&mut limited, &["--lock-memory"]);
        server.connect().round_trip();
        assert!(server.process.memory_locked_bytes() > 0);
    } else {
        let ended = Process::start(limited.args(arguments)).end();
        ended.assert_code(1, "a limit of 64 KiB");
        assert!(ended.stderr.contains("--lock-memory") && ended.stderr.contains("64 KiB"), "{}", ended.stderr);
    }
}

#[test]
fn a_server_takes_its_port_back() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.round_trip();
    let address = server.address;
    // The server closes first, so that its side of the connection stays in the kernel for a while.
    server.terminate().assert_code(0, "terminated");
    client.assert_closed("the server has stopped");
    let again = Process::start(&mut program(&["serve", "-p", &address.port().to_string()]));
    again.stdout.wait_for(&address.to_string());
    Client::tcp(address).round_trip();
}

#[test]
fn nobody_else_may_use_the_unix_socket_unless_told_so() {
    let cases: [(&[&str], u32); 4] = [
        (&[], 0o600),
        (&["--unix-mode", "660"], 0o660),
        (&["--unix-mode", "0666"], 0o666),
        (&["--unix-mode", "700"], 0o700),
    ];
    for (arguments, mode) in cases {
        let server = Server::start(arguments);
        let metadata = fs::metadata(&server.socket).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{arguments:?}");
        server.connect_over(Transport::Unix).round_trip();
    }
}

#[test]
fn the_socket_file_of_a_dead_server_is_replaced() {
    let directory = tempdir().unwrap();
    let socket = directory.path().join("socket");
    let serve = || {
        let process = Process::start(&mut program(&["serve", "-p", "0", "--unix", text(&socket)]));
        process.stdout.wait_for("listening on unix:");
        process
    };
    for _ in 0..2 {
        let killed = serve().stop(Signal::KILL);
        assert_eq!(killed.status.code(), None);
        assert!(socket.exists(), "a killed server leaves its socket behind");
    }
    let process = serve();
    Client::unix(&socket).round_trip();
    process.stop(Signal::TERM).assert_code(0, "terminated");
    assert!(!socket.exists(), "a server that stops takes its socket with it");
}

#[test]
fn the_socket_file_of_a_live_server_is_an_error() {
    let server = Server::start(&[]);
    let mut client = server.connect_over(Transport::Unix);
    client.round_trip();
    assert_cannot_start(&["-p", "0", "--unix", text(&server.socket)], text(&server.socket));
    // It was only looked at.
    client.round_trip();
    server.connect_over(Transport::Unix).round_trip();

    // Another program's socket is as good.
    let directory = tempdir().unwrap();
    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    assert_cannot_start(&["-p", "0", "--unix", text(&socket)], text(&socket));
}

#[test]
fn the_socket_file_of_a_successor_is_left_alone() {
    let directory = tempdir().unwrap();
    let socket = directory.path().join("socket");
    let serve = || {
        let process = Process::start(&mut program(&["serve", "-p", "0", "--unix", text(&socket)]));
        process.stdout.wait_for("listening on unix:");
        process
    };
    let first = serve();
    fs::remove_file(&socket).unwrap();
    let _second = serve();
    first.stop(Signal::TERM).assert_code(0, "terminated");
    assert!(socket.exists(), "the socket is another server's by now");
    Client::unix(&socket).round_trip();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    let folder = directory.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for path in [&file, &link, &folder] {
        assert_cannot_start(&["-p", "0", "--unix", text(path)], text(path));
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert_eq!(fs::read_link(&link).unwrap(), file);
    assert!(folder.is_dir());
}

#[test]
fn a_server_stops_at_once_while_its_clients_are_idle_or_in_the_middle_of_a_message() {
    // Half of a message, and half of a length.
    let half = [announce(9, b"\x01"), vec![3, 0]];
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&[]);
        let mut clients = Vec::new();
        for transport in Transport::ALL {
            for bytes in [&b""[..], &half[0], &half[1]] {
                let mut client = server.connect_over(transport);
                client.round_trip();
                client.send(bytes);
                clients.push(client);
            }
        }
        let (ended, is_socket_there) = server.stop(signal);
        ended.assert_code(0, &format!("{signal:?}"));
        // Nothing is left to be answered, so there is nothing to wait for.
        assert!(ended.elapsed < STOP_TIME_MAX / 2, "{signal:?}: it took {:?}", ended.elapsed);
        assert!(!is_socket_there, "{signal:?}: the socket file is gone");
        assert!(ended.stderr.contains("6 connections"), "{signal:?}: it says what it did:\n{}", ended.stderr);
        for client in &mut clients {
            client.assert_closed("the server has stopped");
        }
    }
}

#[test]
fn a_server_without_clients_stops_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let (ended, is_socket_there) = Server::start(&[]).stop(signal);
        ended.assert_code(0, &format!("{signal:?}"));
        assert!(ended.elapsed < STOP_TIME_MAX / 2, "{signal:?}: it took {:?}", ended.elapsed);
        assert!(!is_socket_there, "{signal:?}: the socket file is gone");
    }
}

#[test]
fn what_was_received_before_a_stop_is_answered() {
    /// As many as fit into the first window of a TCP connection, so that they are all received when the write returns.
    const REQUESTS: usize = 1_500;
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&[]);
        let mut clients: Vec<Client> = (0..6).map(|number| server.connect_over(Transport::ALL[number % 2])).collect();
        for (node, client) in clients.iter_mut().enumerate() {
            client.add(node as i64, X);
        }
        for client in &mut clients {
            client.send(&schedule(X).repeat(REQUESTS));
        }
        for (node, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.receive(), placed(node as i64));
        }
        server.process.signal(signal);
        for (node, client) in clients.iter_mut().enumerate() {
            for number in 1..REQUESTS {
                assert_eq!(client.receive_or_end(), Some(placed(node as i64)), "{signal:?}: reply {number} to {node}");
            }
            client.assert_closed("all is answered");
        }
        server.process.end().assert_code(0, &format!("{signal:?}"));
    }
}

#[test]
fn a_server_stops_under_full_load() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start(&[]);
        let mut threads = Vec::new();
        for number in 0..4 {
            let mut client = server.connect_over(Transport::ALL[number % 2]);
            client.add(1, X);
            let mut sender = client.sender();
            // Never waits for a reply, and ends when the connection does.
            threads.push(thread::spawn(move || {
                let batch = schedule(X).repeat(500);
                while sender.write_all(&batch).is_ok() {}
            }));
            assert_eq!(client.receive(), placed(1), "it is served");
            threads.push(thread::spawn(move || {
                while let Ok(Some(reply)) = client.try_receive() {
                    assert_eq!(reply, placed(1));
                }
            }));
        }
        let (ended, is_socket_there) = server.stop(signal);
        ended.assert_code(0, &format!("{signal:?}"));
        assert!(ended.elapsed < STOP_TIME_MAX, "{signal:?}: it took {:?}", ended.elapsed);
        assert!(!is_socket_there, "{signal:?}: the socket file is gone");
        for thread in threads {
            thread.join().unwrap();
        }
    }
}

#[test]
fn a_server_does_not_wait_for_a_client_that_does_not_read() {
    let mut random = random();
    let server = Server::start(&[]);
    let mut other = server.connect();
    let mut clients = Transport::ALL.map(|transport| server.connect_over(transport));
    for client in &mut clients {
        flood(client, Some(&mut other), &mut random);
    }
    let ended = server.terminate();
    ended.assert_code(0, "terminated");
    assert!(ended.elapsed < STOP_TIME_MAX, "it took {:?}", ended.elapsed);
}

#[test]
fn a_second_signal_changes_nothing() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.send(&[add(1, X), schedule(X).repeat(1_000)].concat());
    client.receive();
    server.process.signal(Signal::TERM);
    server.process.signal(Signal::INT);
    for _ in 0..1_000 {
        assert_eq!(client.receive(), placed(1));
    }
    client.assert_closed("all is answered");
    server.process.end().assert_code(0, "told twice");
}

#[test]
fn a_server_needs_no_standard_output() {
    let directory = tempdir().unwrap();
    let socket = directory.path().join("socket");
    let arguments = ["serve", "-p", "0", "--unix", text(&socket)];
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$0\" \"$@\" >&-", PROGRAM]).args(arguments);
    let cases: [(&str, Process); 2] = [
        ("closed", Process::start(&mut closed)),
        ("broken", Process::start_with_broken_stdout(&mut program(&["serve", "-p", "0"]))),
    ];
    for (name, process) in cases {
        let log = process.stderr.wait_for("limits");
        assert!(!log.contains("panicked"), "{name}: {log}");
        if name == "closed" {
            // It listened before it logged.
            Client::unix(&socket).round_trip();
        }
        let ended = process.stop(Signal::TERM);
        ended.assert_code(0, name);
        assert!(ended.elapsed < PATIENCE, "{name}");
    }
}
