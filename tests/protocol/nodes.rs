//! Nodes that come and go, and what is placed on them.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{DONE, REFUSED, Server, add, placed, random, remove, schedule};

const CPU: &[(&str, f64)] = &[("CPU", 1.0)];
const GPU: &[(&str, f64)] = &[("GPU", 1.0)];

#[test]
fn clients_with_the_same_node_ids_do_not_see_each_other() {
    let server = Server::start(&["--strict"]);
    let [mut first, mut second] = [server.connect(), server.connect()];
    first.add(1, CPU);
    assert_eq!(second.place(CPU), None);
    second.add(1, GPU);
    assert_eq!([first.place(GPU), second.place(CPU)], [None, None]);
    assert_eq!([first.place(CPU), second.place(GPU)], [Some(1), Some(1)]);

    // Placements and removes of one are nothing to the other.
    second.add(1, CPU);
    assert_eq!([first.place(CPU), second.place(CPU)], [None, Some(1)]);
    first.add(1, CPU);
    second.remove(1);
    assert_eq!([first.place(CPU), second.place(CPU)], [Some(1), None]);

    // Its nodes go with a client.
    second.add(2, GPU);
    second.end_sending();
    second.assert_closed("it has ended");
    assert_eq!(first.place(GPU), None);
    assert_eq!(server.connect().place(GPU), None);
}

/// What a node had before must not be remembered where its report changes what all nodes' shares are compared with.
#[test]
fn a_node_that_has_less_of_one_resource_and_the_most_of_another_is_ranked_anew() {
    let list = |cpus, memory| [("CPU", cpus), ("memory", memory)];
    let server = Server::start(&[]);
    let mut client = server.connect();
    (0..20).for_each(|node| client.add(node, &list(64.0, 10.0)));
    (0..8).for_each(|_| assert!(client.place(&[("CPU", 5.0)]).is_some()));
    client.add(0, &list(5.0, 10.0));
    assert_eq!(client.place(&[("CPU", 64.1)]), None);
    client.add(0, &list(1.0, 20.0));
    assert_ne!(client.place(&[("CPU", 5.0)]), Some(0));
}

#[test]
fn a_removed_node_is_never_answered() {
    // A few nodes are searched one by one, many by ranks that are kept.
    for nodes in [7, 100] {
        check_that_removed_nodes_are_never_answered(nodes);
    }
}

fn check_that_removed_nodes_are_never_answered(nodes: i64) {
    let mut random = random();
    let server = Server::start(&[]);
    let mut client = server.connect();
    let keys = ["CPU", "GPU", "memory", "x"];
    let mut present = BTreeSet::new();
    let mut placements = 0;
    for _ in 0..200 {
        // Batches, so that a decision may not lag behind a remove that was sent before it.
        let mut batch = Vec::new();
        let mut checks = Vec::new();
        for _ in 0..random.usize(1..40) {
            let node = random.i64(-nodes..nodes) * 2;
            match random.u8(0..4) {
                0 => {
                    let count = random.usize(0..keys.len());
                    let list: Vec<_> = (0..count).map(|_| (random.choice(keys).unwrap(), 4.0)).collect();
                    batch.extend(add(node, &list));
                    present.insert(node);
                    checks.push(None);
                }
                1 => {
                    batch.extend(remove(node));
                    present.remove(&node);
                    checks.push(None);
                }
                _ => {
                    let count = random.usize(0..2);
                    let list: Vec<_> = (0..count).map(|_| (random.choice(keys).unwrap(), 1.0)).collect();
                    batch.extend(schedule(&list));
                    checks.push(Some(present.clone()));
                }
            }
        }
        client.send(&batch);
        for check in checks {
            let reply = client.receive();
            match check {
                None => assert_eq!(reply, DONE),
                Some(_) if reply == REFUSED => {}
                Some(present) => {
                    let is_present = |&node: &i64| reply == placed(node);
                    assert!(present.iter().any(is_present), "{reply:?} is none of {present:?}");
                    placements += 1;
                }
            }
        }
    }
    println!("{placements} placements on at most {} nodes", 2 * nodes);
    assert!(placements > 100, "only {placements} placements");
}

#[test]
fn a_remove_of_an_unknown_node_is_acknowledged() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.remove(7);
    client.add(7, CPU);
    client.remove(7);
    client.remove(7);
    client.remove(-1);
    assert_eq!(client.place(CPU), None);
    assert_eq!(client.place(&[]), None);
}

#[test]
fn a_node_that_is_added_again_replaces_what_it_was() {
    let server = Server::start(&["--strict"]);
    let mut client = server.connect();
    client.add(1, CPU);
    client.add(1, CPU);
    assert_eq!([client.place(CPU), client.place(CPU)], [Some(1), None]);
    // A new report forgets the placements.
    client.add(1, CPU);
    assert_eq!([client.place(CPU), client.place(CPU)], [Some(1), None]);
    // And the resources that it does not name.
    client.add(1, GPU);
    assert_eq!([client.place(CPU), client.place(GPU)], [None, Some(1)]);
    client.add(1, &[]);
    assert_eq!([client.place(CPU), client.place(GPU), client.place(&[])], [None, None, Some(1)]);
    // There is one entry to remove.
    client.add(1, CPU);
    client.remove(1);
    assert_eq!([client.place(CPU), client.place(&[])], [None, None]);
}

#[test]
fn adds_beyond_the_limit_are_acknowledged_and_ignored() {
    let server = Server::start(&["--max-nodes", "2"]);
    let mut client = server.connect();
    client.add(1, &[("a", 1.0)]);
    client.add(2, &[("b", 1.0)]);
    for node in 3..6 {
        client.add(node, &[("c", 1.0)]);
    }
    assert_eq!(client.place(&[("c", 1.0)]), None);
    assert_eq!([client.place(&[("a", 1.0)]), client.place(&[("b", 1.0)])], [Some(1), Some(2)]);
    client.remove(3);
    let warnings = server.warnings_about(&client.name());
    assert!(matches!(&warnings[..], [line] if line.contains("--max-nodes")), "logged once: {warnings:?}");

    // Those that are there may report again, and one that goes makes room.
    client.add(1, &[("c", 1.0)]);
    assert_eq!(client.place(&[("c", 1.0)]), Some(1));
    client.remove(2);
    client.add(3, &[("d", 1.0)]);
    assert_eq!(client.place(&[("d", 1.0)]), Some(3));
    // The limit is each client's own.
    let mut other = server.connect();
    other.add(4, CPU);
    other.add(5, GPU);
    assert_eq!([other.place(CPU), other.place(GPU)], [Some(4), Some(5)]);
}

#[test]
fn strict_refuses_what_would_have_to_queue() {
    for (arguments, queues) in [(&["--strict"][..], false), (&[], true)] {
        let server = Server::start(arguments);
        for nodes in [1, 50] {
            let mut client = server.connect();
            for node in 0..nodes {
                client.add(node, &[("CPU", 2.0)]);
            }
            for _ in 0..2 * nodes {
                assert!(client.place(CPU).is_some());
            }
            let what = format!("{nodes} nodes, {arguments:?}");
            assert_eq!(client.place(CPU).is_some(), queues, "{what}: nothing is free");
            assert_eq!(client.place(&[("CPU", 2.0)]).is_some(), queues, "{what}: nothing is free");
            assert_eq!(client.place(&[("CPU", 2.0001)]), None, "{what}: never feasible");
            assert!(client.place(&[]).is_some(), "{what}: nothing is asked for");
        }
    }
}

#[test]
fn a_burst_between_two_reports_spreads_over_the_nodes() {
    let server = Server::start(&[]);
    for nodes in [4, 60] {
        let nodes: Vec<i64> = (1..=nodes).map(|node| if node % 2 == 0 { -node } else { node }).collect();
        let mut client = server.connect();
        for &node in &nodes {
            client.add(node, &[("CPU", 2.0)]);
        }
        let mut placements: BTreeMap<i64, usize> = BTreeMap::new();
        // First all that is free is used; then the shortest queue is taken.
        for count in [2, 3, 4] {
            while placements.values().sum::<usize>() < nodes.len() * count {
                *placements.entry(client.place(CPU).expect("it is feasible")).or_default() += 1;
            }
            assert_eq!(placements, nodes.iter().map(|&node| (node, count)).collect());
        }
        // A node that reports anew has nothing queued any more.
        client.add(3, &[("CPU", 2.0)]);
        assert_eq!([client.place(CPU), client.place(CPU)], [Some(3); 2]);
    }
}

#[test]
fn tasks_that_ask_for_nothing_spread_over_the_nodes() {
    let server = Server::start(&["--strict"]);
    let mut client = server.connect();
    let mut placements: BTreeMap<i64, u32> = BTreeMap::new();
    for node in 1..=40 {
        client.add(node, &[("CPU", node as f64)]);
    }
    for _ in 0..3 * 40 {
        *placements.entry(client.place(&[]).expect("there are nodes")).or_default() += 1;
    }
    assert_eq!(placements, (1..=40).map(|node| (node, 3)).collect());
}

#[test]
fn ten_tenths_fit_exactly_into_one() {
    let server = Server::start(&["--strict"]);
    let mut client = server.connect();
    for round in 0..3 {
        client.add(1, CPU);
        if round == 2 {
            // Among many nodes that have less than nothing, which are not looked at one by one.
            (100..150).for_each(|node| client.add(node, &[("CPU", -1.0)]));
            assert_eq!(client.place(&[("CPU", 1.0001)]), None);
        }
        for number in 0..10 {
            assert_eq!(client.place(&[("CPU", 0.1)]), Some(1), "placement {number}");
        }
        assert_eq!(client.place(&[("CPU", 0.1)]), None);
        assert_eq!(client.place(&[("CPU", 0.0001)]), None);
    }
}

#[test]
fn amounts_are_rounded_to_a_ten_thousandth() {
    let server = Server::start(&["--strict"]);
    let mut client = server.connect();
    // Node amount, demand, whether it fits.
    let cases = [
        (1.0, 1.00004, true),
        (1.0, 1.00006, false),
        (0.99996, 1.0, true),
        (0.99994, 1.0, false),
        (0.3333 + 0.3333 + 0.3334, 1.0, true),
        (1000.0 - 0.001, 999.999, true),
        (8_589_934_592.0, 8_589_934_592.0, true),
        (8_589_934_592.0, 8_589_934_592.000_1, false),
    ];
    for (amount, demand, fits) in cases {
        client.add(1, &[("x", amount)]);
        assert_eq!(client.place(&[("x", demand)]), fits.then_some(1), "{demand} of {amount}");
    }
}

#[test]
fn keys_are_compared_as_bytes() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.add(1, &[("cpu", 1.0)]);
    client.add(2, &[("CPU", 1.0)]);
    client.add(3, &[("CPU_group_0_ab", 1.0)]);
    client.add(4, &[("CPU_group_ab", 1.0)]);
    for (key, node) in [("cpu", Some(1)), ("CPU", Some(2)), ("CPU_group_0_ab", Some(3)), ("CPU_group_ab", Some(4))] {
        assert_eq!(client.place(&[(key, 1.0)]), node, "{key}");
    }
    for key in ["Cpu", "CPU ", "CP", "CPU_group_"] {
        assert_eq!(client.place(&[(key, 1.0)]), None, "{key}");
    }
}

#[test]
fn the_same_messages_give_the_same_placements() {
    let mut random = random();
    let server = Server::start(&[]);
    let mut batch = Vec::new();
    for number in 0..1_500 {
        match random.u8(0..8) {
            0 => batch.extend(remove(random.i64(0..6))),
            1 => batch.extend(add(random.i64(0..6), &[("CPU", f64::from(random.u8(1..9))), ("GPU", 1.0)])),
            _ => batch.extend(schedule(&[("CPU", f64::from(random.u8(0..4)))])),
        }
        if number == 0 {
            batch.extend(add(9, CPU));
        }
    }
    let replies = |mut client: crate::common::Client| -> Vec<Vec<u8>> {
        client.send(&batch);
        client.end_sending();
        std::iter::from_fn(|| client.receive_or_end()).collect()
    };
    let first = replies(server.connect());
    assert_eq!(first.len(), 1_501);
    assert_eq!(first, replies(server.connect()));
    assert_eq!(first, replies(Server::start(&[]).connect()));
}
