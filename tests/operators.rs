//! What operators see: status, explain, drain and undrain against real servers.

mod common;

use std::fs;

use common::{Process, Server, Transport, program, run};
use external_scheduler::client::{Address, Client, Timeouts};
use external_scheduler::wire::NodeId;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::tempdir;

const GIB: f64 = (1u64 << 30) as f64;

/// Runs a command on a server.
fn ask(server: &Server, transport: Transport, arguments: &[&str]) -> common::Ended {
    let (port, socket) = (server.address.port().to_string(), server.socket.to_str().expect("a plain path"));
    let (command, rest) = arguments.split_first().expect("a command");
    let target: &[&str] = match transport {
        Transport::Tcp => &["-a", "localhost", "-p", &port],
        Transport::Unix => &["--unix", socket],
    };
    run(&[&[*command], target, rest].concat())
}

/// What a command prints that succeeds.
#[track_caller]
fn printed(server: &Server, arguments: &[&str]) -> String {
    let ended = ask(server, Transport::Tcp, arguments);
    ended.assert_code(0, &format!("{arguments:?}"));
    assert_eq!(ended.stderr, "", "{arguments:?}");
    ended.stdout
}

/// The JSON that a command prints.
#[track_caller]
fn json(server: &Server, arguments: &[&str]) -> Value {
    serde_json::from_str(&printed(server, arguments)).expect("it prints JSON")
}

/// Checks that a command fails with this code, prints nothing, and says what is wrong in one line.
#[track_caller]
fn assert_fails(ended: &common::Ended, code: i32, words: &str) {
    ended.assert_code(code, words);
    assert_eq!(ended.stdout, "", "{words}");
    let is_clear = ended.stderr.starts_with("external-scheduler: ") && ended.stderr.lines().count() == 1;
    assert!(is_clear && ended.stderr.contains(words), "it says '{words}':\n{}", ended.stderr);
}

fn join(server: &Server, view: &str, owner: &str, token: &[u8]) -> Client {
    let address = Address::Tcp(server.address.to_string());
    let mut client = Client::connect(&address, Timeouts::default()).expect("the server accepts");
    client.hello(view, owner, token).expect("the server welcomes");
    client
}

/// A view `cluster` of three nodes where job 7 has three tasks. The nodes stay while the client does.
fn cluster(server: &Server) -> Client {
    let mut client = join(server, "cluster", "job 7", b"");
    let large: &[(&str, f64)] =
        &[("CPU", 16.0), ("GPU", 4.0), ("memory", 64.0 * GIB), ("node:10.0.0.1", 1.0), ("CPU_group_1", 2.0)];
    client.update_node(NodeId(1), large, &[]).unwrap();
    client.update_node(NodeId(2), &[("CPU", 6.0)], &[("CPU", 8.0)]).unwrap();
    client.update_node(NodeId(-3), &[("CPU", 1.0)], &[]).unwrap();
    for _ in 0..3 {
        assert_eq!(client.schedule(&[("CPU", 1.5), ("GPU", 1.0), ("memory", GIB)]).unwrap(), Some(NodeId(1)));
    }
    client
}

#[test]
fn the_status_of_a_server_names_its_views() {
    let server = Server::start(&["--policy", "best-fit"]);
    assert!(printed(&server, &["status"]).ends_with("\n\nno shared views\n"));
    let _client = cluster(&server);
    let _other = join(&server, "another", "", b"");
    for transport in Transport::ALL {
        let ended = ask(&server, transport, &["status"]);
        ended.assert_code(0, "status");
        let lines = [
            concat!("version     ", env!("CARGO_PKG_VERSION"), ", up "),
            "policy      best-fit\n",
            "connections 3, this one included\n",
            "placements  3, ",
            " a second over the uptime\n",
            "not placed  0\n",
            "latency     p50 ",
            "\n\nnodes  members  placements  shared view\n    0        1           0  another\n    3        1           3  cluster\n",
        ];
        for line in lines {
            assert!(ended.stdout.contains(line), "{transport:?}: {line:?}:\n{}", ended.stdout);
        }
    }
}

#[test]
fn the_status_of_a_view_shows_its_nodes_and_owners() {
    let server = Server::start(&[]);
    let mut client = cluster(&server);
    client.drain(NodeId(-3), true).unwrap();
    let text = printed(&server, &["status", "--view", "cluster"]);
    let expected = "
view 'cluster': 3 nodes, 1 of them draining, 3 placements
  6.5/25 CPU
  3/4 GPU
  3.00GiB/64.00GiB memory

node  queue     state  used / total
   1      3            4.5/16 CPU, 3/4 GPU, 3.00GiB/64.00GiB memory
   2      0            2/8 CPU
  -3      0  draining  0/1 CPU

connections  placements  owner
          1           3  job 7
          1           0  (without a name, this connection included)
";
    assert!(text.ends_with(expected), "{text}");
}

#[test]
fn a_status_in_json_has_what_the_server_says() {
    let server = Server::start(&["--strict"]);
    let _client = cluster(&server);
    let of_server = json(&server, &["status", "--json"]);
    let view = serde_json::json!({ "name": "cluster", "nodes": 3, "members": 1, "placements": 3 });
    assert_eq!(of_server["server"]["views"], serde_json::json!([view]));
    assert_eq!((&of_server["server"]["strict"], of_server.get("view")), (&true.into(), None));
    let of_view = json(&server, &["status", "--view", "cluster", "--json"]);
    let cpu = serde_json::json!({ "total": 25, "available": 23, "reserved": 4.5 });
    assert_eq!(of_view["view"]["resources"]["CPU"], cpu);
    assert_eq!(of_view["view"]["nodes"][0]["resources"]["node:10.0.0.1"]["total"], 1);
}

#[test]
fn a_status_leaves_nothing_behind() {
    let server = Server::start(&[]);
    let client = cluster(&server);
    printed(&server, &["status", "--view", "cluster"]);
    let missing = ask(&server, Transport::Tcp, &["status", "--view", "nothing"]);
    assert_fails(&missing, 1, "has no shared view 'nothing'");
    let views = &json(&server, &["status", "--json"])["server"]["views"];
    assert_eq!((&views[0]["members"], views.as_array().map(Vec::len)), (&1.into(), Some(1)));
    drop(client);
}

#[test]
fn a_watched_status_is_shown_again_and_again() {
    let server = Server::start(&[]);
    let mut client = cluster(&server);
    let port = server.address.port().to_string();
    let arguments = ["status", "-p", &port, "--view", "cluster", "--watch", "50ms"];
    let watch = Process::start(&mut program(&arguments));
    watch.stdout.wait_for("a second over the uptime");
    watch.stdout.wait_for("a second in the last ");
    client.schedule(&[("CPU", 1.0)]).unwrap();
    watch.stdout.wait_for("placements  4, ");
    assert_eq!(watch.stop(Signal::TERM).stderr, "");

    let lines = Process::start(&mut program(&[&arguments[..], &["--json"]].concat()));
    for line in &lines.stdout.wait_for_lines(2)[..2] {
        assert_eq!(serde_json::from_str::<Value>(line).expect("a line is JSON")["view"]["name"], "cluster");
    }
    // It ends where nobody reads it, and where nobody answers.
    Process::start_with_broken_stdout(&mut program(&arguments)).end().assert_code(0, "nobody reads");
    server.terminate();
    let ended = lines.end();
    ended.assert_code(1, "the server is gone");
    assert!(ended.stderr.contains("the connection is closed"), "{}", ended.stderr);
}

#[test]
fn what_would_happen_to_a_task_is_explained_in_words() {
    let cases: [(&[&str], &str); 9] = [
        (&["CPU=16"], "It would wait on node 1: nodes have all of it, but none has it free."),
        (&["CPU=4", "GPU=1", "memory=8GiB"], "It would run on node 1 now: 1 of 3 nodes have all of it free.\n"),
        (&["CPU=7"], "It would run on node 1 now: 1 of 3 nodes have all of it free.\n"),
        (&[], " now: 3 of 3 nodes have all of it free.\n"),
        (&["CPU=16"], " CPU 16: 2 nodes have too little in total, 1 node has too little free."),
        (&["GPU=2"], " Closest is node 1: it has 4 GPU, 1 of it free, and 2 asked for.\n"),
        (
            &["memory=65GiB"],
            "It cannot run anywhere, however long it waits: no node has all of it. memory 65.00GiB: 2 nodes have none, \
             1 node has too little in total. Closest is node 1: it has 64.00GiB memory, 61.00GiB of it free, and \
             65.00GiB asked for.\n",
        ),
        (&["TPU=0.5"], "TPU 0.5: 3 nodes have none."),
        (
            &["CPU=17", "TPU=1"],
            " Closest is node 1: it has 16 CPU, 11.5 of it free, and 17 asked for; it has 0 TPU, 0 of it free, and 1 asked for.",
        ),
    ];
    let server = Server::start(&[]);
    let _client = cluster(&server);
    for (demand, words) in cases {
        for view in [&[][..], &["--view", "cluster"]] {
            let text = printed(&server, &[&["explain"], demand, view].concat());
            assert!(text.contains(words) && text.lines().count() == 1, "{demand:?}: {words}\n{text}");
        }
    }
    let explanation = json(&server, &["explain", "CPU=16", "--json"]);
    assert_eq!((&explanation["verdict"], &explanation["node"]), (&"queues".into(), &1.into()));
    assert_eq!(explanation["resources"]["CPU"]["too_little_total"], 2);
    assert_eq!(json(&server, &["status", "--json"])["server"]["requests"]["placed"], 3, "nothing was placed");
}

#[test]
fn a_strict_server_explains_that_nothing_waits() {
    let server = Server::start(&["--strict"]);
    let _client = cluster(&server);
    let text = printed(&server, &["explain", "CPU=16"]);
    assert!(text.starts_with("It would not be placed now: nodes have all of it, but none has it free"), "{text}");
    assert_eq!(json(&server, &["explain", "CPU=16", "--json"])["verdict"], "nothing free");
}

#[test]
fn a_drained_node_takes_no_tasks_until_it_is_undrained() {
    let server = Server::start(&[]);
    let mut client = cluster(&server);
    let large = [("CPU", 9.0)];
    assert_eq!(printed(&server, &["drain", "1"]), "node 1 of view 'cluster' takes no new tasks\n");
    assert_eq!(client.schedule(&large).unwrap(), None);
    let text = printed(&server, &["explain", "CPU=9"]);
    assert!(text.contains("CPU 9: 2 nodes have too little in total. 1 more is draining."), "{text}");
    for node in ["2", "-3"] {
        printed(&server, &["drain", "--view", "cluster", "--", node]);
    }
    assert_eq!(printed(&server, &["explain", "CPU=1"]), "It cannot run anywhere: every node is draining.\n");
    let text = printed(&server, &["undrain", "1", "--view", "cluster"]);
    assert_eq!(text, "node 1 of view 'cluster' takes tasks\n");
    assert_eq!(client.schedule(&large).unwrap(), Some(NodeId(1)));
}

#[test]
fn what_is_not_there_is_named() {
    let server = Server::start(&[]);
    assert_fails(&ask(&server, Transport::Tcp, &["explain"]), 1, "has no shared view\n");
    let _client = cluster(&server);
    for command in ["drain", "undrain"] {
        assert_fails(&ask(&server, Transport::Unix, &[command, "9"]), 1, "there is no node 9\n");
        assert_fails(&ask(&server, Transport::Tcp, &[command, "1", "--view", "x"]), 1, "has no shared view 'x'");
    }
    assert_fails(&ask(&server, Transport::Tcp, &["explain", "--view", ""]), 1, "has no shared view ''");
    let _other = join(&server, "another", "", b"");
    assert_fails(&ask(&server, Transport::Tcp, &["drain", "1"]), 1, "has 2 shared views: choose by --view");
}

#[test]
fn where_no_server_answers_it_is_said() {
    let server = Server::start(&[]);
    let (address, socket) = (server.address, server.socket.clone());
    server.terminate();
    let (port, socket) = (address.port().to_string(), socket.to_str().expect("a plain path"));
    for command in [&["status"][..], &["status", "--watch"], &["explain", "CPU=1"], &["drain", "1"], &["undrain", "1"]]
    {
        let tcp = run(&[command, &["-p", &port]].concat());
        assert_fails(&tcp, 1, &format!("no server answers at {address}: Connection refused"));
        let unix = run(&[command, &["--unix", socket]].concat());
        assert_fails(&unix, 1, &format!("no server answers at unix:{socket}: No such file"));
    }
}

#[test]
fn wrong_arguments_are_named() {
    let cases: [(&[&str], &str); 13] = [
        (&["explain", "CPU"], "'CPU'"),
        (&["explain", "CPU=-1"], "'CPU=-1'"),
        (&["explain", "CPU=four"], "'CPU=four'"),
        (&["explain", "memory=8GB"], "'memory=8GB'"),
        (&["explain", "=1"], "'=1'"),
        (&["drain"], "node"),
        (&["drain", "first"], "first"),
        (&["undrain", "-3"], "-3"),
        (&["status", "5"], "--watch"),
        (&["status", "--watch", "0"], "--watch"),
        (&["status", "--unix", "somewhere", "-p", "1"], "--unix"),
        (&["status", "-p", "65536"], "65536"),
        (&["status", "-a", "host:1"], "--port"),
    ];
    for (arguments, words) in cases {
        let ended = run(arguments);
        ended.assert_code(2, &format!("{arguments:?}"));
        assert_eq!(ended.stdout, "", "{arguments:?}");
        assert!(ended.stderr.starts_with("external-scheduler: "), "{arguments:?}:\n{}", ended.stderr);
        assert!(ended.stderr.contains(words), "{arguments:?} names {words}:\n{}", ended.stderr);
    }
}

#[test]
fn a_server_that_asks_for_a_token_gets_it() {
    let directory = tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().expect("a plain path").to_owned()
    };
    let [right, wrong, empty, missing] = [
        file("right", b" secret\n"),
        file("wrong", b"secre"),
        file("empty", b"\n"),
        format!("{}/none", directory.path().display()),
    ];
    let server = Server::start(&["--token-file", &right]);
    let mut client = join(&server, "cluster", "", b"secret");
    client.update_node(NodeId(1), &[("CPU", 1.0)], &[]).unwrap();
    // Malformed ones, of version 1 and of an extension, let nobody in either.
    for (message, reply) in [(&[9][..], &[1][..]), (&[0x10], &[2, 1, 0]), (&[2], &[1]), (&[0x17], &[2, 4, 0])] {
        let mut stranger = server.connect();
        stranger.send(&common::frame(message));
        assert!(stranger.receive().starts_with(reply), "{message:?}");
        stranger.assert_closed("it has shown no token");
    }
    for command in [&["status"][..], &["status", "--view", "cluster"], &["explain", "CPU=1"], &["drain", "1"]] {
        printed(&server, &[command, &["--token-file", &right]].concat());
        assert_fails(&ask(&server, Transport::Tcp, command), 1, "the server asks for a token: give --token-file");
        let cases = [
            (&wrong, format!("the token in {wrong} is not the server's")),
            (&empty, format!("{empty} is empty")),
            (&missing, format!("cannot read {missing}: No such file")),
        ];
        for (path, words) in cases {
            assert_fails(&ask(&server, Transport::Tcp, &[command, &["--token-file", path]].concat()), 1, &words);
        }
    }
}

#[test]
fn a_peer_that_is_no_scheduler_is_told_apart() {
    let server = Server::start(&["--echo"]);
    let ended = ask(&server, Transport::Tcp, &["status"]);
    assert_fails(&ended, 1, "the server");
}
