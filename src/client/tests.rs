//! The client against a peer that plays written-out bytes.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use super::*;
use crate::wire::frame;

fn framed(message: &[u8]) -> Vec<u8> {
    [&frame::prefix(message.len())[..], message].concat()
}

/// A peer that takes one connection, and for each pair in turn reads the frame of the first message and writes the bytes.
/// Then it closes.
fn play(script: Vec<(Vec<u8>, Vec<u8>)>) -> (Client, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = Address::Tcp(listener.local_addr().expect("it listens").to_string());
    let peer = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        for (request, reply) in script {
            let expected = framed(&request);
            let mut received = vec![0; expected.len()];
            stream.read_exact(&mut received).expect("the client sends a request");
            assert_eq!(received, expected);
            stream.write_all(&reply).expect("the client takes the reply");
        }
    });
    (Client::connect(&address, Timeouts::default()).expect("the peer listens"), peer)
}

type Call = fn(&mut Client) -> Result<String, ClientError>;

fn shown<T: std::fmt::Debug>(value: T) -> String {
    format!("{value:?}")
}

const ONE_A: &[u8] = b"a\0\0\0\0\0\0\0\xf0\x3f";
const A: &[(&str, f64)] = &[("a", 1.0)];
const NODE: NodeId = NodeId(7);

#[test]
fn calls_send_what_the_protocol_says_and_understand_the_reply() {
    let node = b"\x07\0\0\0\0\0\0\0";
    let length = b"\x0a\0\0\0";
    let cases: Vec<(Call, Vec<u8>, Vec<u8>, &str)> = vec![
        (
            |client| client.hello("v", "µ", b"t").map(shown),
            b"\x10\x02\x00\x01v\x02\xc2\xb5\x01\x00t".to_vec(),
            b"\x00\x02\x00\xff\x01\0\0\0\0\0\0\x05\0\0\0\0\0\0\0".to_vec(),
            "Welcome { version: 2, capabilities: Capabilities(511), instance: 5 }",
        ),
        (|client| client.add_node(NODE, A).map(shown), [b"\x00", &node[..], ONE_A].concat(), vec![0], "()"),
        (|client| client.remove_node(NODE).map(shown), [b"\x01", &node[..]].concat(), vec![0], "()"),
        (
            |client| client.schedule(A).map(shown),
            [b"\x02", ONE_A].concat(),
            [b"\x00", &node[..]].concat(),
            "Some(NodeId(7))",
        ),
        (|client| client.schedule(&[]).map(shown), vec![2], vec![1], "None"),
        (
            |client| client.update_node(NODE, A, &[]).map(shown),
            [b"\x11", &node[..], length, ONE_A, b"\0\0\0\0"].concat(),
            vec![0],
            "()",
        ),
        (
            |client| client.update_node(NODE, &[], A).map(shown),
            [b"\x11", &node[..], b"\0\0\0\0", length, ONE_A].concat(),
            vec![0],
            "()",
        ),
        (
            |client| client.release(NODE, A, 258).map(shown),
            [b"\x12", &node[..], length, ONE_A, b"\x02\x01\0\0"].concat(),
            vec![0],
            "()",
        ),
        (
            |client| client.schedule_many(Strategy::Each, true, &[A, &[]]).map(shown),
            [b"\x13\x00\x01\x02\x00", &length[..], ONE_A, b"\0\0\0\0"].concat(),
            [b"\x00", &node[..], &[0xff; 8]].concat(),
            "Ok([NodeId(7), NodeId(-1)])",
        ),
        (
            |client| client.schedule_many(Strategy::StrictPack, false, &[]).map(shown),
            b"\x13\x03\x00\x00\x00".to_vec(),
            vec![0],
            "Ok([])",
        ),
        (
            |client| client.schedule_many(Strategy::Pack, true, &[&[]]).map(shown),
            b"\x13\x01\x01\x01\x00\0\0\0\0".to_vec(),
            b"\x01\x01".to_vec(),
            "Err(NothingFree)",
        ),
        (
            |client| {
                let hints = Hints { dry_run: true, policy: 4, avoided: &[NODE], ..Hints::default() };
                client.schedule_with_hints(&hints, A).map(shown)
            },
            [b"\x14\x02\x04\x00\x01", &node[..], length, ONE_A].concat(),
            [b"\x00", &node[..], b"\x01"].concat(),
            "Ok(Placement { node: NodeId(7), free: true })",
        ),
        (
            |client| {
                client
                    .schedule_with_hints(&Hints { strict: true, preferred: &[NODE], ..Hints::default() }, &[])
                    .map(shown)
            },
            [b"\x14\x01\x00\x01", &node[..], b"\x00\0\0\0\0"].concat(),
            b"\x01\x02".to_vec(),
            "Err(NoNodes)",
        ),
        (|client| client.explain(A), [b"\x15", ONE_A].concat(), b"\x00{\"a\":\"\xc2\xb5\"}".to_vec(), "{\"a\":\"µ\"}"),
        (|client| client.drain(NODE, true).map(shown), [b"\x16", &node[..], b"\x01"].concat(), vec![0], "()"),
        (|client| client.stats(), vec![0x17], b"\x00{}".to_vec(), "{}"),
        (|client| client.ping(b"\x00\x01").map(shown), b"\x18\x00\x01".to_vec(), b"\x00\x00\x01".to_vec(), "()"),
    ];
    let script = cases.iter().map(|(_, request, reply, _)| (request.clone(), framed(reply))).collect();
    let (mut client, peer) = play(script);
    for (number, (call, _, _, expected)) in cases.iter().enumerate() {
        match call(&mut client) {
            Ok(value) => assert_eq!(value, *expected, "call {number}"),
            Err(error) => panic!("call {number}: {error}"),
        }
    }
    peer.join().expect("the peer has seen what it expected");
}

#[test]
fn refusals_and_strange_replies_leave_the_connection_usable() {
    let stats: (Call, &[u8]) = (Client::stats, b"\x17");
    let ping: (Call, &[u8]) = (|client| client.ping(b"p").map(shown), b"\x18p");
    let many: (Call, &[u8]) =
        (|client| client.schedule_many(Strategy::Each, false, &[&[]]).map(shown), b"\x13\0\0\x01\0\0\0\0\0");
    let remove: (Call, &[u8]) = (|client| client.remove_node(NODE).map(shown), b"\x01\x07\0\0\0\0\0\0\0");
    let invalid = "InvalidReply";
    let cases = [
        (stats, &b"\x02\x0a\x00who?"[..], "Refused { number: 10, text: \"who?\" }"),
        (remove, b"\x02\xff\xff", "Refused { number: 65535, text: \"\" }"),
        (stats, b"\x01", "NotUnderstood"),
        (remove, b"\x01", "NotUnderstood"),
        (stats, b"\x01\x00", invalid),
        (stats, b"\x00\xff", invalid),
        (stats, b"\x03", invalid),
        (ping, b"\x00q", invalid),
        (many, b"\x00", invalid),
        (remove, b"\x00\x00", invalid),
    ];
    for ((call, request), reply, expected) in cases {
        let (mut client, peer) = play(vec![(request.to_vec(), framed(reply)), (vec![0x17], framed(b"\x00{}"))]);
        assert_eq!(call(&mut client).map_err(shown), Err(expected.to_owned()));
        assert_eq!(client.stats().map_err(shown), Ok("{}".to_owned()), "after {expected}");
        peer.join().expect("the peer has seen what it expected");
    }
}

#[test]
fn a_connection_that_fails_is_of_no_more_use() {
    let announced = |length: i64| [&length.to_le_bytes()[..], b"\x00"].concat();
    let cases = [
        ("nothing", vec![], "Closed"),
        ("half a length", vec![2, 0, 0], "Closed"),
        ("half a message", announced(2), "Closed"),
        ("an empty message", announced(0), "InvalidReply"),
        ("a negative length", announced(-1), "InvalidReply"),
        ("too long", announced((reply::MESSAGE_LENGTH_MAX + 1) as i64), "InvalidReply"),
        ("the longest, never sent", announced(reply::MESSAGE_LENGTH_MAX as i64), "Closed"),
    ];
    for (name, reply, expected) in cases {
        let (mut client, peer) = play(vec![(vec![0x17], reply)]);
        assert_eq!(client.stats().map_err(shown), Err(expected.to_owned()), "{name}");
        peer.join().expect("the peer has seen what it expected");
        assert_eq!(client.stats().map_err(shown), Err("Closed".to_owned()), "{name}");
    }
}

#[test]
fn a_late_reply_answers_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = Address::Tcp(listener.local_addr().expect("it listens").to_string());
    let timeouts = Timeouts { reply: Duration::from_millis(20), ..Timeouts::default() };
    let mut client = Client::connect(&address, timeouts).expect("it listens");
    let (mut stream, _) = listener.accept().expect("the client has connected");
    assert!(matches!(client.ping(b"1"), Err(ClientError::TimedOut)));
    // It may be refused: the client has closed.
    _ = stream.write_all(&framed(b"\x001"));
    assert!(matches!(client.ping(b"1"), Err(ClientError::Closed)));
}

#[test]
fn what_no_message_can_say_is_not_sent() {
    let (mut client, peer) = play(vec![(vec![0x17], framed(b"\x00{}"))]);
    let long = "n".repeat(2_000);
    let nodes = [NODE; 256];
    let demands = [A; 10_001];
    let calls: Vec<Result<(), ClientError>> = vec![
        client.schedule(&[("a", -1.0)]).map(drop),
        client.schedule(&[("a", f64::NAN)]).map(drop),
        client.schedule(&[("", 1.0)]).map(drop),
        client.schedule(&[("a\0b", 1.0)]).map(drop),
        client.schedule(&[(&long, 1.0)]).map(drop),
        client.add_node(NodeId::NIL, A),
        client.update_node(NodeId::NIL, A, A),
        client.update_node(NODE, A, &[("a", f64::INFINITY)]),
        client.release(NODE, &[("a", -1.0)], 1),
        client.hello(&long, "", b"").map(drop),
        client.hello("", "a\nb", b"").map(drop),
        client.hello("", "", &[0; 65_536]).map(drop),
        client.schedule_many(Strategy::Each, false, &demands).map(drop),
        client.schedule_many(Strategy::Each, false, &[&[("a", -1.0)]]).map(drop),
        client.schedule_with_hints(&Hints { preferred: &nodes, ..Hints::default() }, A).map(drop),
        client.schedule_with_hints(&Hints { avoided: &nodes, ..Hints::default() }, A).map(drop),
        client.explain(&[("a", -1.0)]).map(drop),
        client.batch().schedule(&[("a", -1.0)]),
    ];
    for (number, result) in calls.into_iter().enumerate() {
        assert!(matches!(result, Err(ClientError::InvalidRequest(_))), "call {number}: {result:?}");
    }
    assert!(client.stats().is_ok());
    peer.join().expect("the peer has seen nothing else");
}

#[test]
fn what_is_refused_in_a_batch_is_refused_alone() {
    let node = b"\x07\0\0\0\0\0\0\0";
    let release = [b"\x12", &node[..], b"\x0a\0\0\0", ONE_A, b"\x01\0\0\0"].concat();
    let script = vec![
        ([b"\x11", &node[..], b"\x0a\0\0\0", ONE_A, b"\0\0\0\0"].concat(), framed(&[0])),
        ([b"\x02", ONE_A].concat(), framed(&[b"\x00", &node[..]].concat())),
        (release.clone(), framed(b"\x02\x0b\x00one")),
        (release, framed(&[0])),
        (vec![2], framed(&[1])),
        ([b"\x00", &node[..]].concat(), framed(&[1])),
    ];
    let (mut client, peer) = play(script);
    let mut batch = client.batch();
    batch.update_node(NODE, A, &[]).unwrap();
    batch.schedule(A).unwrap();
    // Nothing of what cannot be sent stays behind.
    assert!(batch.update_node(NODE, A, &[("", 1.0)]).is_err());
    batch.release(NODE, A, 1).unwrap();
    batch.release(NODE, A, 1).unwrap();
    batch.schedule(&[]).unwrap();
    batch.add_node(NODE, &[]).unwrap();
    let outcomes = batch.send().expect("the connection stands");
    assert_eq!(
        outcomes.into_iter().map(shown).collect::<Vec<_>>(),
        [
            "Ok(Done)",
            "Ok(Placed(NodeId(7)))",
            "Err(Refused { number: 11, text: \"one\" })",
            "Ok(Done)",
            "Ok(NotPlaced)",
            "Err(NotUnderstood)",
        ]
    );
    peer.join().expect("the peer has seen what it expected");
    assert!(client.batch().send().is_ok_and(|outcomes| outcomes.is_empty()));
}
