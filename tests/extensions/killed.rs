//! Clients that are killed at any moment leave nothing behind.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::extension::*;
use crate::common::{PATIENCE, Server, add, random, remove, schedule};

/// Connections that are dropped, and processes that are killed.
const CONNECTIONS: u64 = 140;
const PROCESSES: u64 = 60;
/// How many live at once, and how long at most.
const AT_ONCE: u64 = 10;
const LIFE_MAX: Duration = Duration::from_millis(40);

/// Where the process of a client finds its server, and its seed.
const ADDRESS: &str = "KILLED_CLIENT_ADDRESS";
const SEED: &str = "KILLED_CLIENT_SEED";

/// The watcher's node, which outlives all clients.
const NODE: i64 = 0;
const RESOURCES: [&str; 3] = ["CPU", "GPU", "custom"];

/// A request of random work.
fn request(random: &mut fastrand::Rng, own_node: i64) -> Vec<u8> {
    let amount = f64::from(random.u32(1..20)) / 10.0;
    let name = RESOURCES[random.usize(0..RESOURCES.len())];
    let demand: &[(&str, f64)] = &[(name, amount)];
    let node = if random.bool() { NODE } else { own_node + random.i64(0..3) };
    // The watcher's node is its own.
    let own_node = own_node + random.i64(0..3);
    match random.u8(0..20) {
        0..3 => update(own_node, &[("CPU", 4.0), ("GPU", 2.0), (name, amount)], &[]),
        3 => add(own_node, &[("CPU", 8.0), ("custom", 1.0)]),
        4 => remove(own_node),
        5 => drain(own_node, random.bool()),
        6..10 => schedule(demand),
        10..13 => many(random.u8(0..5), random.bool(), &vec![demand; random.usize(0..6)]),
        13..16 => with_hints(Hints { preferred: &[node], dry_run: random.bool(), ..Hints::default() }, demand),
        _ => release(node, demand, random.u32(0..3)),
    }
}

/// Works until the connection breaks. What is asked together is answered before more is asked, so that no server is so slow
/// that the work of the dead keeps it busy.
fn work(mut stream: TcpStream, seed: u64) -> std::io::Result<()> {
    let mut random = fastrand::Rng::with_seed(seed);
    let owner = ["", "job", "other job"][random.usize(0..3)];
    stream.write_all(&hello("v", owner))?;
    read_reply(&mut stream)?;
    loop {
        // Others report some of the same nodes.
        let nodes = 1_000 + 3 * random.i64(0..20);
        let requests: Vec<Vec<u8>> = (0..random.usize(1..8)).map(|_| request(&mut random, nodes)).collect();
        stream.write_all(&requests.concat())?;
        requests.iter().try_for_each(|_| read_reply(&mut stream))?;
    }
}

fn read_reply(stream: &mut TcpStream) -> std::io::Result<()> {
    let mut prefix = [0; 8];
    stream.read_exact(&mut prefix)?;
    stream.read_exact(&mut vec![0; u64::from_le_bytes(prefix) as usize])
}

/// Not a test, but the process of a client: see [`start_process`].
#[test]
#[ignore = "started by another test"]
fn client_process() {
    let variable = |name| std::env::var(name).expect("it was started with it");
    let address: SocketAddr = variable(ADDRESS).parse().expect("an address");
    let stream = TcpStream::connect(address).expect("the server accepts");
    _ = work(stream, variable(SEED).parse().expect("a number"));
}

/// This program again, as a client that works until it is killed.
fn start_process(address: SocketAddr, seed: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command.args(["--ignored", "--exact", "killed::client_process"]);
    command.env(ADDRESS, address.to_string()).env(SEED, seed.to_string());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
}

#[test]
fn nothing_is_left_of_clients_that_are_killed() {
    let mut random = random();
    let server = Server::start(&["--lease", "0.5"]);
    let mut watcher = server.connect();
    watcher.join("v", "watcher");
    watcher.add(NODE, &[("CPU", 64.0), ("GPU", 8.0), ("custom", 16.0)]);
    let mut seeds: Vec<u64> =
        (0..CONNECTIONS + PROCESSES).map(|index| random.u64(..) / 1_000 * 1_000 + index).collect();
    random.shuffle(&mut seeds);
    for batch in seeds.chunks(AT_ONCE as usize) {
        thread::scope(|scope| {
            for &seed in batch {
                let life = LIFE_MAX.mul_f64(random.f64());
                let (address, is_process) = (server.address, seed % 1_000 < PROCESSES);
                scope.spawn(move || {
                    if is_process {
                        let mut process = start_process(address, seed);
                        // It takes a while to start.
                        thread::sleep(life * 2);
                        process.kill().expect("it has not been waited for");
                        process.wait().expect("it is a child");
                        return;
                    }
                    let stream = TcpStream::connect(address).expect("the server accepts");
                    let socket = socket2::Socket::from(stream.try_clone().expect("another descriptor"));
                    let worker = thread::spawn(move || work(stream, seed));
                    thread::sleep(life);
                    // What was not sent or read is thrown away.
                    socket.set_linger(Some(Duration::ZERO)).expect("a socket");
                    socket.shutdown(std::net::Shutdown::Both).expect("it is connected");
                    assert!(worker.join().expect("it does not panic").is_err(), "it works until the connection breaks");
                });
            }
        });
    }
    let view = watcher.view();
    assert!(view["owners"].as_array().is_some_and(|owners| owners.len() > 1), "the clients did something: {view}");
    let give_up_at = Instant::now() + PATIENCE;
    while watcher.view()["owners"].as_array().map(Vec::len) != Some(1)
        || watcher.view()["nodes"].as_array().map(Vec::len) != Some(1)
    {
        assert!(Instant::now() < give_up_at, "something is left: {}", watcher.view());
        thread::sleep(Duration::from_millis(20));
    }
    let view = watcher.view();
    let amount = |total: i64| json!({ "total": total, "available": total, "reserved": 0 });
    let resources = json!({ "CPU": amount(64), "GPU": amount(8), "custom": amount(16) });
    let nodes = json!([{ "id": NODE, "queued": 0, "draining": false, "resources": resources }]);
    let owners = json!([{ "name": "watcher", "connections": 1, "placements": 0 }]);
    assert_eq!(
        view,
        json!({ "draining": 0, "placements": 0, "resources": resources, "nodes": nodes, "name": "v", "owners": owners })
    );
    server.terminate().assert_code(0, "the server is well");
}
