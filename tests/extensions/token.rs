//! Servers that ask for a token.

use crate::common::extension::*;
use crate::common::{DONE, REFUSED, Server, Transport, add, frame, placed, remove, schedule};

fn server() -> (Server, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(&file, "secret\n").expect("it is there");
    (Server::start(&["--token-file", file.path().to_str().expect("a plain path")]), file)
}

#[test]
fn a_connection_without_the_token_gets_one_answer() {
    let (server, _file) = server();
    let hints = || with_hints(Hints::default(), &[]);
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("wrong token", hello_with_token("v", "o", b"secreT"), Some(4)),
        ("no token", hello("v", "o"), Some(4)),
        ("token and more", hello_with_token("", "", b"secretsecret"), Some(4)),
        ("update", update(1, &[], &[]), Some(4)),
        ("release", release(1, &[], 1), Some(4)),
        ("many", many(EACH, false, &[]), Some(4)),
        ("hints", hints(), Some(4)),
        ("explain", explain(&[]), Some(4)),
        ("drain", drain(1, true), Some(4)),
        ("stats", stats(), Some(4)),
        ("ping", ping(b"x"), Some(4)),
        ("malformed ping", frame(b"\x17\x00"), Some(4)),
        ("malformed hello", frame(b"\x10\x02"), Some(1)),
        ("hello of another version", frame(b"\x10\x03\x00secret"), Some(2)),
        ("hello with a bad name", frame(b"\x10\x02\x00\x01\xff\x00\x06\x00secret"), Some(5)),
        ("add", add(1, &[("CPU", 1.0)]), None),
        ("remove", remove(1), None),
        ("schedule", schedule(&[("CPU", 1.0)]), None),
        ("nothing", frame(b""), None),
        ("unknown code", frame(b"\x19"), None),
        ("malformed add", frame(b"\x00"), None),
    ];
    for (name, request, number) in cases {
        for transport in Transport::ALL {
            let mut client = server.connect_over(transport);
            // What is sent right behind it is not looked at.
            client.send(&[&request[..], &hello_with_token("", "", b"secret"), &ping(b"unheard")].concat());
            let reply = client.receive();
            match number {
                Some(number) => assert_eq!(error_number(&reply), number, "{name}"),
                None => assert_eq!(reply, REFUSED, "{name}"),
            }
            client.assert_closed(name);
        }
    }
}

#[test]
fn the_token_opens_private_and_shared_views() {
    let (server, _file) = server();
    for view in ["", "v"] {
        let mut client = server.connect();
        assert_eq!(client.call(&hello_with_token(view, "o", b"secret"))[0], 0);
        assert_eq!(client.call(&add(1, &[("CPU", 1.0)])), DONE);
        assert_eq!(client.call(&schedule(&[("CPU", 1.0)])), placed(1));
        // From here on, a fault is like any other.
        assert_eq!(error_number(&client.call(&hello_with_token(view, "o", b"secret"))), 3);
        assert_eq!(error_number(&client.call(&hello(view, "o"))), 3);
        assert_eq!(client.call(&frame(b"")), REFUSED);
        assert_eq!(client.call(&ping(b"")), DONE);
    }
}
