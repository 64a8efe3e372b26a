//! How much one client can take.

use crate::common::extension::{error_number, update};
use crate::common::{Client, Server, add, announce, schedule};

const X: &[(&str, f64)] = &[("x", 1.0)];
const MIB: u64 = 1 << 20;

/// Numbers of errors.
const TOO_MANY_NODES: u16 = 12;
const TOO_MANY_NAMES: u16 = 17;
const OUT_OF_MEMORY: u16 = 18;

/// A node of `count` resources that no other has.
fn names(node: usize, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("name_{node}_{number}")).collect()
}

fn with_names(names: &[String]) -> Vec<(&str, f64)> {
    names.iter().map(|name| (name.as_str(), 1.0)).collect()
}

/// What a client sees of the server's memory.
fn memory_allocated(client: &mut Client) -> u64 {
    client.json(&crate::common::extension::stats())["server"]["memory_bytes"].as_u64().expect("a number of bytes")
}

/// Expected: a version 1 client is answered as ever, and its node has what there was room for; an extension is an error; a
/// million names take no more memory than `--max-names` of them; other views do not notice.
#[test]
fn a_million_names_do_not_grow_a_view_beyond_its_quota() {
    let server = Server::start(&["--max-names", "1000"]);
    let mut other = server.connect();
    other.add(1, X);
    let mut client = server.connect();
    client.add(1, X);
    client.add(2, &with_names(&names(0, 900)));
    let before = memory_allocated(&mut other);
    for node in 1..=100 {
        client.add(3, &with_names(&names(node, 10_000)));
    }
    let grown = memory_allocated(&mut other).saturating_sub(before);
    assert!(grown < 4 * MIB, "{grown} bytes for a million names");
    server
        .process
        .stderr
        .wait_for("resources of a node ignored: the view has as many names of resources as --max-names");
    assert_eq!(client.place(&[("name_0_0", 1.0)]), Some(2));
    assert_eq!(client.place(&[("name_100_0", 1.0)]), Some(3), "the first names had room");
    assert_eq!(client.place(&[("name_100_9999", 1.0)]), None, "the last had not");
    let too_many = names(101, 1_000);
    assert_eq!(error_number(&client.call(&update(2, &with_names(&too_many), &[]))), TOO_MANY_NAMES);
    assert_eq!(client.place(&[("name_0_1", 1.0)]), Some(2), "an error changes nothing");
    // Names that are used no longer make room.
    client.remove(3);
    client.remove(2);
    client.add(4, &with_names(&names(102, 900)));
    assert_eq!(client.place(&[("name_102_899", 1.0)]), Some(4));
    assert_eq!(other.place(&[("x", 0.0)]), Some(1));
}

/// Expected: nodes beyond `--max-nodes` are acknowledged and ignored, or are an error to an extension; memory stays.
#[test]
fn ten_thousand_nodes_do_not_grow_a_view_beyond_its_quota() {
    let server = Server::start(&["--max-nodes", "10"]);
    let mut client = server.connect();
    (0..10).for_each(|node| client.add(node, X));
    let before = memory_allocated(&mut client);
    for node in 10..10_000 {
        client.add(node, X);
    }
    assert_eq!(error_number(&client.call(&update(10_000, X, &[]))), TOO_MANY_NODES);
    let grown = memory_allocated(&mut client).saturating_sub(before);
    assert!(grown < MIB / 4, "{grown} bytes for nodes that are ignored");
    server.process.stderr.wait_for("node ignored: the view has as many nodes as --max-nodes allows");
    assert!((0..50).all(|_| client.place(X).is_some_and(|node| node < 10)));
    client.remove(3);
    client.add(11, &[("y", 1.0)]);
    assert_eq!(client.place(&[("y", 1.0)]), Some(11));
}

/// Expected: near the limit new nodes and connections are refused with the reason; what is there is served, and may change;
/// what goes makes room.
#[test]
fn near_the_memory_limit_there_is_nothing_new_and_what_is_there_is_served() {
    let server = Server::start(&["--max-memory", "16MiB", "--max-names", "1000000"]);
    let mut client = server.connect();
    let mut other = server.connect();
    other.add(1, X);
    let mut node = 0;
    loop {
        let names = names(node, 500);
        let reply = client.call(&update(node as i64, &with_names(&names), &[]));
        if reply != [0] {
            assert_eq!(error_number(&reply), OUT_OF_MEMORY);
            break;
        }
        node += 1;
        assert!(node < 1_000, "memory never runs short");
    }
    // To a raylet's add it says nothing, since that would end it.
    client.add(-5, X);
    server.process.stderr.wait_for("node ignored: memory is short (--max-memory)");
    assert_eq!(client.place(X), None);
    let mut refused = server.connect();
    let name = refused.name();
    refused.assert_closed("memory is short");
    server.process.stderr.wait_for(&format!("{name}: refused: there is no memory for it (--max-memory)"));
    // A node gets no more than it has, but may be reported.
    assert_eq!(error_number(&client.call(&update(0, &with_names(&names(0, 501)), &[]))), OUT_OF_MEMORY);
    assert_eq!(client.place(&[("name_0_7", 1.0)]), Some(0));
    client.add(0, &with_names(&names(0, 500)));
    client.add(0, &[("name_0_7", 2.0)]);
    assert_eq!(client.place(&[("name_0_7", 2.0)]), Some(0));
    // Any number of different demands takes no caches beyond it.
    for number in 0..500 {
        assert_eq!(other.place(&[("x", 1.0 + f64::from(number) / 1e4)]), (number == 0).then_some(1));
    }
    // A table that doubles its memory may be the last to take some.
    assert!(memory_allocated(&mut other) < 32 * MIB);
    drop(client);
    let mut next = server.connect();
    next.add(1, X);
    assert_eq!(next.place(X), Some(1));
    server.terminate().assert_code(0, "terminated");
}

/// Expected: buffers for frames that are announced and never finished count too. Whoever asks for more closes itself; a client
/// with small requests is served.
#[test]
fn unfinished_frames_do_not_take_more_memory_than_there_is() {
    let server = Server::start(&["--max-memory", "16MiB"]);
    let mut other = server.connect();
    other.add(1, X);
    let part = [announce(1 << 20, b""), vec![b'x'; 900 << 10]].concat();
    let mut clients: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    // The kernel takes what the server does not, or the server closes.
    let sent =
        clients.iter_mut().filter(|client| std::io::Write::write_all(&mut &client.socket, &part).is_ok()).count();
    println!("{sent} were sent whole");
    server.process.stderr.wait_for("closed: there is no memory for it (--max-memory)");
    for _ in 0..100 {
        assert_eq!(other.call(&add(1, X)), [0]);
        assert_eq!(other.call(&schedule(X))[0], 0);
    }
    let peak = server.process.memory_resident_bytes();
    assert!(peak < 48 * MIB, "{peak} bytes for frames that are not finished");
    drop(clients);
    server.connect().round_trip();
}
