//! Peers that are slow, and a server that was.

use std::io::Write;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Client, DONE, QUIET, Server, Transport, add, announce, frame, placed, schedule};

const X: &[(&str, f64)] = &[("x", 1.0)];

/// Beginnings of frames: part of a length, a length, a length with part of a message.
fn beginnings() -> [Vec<u8>; 4] {
    [vec![9], vec![9, 0, 0, 0, 0, 0, 0], announce(9, b""), announce(1 << 20, b"\x00123")]
}

/// Expected: closed at `--frame-timeout`, counted and logged with the reason. Who finishes in time, or has begun nothing, is
/// served on.
#[test]
fn a_frame_that_is_begun_and_not_finished_closes_its_connection() {
    let server = Server::start(&["--frame-timeout", "300ms"]);
    let mut idle = server.connect();
    idle.add(1, X);
    let mut silent = server.connect();
    for transport in Transport::ALL {
        for (number, beginning) in beginnings().into_iter().enumerate() {
            let mut client = server.connect_over(transport);
            // What was complete is answered before.
            client.send(&[add(1, X), schedule(X), beginning].concat());
            assert_eq!(client.receive(), DONE);
            assert_eq!(client.receive(), placed(1));
            client.assert_closed(&format!("{transport:?}, beginning {number}"));
            let log = server.process.stderr.wait_for("did not finish a message within --frame-timeout");
            assert!(!log.contains("panicked"), "{log}");
        }
    }
    // They have waited for longer than any of the others, for nothing.
    assert_eq!(idle.place(X), Some(1));
    silent.round_trip();
    let ended = server.terminate();
    assert!(ended.stderr.contains("8 with a frame not finished in time"), "{}", ended.stderr);
}

/// Expected: the same of the only client of a server that polls, whose socket the poll does not watch. Another one in its place is
/// served.
#[test]
fn a_client_that_is_alone_has_to_finish_its_frames_too() {
    let server = Server::start(&["--busy-poll", "always", "--frame-timeout", "300ms"]);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        (0..100).for_each(|_| client.round_trip());
        client.send(&announce(9, b""));
        client.assert_closed(&format!("{transport:?}"));
    }
    server.connect().round_trip();
    let ended = server.terminate();
    assert!(ended.stderr.contains("2 with a frame not finished in time"), "{}", ended.stderr);
}

/// Expected: a client that sends a byte now and then is closed all the same, since a frame counts from its first byte.
#[test]
fn a_trickle_of_bytes_does_not_keep_a_connection_open() {
    let server = Server::start(&["--frame-timeout", "500ms"]);
    let mut clients: Vec<Client> = (0..50).map(|_| server.connect()).collect();
    let message = announce(1_000, &[b'x'; 1_000]);
    for byte in &message {
        for client in &clients {
            // The server may have closed it.
            _ = client.socket.send(&[*byte]);
        }
        let log = server.process.stderr.text();
        if log.matches("--frame-timeout").count() == clients.len() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    for client in &mut clients {
        client.assert_closed("a trickle");
    }
    let ended = server.terminate();
    assert!(ended.stderr.contains("50 with a frame not finished in time"), "{}", ended.stderr);
}

/// Expected: many frames in a row, each in pieces, may take as long as they like in all.
#[test]
fn every_frame_has_its_own_time() {
    let server = Server::start(&["--frame-timeout", "1s"]);
    let mut client = server.connect();
    client.add(1, X);
    let request = schedule(X);
    for _ in 0..15 {
        // The rest of a frame comes with the beginning of the next.
        let (beginning, rest) = request.split_at(7);
        client.send(beginning);
        thread::sleep(QUIET);
        client.send(rest);
        assert_eq!(client.receive(), placed(1));
    }
    let mut cut = request.repeat(15);
    cut.rotate_left(7);
    client.send(&request[..7]);
    for part in cut.chunks(request.len()) {
        thread::sleep(QUIET);
        client.send(part);
        if part.len() == request.len() {
            assert_eq!(client.receive(), placed(1));
        }
    }
}

/// Expected: it is not read any further, so its requests pile up on its own side; closed at `--write-timeout`, counted and
/// logged. Others are served meanwhile.
#[test]
fn a_client_that_does_not_read_is_closed() {
    /// A million requests, far above what the buffers of both kernels hold.
    const BATCHES_MAX: usize = 1_000;
    let requests = schedule(X).repeat(1_000);
    let server = Server::start(&["--write-timeout", "500ms"]);
    let mut other = server.connect();
    other.add(1, X);
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        let batches = (0..BATCHES_MAX).take_while(|_| (&client.socket).write_all(&requests).is_ok()).count();
        println!("{transport:?}: took {batches} batches");
        assert!(batches < BATCHES_MAX, "{transport:?}: a client that does not read is read for ever");
        let reason = "closed: it did not read its replies for --write-timeout";
        server.process.stderr.wait_for(&match transport {
            Transport::Tcp => format!(": {reason}"),
            Transport::Unix => format!("unix client 1: {reason}"),
        });
        assert_eq!(other.place(X), Some(1), "{transport:?}");
        // What the kernel has for it comes, then the end.
        while client.try_receive().is_ok_and(|reply| reply.is_some()) {}
    }
    let ended = server.terminate();
    assert!(ended.stderr.contains("2 with replies not read in time"), "{}", ended.stderr);
}

/// Expected: the time that the server itself did not run for is nobody's fault: who had begun a frame may still finish it.
#[test]
fn a_stopped_server_blames_nobody_when_it_goes_on() {
    let server = Server::start(&["--frame-timeout", "2s", "--write-timeout", "2s"]);
    let mut clients: Vec<(Client, Vec<u8>)> = [1, 7, 8, 12]
        .into_iter()
        .map(|place| {
            let mut client = server.connect();
            client.add(1, X);
            let request = schedule(X);
            client.send(&request[..place]);
            (client, request[place..].to_vec())
        })
        .collect();
    // They have been looked at.
    server.connect().round_trip();
    server.process.signal(Signal::STOP);
    thread::sleep(Duration::from_secs(4));
    server.process.signal(Signal::CONT);
    server.process.stderr.wait_for("the server did not run for");
    for (client, rest) in &mut clients {
        assert_eq!(client.call(rest), placed(1));
    }
    let log = server.log();
    assert!(!log.contains("timeout"), "{log}");
    // The time runs again.
    let mut late = server.connect();
    late.send(&frame(b"\x01")[..3]);
    late.assert_closed("a frame that is never finished");
}
