//! One scenario for a profiler: `cargo bench --bench decisions -- POLICY NODES CLASSES NAMES none|readd|update STEPS`
//! prints the median and the longest decision, with its update, in nanoseconds.

mod scenario;

use std::time::Instant;

use scenario::{Scenario, Update};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [policy, nodes, classes, names, update, steps] = &arguments[..] else {
        println!("usage: POLICY NODES CLASSES NAMES none|readd|update STEPS");
        return;
    };
    let update = match update.as_str() {
        "none" => Update::None,
        "readd" => Update::RemoveAndAdd,
        _ => Update::InPlace,
    };
    let number = |text: &str| text.parse().expect("a number");
    let mut scenario = Scenario::new(policy, number(nodes), number(classes), number(names), update);
    let mut times: Vec<u64> = (0..number(steps))
        .map(|_| {
            let start = Instant::now();
            scenario.decide();
            start.elapsed().as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    if let Some(longest) = times.last() {
        println!("median {} p99 {} longest {longest}", times[times.len() / 2], times[times.len() * 99 / 100]);
    }
}
