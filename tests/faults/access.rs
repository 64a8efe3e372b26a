//! Who may connect.

use std::net::{IpAddr, Ipv6Addr, TcpListener};

use crate::common::extension::hello_with_token;
use crate::common::{Client, Process, Server, Transport, program, run};

/// Expected: it does not start, and says why and what to do. Nothing of this concerns loopback addresses.
#[test]
fn on_an_address_that_others_reach_it_has_to_be_said_who_may_connect() {
    let mut cases = vec!["0.0.0.0", "192.0.2.1", "::ffff:192.0.2.1"];
    if TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok() {
        cases.push("::");
    }
    for address in cases {
        let ended = run(&["serve", "-p", "0", "-a", address]);
        ended.assert_code(2, address);
        for word in ["can be reached from other machines", "--allow", "--token-file", "--insecure"] {
            assert!(ended.stderr.contains(word), "{address}: {word}\n{}", ended.stderr);
        }
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    for arguments in
        [&["--insecure"][..], &["--allow", "127.0.0.0/8"], &["--token-file", token.to_str().expect("a plain path")]]
    {
        let process = Process::start(program(&["serve", "-p", "0", "-a", "0.0.0.0"]).args(arguments));
        process.stdout.wait_for("listening on 0.0.0.0:");
    }
    for address in ["127.0.0.1", "127.8.7.6"] {
        let process = Process::start(&mut program(&["serve", "-p", "0", "-a", address]));
        process.stdout.wait_for("listening on 127.");
    }
}

/// Expected: closed at once, counted, logged with the address; the others and Unix clients are served.
#[test]
fn addresses_that_are_not_allowed_are_refused_and_the_others_served() {
    let server = Server::start(&["--allow", "10.0.0.0/8,127.0.0.2"]);
    let [here, other] = ["127.0.0.1", "127.0.0.2"].map(|address| address.parse::<IpAddr>().unwrap());
    for _ in 0..3 {
        let mut refused = Client::tcp_from(here, server.address);
        let name = refused.name();
        refused.assert_closed("not allowed");
        server.process.stderr.wait_for(&format!("{name}: refused: its address is not in --allow"));
        Client::tcp_from(other, server.address).round_trip();
        server.connect_over(Transport::Unix).round_trip();
    }
    let ended = server.terminate();
    ended.assert_code(0, "terminated");
    assert!(ended.stderr.contains("3 not allowed"), "{}", ended.stderr);
}

/// Expected: where a token is asked for, who connects and says nothing is closed at `--frame-timeout`, so that nobody without it
/// takes the place of others. Who has shown it may be idle.
#[test]
fn where_a_token_is_asked_for_it_has_to_be_shown_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    let token = token.to_str().expect("a plain path");
    let server = Server::start(&["--token-file", token, "--frame-timeout", "300ms"]);
    for transport in Transport::ALL {
        let mut member = server.connect_over(transport);
        assert_eq!(member.call(&hello_with_token("", "", b"secret"))[0], 0);
        let mut silent = server.connect_over(transport);
        silent.assert_closed("it has shown no token");
        server.process.stderr.wait_for("did not finish a message within --frame-timeout");
        member.round_trip();
    }
    let ended = server.terminate();
    assert!(ended.stderr.contains("2 with a frame not finished in time"), "{}", ended.stderr);
}
