//! Messages of extensions, written out byte by byte.

use super::Client;
use super::messages::{frame, resources};

/// A list of resources with its length before it.
pub fn list(entries: &[(&str, f64)]) -> Vec<u8> {
    let bytes = resources(entries);
    [&(bytes.len() as u32).to_le_bytes()[..], &bytes].concat()
}

fn name(text: &str) -> Vec<u8> {
    [&[text.len() as u8], text.as_bytes()].concat()
}

pub fn hello(view: &str, owner: &str) -> Vec<u8> {
    hello_with_token(view, owner, b"")
}

pub fn hello_with_token(view: &str, owner: &str, token: &[u8]) -> Vec<u8> {
    frame(&[&[0x10, 2, 0], &name(view)[..], &name(owner), &(token.len() as u16).to_le_bytes(), token].concat())
}

pub fn update(node: i64, available: &[(&str, f64)], total: &[(&str, f64)]) -> Vec<u8> {
    frame(&[&[0x11], &node.to_le_bytes()[..], &list(available), &list(total)].concat())
}

pub fn release(node: i64, demand: &[(&str, f64)], count: u32) -> Vec<u8> {
    frame(&[&[0x12], &node.to_le_bytes()[..], &list(demand), &count.to_le_bytes()].concat())
}

/// Strategies of a schedule many.
pub const EACH: u8 = 0;
pub const PACK: u8 = 1;
pub const SPREAD: u8 = 2;
pub const STRICT_PACK: u8 = 3;
pub const STRICT_SPREAD: u8 = 4;

pub fn many(strategy: u8, strict: bool, demands: &[&[(&str, f64)]]) -> Vec<u8> {
    let lists: Vec<u8> = demands.iter().flat_map(|demand| list(demand)).collect();
    frame(&[&[0x13, strategy, u8::from(strict)], &(demands.len() as u16).to_le_bytes()[..], &lists].concat())
}

/// What a schedule with hints says besides its demand.
#[derive(Clone, Copy, Default)]
pub struct Hints<'a> {
    pub strict: bool,
    pub dry_run: bool,
    pub policy: u8,
    pub preferred: &'a [i64],
    pub avoided: &'a [i64],
}

pub fn with_hints(hints: Hints, demand: &[(&str, f64)]) -> Vec<u8> {
    let nodes = |nodes: &[i64]| -> Vec<u8> {
        [nodes.len() as u8].into_iter().chain(nodes.iter().flat_map(|node| node.to_le_bytes())).collect()
    };
    let flags = u8::from(hints.strict) | u8::from(hints.dry_run) << 1;
    let (preferred, avoided) = (nodes(hints.preferred), nodes(hints.avoided));
    frame(&[&[0x14, flags, hints.policy], &preferred[..], &avoided, &list(demand)].concat())
}

pub fn explain(demand: &[(&str, f64)]) -> Vec<u8> {
    frame(&[&[0x15], &resources(demand)[..]].concat())
}

pub fn drain(node: i64, on: bool) -> Vec<u8> {
    frame(&[&[0x16], &node.to_le_bytes()[..], &[u8::from(on)]].concat())
}

pub fn stats() -> Vec<u8> {
    frame(&[0x17])
}

pub fn ping(payload: &[u8]) -> Vec<u8> {
    frame(&[&[0x18], payload].concat())
}

/// The reply that no node fits, and why.
pub const NOTHING_FEASIBLE: &[u8] = &[1, 0];
pub const NOTHING_FREE: &[u8] = &[1, 1];
pub const NO_NODES: &[u8] = &[1, 2];

/// The reply of a schedule many.
pub fn nodes(ids: &[i64]) -> Vec<u8> {
    [0].into_iter().chain(ids.iter().flat_map(|id| id.to_le_bytes())).collect()
}

/// The reply of a schedule with hints.
pub fn hinted(node: i64, free: bool) -> Vec<u8> {
    [&[0], &node.to_le_bytes()[..], &[u8::from(free)]].concat()
}

/// The number of the error that a reply is.
#[track_caller]
pub fn error_number(reply: &[u8]) -> u16 {
    match reply {
        [2, low, high, text @ ..] if std::str::from_utf8(text).is_ok_and(|text| !text.is_empty()) => {
            u16::from_le_bytes([*low, *high])
        }
        other => panic!("{other:?} is no error with a text"),
    }
}

impl Client {
    /// Joins a view.
    #[track_caller]
    pub fn join(&mut self, view: &str, owner: &str) {
        let reply = self.call(&hello(view, owner));
        assert!(reply[..11] == *b"\x00\x02\x00\xff\x01\0\0\0\0\0\0" && reply.len() == 19, "{reply:?} is no welcome");
    }

    /// The JSON of a reply.
    #[track_caller]
    pub fn json(&mut self, request: &[u8]) -> serde_json::Value {
        let reply = self.call(request);
        assert_eq!(reply[0], 0, "{}", String::from_utf8_lossy(&reply));
        serde_json::from_slice(&reply[1..]).expect("JSON")
    }

    /// What stats say of the connection's view.
    #[track_caller]
    pub fn view(&mut self) -> serde_json::Value {
        self.json(&stats())["view"].take()
    }
}
