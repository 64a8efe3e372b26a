//! The client of several servers against peers that play written-out bytes.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;
use crate::client::ErrorCode;
use crate::wire::frame;

fn framed(message: &[u8]) -> Vec<u8> {
    [&frame::prefix(message.len())[..], message].concat()
}

fn welcome(instance: u64) -> Vec<u8> {
    [&b"\x00\x02\x00\xff\x01\0\0\0\0\0\0"[..], &instance.to_le_bytes()].concat()
}

/// A peer that takes a connection for each list of replies, answers as many requests, and closes when there is one more.
fn play(connections: Vec<Vec<Vec<u8>>>) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = Address::Tcp(listener.local_addr().expect("it listens").to_string());
    thread::spawn(move || {
        for replies in connections {
            let (mut stream, _) = listener.accept().expect("the client connects");
            for reply in replies.iter().map(Some).chain([None]) {
                let mut prefix = [0; 8];
                stream.read_exact(&mut prefix).expect("the client sends a request");
                stream.read_exact(&mut vec![0; u64::from_le_bytes(prefix) as usize]).expect("a whole one");
                reply.inspect(|reply| stream.write_all(&framed(reply)).expect("the client takes the reply"));
            }
        }
    });
    address
}

fn nobody() -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    Address::Tcp(listener.local_addr().expect("it listens").to_string())
}

fn options(view: &str) -> FailoverOptions {
    FailoverOptions { view: view.into(), owner: "job".into(), ..FailoverOptions::default() }
}

const CPU: &[(&str, f64)] = &[("CPU", 1.0)];
const PLACED: [u8; 9] = [0, 7, 0, 0, 0, 0, 0, 0, 0];

#[test]
fn a_schedule_is_repeated_where_the_first_time_is_not_known() {
    let nameless = FailoverOptions { owner: String::new(), ..options("v") };
    for (options, instance, is_repeated) in
        [(options("v"), 1, false), (options("v"), 2, true), (options(""), 1, true), (nameless, 1, true)]
    {
        let address = play(vec![vec![welcome(1)], vec![welcome(instance), PLACED.to_vec(), PLACED.to_vec()]]);
        let mut client = FailoverClient::new([address], options.clone());
        let first = client.schedule(CPU);
        match is_repeated {
            true => assert!(matches!(first, Ok(Some(Placed { node: NodeId(7), .. })))),
            false => assert!(matches!(first, Err(FailoverError::OutcomeUnknown(ClientError::Closed)))),
        }
        let placed = client.schedule(CPU).unwrap().expect("the connection is there again");
        assert_eq!(placed.instance == instance, !options.view.is_empty() && !options.owner.is_empty());
    }
}

#[test]
fn what_went_with_a_connection_is_not_released() {
    let address = play(vec![vec![welcome(1), PLACED.to_vec()], vec![welcome(1), vec![0]]]);
    let mut client = FailoverClient::new([address], options(""));
    let placed = client.schedule(CPU).unwrap().expect("it is placed");
    client.release(placed, CPU, 1).unwrap();
    assert_ne!(client.instance().unwrap(), placed.instance);
}

#[test]
fn what_is_as_good_twice_is_repeated() {
    let address = play(vec![vec![welcome(1)], vec![welcome(1)], vec![welcome(1), b"\x00{}".to_vec()]]);
    let mut client = FailoverClient::new([nobody(), address.clone()], options("v"));
    assert_eq!(client.ask(Client::stats).unwrap(), "{}");
    assert_eq!(client.address(), Some(&address));
}

#[test]
fn a_placement_of_another_server_is_not_released() {
    let address = play(vec![vec![welcome(1), PLACED.to_vec()], vec![welcome(2), vec![0]]]);
    let mut client = FailoverClient::new([address], options("v"));
    let placed = client.schedule(CPU).unwrap().expect("it is placed");
    // The first connection ends under this release, which then is one of a server that is gone.
    client.release(placed, CPU, 1).unwrap();
    client.release(Placed { instance: 2, ..placed }, CPU, 1).unwrap();
}

#[test]
fn a_refusal_is_told_at_once() {
    let refused = b"\x02\x04\x00a token is asked for".to_vec();
    let mut client = FailoverClient::new([play(vec![vec![refused]])], options("v"));
    let Err(FailoverError::Client(error)) = client.schedule(CPU) else { panic!("it is refused") };
    assert_eq!(error.error_code(), Some(ErrorCode::BadToken));
}

#[test]
fn patience_ends_also_with_a_request_that_breaks_every_connection() {
    let patience = Duration::from_millis(50);
    let limits = FailoverOptions { patience, pause_max: patience / 2, ..options("") };
    let address = play(std::iter::repeat_n(vec![welcome(1)], 10_000).collect());
    for addresses in [vec![], vec![nobody(), nobody()], vec![address]] {
        let count = addresses.len();
        let mut client = FailoverClient::new(addresses, limits.clone());
        let Err(FailoverError::Unavailable(failures)) = client.schedule(CPU) else { panic!("nobody answers") };
        assert_eq!(failures.len(), count);
        assert!(!FailoverError::Unavailable(failures).to_string().is_empty());
    }
}
