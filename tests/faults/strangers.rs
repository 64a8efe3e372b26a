//! Peers that have come to the wrong place: other protocols, port scans, too many at once.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::common::extension::stats;
use crate::common::{Client, Ended, Server, Transport, announce};

const X: &[(&str, f64)] = &[("x", 1.0)];

/// What the server counts under a reason for which it closed connections.
fn closed(client: &mut Client, reason: &str) -> u64 {
    client.json(&stats())["server"]["connections_closed"][reason].as_u64().expect("a count")
}

/// Expected: closed at once, since what they begin with is no length, counted, and the log says what they speak. Nobody else
/// notices.
#[test]
fn clients_of_other_protocols_are_closed_and_named_in_the_log() {
    let cases: [(&[u8], &str); 6] = [
        (b"GET /metrics HTTP/1.1\r\nHost: head\r\n\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "HTTP/2, as gRPC does"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "TLS"),
        (b"*1\r\n$4\r\nPING\r\n", "the Redis protocol"),
        (b"PING\r\nPING\r\n", "the Redis protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
    ];
    let server = Server::start(&[]);
    let mut other = server.connect();
    other.add(1, X);
    for transport in Transport::ALL {
        for (bytes, protocol) in cases {
            let mut client = server.connect_over(transport);
            client.send(bytes);
            client.assert_closed(protocol);
            server.process.stderr.wait_for(&format!("(--max-frame): it speaks {protocol}\n"));
            assert_eq!(other.place(X), Some(1), "{protocol}");
        }
    }
    assert_eq!(closed(&mut other, "bad_frame"), 12);
}

/// Expected: a Redis `PING` alone is too short to be told from the beginning of a length: `--frame-timeout` closes it.
#[test]
fn a_few_bytes_of_another_protocol_close_at_the_timeout() {
    let server = Server::start(&["--frame-timeout", "200ms"]);
    let mut client = server.connect();
    client.send(b"PING\r\n");
    client.assert_closed("a few bytes");
    assert_eq!(closed(&mut server.connect(), "frame_timeout"), 1);
}

/// Connects so often and closes at once, half of the times with a reset.
fn scan(address: SocketAddr, count: usize) {
    for number in 0..count {
        let socket = TcpStream::connect_timeout(&address, Duration::from_secs(10)).expect("the kernel connects");
        if number % 2 == 0 {
            socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).expect("a socket");
        }
    }
}

/// Expected: counted; one line in the log now, and one that says how many more there were. No descriptor or memory is left
/// with them, and others are served.
#[test]
fn a_port_scan_is_counted_and_is_no_news() {
    const CONNECTIONS: usize = 3_000;
    let server = Server::start(&[]);
    let mut other = server.connect();
    other.add(1, X);
    // The first ones bring the memory to where it stays.
    scan(server.address, 100);
    other.round_trip();
    let before = server.process.memory_resident_bytes();
    for _ in 0..CONNECTIONS / 100 {
        scan(server.address, 100);
        assert_eq!(other.place(X), Some(1));
    }
    server.process.wait_for_descriptors_below(20);
    let grown = server.process.memory_resident_bytes().saturating_sub(before);
    assert!(grown < 1 << 20, "{grown} bytes are left of {CONNECTIONS} connections");
    // A reset may undo a connection before it is accepted.
    let count = closed(&mut other, "unused");
    assert!(count >= CONNECTIONS as u64 / 2, "{count} counted");
    let Ended { stderr, .. } = server.terminate();
    // A machine that is slow enough may see more than one window of 10 s.
    let lines = stderr.lines().filter(|line| line.contains("has sent nothing")).count();
    assert!((1..=3).contains(&lines), "{stderr}");
    assert!(stderr.contains("closed unused: ") && stderr.contains(" more within 10 s"), "{stderr}");
    assert!(stderr.lines().count() < 12, "{stderr}");
}

/// Expected: of a crowd of broken clients some lines are logged, and then how many there were.
#[test]
fn a_thousand_broken_clients_do_not_fill_the_log() {
    let server = Server::start(&[]);
    for _ in 0..1_000 {
        let mut client = server.connect_over(Transport::Unix);
        client.send(&announce(-1, b""));
        client.assert_closed("a negative length");
    }
    assert_eq!(closed(&mut server.connect(), "bad_frame"), 1_000);
    let Ended { stderr, .. } = server.terminate();
    let lines = stderr.lines().filter(|line| line.contains("which is negative")).count();
    // A machine that is slow enough may see more than one window.
    assert!((100..=400).contains(&lines), "{lines} lines");
    assert!(stderr.contains("bad frame: "), "{stderr}");
}
