//! A minimal framework: tasks that workers run where the scheduler says. Two of them share a cluster, each an owner of
//! its own in one shared view: their tasks never take the same processors, though neither knows of the other.
//!
//! ```sh
//! cargo run --release --example framework -- 127.0.0.1:44444
//! ```

use std::collections::HashMap;
use std::error::Error;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use external_scheduler::client::{Address, Client, ClientError, Hints, NotPlaced, Timeouts};
use external_scheduler::wire::NodeId;

const VIEW: &str = "example";
const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

type Resources<'r> = &'r [(&'r str, f64)];

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:44444".to_owned());
    for line in run(&address.parse()?)? {
        println!("{line}");
    }
    Ok(())
}

/// Makes a cluster, runs two frameworks on it side by side, and says what each has done.
pub fn run(address: &Address) -> Result<Vec<String>, ClientError> {
    // In a real cluster every machine reports itself. The nodes stay while this connection does.
    let mut cluster = connect(address, "")?;
    for node in NODES {
        cluster.update_node(node, &[("CPU", 4.0)], &[])?;
    }
    thread::scope(|scope| {
        let small = scope.spawn(|| framework(address, "small", &[("CPU", 0.5)], 200));
        let large = scope.spawn(|| framework(address, "large", &[("CPU", 3.0)], 20));
        [small, large].into_iter().map(|thread| thread.join().expect("a framework does not panic")).collect()
    })
}

/// Runs so many tasks, each on the node that the scheduler chooses when the node has room.
fn framework(address: &Address, name: &str, demand: Resources, tasks: usize) -> Result<String, ClientError> {
    let mut driver = connect(address, name)?;
    thread::scope(|scope| {
        let (mut workers, mut threads) = (HashMap::new(), Vec::new());
        for node in NODES {
            let (sender, tasks) = channel();
            workers.insert(node, sender);
            let connection = connect(address, name)?;
            threads.push(scope.spawn(move || worker(connection, node, demand, tasks)));
        }
        let strict = Hints { strict: true, ..Hints::default() };
        for task in 0..tasks {
            let node = loop {
                match driver.schedule_with_hints(&strict, demand)? {
                    Ok(placement) => break placement.node,
                    // Wait until some task ends; a real framework would do something else meanwhile.
                    Err(NotPlaced::NothingFree) => thread::sleep(Duration::from_millis(1)),
                    Err(why) => return Ok(format!("{name}: no node can run its tasks: {why:?}")),
                }
            };
            // Every node of the view has a worker. One that has failed says so below.
            _ = workers[&node].send(task);
        }
        // Workers end when no more tasks can come.
        drop(workers);
        let mut count = 0;
        for thread in threads {
            count += thread.join().expect("a worker does not panic")?;
        }
        Ok(format!("{name}: {count} tasks have run"))
    })
}

/// Runs the tasks that come and tells the scheduler when each has ended. Returns how many it has run.
fn worker(
    mut connection: Client,
    node: NodeId,
    demand: Resources,
    tasks: Receiver<usize>,
) -> Result<usize, ClientError> {
    let mut count = 0;
    for _task in tasks {
        thread::sleep(Duration::from_millis(1));
        // It was placed by another connection of the same owner.
        connection.release(node, demand, 1)?;
        count += 1;
    }
    Ok(count)
}

fn connect(address: &Address, owner: &str) -> Result<Client, ClientError> {
    let mut client = Client::connect(address, Timeouts::default())?;
    client.hello(VIEW, owner, b"")?;
    Ok(client)
}
