//! Hints, gangs and explanations, and that what is refused or only asked changes nothing.

use serde_json::{Value, json};

use crate::common::extension::*;
use crate::common::{Client, DONE, Server, random};

type Demand<'a> = &'a [(&'a str, f64)];

/// Nodes 1 to 4 with 2, 4, 6 and 8 CPU and a GPU on the last, in a shared view, with 1 CPU taken on each.
fn client_of(server: &Server) -> Client {
    let mut client = server.connect();
    client.join("v", "");
    for node in 1..=4 {
        let gpus = if node == 4 { 1.0 } else { 0.0 };
        client.add(node, &[("CPU", 2.0 * node as f64), ("GPU", gpus)]);
        let hints = Hints { preferred: &[node], strict: true, ..Hints::default() };
        assert_eq!(client.call(&with_hints(hints, &[("CPU", 1.0)])), hinted(node, true));
    }
    client
}

/// A view, and the server's counters of placements.
fn state(client: &mut Client) -> (Value, Value, Value) {
    let mut stats = client.json(&stats());
    let requests = stats["server"]["requests"].take();
    (stats["view"].take(), requests["placed"].clone(), requests["released"].clone())
}

#[test]
fn preferred_nodes_win_while_free_and_avoided_ones_are_never_taken() {
    let server = Server::start(&["--policy", "first-fit"]);
    let mut client = client_of(&server);
    let none = Hints::default();
    let cases: [(&str, Hints, Demand, Vec<u8>); 15] = [
        ("first fit", none, &[("CPU", 1.0)], hinted(1, true)),
        ("preferred", Hints { preferred: &[3], ..none }, &[("CPU", 1.0)], hinted(3, true)),
        ("the policy chooses among them", Hints { preferred: &[4, 3, 3], ..none }, &[("CPU", 1.0)], hinted(3, true)),
        ("preferred, but not free", Hints { preferred: &[1], ..none }, &[("CPU", 2.0)], hinted(2, true)),
        ("preferred, one is free", Hints { preferred: &[1, 3], ..none }, &[("CPU", 2.0)], hinted(3, true)),
        ("preferred, not there", Hints { preferred: &[9, -1], ..none }, &[("CPU", 1.0)], hinted(1, true)),
        ("avoided", Hints { avoided: &[1], ..none }, &[("CPU", 1.0)], hinted(2, true)),
        ("avoided, not there", Hints { avoided: &[9], ..none }, &[("CPU", 1.0)], hinted(1, true)),
        ("preferred and avoided", Hints { preferred: &[1], avoided: &[1], ..none }, &[("CPU", 1.0)], hinted(2, true)),
        ("queues rather than on an avoided one", Hints { avoided: &[4], ..none }, &[("CPU", 6.0)], hinted(3, false)),
        ("strict", Hints { avoided: &[4], strict: true, ..none }, &[("CPU", 6.0)], NOTHING_FREE.to_vec()),
        ("the only one avoided", Hints { avoided: &[4], ..none }, &[("GPU", 1.0)], NOTHING_FEASIBLE.to_vec()),
        ("spread", Hints { policy: 5, ..none }, &[("CPU", 1.0)], hinted(4, true)),
        ("spread, avoided", Hints { policy: 5, avoided: &[4], ..none }, &[("CPU", 1.0)], hinted(3, true)),
        ("no node has it", none, &[("TPU", 1.0)], NOTHING_FEASIBLE.to_vec()),
    ];
    for (name, hints, demand, expected) in cases {
        let before = state(&mut client);
        let dry = Hints { dry_run: true, ..hints };
        assert_eq!(client.call(&with_hints(dry, demand)), expected, "{name}");
        assert_eq!(state(&mut client), before, "{name}: a dry run changes nothing");
        assert_eq!(client.call(&with_hints(hints, demand)), expected, "{name}");
        if let [0, node @ .., _] = &expected[..] {
            assert_ne!(state(&mut client), before, "{name}");
            let node = i64::from_le_bytes(node.try_into().expect("a node ID"));
            assert_eq!(client.call(&release(node, demand, 1)), DONE, "{name}");
        }
        assert_eq!(state(&mut client).0, before.0, "{name}");
    }
}

#[test]
fn what_a_dry_run_says_is_done_under_every_policy() {
    // One that does not learn: what others would do may change as they learn the demand.
    let server = Server::start(&["--policy", "best-fit"]);
    let mut client = client_of(&server);
    let mut random = random();
    for policy in (0..=12).cycle().take(200) {
        let demand: Demand = &[("CPU", f64::from(random.u8(0..30)) / 10.0)];
        let hints = Hints { policy, dry_run: true, ..Hints::default() };
        let dry = client.call(&with_hints(hints, demand));
        assert_eq!(client.call(&with_hints(Hints { dry_run: false, ..hints }, demand)), dry, "policy {policy}");
    }
}

#[test]
fn a_gang_that_is_refused_changes_nothing() {
    let server = Server::start(&[]);
    let mut client = client_of(&server);
    let one: Demand = &[("CPU", 1.0)];
    let large: Demand = &[("CPU", 7.0)];
    let gpu: Demand = &[("GPU", 1.0)];
    // The strategy, whether strict, the demands, and the reply.
    type Case<'a> = (&'a str, u8, bool, Vec<Demand<'a>>, &'a [u8]);
    let cases: [Case; 9] = [
        ("pack, more than is free", PACK, true, vec![one; 17], NOTHING_FREE),
        ("spread, more than is free", SPREAD, true, vec![one; 17], NOTHING_FREE),
        ("strict pack, more than is free", STRICT_PACK, true, vec![one; 8], NOTHING_FREE),
        ("strict spread, one not free", STRICT_SPREAD, true, vec![one, one, large, large], NOTHING_FEASIBLE),
        ("pack, more than there is", PACK, false, vec![one; 21], NOTHING_FEASIBLE),
        ("spread, more than there is", SPREAD, false, vec![one; 21], NOTHING_FEASIBLE),
        ("strict pack, more than there is", STRICT_PACK, false, vec![one; 9], NOTHING_FEASIBLE),
        ("strict spread, more than nodes", STRICT_SPREAD, false, vec![one; 5], NOTHING_FEASIBLE),
        ("the last one", PACK, false, vec![one, one, gpu, gpu], NOTHING_FEASIBLE),
    ];
    for (name, strategy, strict, demands, expected) in cases {
        let before = state(&mut client);
        assert_eq!(client.call(&many(strategy, strict, &demands)), expected, "{name}");
        assert_eq!(state(&mut client), before, "{name}");
    }
    // All that is free, once.
    for strategy in [PACK, SPREAD] {
        let before = state(&mut client).0;
        let reply = client.call(&many(strategy, true, &[one; 16]));
        assert_eq!(reply.len(), 1 + 16 * 8);
        let view = state(&mut client).0;
        assert_eq!(view["resources"]["CPU"], json!({ "total": 20, "available": 20, "reserved": 20 }));
        for node in reply[1..].chunks(8) {
            let node = i64::from_le_bytes(node.try_into().expect("a node ID"));
            assert_eq!(client.call(&release(node, one, 1)), DONE);
        }
        assert_eq!(state(&mut client).0, before);
    }
}

#[test]
fn strict_servers_place_on_free_nodes_only() {
    let server = Server::start(&["--strict"]);
    let mut client = client_of(&server);
    let large: Demand = &[("CPU", 8.0)];
    assert_eq!(client.call(&with_hints(Hints::default(), large)), NOTHING_FREE);
    assert_eq!(client.call(&many(EACH, false, &[large])), nodes(&[-1]));
    for strategy in [PACK, SPREAD, STRICT_PACK, STRICT_SPREAD] {
        assert_eq!(client.call(&many(strategy, false, &[large])), NOTHING_FREE);
    }
    assert_eq!(client.place(large), None);
}

#[test]
fn an_explanation_says_what_is_missing_where() {
    let server = Server::start(&[]);
    let mut client = client_of(&server);
    assert_eq!(client.call(&drain(2, true)), DONE);
    let counts = |explained: &Value, name: &str| {
        let counts = &explained["resources"][name];
        [&counts["lacking"], &counts["too_little_total"], &counts["too_little_free"]].map(|count| count.as_u64())
    };
    // The demand, the verdict, its node, how many are feasible and free, and the counts of each resource.
    type Case<'a> = (Demand<'a>, &'a str, Option<i64>, [u64; 2], &'a [(&'a str, [u64; 3])]);
    let cases: [Case; 5] = [
        (&[("CPU", 7.0)], "runs", Some(4), [1, 1], &[("CPU", [0, 2, 0])]),
        (&[("CPU", 8.0)], "queues", Some(4), [1, 0], &[("CPU", [0, 2, 1])]),
        (&[("CPU", 6.0), ("GPU", 2.0)], "infeasible", None, [0, 0], &[("CPU", [0, 1, 1]), ("GPU", [2, 1, 0])]),
        (&[("TPU", 1.0), ("CPU", 2.0)], "infeasible", None, [0, 0], &[("TPU", [3, 0, 0]), ("CPU", [0, 0, 1])]),
        (&[("CPU", 9.0), ("CPU", 7.0), ("GPU", 0.0)], "runs", Some(4), [1, 1], &[("CPU", [0, 2, 0])]),
    ];
    let before = state(&mut client);
    for (demand, verdict, node, [feasible, free], resources) in cases {
        let explained = client.json(&explain(demand));
        assert_eq!((&explained["verdict"], &explained["node"]), (&json!(verdict), &json!(node)), "{demand:?}");
        assert_eq!((&explained["nodes"], &explained["draining"]), (&json!(4), &json!(1)));
        assert_eq!((&explained["feasible"], &explained["free"]), (&json!(feasible), &json!(free)), "{demand:?}");
        assert_eq!(explained["resources"].as_object().map(serde_json::Map::len), Some(resources.len()));
        for (name, expected) in resources {
            assert_eq!(counts(&explained, name), expected.map(Some), "{name} of {demand:?}");
        }
        assert_eq!(explained["closest"].is_null(), free > 0);
    }
    let closest = client.json(&explain(&[("CPU", 9.0), ("GPU", 1.0)]))["closest"].take();
    let missing = json!({ "CPU": { "demanded": 9, "total": 8, "free": 7 } });
    assert_eq!(closest, json!({ "node": 4, "missing": missing }));
    assert_eq!(state(&mut client), before, "to explain changes nothing");
    let mut elsewhere = server.connect();
    assert_eq!(elsewhere.json(&explain(&[("CPU", 1.0)]))["verdict"], "no nodes");
}
