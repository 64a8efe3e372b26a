//! Many requests, many connections, no descriptors.

use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::{
    Client, DONE, PATIENCE, PROGRAM, REFUSED, Server, Transport, add, flood, placed, random, remove, schedule,
};

const X: &[(&str, f64)] = &[("x", 1.0)];

/// Expected: answered in order, and a client with one request in flight gets its turns meanwhile (how long it waits is
/// measured by `scripts/faults`).
#[test]
fn a_hundred_thousand_requests_in_one_pipeline_are_answered_in_order_and_others_meanwhile() {
    const REQUESTS: usize = 100_000;
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        let mut busy = server.connect_over(transport);
        busy.add(1, X);
        // Debug builds check the table with each change, so most requests change nothing.
        let unit = [schedule(&[("y", 1.0)]).repeat(98), schedule(X), remove(i64::MIN)].concat();
        let mut sender = busy.sender();
        let writer = thread::spawn(move || sender.write_all(&unit.repeat(REQUESTS / 100)));
        let mut other = server.connect();
        other.add(2, X);
        let mut others = 0;
        for number in 0..REQUESTS {
            let expected = match number % 100 {
                98 => placed(1),
                99 => DONE.to_vec(),
                _ => REFUSED.to_vec(),
            };
            assert_eq!(busy.receive(), expected, "{transport:?}, reply {number}");
            if number % 1_000 == 0 {
                // It is far from the end of the pipeline, and answered all the same.
                assert_eq!(other.place(X), Some(2));
                others += 1;
            }
        }
        assert_eq!(others, REQUESTS / 1_000);
        writer.join().unwrap().unwrap();
    }
}

/// Expected: events and turns that were meant for connections that have gone do not reach those that have taken their places. The
/// server is stopped meanwhile, so that it finds all that has happened at once.
#[test]
fn what_was_meant_for_a_closed_connection_does_not_reach_the_next() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..20).map(|_| server.connect()).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.add(number as i64, X);
        }
        server.process.signal(Signal::STOP);
        let mut next = Vec::new();
        for (number, mut client) in clients.into_iter().enumerate() {
            // More than one turn's worth for some, a broken frame for others, and then they are gone.
            match (number + round) % 4 {
                0 => client.send(&schedule(X).repeat(600)),
                1 => client.send(&[&schedule(X)[..], &[0xff; 8]].concat()),
                2 => client.send(&schedule(X)[..12]),
                _ => {}
            }
            if number % 2 == 0 {
                client.reset()
            } else {
                drop(client)
            }
            let mut client = server.connect();
            client.send(&[schedule(X), add(1_000 + number as i64, X), schedule(X)].concat());
            next.push(client);
        }
        server.process.signal(Signal::CONT);
        for (number, client) in next.iter_mut().enumerate() {
            assert_eq!(client.receive(), REFUSED, "a new connection has no nodes");
            assert_eq!(client.receive(), DONE);
            assert_eq!(client.receive(), placed(1_000 + number as i64));
            client.remove(1_000 + number as i64);
        }
        clients = next;
    }
}

/// Expected: connections whose requests are found at once, more of them than are served together and some with more requests than a
/// turn takes, are all answered, each what it has asked.
#[test]
fn connections_that_are_served_together_get_their_own_replies() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    let requests = |number: usize| if number.is_multiple_of(3) { 1 + 20 * number } else { 1 };
    for (number, client) in clients.iter_mut().enumerate() {
        client.add(number as i64, X);
    }
    for _ in 0..3 {
        server.process.signal(Signal::STOP);
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(&schedule(X).repeat(requests(number)));
        }
        server.process.signal(Signal::CONT);
        for (number, client) in clients.iter_mut().enumerate() {
            for _ in 0..requests(number) {
                assert_eq!(client.receive(), placed(number as i64));
            }
        }
    }
}

/// Expected: accepting pauses, which takes next to no processor time, and goes on when there are descriptors again; those that
/// are connected are served.
#[test]
fn without_descriptors_accepting_pauses_and_the_server_does_not_spin() {
    /// How long it is looked at. Its processor time does not depend on what else the machine does.
    const WATCHED: Duration = Duration::from_secs(1);
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 24; exec \"$0\" \"$@\"", PROGRAM]);
    let server = Server::start_as(&mut shell, &[]);
    let mut first = server.connect();
    first.add(1, X);
    let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    server.process.stderr.wait_for("cannot accept");
    let (start, before) = (Instant::now(), server.process.processor_ticks());
    thread::sleep(WATCHED);
    let (ticks, watched) = (server.process.processor_ticks() - before, start.elapsed());
    // A tick is 10 ms: 5 % of the time, and one for the rounding.
    assert!(ticks as u128 <= watched.as_millis() / 200 + 1, "{ticks} ticks in {watched:?}");
    assert_eq!(first.place(X), Some(1));
    for client in &mut clients {
        client.send(&remove(1));
    }
    for mut client in clients {
        assert_eq!(client.receive(), DONE);
    }
    server.process.wait_for_descriptors_below(16);
    let ended = server.terminate();
    ended.assert_code(0, "terminated");
    assert_eq!(ended.stderr.matches("cannot accept connections for now").count(), 1, "{}", ended.stderr);
    assert!(ended.elapsed < PATIENCE);
}

/// Expected: it ends at `--shutdown-timeout` at the latest, with exit code 0, although replies are left that nobody reads, and
/// says how many connections it has closed.
#[test]
fn a_stop_waits_no_longer_than_it_is_told_to() {
    for timeout in ["0", "100ms"] {
        let server = Server::start(&["--shutdown-timeout", timeout, "--write-timeout", "60m"]);
        let mut other = server.connect();
        let mut client = server.connect();
        let _flood = flood(&mut client, Some(&mut other), &mut random());
        let ended = server.terminate();
        ended.assert_code(0, timeout);
        assert!(ended.stderr.contains("2 at exit"), "{}", ended.stderr);
    }
}
