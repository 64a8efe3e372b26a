//! What connections are to each other.

use serde_json::json;

use crate::common::extension::*;
use crate::common::{Client, DONE, REFUSED, Server, add, frame, from_hex, placed, remove, schedule};

#[test]
fn version_1_is_answered_the_same_after_a_hello() {
    let server = Server::start(&[]);
    let vectors = include_str!("../data/v1.jsonl");
    let talk = |client: &mut Client| -> Vec<(Vec<u8>, Vec<u8>)> {
        let pairs = vectors.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
        pairs
            .map(|pair| {
                let bytes = |name: &str| from_hex(pair[name].as_str().expect("hexadecimal digits"));
                (client.call(&bytes("request")), bytes("reply")[8..].to_vec())
            })
            .collect()
    };
    for view in [None, Some(""), Some("shared")] {
        let mut client = server.connect();
        if let Some(view) = view {
            client.join(view, "owner");
        }
        for (index, (reply, expected)) in talk(&mut client).into_iter().enumerate() {
            assert_eq!(reply, expected, "pair {index} in view {view:?}");
        }
    }
}

#[test]
fn a_hello_comes_first_or_not_at_all() {
    let server = Server::start(&[]);
    let before = [
        ("add", add(1, &[])),
        ("remove", remove(1)),
        ("schedule", schedule(&[])),
        ("ping", ping(b"")),
        ("nothing", frame(b"")),
        ("unknown code", frame(b"\x42")),
        ("malformed add", frame(b"\x00")),
        ("malformed ping", frame(b"\x17\x17")),
        ("unknown node", drain(1, true)),
        ("hello", hello("", "")),
    ];
    for (name, request) in before {
        let mut client = server.connect();
        client.call(&request);
        assert_eq!(error_number(&client.call(&hello("v", ""))), 3, "{name}");
        assert_eq!(client.view()["name"], json!(null), "{name}");
    }
    // A hello that is answered with an error has changed nothing.
    let mut client = server.connect();
    for (request, number) in [(&b"\x10\x03\x00"[..], 2), (b"\x10\x02", 1), (b"\x10\x02\x00\x01\x00\x00\x00\x00", 5)] {
        assert_eq!(error_number(&client.call(&frame(request))), number);
    }
    client.join("v", "");
    assert_eq!(client.view()["name"], "v");
}

#[test]
fn members_of_a_view_see_one_table_and_others_do_not() {
    let server = Server::start(&["--lease", "0"]);
    let [mut driver, mut worker, mut other_job, mut elsewhere] = [(); 4].map(|()| server.connect());
    driver.join("cluster", "job");
    worker.join("cluster", "job");
    other_job.join("cluster", "");
    elsewhere.join("other", "job");
    assert_eq!(driver.call(&add(1, &[("CPU", 4.0)])), DONE);
    assert_eq!(worker.call(&schedule(&[("CPU", 3.0)])), placed(1));
    assert_eq!(elsewhere.call(&schedule(&[("CPU", 3.0)])), REFUSED);
    let strict = Hints { strict: true, ..Hints::default() };
    assert_eq!(other_job.call(&with_hints(strict, &[("CPU", 2.0)])), NOTHING_FREE);
    assert_eq!(error_number(&other_job.call(&release(1, &[("CPU", 3.0)], 1))), 11, "it is another's");
    assert_eq!(driver.call(&release(1, &[("CPU", 3.0)], 1)), DONE, "it is the owner's");
    assert_eq!(other_job.call(&with_hints(strict, &[("CPU", 2.0)])), hinted(1, true));
    // An update keeps what is reserved.
    assert_eq!(worker.call(&update(1, &[("CPU", 3.0)], &[("CPU", 4.0)])), DONE);
    let expected = json!({ "total": 4, "available": 3, "reserved": 2 });
    assert_eq!(driver.view()["nodes"][0]["resources"]["CPU"], expected);
    // A remove drops it for everybody.
    assert_eq!(driver.call(&remove(1)), DONE);
    assert_eq!(driver.call(&add(1, &[("CPU", 4.0)])), DONE);
    assert_eq!(error_number(&other_job.call(&release(1, &[("CPU", 2.0)], 1))), 11);
}

#[test]
fn who_comes_back_within_the_lease_finds_what_was_left() {
    let server = Server::start(&["--lease", "60"]);
    let mut watcher = server.connect();
    watcher.join("v", "");
    let mut client = server.connect();
    client.join("v", "job");
    assert_eq!(client.call(&add(1, &[("CPU", 4.0)])), DONE);
    assert_eq!(client.call(&schedule(&[("CPU", 3.0)])), placed(1));
    client.reset();
    while watcher.view()["owners"][1]["connections"] != 0 {}
    let view = watcher.view();
    assert_eq!((&view["placements"], &view["nodes"][0]["id"]), (&json!(1), &json!(1)));
    let left_behind = json!([{ "node": 1, "resources": { "CPU": 3 }, "count": 1 }]);
    assert_eq!(view["owners"][1]["left_behind"], left_behind);
    let mut client = server.connect();
    client.join("v", "job");
    assert_eq!(watcher.view()["owners"][1].get("left_behind"), None);
    assert_eq!(client.call(&release(1, &[("CPU", 3.0)], 1)), DONE);
}

#[test]
fn a_node_that_another_has_reported_outlives_its_first_reporter() {
    let server = Server::start(&["--lease", "0.1"]);
    let [mut one, mut other] = [(); 2].map(|()| server.connect());
    one.join("v", "");
    other.join("v", "");
    (1..=3).for_each(|node| one.add(node, &[("CPU", 4.0)]));
    assert_eq!(other.call(&update(2, &[("CPU", 1.0)], &[])), DONE);
    one.reset();
    while other.view()["nodes"].as_array().map(Vec::len) != Some(1) {}
    assert_eq!(other.view()["nodes"][0]["id"], 2);
    assert_eq!(other.call(&schedule(&[("CPU", 4.0)])), REFUSED);
}

#[test]
fn names_are_shown_escaped_and_stats_are_json() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.join("a \"view\" µ", "an owner's \\ name");
    let strange = "a\"b\\c\u{7f}µ\n";
    client.add(i64::MIN, &[(strange, -1.5), ("CPU", 1e300)]);
    let view = client.view();
    assert_eq!((&view["name"], &view["owners"][0]["name"]), (&json!("a \"view\" µ"), &json!("an owner's \\ name")));
    assert_eq!(view["nodes"][0]["id"], json!(i64::MIN));
    let amounts = json!({ "total": -1.5, "available": -1.5, "reserved": 0 });
    assert_eq!(view["nodes"][0]["resources"]["a\\\"b\\\\c\\x7f\\xc2\\xb5\\n"], amounts);
    let explained = client.json(&explain(&[(strange, 1.0)]));
    assert_eq!(explained["verdict"], "infeasible");
    assert_eq!(explained["resources"]["a\\\"b\\\\c\\x7f\\xc2\\xb5\\n"]["lacking"], 1);
}

#[test]
fn what_is_long_is_answered_in_time() {
    // Lists of tens of thousands of resources: were any work on them quadratic, this would not end.
    let server = Server::start(&["--max-frame", "16MiB"]);
    let mut client = server.connect();
    client.join("v", "");
    let names: Vec<String> = (0..30_000).map(|index| format!("resource_{index}")).collect();
    let entries: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    assert_eq!(client.call(&update(1, &entries, &entries)), DONE);
    assert_eq!(client.call(&update(1, &entries, &entries[1..])), DONE);
    let explained = client.json(&explain(&entries));
    assert_eq!(explained["resources"].as_object().map(serde_json::Map::len), Some(entries.len()));
    assert_eq!(explained["resources"]["resource_0"]["lacking"], 1);
    (2..200).for_each(|node| client.add(node, &[]));
    assert_eq!(error_number(&client.call(&explain(&entries))), 9);
}
