//! The example of a framework, run as its users run it.

mod common;
#[allow(dead_code)]
#[path = "../examples/framework.rs"]
mod framework;

use common::Server;
use external_scheduler::client::{Address, ClientError};

#[test]
fn two_frameworks_share_a_view() {
    let server = Server::start(&[]);
    let lines = framework::run(&Address::Tcp(server.address.to_string())).expect("the server serves both");
    assert_eq!(lines, ["small: 200 tasks have run", "large: 20 tasks have run"]);
    let ended = server.terminate();
    assert!(ended.stderr.contains("220 placed") && ended.stderr.contains("220 released"), "{}", ended.stderr);
}

#[test]
fn a_framework_without_a_server_says_so() {
    let server = Server::start(&[]);
    let address = Address::Tcp(server.address.to_string());
    server.terminate();
    assert!(matches!(framework::run(&address), Err(ClientError::Io(_))));
}
