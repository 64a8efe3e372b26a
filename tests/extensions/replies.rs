//! Requests and their replies, byte by byte.

use crate::common::extension::*;
use crate::common::{DONE, REFUSED, Server, add, frame, placed, remove, schedule};

/// What a reply is.
enum Expected {
    Bytes(Vec<u8>),
    /// An error of this number.
    Error(u16),
}

use Expected::{Bytes, Error};

/// A conversation of one connection: what is asked, in hexadecimal or by name, and what is answered.
fn conversation() -> Vec<(&'static str, Vec<u8>, Expected)> {
    let cpu = |amount| [("CPU", amount)];
    let message = |bytes: &[&[u8]]| frame(&bytes.concat());
    let done = || Bytes(DONE.to_vec());
    let seven = &7i64.to_le_bytes()[..];
    let nil = &(-1i64).to_le_bytes()[..];
    let one_cpu = &list(&cpu(1.0))[..];
    let negative = &list(&cpu(-1.0))[..];
    let not_finite = &list(&cpu(f64::NAN))[..];
    let empty = &[0; 4][..];
    vec![
        // Before there is a node.
        ("many, no nodes", many(PACK, false, &[&cpu(1.0)]), Bytes(NO_NODES.to_vec())),
        ("each, no nodes", many(EACH, false, &[&cpu(1.0)]), Bytes(nodes(&[-1]))),
        ("many of none", many(STRICT_PACK, false, &[]), Bytes(nodes(&[]))),
        ("hints, no nodes", with_hints(Hints::default(), &cpu(1.0)), Bytes(NO_NODES.to_vec())),
        ("release, no node", release(7, &cpu(1.0), 1), Error(10)),
        ("release of none, no node", release(7, &cpu(1.0), 0), Error(10)),
        ("drain, no node", drain(7, true), Error(10)),
        ("drain of nil", drain(-1, true), Error(10)),
        // Nodes 7 and 8.
        ("update", update(7, &cpu(4.0), &[]), done()),
        ("update with totals", update(8, &cpu(1.0), &cpu(2.0)), done()),
        ("hints, free", with_hints(Hints { preferred: &[8], ..Hints::default() }, &cpu(1.0)), Bytes(hinted(8, true))),
        ("hints, queues", with_hints(Hints { avoided: &[7], ..Hints::default() }, &cpu(1.0)), Bytes(hinted(8, false))),
        (
            "hints, strict",
            with_hints(Hints { avoided: &[7], strict: true, ..Hints::default() }, &cpu(1.0)),
            Bytes(NOTHING_FREE.to_vec()),
        ),
        (
            "hints, all avoided",
            with_hints(Hints { avoided: &[7, 8, 9], ..Hints::default() }, &cpu(1.0)),
            Bytes(NOTHING_FEASIBLE.to_vec()),
        ),
        (
            "hints, the last policy",
            with_hints(Hints { policy: 12, avoided: &[8], ..Hints::default() }, &cpu(1.0)),
            Bytes(hinted(7, true)),
        ),
        ("hints, no such policy", with_hints(Hints { policy: 13, ..Hints::default() }, &cpu(1.0)), Error(8)),
        ("hints, far from a policy", with_hints(Hints { policy: 255, ..Hints::default() }, &cpu(1.0)), Error(8)),
        ("release more than is held", release(7, &cpu(1.0), 2), Error(11)),
        ("release of none of what nobody has", release(7, &[("TPU", 1.0)], 0), done()),
        ("release of what nobody has", release(7, &[("TPU", 1.0)], 1), Error(11)),
        ("release", release(7, &[("CPU", 1.0), ("GPU", 0.0)], 1), done()),
        ("release both", release(8, &cpu(1.0), 2), done()),
        ("release of nothing held", release(8, &cpu(1.0), u32::MAX), Error(11)),
        ("strict pack", many(STRICT_PACK, true, &[&cpu(2.0), &cpu(2.0)]), Bytes(nodes(&[7, 7]))),
        ("strict pack, not free", many(STRICT_PACK, true, &[&cpu(2.0)]), Bytes(NOTHING_FREE.to_vec())),
        (
            "strict pack, not feasible",
            many(STRICT_PACK, false, &[&cpu(4.0), &cpu(1.0)]),
            Bytes(NOTHING_FEASIBLE.to_vec()),
        ),
        ("release the gang", release(7, &cpu(2.0), 2), done()),
        ("strict spread, too many", many(STRICT_SPREAD, false, &[&cpu(1.0)[..]; 3]), Bytes(NOTHING_FEASIBLE.to_vec())),
        (
            "each, one that fits nowhere",
            many(EACH, true, &[&cpu(4.0), &cpu(9.0), &cpu(1.0)]),
            Bytes(nodes(&[7, -1, 8])),
        ),
        // Version 1 in between.
        ("version 1, schedule", schedule(&cpu(3.0)), Bytes(placed(7))),
        ("version 1, infeasible", schedule(&cpu(5.0)), Bytes(REFUSED.to_vec())),
        ("version 1, add", add(9, &cpu(8.0)), done()),
        ("version 1, remove", remove(9), done()),
        ("version 1, empty", frame(b""), Bytes(REFUSED.to_vec())),
        ("an unknown code", frame(b"\x19"), Bytes(REFUSED.to_vec())),
        ("another unknown code", frame(b"\x0f"), Bytes(REFUSED.to_vec())),
        ("ping", ping(b"\x00\xffpayload"), Bytes(b"\x00\x00\xffpayload".to_vec())),
        ("ping of nothing", ping(b""), done()),
        // Hellos that come too late.
        ("hello after others", hello("v", "o"), Error(3)),
        ("hello of another version after others", frame(b"\x10\x03\x00"), Error(2)),
        ("hello, empty", frame(b"\x10"), Error(1)),
        ("hello, view cut short", frame(b"\x10\x02\x00\x05v"), Error(1)),
        ("hello, owner missing", frame(b"\x10\x02\x00\x01v"), Error(1)),
        ("hello, token cut short", frame(b"\x10\x02\x00\x00\x00\x02\x00t"), Error(1)),
        ("hello, a byte too many", frame(b"\x10\x02\x00\x00\x00\x00\x00\x00"), Error(1)),
        ("hello, view not UTF-8", frame(b"\x10\x02\x00\x01\xff\x00\x00\x00"), Error(5)),
        ("hello, owner with a control character", frame(b"\x10\x02\x00\x00\x01\x07\x00\x00"), Error(5)),
        // Malformed.
        ("update, empty", frame(b"\x11"), Error(1)),
        ("update of nil", message(&[b"\x11", nil, empty, empty]), Error(1)),
        ("update without totals", message(&[b"\x11", seven, empty]), Error(1)),
        ("update, available not finite", message(&[b"\x11", seven, not_finite, empty]), Error(1)),
        ("update, totals not finite", message(&[b"\x11", seven, empty, not_finite]), Error(1)),
        ("update, a list longer than the message", message(&[b"\x11", seven, b"\xff\xff\xff\xff", empty]), Error(1)),
        ("update, a byte too many", message(&[b"\x11", seven, empty, empty, b"\0"]), Error(1)),
        ("release, empty", frame(b"\x12"), Error(1)),
        ("release without count", message(&[b"\x12", seven, one_cpu]), Error(1)),
        ("release, negative", message(&[b"\x12", seven, negative, b"\0\0\0\0"]), Error(1)),
        ("release, a byte too many", message(&[b"\x12", seven, one_cpu, b"\0\0\0\0\0"]), Error(1)),
        ("many, empty", frame(b"\x13"), Error(1)),
        ("many, no such strategy", frame(b"\x13\x05\x00\x00\x00"), Error(7)),
        ("many, flags", frame(b"\x13\x00\x02\x00\x00"), Error(6)),
        ("many, fewer than said", message(&[b"\x13\x00\x00\x02\x00", one_cpu]), Error(1)),
        ("many, the last one negative", message(&[b"\x13\x00\x00\x02\x00", one_cpu, negative]), Error(1)),
        ("many, a byte too many", message(&[b"\x13\x00\x00\x01\x00", one_cpu, b"\0"]), Error(1)),
        ("many, 10,001", message(&[b"\x13\x00\x00\x11\x27", &[0; 4 * 10_001]]), Error(9)),
        ("hints, empty", frame(b"\x14"), Error(1)),
        ("hints, flags", message(&[b"\x14\x04\x00\x00\x00", one_cpu]), Error(6)),
        ("hints, preferred cut short", frame(b"\x14\x00\x00\x01\x07"), Error(1)),
        ("hints, avoided missing", frame(b"\x14\x00\x00\x00"), Error(1)),
        ("hints, negative", message(&[b"\x14\x00\x00\x00\x00", negative]), Error(1)),
        ("hints, a byte too many", message(&[b"\x14\x00\x00\x00\x00", one_cpu, b"\0"]), Error(1)),
        ("explain, not finite", message(&[b"\x15", &not_finite[4..]]), Error(1)),
        ("explain, negative", message(&[b"\x15", &negative[4..]]), Error(1)),
        ("explain, cut short", frame(b"\x15CPU\0\0"), Error(1)),
        ("drain, empty", frame(b"\x16"), Error(1)),
        ("drain, neither on nor off", message(&[b"\x16", seven, b"\x02"]), Error(1)),
        ("drain, a byte too many", message(&[b"\x16", seven, b"\x01\x00"]), Error(1)),
        ("stats of something", frame(b"\x17\x00"), Error(1)),
        // Nothing of that has changed anything: 7 has 1 CPU reserved three times over, 8 has one.
        ("drain", drain(7, true), done()),
        ("drain again", drain(7, true), done()),
        (
            "hints while 7 drains",
            with_hints(Hints { preferred: &[7], ..Hints::default() }, &cpu(1.0)),
            Bytes(hinted(8, false)),
        ),
        ("version 1 while 7 drains", schedule(&cpu(3.0)), Bytes(REFUSED.to_vec())),
        ("gang while 7 drains", many(PACK, false, &[&cpu(3.0)]), Bytes(NOTHING_FEASIBLE.to_vec())),
        ("release while 7 drains", release(7, &cpu(3.0), 1), done()),
        ("update while 7 drains", update(7, &cpu(4.0), &[]), done()),
        ("7 still drains", schedule(&cpu(3.0)), Bytes(REFUSED.to_vec())),
        ("drain off", drain(7, false), done()),
        ("7 is back", schedule(&cpu(3.0)), Bytes(placed(7))),
        ("drain on", drain(7, true), done()),
        ("remove", remove(7), done()),
        ("add as it was", add(7, &cpu(4.0)), done()),
        ("a remove ends draining", schedule(&cpu(3.0)), Bytes(placed(7))),
    ]
}

#[track_caller]
fn check(name: &str, reply: &[u8], expected: &Expected) {
    match expected {
        Bytes(bytes) => assert_eq!(reply, bytes, "{name}"),
        Error(number) => assert_eq!(error_number(reply), *number, "{name}"),
    }
}

#[test]
fn every_request_is_answered_as_the_protocol_says() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (name, request, expected) in conversation() {
        check(name, &client.call(&request), &expected);
    }
    // The same in a shared view: here no update drops a placement, which the conversation does not look at.
    let mut client = server.connect();
    client.join("conversation", "owner");
    for (name, request, expected) in conversation() {
        check(name, &client.call(&request), &expected);
    }
}

#[test]
fn requests_in_one_write_or_byte_by_byte_are_answered_alike() {
    let server = Server::start(&[]);
    let conversation = conversation();
    let all: Vec<u8> = conversation.iter().flat_map(|(_, request, _)| request.clone()).collect();
    let short: Vec<_> = conversation.iter().filter(|(_, request, _)| request.len() < 100).collect();
    for transport in crate::common::Transport::ALL {
        let mut client = server.connect_over(transport);
        client.send(&all);
        for (name, _, expected) in &conversation {
            check(name, &client.receive(), expected);
        }
        let mut client = server.connect_over(transport);
        for (name, request, expected) in &short {
            request.iter().for_each(|byte| client.send(&[*byte]));
            check(name, &client.receive(), expected);
        }
    }
}

#[test]
fn a_request_split_anywhere_is_one_request() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.add(7, &[("CPU", 1e6)]);
    let requests = [
        update(8, &[("CPU", 1.0)], &[("CPU", 2.0)]),
        release(8, &[("CPU", 1.0)], 0),
        many(STRICT_SPREAD, true, &[&[("CPU", 1.0)], &[("CPU", 1.0)], &[("CPU", 1.0)]]),
        with_hints(Hints { dry_run: true, preferred: &[7], ..Hints::default() }, &[("CPU", 2.0)]),
        explain(&[("GPU", 1.0)]),
        drain(8, false),
        ping(b"bytes"),
    ];
    for request in requests {
        let reply = client.call(&request);
        for cut in 1..request.len() {
            let (first, second) = request.split_at(cut);
            client.send(first);
            client.send(second);
            assert_eq!(client.receive(), reply, "{request:?} cut at {cut}");
        }
    }
}
