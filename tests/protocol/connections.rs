//! Connections: order, ends, resets, peers that do not read, limits.

use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{
    Client, DONE, PATIENCE, PROGRAM, QUIET, REFUSED, Server, Transport, add, announce, flood, frame, placed, random,
    remove, schedule,
};

const X: &[(&str, f64)] = &[("x", 1.0)];

/// Requests whose replies all tell something else: each node comes, is answered once, and goes.
fn requests_and_replies(nodes: i64) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut requests = Vec::new();
    let mut replies = Vec::new();
    for node in 0..nodes {
        // Spread over all of the bytes of an ID.
        let node = node.wrapping_mul(0x0123_4567_89ab_cdef);
        for (request, reply) in [
            (add(node, X), DONE.to_vec()),
            (schedule(X), placed(node)),
            (remove(node), DONE.to_vec()),
            (schedule(X), REFUSED.to_vec()),
        ] {
            requests.extend(request);
            replies.push(reply);
        }
    }
    (requests, replies)
}

#[test]
fn ten_thousand_requests_in_one_write_are_answered_in_order() {
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        let (requests, replies) = requests_and_replies(2_500);
        assert_eq!(replies.len(), 10_000);
        // From another thread: both sides could wait for the other if nobody read.
        let mut sender = client.sender();
        let writer = thread::spawn(move || sender.write_all(&requests));
        for (number, reply) in replies.iter().enumerate() {
            assert_eq!(client.receive(), *reply, "{transport:?}, reply {number}");
        }
        writer.join().unwrap().unwrap();
        client.end_sending();
        client.assert_closed("no reply is left");
    }
}

#[test]
fn requests_cut_anywhere_are_answered_in_order() {
    let mut random = random();
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        let (requests, replies) = requests_and_replies(500);
        let mut sender = client.sender();
        let mut random = random.fork();
        let writer = thread::spawn(move || {
            let mut rest = &requests[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(random.usize(1..=rest.len().min(100)));
                sender.write_all(now).unwrap();
                rest = later;
            }
        });
        for (number, reply) in replies.iter().enumerate() {
            assert_eq!(client.receive(), *reply, "{transport:?}, reply {number}");
        }
        writer.join().unwrap();
    }
}

#[test]
fn messages_of_all_sizes_follow_each_other() {
    let mut random = random();
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        let mut requests = Vec::new();
        let mut replies = Vec::new();
        for node in 0..400 {
            requests.extend(add(node, X));
            // Demands of nothing that make a message long. One wrong byte among them, and it is refused.
            let count = if random.u8(0..8) == 0 { random.usize(0..2_500) } else { random.usize(0..20) };
            let names: Vec<String> = (0..count).map(|number| format!("none_{number}")).collect();
            let mut demand: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 0.0)).collect();
            demand.push(X[0]);
            requests.extend(schedule(&demand));
            requests.extend(remove(node));
            replies.extend([DONE.to_vec(), placed(node), DONE.to_vec()]);
        }
        let mut sender = client.sender();
        let mut random = random.fork();
        let writer = thread::spawn(move || {
            let mut rest = &requests[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at(random.usize(1..=rest.len().min(40_000)));
                sender.write_all(now).unwrap();
                rest = later;
            }
        });
        for (number, reply) in replies.iter().enumerate() {
            assert_eq!(client.receive(), *reply, "{transport:?}, reply {number}");
        }
        writer.join().unwrap();
    }
}

#[test]
fn a_message_in_two_writes_does_not_wait_for_a_late_acknowledgement() {
    // The original client writes length and body apart and leaves Nagle's algorithm on: its kernel holds the body
    // back until the length is acknowledged, which takes 40 ms unless the server's side is told to hurry.
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.socket.set_tcp_nodelay(false).unwrap();
    client.add(1, X);
    let (length, body) = (announce(13, b""), &schedule(&[("CPU", 1.0)])[8..]);
    let mut times: Vec<Duration> = (0..101)
        .map(|_| {
            let start = Instant::now();
            client.send(&length);
            client.send(body);
            assert_eq!(client.receive_like_version_1(), REFUSED);
            start.elapsed()
        })
        .collect();
    times.sort();
    assert!(times[50] < Duration::from_millis(20), "a message takes {:?}", times[50]);
}

#[test]
fn half_a_message_of_one_client_delays_no_other() {
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        let mut halves: Vec<(Client, Vec<u8>)> = [1, 7, 8, 9, 20]
            .into_iter()
            .map(|place| {
                let mut client = server.connect_over(transport);
                client.add(1, X);
                let request = schedule(&[("x", 1.0), ("none", 0.0)]);
                client.send(&request[..place]);
                (client, request[place..].to_vec())
            })
            .collect();
        let mut other = server.connect_over(transport);
        let start = Instant::now();
        for _ in 0..50 {
            other.round_trip();
        }
        assert!(start.elapsed() < Duration::from_secs(2), "50 round trips took {:?}", start.elapsed());
        for (client, rest) in &mut halves {
            assert_eq!(client.call(rest), placed(1));
        }
    }
}

#[test]
fn a_client_that_has_sent_all_is_answered_before_the_end() {
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        let (requests, replies) = requests_and_replies(250);
        // Whole requests; half of a length; a length alone; half of a body.
        for tail in [&b""[..], &[9, 0, 0], &announce(9, b""), &announce(9, b"\x01123")] {
            let mut client = server.connect_over(transport);
            client.send(&[&requests, tail].concat());
            client.end_sending();
            for (number, reply) in replies.iter().enumerate() {
                assert_eq!(client.receive(), *reply, "{transport:?}, reply {number}, then {tail:?}");
            }
            client.assert_closed("all is answered");
        }
    }
}

#[test]
fn an_end_inside_a_message_is_logged() {
    let server = Server::start(&[]);
    for (bytes, is_logged) in [(remove(1), false), (announce(9, b"\x01"), true), (vec![1], true)] {
        let mut client = server.connect();
        client.send(&bytes);
        client.end_sending();
        while client.receive_or_end().is_some() {}
        let warnings = server.warnings_about(&client.name());
        assert_eq!(!warnings.is_empty(), is_logged, "{bytes:?}: {warnings:?}");
    }
}

#[test]
fn a_reset_inside_a_message_costs_nobody_else() {
    let server = Server::start(&[]);
    let mut other = server.connect();
    other.add(1, X);
    for place in [0, 1, 8, 18] {
        for _ in 0..5 {
            let mut client = server.connect();
            client.add(1, X);
            client.send(&schedule(X)[..place]);
            client.reset();
            assert_eq!(other.place(X), Some(1), "after a reset at byte {place}");
        }
    }
    // With requests on their way too.
    for _ in 0..20 {
        let mut client = server.connect();
        client.send(&requests_and_replies(50).0);
        client.reset();
        assert_eq!(other.place(X), Some(1));
    }
}

#[test]
fn a_reset_while_replies_wait_costs_nobody_else() {
    let mut random = random();
    let server = Server::start(&[]);
    let mut other = server.connect();
    other.add(1, X);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        flood(&mut client, Some(&mut other), &mut random);
        client.reset();
        assert_eq!(other.place(X), Some(1), "{transport:?}");
    }
    let ended = server.terminate();
    ended.assert_code(0, "after resets");
    assert!(ended.elapsed < Duration::from_secs(1), "it took {:?} to stop", ended.elapsed);
}

#[test]
fn a_client_that_does_not_read_is_not_read_and_loses_nothing() {
    const MIB: u64 = 1 << 20;
    let mut random = random();
    for transport in Transport::ALL {
        let server = Server::start(&[]);
        let mut other = server.connect();
        other.round_trip();
        #[cfg(target_os = "linux")]
        let memory_before = server.process.memory_peak_bytes();
        let mut client = server.connect_over(transport);
        let flood = flood(&mut client, Some(&mut other), &mut random);
        println!("{transport:?}: took {} requests before it blocked", flood.expected.len());

        let start = Instant::now();
        for _ in 0..100 {
            other.round_trip();
        }
        assert!(start.elapsed() < Duration::from_secs(2), "100 round trips took {:?}", start.elapsed());

        #[cfg(target_os = "linux")]
        {
            let grown = server.process.memory_peak_bytes() - memory_before;
            assert!(grown < 16 * MIB, "{transport:?}: {grown} bytes for one client that does not read");
            // It waits for the client, it does not ask again and again. A machine under load may need some time to get
            // there, a loop never does.
            let is_quiet = || {
                let before = server.process.processor_ticks();
                thread::sleep(QUIET);
                server.process.processor_ticks() - before <= 2
            };
            let deadline = Instant::now() + PATIENCE;
            while !is_quiet() {
                assert!(
                    Instant::now() < deadline,
                    "{transport:?}: the server is busy with a client that does not read"
                );
            }
        }
        flood.finish(&mut client);
        client.round_trip();
    }
}

#[test]
fn a_client_that_does_not_read_may_be_the_only_one_of_a_server_that_polls() {
    let mut random = random();
    let server = Server::start(&["--busy-poll", "always"]);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        for _ in 0..2 {
            (0..100).for_each(|_| client.round_trip());
            flood(&mut client, None, &mut random).finish(&mut client);
        }
        client.end_sending();
        client.assert_closed("it has sent all");
    }
}

#[test]
fn a_busy_client_does_not_keep_others_waiting() {
    let server = Server::start(&[]);
    let (requests, replies) = requests_and_replies(1_000);
    let mut busy = server.connect();
    let mut sender = busy.sender();
    // Ends when the server does.
    let writer = thread::spawn(move || while sender.write_all(&requests).is_ok() {});
    assert_eq!(busy.receive(), replies[0]);
    let reader = thread::spawn(move || {
        let mut count = 1;
        while let Ok(Some(reply)) = busy.try_receive() {
            assert_eq!(reply, replies[count % replies.len()], "reply {count} to the busy client");
            count += 1;
        }
    });
    let mut other = server.connect();
    let mut times: Vec<Duration> = (0..101)
        .map(|_| {
            let start = Instant::now();
            other.round_trip();
            start.elapsed()
        })
        .collect();
    times.sort();
    drop(server);
    writer.join().unwrap();
    reader.join().unwrap();
    assert!(times[50] < Duration::from_millis(100), "a round trip takes {:?}", times[50]);
}

#[test]
fn a_connection_beyond_the_limit_is_closed_and_the_others_are_served() {
    let server = Server::start(&["--max-connections", "3"]);
    let mut clients: Vec<Client> = [Transport::Tcp, Transport::Unix, Transport::Tcp]
        .into_iter()
        .map(|transport| {
            let mut client = server.connect_over(transport);
            client.add(1, X);
            client
        })
        .collect();
    for _ in 0..3 {
        for transport in Transport::ALL {
            server.connect_over(transport).assert_closed("beyond the limit");
        }
    }
    let log = server.process.stderr.wait_for("--max-connections");
    assert_eq!(log.matches("refused").count(), 1, "it is logged once in a row:\n{log}");
    for client in &mut clients {
        assert_eq!(client.place(X), Some(1));
    }

    // One that goes makes room.
    let mut gone = clients.pop().unwrap();
    gone.end_sending();
    gone.assert_closed("it has ended");
    let mut next = server.connect();
    next.round_trip();
    server.connect().assert_closed("beyond the limit again");
    for client in &mut clients {
        assert_eq!(client.place(X), Some(1));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn connections_wait_while_there_are_no_descriptors() {
    let mut shell = Command::new("sh");
    shell.args(["-c", "ulimit -n 24; exec \"$0\" \"$@\"", PROGRAM]);
    let server = Server::start_as(&mut shell, &[]);
    let mut first = server.connect();
    first.round_trip();
    // The kernel connects them all; those that the server cannot accept yet wait.
    let mut clients: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.send(&frame(b"\x02"));
    }
    server.process.stderr.wait_for("cannot accept");
    first.round_trip();
    // As they go one by one, the others get in.
    for mut client in clients {
        assert_eq!(client.receive(), REFUSED);
    }
    first.round_trip();
}

#[test]
fn many_clients_are_served_at_once() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..300).map(|number| server.connect_over(Transport::ALL[number % 2])).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&[add(number as i64, X), schedule(X)].concat());
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.receive(), DONE);
        assert_eq!(client.receive(), placed(number as i64));
    }
    // Every other one goes, and others come in their places.
    for (number, client) in clients.iter_mut().enumerate() {
        if number % 2 == 0 {
            *client = server.connect_over(Transport::ALL[number / 2 % 2]);
            assert_eq!(client.place(X), None, "a new client has no nodes");
        } else {
            assert_eq!(client.place(X), Some(number as i64));
        }
    }
}
