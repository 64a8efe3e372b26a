//! Small random clusters against brute force.

use external_scheduler::scheduler::gang::{GangError, Strategy};

use crate::brute_force::BruteForce;
use crate::model::{Amounts, Cluster, ModelNode, WHOLE, node_count};

const CLUSTERS: usize = if cfg!(debug_assertions) { 1_000 } else { 40_000 };

const POLICIES: [&str; 4] = ["best-fit", "spread", "first-fit", "binpack"];

/// Of the gangs that can be placed, how many a heuristic strategy did not place, and how many it placed on a number of
/// nodes that is not the best.
#[derive(Debug, Default)]
struct Tally {
    possible: usize,
    missed: usize,
    /// Placed, on another number of nodes than the best.
    inferior: usize,
}

impl Tally {
    fn add(&mut self, best: Option<usize>, plan: &Result<Vec<usize>, GangError>) {
        let Some(best) = best else { return assert!(plan.is_err()) };
        self.possible += 1;
        match plan {
            Ok(nodes) => self.inferior += usize::from(node_count(nodes) != best),
            Err(_) => self.missed += 1,
        }
    }

    fn check(&self, name: &str, missed_max: f64, inferior_max: f64) {
        let share = |count: usize| count as f64 / self.possible as f64;
        println!("{name}: {self:?}, missed {:.5}, inferior {:.5}", share(self.missed), share(self.inferior));
        assert!(self.possible > CLUSTERS / 10);
        // Three standard deviations of a share that is as large as it may be.
        let slack = |max: f64| 3.0 * (max / self.possible as f64).sqrt();
        assert!(share(self.missed) <= missed_max + slack(missed_max));
        assert!(share(self.inferior) <= inferior_max + slack(inferior_max));
    }
}

#[test]
fn random_gangs_are_placed_as_well_as_can_be() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut pack, mut spread) = (Tally::default(), Tally::default());
    let (mut placed, mut queued, mut infeasible) = (0, 0, 0);
    for _ in 0..CLUSTERS {
        let (cluster, demands) = random_cluster(&mut random);
        let totals: Vec<ModelNode> = cluster.nodes.iter().map(|node| ModelNode::new(node.total)).collect();
        let free = BruteForce::new(&cluster.nodes, &demands);
        let total = BruteForce::new(&totals, &demands);
        let exact = [
            (Strategy::StrictPack, free.strict_pack(), total.strict_pack()),
            (Strategy::StrictSpread, free.strict_spread(), total.strict_spread()),
        ];
        for (strategy, is_free, is_feasible) in exact {
            let expected = match (is_free, is_feasible) {
                (true, _) => Ok(()),
                (false, true) => Err(GangError::NothingFree),
                (false, false) => Err(GangError::Infeasible),
            };
            let plan = |strict| cluster.plan(&demands, strategy, strict).map(|_| ());
            assert_eq!(plan(true), expected, "{strategy:?} {demands:?} on {:?}", cluster.nodes);
            let queues = expected == Err(GangError::NothingFree);
            assert_eq!(plan(false), if queues { Ok(()) } else { expected }, "{strategy:?} {demands:?}");
            match expected {
                Ok(()) => placed += 1,
                Err(_) if queues => queued += 1,
                Err(_) => infeasible += 1,
            }
        }
        let counts = free.node_counts();
        pack.add(counts.map(|(fewest, _)| fewest), &cluster.plan(&demands, Strategy::Pack, true));
        spread.add(counts.map(|(_, most)| most), &cluster.plan(&demands, Strategy::Spread, true));
        for strategy in [Strategy::Pack, Strategy::Spread] {
            assert!(counts.or(total.node_counts()).is_some() || cluster.plan(&demands, strategy, false).is_err());
        }
    }
    println!("strict strategies: {placed} placed, {queued} queued, {infeasible} infeasible");
    // The rarest are some 3 % of all.
    assert!([placed, queued, infeasible].iter().all(|&count| count > CLUSTERS / 50));
    pack.check("pack", 0.0005, 0.01);
    spread.check("spread", 0.0005, 0.002);
}

/// Two to four nodes with something running, and one to six demands, most of them cut from what is left, so that tight
/// fits are common.
fn random_cluster(random: &mut fastrand::Rng) -> (Cluster, Vec<Amounts>) {
    let resource_count = random.usize(1..=3);
    let fraction = [1_000, 2_500, 5_000][random.usize(0..3)];
    let amounts = |random: &mut fastrand::Rng, max: i64| -> Amounts {
        std::array::from_fn(|resource| match resource {
            _ if resource >= resource_count => 0,
            0 if random.bool() => random.i64(0..=max.min(3)) * WHOLE,
            0 => random.i64(0..=WHOLE / fraction * max.min(2)) * fraction,
            _ => random.i64(0..=max) * WHOLE,
        })
    };
    let total = |random: &mut fastrand::Rng| -> Amounts {
        std::array::from_fn(|resource| {
            if resource < resource_count { random.i64(0..=8 - 4 * i64::from(resource == 0)) * WHOLE } else { 0 }
        })
    };
    let totals: Vec<Amounts> = (0..random.usize(2..=4)).map(|_| total(random)).collect();
    let mut nodes: Vec<ModelNode> = totals.iter().copied().map(ModelNode::new).collect();
    let mut running = Vec::new();
    for _ in 0..random.usize(0..4) {
        let (node, demand) = (random.usize(0..nodes.len()), amounts(random, 3));
        let mut after = nodes[node].clone();
        if after.take(&demand) {
            nodes[node] = after;
            running.push((node, demand));
        }
    }
    let mut demands = Vec::new();
    for _ in 0..random.usize(1..=6) {
        let demand = amounts(random, 5);
        match random.u8(0..4) {
            0 if !demands.is_empty() => demands.push(demands[random.usize(0..demands.len())]),
            1 => demands.push(demand),
            _ => {
                let node = random.usize(0..nodes.len());
                let fitting: Amounts =
                    std::array::from_fn(|resource| demand[resource].min(nodes[node].left[resource].max(0)));
                let mut after = nodes[node].clone();
                if after.take(&fitting) {
                    nodes[node] = after;
                }
                demands.push(fitting);
            }
        }
    }
    (Cluster::new(POLICIES[random.usize(0..POLICIES.len())], &totals, &running), demands)
}
