//! The client library against real servers.

mod common;

use common::{Server, Transport};
use external_scheduler::client::{Address, Client, ClientError, Outcome, Timeouts};
use external_scheduler::wire::NodeId;
use rustix::process::Signal;

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
