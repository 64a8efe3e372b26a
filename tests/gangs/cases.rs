//! Hand-made cases, with a policy under which the lowest slot ranks first.

use external_scheduler::scheduler::gang::GangError::{self, Infeasible, NothingFree, TooMuchWork};
use external_scheduler::scheduler::gang::Strategy::{self, Pack, Spread, StrictPack, StrictSpread};
use external_scheduler::wire::NodeId;

use crate::model::{Amounts, Cluster, WHOLE, node_count};

const POLICY: &str = "first-fit";
const NOTHING: Amounts = [0; 3];

fn gpus(count: f64) -> Amounts {
    [(count * WHOLE as f64) as i64, 0, 0]
}

fn cpus(count: i64) -> Amounts {
    [0, count * WHOLE, 0]
}

fn memory(count: i64) -> Amounts {
    [0, 0, count * WHOLE]
}

fn node(gpus: i64, cpus: i64, memory: i64) -> Amounts {
    [gpus, cpus, memory].map(|count| count * WHOLE)
}

/// Nodes, what runs on which, the demands, and the node of each.
type Case<'c> = (&'c [Amounts], &'c [(usize, Amounts)], &'c [Amounts], Result<&'c [usize], GangError>);

fn check(strategy: Strategy, strict: bool, cases: &[Case<'_>]) {
    for (totals, running, demands, expected) in cases {
        let plan = Cluster::new(POLICY, totals, running).plan(demands, strategy, strict);
        assert_eq!(plan.as_deref(), expected.as_deref(), "{demands:?} on {totals:?} with {running:?}");
    }
}

#[test]
fn strict_pack_takes_one_node() {
    let on_first: &[usize] = &[0; 6];
    let two_gpus = &[gpus(2.0)];
    check(
        StrictPack,
        true,
        &[
            (&[cpus(4), cpus(8), cpus(8)], &[], &[cpus(3), cpus(3)], Ok(&[1, 1])),
            (&[cpus(4), cpus(8), cpus(8)], &[(1, cpus(3))], &[cpus(3), cpus(3)], Ok(&[2, 2])),
            (&[node(0, 8, 4), node(0, 4, 8)], &[], &[cpus(5), memory(5)], Err(Infeasible)),
            (&[cpus(8)], &[(0, cpus(4))], &[cpus(3), cpus(3)], Err(NothingFree)),
            (&[cpus(8)], &[(0, cpus(8))], &[], Ok(&[])),
            (&[cpus(8), cpus(8)], &[(0, cpus(8)), (1, cpus(8))], &[NOTHING, NOTHING], Ok(&[0, 0])),
            // Fractions of units: halves of two do not make a whole, and the order matters.
            (two_gpus, &[(0, gpus(0.6)), (0, gpus(0.6))], &[gpus(0.4), gpus(0.4)], Ok(&[0, 0])),
            (two_gpus, &[(0, gpus(0.6)), (0, gpus(0.6))], &[gpus(0.4), gpus(0.2), gpus(0.2)], Ok(&[0, 0, 0])),
            (two_gpus, &[(0, gpus(0.6)), (0, gpus(0.6))], &[gpus(0.5), gpus(0.3)], Err(NothingFree)),
            (two_gpus, &[], &[gpus(0.6), gpus(0.6), gpus(0.6)], Err(Infeasible)),
            (two_gpus, &[], &[gpus(0.5), gpus(1.5)], Ok(&[0, 0])),
            (two_gpus, &[], &[0.5, 0.4, 0.3, 0.3, 0.3, 0.2].map(gpus), Ok(on_first)),
        ],
    );
    check(
        StrictPack,
        false,
        &[
            (&[cpus(8), cpus(4)], &[(0, cpus(4))], &[cpus(3), cpus(3)], Ok(&[0, 0])),
            // Of nodes where it would have to queue, the one with the shorter queue.
            (&[cpus(8), cpus(8)], &[(0, cpus(2)), (0, cpus(2)), (1, cpus(4))], &[cpus(3), cpus(3)], Ok(&[1, 1])),
            (two_gpus, &[(0, gpus(0.6)), (0, gpus(0.6))], &[gpus(0.5), gpus(0.3)], Ok(&[0, 0])),
        ],
    );
}

#[test]
fn strict_spread_takes_a_node_for_each() {
    // GPU on the first two, CPU and memory on the first and the third: the last demand makes the first one move.
    let exchange = &[node(1, 1, 1), node(1, 0, 0), node(0, 1, 1)];
    check(
        StrictSpread,
        true,
        &[
            (&[cpus(8), cpus(8)], &[], &[cpus(1), cpus(1)], Ok(&[0, 1])),
            (&[cpus(8), cpus(8)], &[], &[cpus(1), cpus(1), cpus(1)], Err(Infeasible)),
            (&[cpus(8), cpus(2)], &[], &[cpus(1), cpus(5)], Ok(&[1, 0])),
            (exchange, &[], &[gpus(1.0), cpus(1), memory(1)], Ok(&[1, 2, 0])),
            (exchange, &[(1, gpus(0.1))], &[gpus(1.0), cpus(1), memory(1)], Err(NothingFree)),
            (&[gpus(2.0), gpus(1.0)], &[(0, gpus(0.6)), (0, gpus(0.6))], &[gpus(0.8), gpus(0.4)], Ok(&[1, 0])),
            (&[cpus(8), cpus(8)], &[(0, cpus(8))], &[NOTHING, NOTHING], Ok(&[0, 1])),
            (&[cpus(8), cpus(8)], &[(0, cpus(8))], &[], Ok(&[])),
        ],
    );
    check(
        StrictSpread,
        false,
        &[
            (exchange, &[(1, gpus(0.1))], &[gpus(1.0), cpus(1), memory(1)], Ok(&[1, 2, 0])),
            (&[cpus(8), cpus(8)], &[(0, cpus(8)), (1, cpus(8))], &[cpus(2), cpus(2), cpus(2)], Err(Infeasible)),
        ],
    );
}

#[test]
fn pack_and_spread_take_few_and_many_nodes() {
    // Nodes, what runs on which, demands, the number of nodes with PACK and with SPREAD.
    type Case<'c> = (&'c [Amounts], &'c [(usize, Amounts)], &'c [Amounts], Result<(usize, usize), GangError>);
    let cases: &[Case<'_>] = &[
        (&[cpus(8), cpus(8), cpus(16)], &[], &[cpus(4); 4], Ok((1, 3))),
        (&[cpus(8), cpus(8), cpus(16)], &[], &[cpus(4); 5], Ok((2, 3))),
        (&[cpus(8), cpus(8), cpus(16)], &[], &[cpus(4); 9], Err(Infeasible)),
        (&[cpus(8), cpus(8), cpus(16)], &[(2, cpus(16))], &[cpus(4); 5], Err(NothingFree)),
        (&[cpus(1), cpus(1), cpus(4)], &[], &[cpus(4), cpus(1), cpus(1)], Ok((3, 3))),
        // The largest first leaves no place for the last.
        (&[cpus(10), cpus(10)], &[], &[4, 4, 3, 3, 3, 3].map(cpus), Ok((2, 2))),
        (&[gpus(1.0), gpus(1.0)], &[], &[gpus(0.6), gpus(0.6), gpus(0.4), gpus(0.4)], Ok((2, 2))),
        (&[gpus(2.0), cpus(2)], &[], &[gpus(1.0), cpus(1), NOTHING, NOTHING], Ok((2, 2))),
        (&[cpus(1), cpus(1)], &[], &[NOTHING; 5], Ok((1, 2))),
        (&[cpus(1)], &[], &[], Ok((0, 0))),
    ];
    for (totals, running, demands, expected) in cases {
        let cluster = Cluster::new(POLICY, totals, running);
        let count = |strategy| cluster.plan(demands, strategy, true).map(|nodes| node_count(&nodes));
        let counts = count(Pack).and_then(|pack| Ok((pack, count(Spread)?)));
        assert_eq!(counts, *expected, "{demands:?} on {totals:?} with {running:?}");
        let queues = *expected == Err(NothingFree);
        assert_eq!(cluster.plan(demands, Pack, false).is_ok(), expected.is_ok() || queues);
        assert_eq!(cluster.plan(demands, Spread, false).is_ok(), expected.is_ok() || queues);
    }
}

#[test]
fn draining_nodes_take_no_part() {
    let mut cluster = Cluster::new(POLICY, &[cpus(8), cpus(8), cpus(8)], &[]);
    assert!(cluster.table.set_draining(NodeId(0), true));
    for strategy in [Pack, Spread, StrictPack, StrictSpread] {
        let nodes = cluster.plan(&[cpus(2), NOTHING], strategy, false).expect("it fits");
        assert!(!nodes.contains(&0), "{strategy:?} takes {nodes:?}");
    }
    assert_eq!(cluster.plan(&[cpus(2), cpus(2), NOTHING], StrictSpread, false), Err(Infeasible));
}

#[test]
fn too_many_shapes_for_so_many_nodes_are_refused() {
    let cluster = Cluster::new(POLICY, &[cpus(64); 500], &[]);
    let demands: Vec<Amounts> = (1..=8_400).map(|amount| [0, amount, 0]).collect();
    for strategy in [Pack, Spread, StrictPack, StrictSpread] {
        assert_eq!(cluster.plan(&demands, strategy, false), Err(TooMuchWork));
        assert!(cluster.plan(&demands[..100], strategy, false).is_ok());
    }
}

#[test]
fn the_same_gang_always_has_the_same_plan() {
    let totals: Vec<Amounts> = (0..40).map(|index| node(index % 5, 4 + index % 7, 8)).collect();
    let demands: Vec<Amounts> = (0..60).map(|index| node(index % 2, 1 + index % 3, 1)).collect();
    for strategy in [Pack, Spread] {
        let plan = || Cluster::new("best-fit", &totals, &[(3, cpus(2))]).plan(&demands, strategy, true);
        let first = plan();
        assert!(first.is_ok());
        (0..5).for_each(|_| assert_eq!(plan(), first));
    }
}
