//! Recorded traffic of a real Ray, replayed with the splits as they came.

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use common::{Client, Server, from_hex};

/// A list of resources, amounts in 1/10,000.
type Amounts = HashMap<Vec<u8>, i64>;

fn amounts(mut bytes: &[u8]) -> Amounts {
    let mut amounts = Amounts::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|&byte| byte == 0).expect("a key ends");
        let (amount, rest) = bytes[end + 1..].split_first_chunk::<8>().expect("an amount follows");
        let amount = (f64::from_le_bytes(*amount) * 10_000.0).round() as i64;
        amounts.insert(bytes[..end].to_vec(), amount);
        bytes = rest;
    }
    amounts
}

/// What was checked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    adds: usize,
    removes: usize,
    placements: usize,
    refusals: usize,
}

impl Counts {
    fn messages(&self) -> usize {
        self.adds + self.removes + self.placements + self.refusals
    }
}

/// A recorded connection that is replayed.
struct Connection {
    client: Client,
    /// Bytes of a request that is not whole yet.
    request: Vec<u8>,
    /// When its first byte was sent.
    start: Instant,
    /// The view: nodes as they were reported last.
    nodes: HashMap<i64, Amounts>,
}

impl Connection {
    fn open(server: &Server) -> Self {
        let client = server.connect();
        // Like the recorded client: a body is held back until the length in front of it is acknowledged.
        client.socket.set_tcp_nodelay(false).unwrap();
        Self { client, request: Vec::new(), start: Instant::now(), nodes: HashMap::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        if self.request.is_empty() {
            self.start = Instant::now();
        }
        // A record is one write: it is far smaller than the socket's buffer.
        self.client.send(bytes);
        self.request.extend_from_slice(bytes);
    }

    /// Checks the reply to the request that was sent. `recorded` is what the original server gave.
    fn check(&mut self, reply: &[u8], recorded: &[u8], counts: &mut Counts) {
        let request = std::mem::take(&mut self.request);
        let message = &request[8..];
        assert_eq!(request[..8], (message.len() as i64).to_le_bytes(), "a whole request was sent");
        // The original may choose another node, but never another kind of reply.
        assert_eq!((reply.len(), reply[0]), (recorded.len(), recorded[0]), "the reply to {message:?}");
        let (code, body) = message.split_first().expect("a request has a code");
        match code {
            0 | 1 => {
                let (node, resources) = body.split_first_chunk::<8>().expect("a node ID");
                let node = i64::from_le_bytes(*node);
                assert_eq!(reply, [0], "acknowledged");
                if *code == 0 {
                    counts.adds += 1;
                    self.nodes.insert(node, amounts(resources));
                } else {
                    counts.removes += 1;
                    self.nodes.remove(&node);
                }
            }
            2 => self.check_placement(&amounts(body), reply, counts),
            _ => panic!("message code {code}"),
        }
    }

    fn check_placement(&self, demand: &Amounts, reply: &[u8], counts: &mut Counts) {
        let is_feasible = |node: &Amounts| {
            demand.iter().all(|(key, &amount)| amount == 0 || node.get(key).is_some_and(|&total| total >= amount))
        };
        match reply {
            [0, node @ ..] => {
                let node = i64::from_le_bytes(node.try_into().expect("a node ID"));
                let amounts = self.nodes.get(&node).expect("the node is in the view");
                assert!(is_feasible(amounts), "{demand:?} fits on {amounts:?}");
                counts.placements += 1;
            }
            [1] => {
                assert!(!self.nodes.values().any(is_feasible), "{demand:?} fits nowhere");
                counts.refusals += 1;
            }
            other => panic!("{other:?} is no reply to a schedule"),
        }
    }
}

/// Replays a recorded session against a fresh server.
fn replay(session: &str) -> Counts {
    let server = Server::start(&[]);
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut counts = Counts::default();
    let mut replies = 0;
    let mut times = Vec::new();
    for line in session.lines() {
        let record: Value = serde_json::from_str(line).expect("a line of JSON");
        let number = record["conn"].as_u64().expect("a number");
        let bytes = from_hex(record["hex"].as_str().expect("a text"));
        let connection = connections.entry(number).or_insert_with(|| Connection::open(&server));
        match (record["dir"].as_str().expect("a text"), record["event"].as_str()) {
            ("open", None) => {}
            ("c2s", None) => connection.send(&bytes),
            ("s2c", None) => {
                replies += 1;
                let reply = connection.client.receive_like_version_1();
                times.push(connection.start.elapsed());
                connection.check(&reply, &bytes[8..], &mut counts);
            }
            ("c2s", Some("eof")) => connection.client.end_sending(),
            ("s2c", Some("eof")) => connection.client.assert_closed("it was closed"),
            other => panic!("{other:?} is no record"),
        }
    }
    times.sort();
    let median = times[times.len() / 2];
    println!("{} messages on {} connections, median {median:?}: {counts:?}", counts.messages(), connections.len());
    assert_eq!(counts.messages(), replies, "every recorded reply had its counterpart");
    assert!(connections.values().all(|connection| connection.request.is_empty()), "no request is left");
    // With acknowledgements that wait, each message takes 40 ms.
    assert!(median < Duration::from_millis(20), "a message takes {median:?}");
    counts
}

#[test]
fn a_session_of_one_node_is_answered() {
    let counts = replay(include_str!("data/ray-1-node.jsonl"));
    assert_eq!(counts, Counts { adds: 164, removes: 163, placements: 40, refusals: 50 });
}

#[test]
fn a_session_of_four_nodes_is_answered() {
    let counts = replay(include_str!("data/ray-4-nodes.jsonl"));
    assert_eq!(counts, Counts { adds: 902, removes: 904, placements: 137, refusals: 115 });
}
