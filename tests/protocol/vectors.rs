//! The pairs of requests and replies that were recorded from the original server.

use serde_json::Value;

use crate::common::{Client, Server, Transport, from_hex};

struct Step {
    name: String,
    request: Vec<u8>,
    reply: Vec<u8>,
}

fn steps() -> Vec<Step> {
    let steps: Vec<Step> = include_str!("../data/v1.jsonl")
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).expect("a line of JSON");
            let text = |key: &str| value[key].as_str().expect("a text").to_owned();
            Step { name: text("step"), request: from_hex(&text("request")), reply: from_hex(&text("reply")) }
        })
        .collect();
    assert!(!steps.is_empty());
    steps
}

/// Goes through the vectors on one connection; `send` writes a request in its own way.
fn check(client: &mut Client, what: &str, mut send: impl FnMut(&mut Client, &[u8])) {
    for Step { name, request, reply } in steps() {
        send(client, &request);
        assert_eq!(client.receive_bytes(reply.len()), reply, "{name}, {what}");
    }
    client.end_sending();
    client.assert_closed(what);
}

#[test]
fn the_recorded_replies_are_given_byte_for_byte() {
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        check(&mut server.connect_over(transport), "in one piece", |client, request| client.send(request));
    }
}

#[test]
fn the_recorded_replies_are_given_with_all_requests_in_one_write() {
    let server = Server::start(&[]);
    let requests: Vec<u8> = steps().into_iter().flat_map(|step| step.request).collect();
    for transport in Transport::ALL {
        let mut client = server.connect_over(transport);
        client.send(&requests);
        check(&mut client, "in one write", |_, _| {});
    }
}

#[test]
fn a_message_may_be_split_at_every_byte() {
    let server = Server::start(&[]);
    let longest = steps().iter().map(|step| step.request.len()).max().unwrap_or(0);
    for transport in Transport::ALL {
        let mut other = server.connect_over(transport);
        for place in 1..longest {
            check(&mut server.connect_over(transport), &format!("split at byte {place}"), |client, request| {
                let (first, second) = request.split_at(place.min(request.len() - 1));
                client.send(first);
                // Once another client is answered, the server has read the first part by itself.
                other.round_trip();
                client.send(second);
            });
        }
    }
}

#[test]
fn a_message_may_come_byte_by_byte() {
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        let mut other = server.connect_over(transport);
        check(&mut server.connect_over(transport), "byte by byte", |client, request| {
            for byte in request {
                client.send(&[*byte]);
                other.round_trip();
            }
        });
    }
}
