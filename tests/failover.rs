//! Clients that know several servers, one of which is killed.

mod common;

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use common::{PATIENCE, Server};
use external_scheduler::client::{Address, FailoverClient, FailoverOptions};
use external_scheduler::wire::NodeId;
use rustix::process::Signal;
use serde_json::Value;

fn options(owner: &str) -> FailoverOptions {
    FailoverOptions { view: "cluster".into(), owner: owner.into(), patience: PATIENCE, ..FailoverOptions::default() }
}

fn address(server: &Server) -> Address {
    Address::Tcp(server.address.to_string())
}

/// What stats say of the nodes of the view, by ID.
fn nodes(client: &mut FailoverClient) -> BTreeMap<i64, Value> {
    let stats: Value = serde_json::from_str(&client.ask(|client| client.stats()).unwrap()).expect("JSON");
    let nodes = stats["view"]["nodes"].as_array().expect("nodes").clone();
    nodes.into_iter().map(|node| (node["id"].as_i64().expect("an ID"), node)).collect()
}

const CPU: &[(&str, f64)] = &[("CPU", 1.0)];

#[test]
fn the_clients_of_a_killed_server_go_on_with_the_other() {
    const CLIENTS: i64 = 20;
    const NODES_EACH: i64 = 5;
    let (active, standby) = (Server::start(&[]), Server::start(&[]));
    let addresses = [address(&active), address(&standby)];
    // All clients have reported and placed something; then the server is killed under them.
    let (ready, killed) = (Barrier::new(CLIENTS as usize + 1), Barrier::new(CLIENTS as usize + 1));
    let gaps: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (addresses, ready, killed) = (addresses.clone(), &ready, &killed);
                scope.spawn(move || {
                    let mut client = FailoverClient::new(addresses.clone(), options(&format!("job {number}")));
                    for node in 0..NODES_EACH {
                        client.update_node(NodeId(number * NODES_EACH + node), &[("CPU", 4.0)], &[]).unwrap();
                    }
                    client.drain(NodeId(number * NODES_EACH), true).unwrap();
                    let placed = client.schedule(CPU).unwrap().expect("there is room");
                    assert_eq!(client.address(), Some(&addresses[0]));
                    ready.wait();
                    // Some are killed under a request, and none is told.
                    let mut last = Instant::now();
                    let mut gap = Duration::ZERO;
                    while client.address() == Some(&addresses[0]) {
                        let placed = client.schedule(CPU).unwrap().expect("there is room");
                        client.release(placed, CPU, 1).unwrap();
                        gap = gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    assert_eq!(client.address(), Some(&addresses[1]));
                    client.release(placed, CPU, 1).unwrap();
                    // The nodes of all are there again when all are.
                    killed.wait();
                    let nodes = nodes(&mut client);
                    assert_eq!(nodes.len() as i64, CLIENTS * NODES_EACH);
                    for (id, node) in nodes {
                        assert_eq!(node["resources"]["CPU"]["total"], 4, "node {id}");
                        assert_eq!(node["draining"], id % NODES_EACH == 0, "node {id}");
                    }
                    killed.wait();
                    gap
                })
            })
            .collect();
        ready.wait();
        active.process.signal(Signal::KILL);
        killed.wait();
        killed.wait();
        threads.into_iter().map(|thread| thread.join().expect("a client goes on")).collect()
    });
    println!("longest gap between two placements of a client: {:?}", gaps.iter().max());
}

#[test]
fn a_server_that_is_killed_and_started_again_gives_the_same_placements() {
    let demands = [1.0, 3.0, 0.5, 8.0, 2.0, 2.0, 1.0].map(|amount| [("CPU", amount)]);
    for view in ["", "cluster"] {
        let mut server = Server::start(&[]);
        let mut client =
            FailoverClient::new([address(&server)], FailoverOptions { view: view.into(), ..options("job") });
        // Ties go by the order of reports, which is not that of the IDs.
        for node in [9, 3, 7, 1, 5] {
            client.update_node(NodeId(node), &[("CPU", 8.0), ("GPU", 1.0)], &[("CPU", 16.0), ("GPU", 2.0)]).unwrap();
        }
        client.remove_node(NodeId(7)).unwrap();
        client.update_node(NodeId(3), &[("CPU", 4.0)], &[]).unwrap();
        let place = |client: &mut FailoverClient| -> Vec<NodeId> {
            let placed =
                |_| demands.each_ref().map(|demand| client.schedule(demand).unwrap().expect("there is room").node);
            (0..5).flat_map(placed).collect()
        };
        let mut instances = vec![client.instance().unwrap()];
        let mut before = None;
        for _ in 0..3 {
            let placements = place(&mut client);
            assert_eq!(*before.get_or_insert(placements.clone()), placements, "view {view:?}");
            let address = server.address;
            server.process.signal(Signal::KILL);
            drop(server);
            server = Server::start_again(address, &[]);
            client.ask(|client| client.ping(b"")).unwrap();
            instances.push(client.instance().unwrap());
        }
        instances.dedup();
        assert_eq!(instances.len(), 4, "each is another run");
    }
}

#[test]
fn a_client_waits_for_a_server_to_be_started() {
    let address = {
        let server = Server::start(&[]);
        server.address
    };
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = FailoverClient::new([Address::Tcp(address.to_string())], options(""));
            client.update_node(NodeId(1), CPU, &[]).unwrap();
            client.schedule(CPU).unwrap().map(|placed| placed.node)
        });
        let _server = Server::start_again(address, &[]);
        assert_eq!(client.join().expect("the client goes on"), Some(NodeId(1)));
    });
}
