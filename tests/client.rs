//! The client library against real servers.

mod common;

use std::time::Instant;

use common::{PATIENCE, Server, Transport};
use external_scheduler::client::{
    Address, Capabilities, Client, ClientError, ErrorCode, Hints, NotPlaced, Outcome, Placement, Strategy, Timeouts,
};
use external_scheduler::wire::NodeId;
use external_scheduler::wire::extension::VERSION;
use rustix::process::Signal;
use serde_json::Value;

fn connect(server: &Server, transport: Transport) -> Client {
    let address = match transport {
        Transport::Tcp => Address::Tcp(server.address.to_string()),
        Transport::Unix => Address::Unix(server.socket.clone()),
    };
    Client::connect(&address, Timeouts::default()).expect("the server accepts")
}

#[test]
fn nodes_are_reported_and_tasks_placed() {
    let server = Server::start(&["--strict"]);
    for transport in Transport::ALL {
        let mut client = connect(&server, transport);
        assert_eq!(client.schedule(&[("CPU", 1.0)]).unwrap(), None);
        client.add_node(NodeId(7), &[("CPU", 1.0), ("memory", 8e9)]).unwrap();
        assert_eq!(client.schedule(&[("CPU", 0.9), ("memory", 8e9)]).unwrap(), Some(NodeId(7)));
        assert_eq!(client.schedule(&[("CPU", 0.2)]).unwrap(), None);
        assert_eq!(client.schedule(&[("CPU", 0.1)]).unwrap(), Some(NodeId(7)));
        client.remove_node(NodeId(7)).unwrap();
        assert_eq!(client.schedule(&[]).unwrap(), None);
    }
}

#[test]
fn a_batch_of_any_length_is_answered_in_order() {
    // More than the buffers of a Unix socket hold, in requests and in replies.
    const SCHEDULES: usize = 60_000;
    let server = Server::start(&["--strict"]);
    for transport in Transport::ALL {
        let mut client = connect(&server, transport);
        let mut batch = client.batch();
        // One that is longer than what else is sent at once.
        let names: Vec<String> = (0..3_000).map(|number| format!("resource {number}")).collect();
        batch.add_node(NodeId(2), &names.iter().map(|name| (name.as_str(), 1.0)).collect::<Vec<_>>()).unwrap();
        batch.schedule(&[("resource 2999", 1.0)]).unwrap();
        batch.remove_node(NodeId(2));
        batch.add_node(NodeId(1), &[("CPU", SCHEDULES as f64 / 2.0)]).unwrap();
        for _ in 0..SCHEDULES {
            batch.schedule(&[("CPU", 1.0)]).unwrap();
        }
        let outcomes: Vec<Outcome> = batch.send().unwrap().into_iter().map(Result::unwrap).collect();
        let placed = |node| Outcome::Placed(NodeId(node));
        let (first, rest) = outcomes.split_at(4);
        let (fit, refused) = rest.split_at(SCHEDULES / 2);
        assert_eq!(first, [Outcome::Done, placed(2), Outcome::Done, Outcome::Done]);
        assert!(fit.iter().all(|outcome| *outcome == placed(1)));
        assert_eq!(refused, [Outcome::NotPlaced; SCHEDULES / 2]);
    }
}

#[test]
fn a_server_that_is_gone_is_told() {
    let server = Server::start(&[]);
    let mut clients = Transport::ALL.map(|transport| connect(&server, transport));
    let tcp = Address::Tcp(server.address.to_string());
    let unix = Address::Unix(server.socket.clone());
    server.stop(Signal::TERM);
    for client in &mut clients {
        assert!(matches!(client.remove_node(NodeId(1)), Err(ClientError::Closed)));
        assert!(matches!(client.remove_node(NodeId(1)), Err(ClientError::Closed)));
    }
    for address in [tcp, unix] {
        assert!(matches!(Client::connect(&address, Timeouts::default()), Err(ClientError::Io(_))), "{address}");
    }
}

/// A client of a shared view.
fn join(server: &Server, transport: Transport, view: &str, owner: &str) -> Client {
    let mut client = connect(server, transport);
    let welcome = client.hello(view, owner, b"").expect("the server welcomes");
    assert_eq!((welcome.version, welcome.capabilities), (VERSION, Capabilities::ALL));
    client
}

#[track_caller]
fn assert_refused<T: std::fmt::Debug>(result: Result<T, ClientError>, code: ErrorCode) {
    match result {
        Err(error) if error.error_code() == Some(code) => {}
        other => panic!("{code:?} was expected, not {other:?}"),
    }
}

const CPU: &[(&str, f64)] = &[("CPU", 1.0)];

#[test]
fn a_shared_view_is_one_table_with_owners() {
    let server = Server::start(&["--strict"]);
    for (number, transport) in Transport::ALL.into_iter().enumerate() {
        let view = format!("view {number}");
        let [mut driver, mut worker, mut stranger] =
            ["job", "job", ""].map(|owner| join(&server, transport, &view, owner));
        driver.update_node(NodeId(1), &[("CPU", 2.0)], &[("CPU", 3.0)]).unwrap();
        assert_eq!(driver.schedule(CPU).unwrap(), Some(NodeId(1)));
        assert_eq!(stranger.schedule(CPU).unwrap(), Some(NodeId(1)));
        assert_eq!(worker.schedule(CPU).unwrap(), None, "two of three are available, and taken");
        // An update keeps what is placed, and a release is the owner's.
        driver.update_node(NodeId(1), &[("CPU", 2.0)], &[("CPU", 3.0)]).unwrap();
        assert_refused(worker.release(NodeId(1), CPU, 2), ErrorCode::OverRelease);
        assert_refused(worker.release(NodeId(2), CPU, 1), ErrorCode::UnknownNode);
        assert_eq!(worker.schedule(CPU).unwrap(), None);
        worker.release(NodeId(1), CPU, 1).unwrap();
        assert_eq!(worker.schedule(CPU).unwrap(), Some(NodeId(1)));
        let mut batch = worker.batch();
        batch.release(NodeId(1), CPU, 1).unwrap();
        batch.release(NodeId(1), CPU, 1).unwrap();
        batch.schedule(CPU).unwrap();
        batch.update_node(NodeId(1), &[("CPU", 3.0)], &[]).unwrap();
        let [released, refused, placed, updated] = &batch.send().unwrap()[..] else { panic!("four are answered") };
        assert!(matches!((released, updated), (Ok(Outcome::Done), Ok(Outcome::Done))));
        assert!(refused.as_ref().is_err_and(|error| error.error_code() == Some(ErrorCode::OverRelease)));
        assert!(matches!(placed, Ok(Outcome::Placed(NodeId(1)))));
        assert_refused(driver.hello("", "", b""), ErrorCode::HelloNotFirst);
    }
}

#[test]
fn what_a_job_leaves_behind_goes_with_the_lease() {
    let server = Server::start(&["--strict", "--lease", "50ms"]);
    let mut cluster = join(&server, Transport::Tcp, "view", "");
    cluster.update_node(NodeId(1), CPU, &[]).unwrap();
    let mut job = join(&server, Transport::Tcp, "view", "job");
    job.update_node(NodeId(2), &[("GPU", 1.0)], &[]).unwrap();
    assert_eq!(job.schedule(CPU).unwrap(), Some(NodeId(1)));
    drop(job);
    let deadline = Instant::now() + PATIENCE;
    while cluster.schedule(CPU).unwrap().is_none() {
        assert!(Instant::now() < deadline, "what the job held is dropped");
    }
    while !matches!(cluster.drain(NodeId(2), true), Err(ClientError::Refused { .. })) {
        assert!(Instant::now() < deadline, "the node of the job goes");
    }
}

#[test]
fn many_demands_are_placed_by_the_strategy() {
    let server = Server::start(&[]);
    let mut client = join(&server, Transport::Unix, "view", "");
    let demands = [CPU; 2];
    for (strategy, expected) in [
        (Strategy::Each, Ok(vec![NodeId::NIL; 2])),
        (Strategy::Pack, Err(NotPlaced::NoNodes)),
        (Strategy::StrictSpread, Err(NotPlaced::NoNodes)),
    ] {
        assert_eq!(client.schedule_many(strategy, true, &demands).unwrap(), expected, "{strategy:?}");
    }
    for node in [1, 2] {
        client.update_node(NodeId(node), &[("CPU", 2.0)], &[]).unwrap();
    }
    for strategy in Strategy::ALL {
        let nodes = client.schedule_many(strategy, true, &demands).unwrap().expect("there is room for both");
        let on_one = nodes[0] == nodes[1];
        match strategy {
            Strategy::Each => {}
            Strategy::Pack | Strategy::StrictPack => assert!(on_one, "{nodes:?}"),
            Strategy::Spread | Strategy::StrictSpread => assert!(!on_one, "{nodes:?}"),
        }
        for node in nodes {
            client.release(node, CPU, 1).unwrap();
        }
    }
    let mut gang = |strategy, strict, demand| client.schedule_many(strategy, strict, &[demand, CPU, CPU]).unwrap();
    assert_eq!(gang(Strategy::StrictSpread, false, CPU), Err(NotPlaced::NothingFeasible));
    assert_eq!(gang(Strategy::StrictPack, true, CPU), Err(NotPlaced::NothingFeasible));
    assert_eq!(gang(Strategy::Pack, true, &[("CPU", 3.0)]), Err(NotPlaced::NothingFeasible));
    assert_eq!(client.schedule_many(Strategy::Spread, true, &[CPU; 5]).unwrap(), Err(NotPlaced::NothingFeasible));
    client.schedule(CPU).unwrap().expect("there is room");
    assert_eq!(client.schedule_many(Strategy::Spread, true, &[CPU; 4]).unwrap(), Err(NotPlaced::NothingFree));
    let nodes = client.schedule_many(Strategy::Each, true, &[CPU; 4]).unwrap().expect("each is answered");
    assert_eq!(nodes.iter().filter(|&&node| node == NodeId::NIL).count(), 1, "none of the others left a trace");
}

#[test]
fn hints_are_followed() {
    let server = Server::start(&[]);
    let mut client = join(&server, Transport::Tcp, "", "");
    for node in [1, 2] {
        client.add_node(NodeId(node), CPU).unwrap();
    }
    let [one, two] = [&[NodeId(1)][..], &[NodeId(2)]];
    let hints = Hints::default();
    let placed = |node, free| Ok(Placement { node: NodeId(node), free });
    let cases = [
        (Hints { dry_run: true, preferred: two, ..hints }, placed(2, true)),
        (Hints { preferred: two, ..hints }, placed(2, true)),
        (Hints { preferred: two, dry_run: true, ..hints }, placed(1, true)),
        (Hints { avoided: one, ..hints }, placed(2, false)),
        (Hints { avoided: one, strict: true, ..hints }, Err(NotPlaced::NothingFree)),
        (Hints { avoided: &[NodeId(1), NodeId(2)], ..hints }, Err(NotPlaced::NothingFeasible)),
        (Hints { policy: 9, strict: true, ..hints }, placed(1, true)),
    ];
    for (hints, expected) in cases {
        assert_eq!(client.schedule_with_hints(&hints, CPU).unwrap(), expected, "{hints:?}");
    }
    assert_refused(client.schedule_with_hints(&Hints { policy: 13, ..hints }, CPU), ErrorCode::UnknownPolicy);
}

#[test]
fn a_view_tells_how_it_is() {
    let server = Server::start(&[]);
    for transport in Transport::ALL {
        // All extensions work in a connection's own view, too.
        let mut client = connect(&server, transport);
        client.ping(b"").unwrap();
        client.ping(&[0xff; 100_000]).unwrap();
        client.update_node(NodeId(1), CPU, &[("CPU", 2.0)]).unwrap();
        let verdict = |text: String| serde_json::from_str::<Value>(&text).expect("it is JSON")["verdict"].clone();
        assert_eq!(verdict(client.explain(CPU).unwrap()), "runs");
        assert_eq!(verdict(client.explain(&[("CPU", 2.0)]).unwrap()), "queues");
        assert_eq!(verdict(client.explain(&[("CPU", 3.0)]).unwrap()), "infeasible");
        assert_eq!(client.schedule(CPU).unwrap(), Some(NodeId(1)));
        client.drain(NodeId(1), true).unwrap();
        assert_eq!(client.schedule(CPU).unwrap(), None);
        assert_refused(client.drain(NodeId(2), true), ErrorCode::UnknownNode);
        let stats: Value = serde_json::from_str(&client.stats().unwrap()).expect("it is JSON");
        let node = &stats["view"]["nodes"][0];
        assert_eq!((&node["id"], &node["queued"], &node["draining"]), (&1.into(), &1.into(), &true.into()));
        let cpu = serde_json::json!({ "total": 2, "available": 1, "reserved": 1 });
        assert_eq!((&stats["view"]["resources"]["CPU"], &stats["view"]["name"]), (&cpu, &Value::Null));
        client.drain(NodeId(1), false).unwrap();
        client.release(NodeId(1), CPU, 1).unwrap();
        client.remove_node(NodeId(1)).unwrap();
        assert_eq!(verdict(client.explain(CPU).unwrap()), "no nodes");
    }
}
