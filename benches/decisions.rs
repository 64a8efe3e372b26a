//! One scenario for a profiler: `cargo bench --bench decisions -- POLICY NODES CLASSES NAMES none|readd|update STEPS ROUNDS`
//! prints the mean, the median and the longest decision, with its update, in nanoseconds. Every round is the same, and
//! the least time of each decision counts: on a machine that does other work, too, the longest is else not the
//! scheduler's. `scripts/cost-instructions` counts instructions with it.

mod scenario;

use std::time::Instant;

use scenario::{Scenario, Update};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [policy, nodes, classes, names, update, steps, rounds] = &arguments[..] else {
        println!("usage: POLICY NODES CLASSES NAMES none|readd|update STEPS ROUNDS");
        return;
    };
    let update = match update.as_str() {
        "none" => Update::None,
        "readd" => Update::RemoveAndAdd,
        _ => Update::InPlace,
    };
    let number = |text: &str| text.parse().expect("a number");
    let mut times = vec![u64::MAX; number(steps)];
    for _ in 0..number(rounds) {
        let mut scenario = Scenario::new(policy, number(nodes), number(classes), number(names), update);
        scenario.warm_up();
        for time in &mut times {
            let start = Instant::now();
            scenario.decide();
            *time = (start.elapsed().as_nanos() as u64).min(*time);
        }
    }
    let longest = (0..).zip(&times).max_by_key(|(_, time)| **time).map(|(step, time): (usize, &u64)| (step, *time));
    times.sort_unstable();
    if let Some((step, longest)) = longest {
        let mean = times.iter().sum::<u64>() / times.len() as u64;
        let [median, p99] = [50, 99].map(|percent| times[times.len() * percent / 100]);
        println!("mean {mean} median {median} p99 {p99} longest {longest} at step {step}");
    }
}
