//! Every policy by name: its formula, and the source of that.
//!
//! In the formulas, of a node: `f` what is free, `c` what it has in total; of the demand: `r`; `m` the most that
//! any node of the view has reported in total; a subscript `k` is a resource.

use super::{Definition, NodeTerm, Policy, Score, Scoring, Selection, Share};
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::{Cell, Cells, Slot};
use crate::scheduler::node_table::Node;
use crate::scheduler::profile::{Outlook, Profile, Vector};

/// Every policy; the first is the default.
pub static DEFINITIONS: [Definition; 12] = [
    Definition {
        name: "binpack",
        summary: "learns which demands are common, and keeps what is scarce usable for them",
        node_term: None,
        score: Score::Learned { term: binpack_before, score: binpack },
        scores_by_term: false,
        selection: Selection::Highest,
    },
    Definition {
        name: "stranded",
        summary: "learns which resources are scarce, and strands least of them",
        node_term: None,
        score: Score::Learned { term: stranded_before, score: stranded },
        scores_by_term: false,
        selection: Selection::Highest,
    },
    Definition {
        name: "fragmentation",
        summary: "learns which demands are common, and fragments the scarcest resource least",
        node_term: None,
        score: Score::Learned { term: fragmentation_before, score: fragmentation },
        scores_by_term: false,
        selection: Selection::Highest,
    },
    Definition {
        name: "best-fit",
        summary: "the node with the least left over, so that large nodes stay whole",
        node_term: Some(best_fit),
        score: Score::Direct(term),
        scores_by_term: true,
        selection: Selection::Highest,
    },
    Definition {
        name: "spread",
        summary: "the least allocated node, over all its resources",
        node_term: Some(free_of_total),
        score: Score::Direct(spread),
        scores_by_term: false,
        selection: Selection::Highest,
    },
    Definition {
        name: "balanced",
        summary: "the node whose free resources are most alike to the demand in their proportions",
        node_term: Some(free_square),
        score: Score::Direct(balanced),
        scores_by_term: false,
        selection: Selection::Highest,
    },
    Definition {
        name: "hybrid",
        summary: "as Ray does: pack up to a threshold (--spread-threshold), then spread; ties at random",
        node_term: None,
        score: Score::Direct(hybrid),
        scores_by_term: false,
        selection: Selection::RandomOfTop,
    },
    Definition {
        name: "shortest-queue",
        summary: "the node with the fewest placements since its last report",
        node_term: None,
        score: Score::Direct(shortest_queue),
        scores_by_term: false,
        selection: Selection::Highest,
    },
    Definition {
        name: "first-fit",
        summary: "the first node that fits",
        node_term: None,
        score: Score::Direct(term),
        scores_by_term: true,
        selection: Selection::Highest,
    },
    Definition {
        name: "round-robin",
        summary: "the next node that fits",
        node_term: None,
        score: Score::Direct(term),
        scores_by_term: true,
        selection: Selection::Next,
    },
    Definition {
        name: "random",
        summary: "any node that fits (--seed)",
        node_term: None,
        score: Score::Direct(term),
        scores_by_term: true,
        selection: Selection::Random,
    },
    Definition {
        name: "power-of-two",
        summary: "the less allocated of two nodes at random (--seed)",
        node_term: Some(free_of_total),
        score: Score::Direct(least_loaded),
        scores_by_term: false,
        selection: Selection::RandomPair,
    },
];

/// Parts of a whole that node terms add up, since whole numbers give the same sum in any order. Sixteen wholes are
/// still exact as a float.
const PARTS: f32 = (1 << 20) as f32;

/// Sums a value, which is not negative, over all resources of a node. What is available may be far more than any total:
/// such a sum stays at the end of the range, which it reaches in any order.
#[inline]
fn sum(cells: &Cells, slot: Slot, value: impl Fn(Share) -> f32) -> f32 {
    let mut parts: i64 = 0;
    cells.for_each(slot, |share| parts = parts.saturating_add((value(share) * PARTS) as i64));
    parts as f32 / PARTS
}

/// The first value of the node term. Where there is none it is the same on every node, so that the [`Selection`] alone decides:
///
/// - `first-fit`: the lowest slot, which is the node that was reported first. Source: Johnson et al., "Worst-Case Performance Bounds
///   for Simple One-Dimensional Packing Algorithms", 1974.
/// - `round-robin`: the next slot after the last. Source: the SPREAD strategy of Ray.
/// - `random`: any, each as likely as the others. Source: Random as in the evaluation of Weng et al., "Beware of Fragmentation",
///   USENIX ATC'23.
fn term(policy: &Policy, _: &Scoring<'_>, node: Node<'_>) -> f32 {
    node.term(policy)[0]
}

fn free(cell: Cell) -> f32 {
    cell.free().units().max(0) as f32
}

fn of(amount: Amount) -> f32 {
    amount.units() as f32
}

/// How much stranded resources weigh in [`binpack`], and how much what is left over: without a prospect of whole nodes, and with it.
const BINPACK_STRANDED: [f32; 2] = [0.3, 0.1];
const BINPACK_LEFTOVER: [f32; 2] = [0.04, 0.09];

/// The default: `ΔF + v ΔW - w L`, where Δ is before less after the placement, F the
/// [fragmentation](Profile::common_fragmentation) by the common demands, W what is [stranded](Profile::stranded), and L
/// what is [left over](Profile::scarce_free) afterwards.
///
/// W is a sum over what is free less what is [usable](Profile::usable), U. On nodes that are free the sum goes down with the placement by
/// as much on each, and so does L. This is left out of the score, which is `ΔF - v ΔU - w L` with L before the placement.
///
/// The weights v and w go from 0.3 and 0.04 to 0.1 and 0.09 with the [prospect](Profile::prospect) of whole nodes. Where nothing
/// leaves, or hardly anything is free, more is filled by stranding less; where tasks come and go, nodes are kept whole
/// for large tasks, which else are blocked.
///
/// Source: this project's own, measured with `replay`. F builds on [`fragmentation`], L on [`best_fit`].
fn binpack(scoring: &Scoring<'_>, before: &Outlook, _: Node<'_>) -> f32 {
    let (profile, after) = (scoring.profile, before.free_after(scoring.asked));
    let usable = before.term[1] - profile.usable(&after);
    before.term[0] - profile.common_fragmentation(&after) - binpack_weight(profile, BINPACK_STRANDED) * usable
}

fn binpack_before(profile: &Profile, free: &Vector, _: Node<'_>) -> NodeTerm {
    let leftover = binpack_weight(profile, BINPACK_LEFTOVER) * profile.scarce_free(free);
    [profile.common_fragmentation(free) - leftover, profile.usable(free)]
}

#[inline]
fn binpack_weight(profile: &Profile, [without, with]: [f32; 2]) -> f32 {
    without + (with - without) * profile.prospect()
}

/// `ΔW - 0.001 L`: see [`binpack`]. L only decides between equals.
///
/// Source: this project's own.
fn stranded(scoring: &Scoring<'_>, before: &Outlook, _: Node<'_>) -> f32 {
    let (profile, after) = (scoring.profile, before.free_after(scoring.asked));
    before.term[0] - profile.stranded(&after) - 0.001 * profile.scarce_free(&after)
}

fn stranded_before(profile: &Profile, free: &Vector, _: Node<'_>) -> NodeTerm {
    [profile.stranded(free), 0.0]
}

/// Steps in which [`fragmentation`] counts what an average node has of the scarcest resource.
const FRAGMENTATION_STEPS: f32 = 128.0;

/// `ΔF` of the [fragmentation](Profile::fragmentation) by every demand that was seen, rounded to 1/128 of what an average node has:
/// what differs by less goes to the first node, which keeps the others whole. Without it the first
/// large task is rejected sooner, and half a percent less is filled.
///
/// Source: fragmentation gradient descent of Weng et al., "Beware of Fragmentation", USENIX ATC'23, for any resource
/// that is scarcest. Its simulator ranks by whole numbers from 0 to 100 of a sigmoid of ΔF, which are steps of 0.04
/// GPUs where ΔF is small: as many as here on its nodes of 5.1 GPUs on average.
fn fragmentation(scoring: &Scoring<'_>, before: &Outlook, node: Node<'_>) -> f32 {
    let (profile, after) = (scoring.profile, before.free_after(scoring.asked));
    let units_after = profile.scarcest_units(node, Some(scoring.demand));
    let gain = before.term[0] - profile.fragmentation(&after, units_after.as_ref());
    (gain * FRAGMENTATION_STEPS).round()
}

fn fragmentation_before(profile: &Profile, free: &Vector, node: Node<'_>) -> NodeTerm {
    [profile.fragmentation(free, profile.scarcest_units(node, None).as_ref()), 0.0]
}

/// Best fit: `-Σ_k (f_k - r_k) / m_k`, over all resources of the node but memory, which there is plenty of where CPUs and
/// GPUs run out: counted alike it costs a percent of the GPUs of a cluster. `Σ_k r_k / m_k` is the same on every node and
/// left out. A task without GPUs so avoids the nodes that have some while others fit.
///
/// Source: BestFit as in the evaluation of Weng et al., "Beware of Fragmentation", USENIX ATC'23, which counts
/// CPUs and GPUs with equal weights, for any resources.
fn best_fit(cells: &Cells, slot: Slot) -> NodeTerm {
    let share_free = |share: Share| if share.is_memory { 0.0 } else { free(share.cell) * share.largest_inverse };
    [-sum(cells, slot, share_free), 0.0]
}

/// Least allocated: the mean of `(f_k - r_k) / c_k` over the resources of the node.
///
/// Source: LeastAllocated of the Kubernetes scheduler, with equal weights and for any resources.
fn spread(policy: &Policy, scoring: &Scoring<'_>, node: Node<'_>) -> f32 {
    let [free, count] = node.term(policy);
    let taken: f32 = scoring.demand.entries().iter().map(|&(id, amount)| of(amount) / of(node.cell(id).total)).sum();
    (free - taken) / count.max(1.0)
}

/// The mean of `f_k / c_k` over the resources of the node, before the placement.
///
/// Source: Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 1996, with the least allocated
/// node for the shorter queue.
fn least_loaded(policy: &Policy, _: &Scoring<'_>, node: Node<'_>) -> f32 {
    let [free, count] = node.term(policy);
    free / count.max(1.0)
}

fn free_of_total(cells: &Cells, slot: Slot) -> NodeTerm {
    let is_counted = |share: Share| share.cell.total > Amount::ZERO;
    let share_free = |share: Share| if is_counted(share) { free(share.cell) / of(share.cell.total) } else { 0.0 };
    [sum(cells, slot, share_free), sum(cells, slot, |share| if is_counted(share) { 1.0 } else { 0.0 })]
}

/// Cosine alignment: `Σ_k r_k f_k / (|r| |f|)`, every amount as a share of `m_k`.
///
/// Source: the vector bin packing heuristics compared by Panigrahy et al., "Heuristics for Vector Bin Packing", 2011.
fn balanced(policy: &Policy, scoring: &Scoring<'_>, node: Node<'_>) -> f32 {
    let (mut dot, mut demand_square) = (0.0, 0.0);
    for &(id, amount) in scoring.demand.entries() {
        let Share { cell, largest_inverse, .. } = node.share(id);
        let demanded = of(amount) * largest_inverse;
        dot += demanded * free(cell) * largest_inverse;
        demand_square += demanded * demanded;
    }
    // A demand of nothing, or a node with nothing free, is at no angle.
    dot / (demand_square * node.term(policy)[0]).sqrt().max(f32::MIN_POSITIVE)
}

fn free_square(cells: &Cells, slot: Slot) -> NodeTerm {
    [sum(cells, slot, |share| (free(share.cell) * share.largest_inverse).powi(2)), 0.0]
}

/// What Ray takes for a node's utilisation.
const HYBRID_NAMES: [&[u8]; 3] = [b"CPU", b"memory", b"object_store_memory"];
const GPU: &[u8] = b"GPU";

/// Far more than utilisations differ: nodes that are avoided come after all others.
pub(in crate::scheduler) const HYBRID_AVOIDED: f32 = 10.0;

/// Ray's hybrid policy: `-max_k (1 - f_k / c_k)` over CPU, memory and object store, before the placement, where a
/// utilisation below the threshold counts as 0. A demand without GPUs avoids the nodes that have some.
///
/// Source: `hybrid_scheduling_policy` of Ray 2; the names are Ray's.
fn hybrid(policy: &Policy, scoring: &Scoring<'_>, node: Node<'_>) -> f32 {
    let utilisation = |name: &[u8]| {
        let cell = node.cell_of(name);
        match of(cell.total) {
            total if total > 0.0 => 1.0 - free(cell) / total,
            _ => 0.0,
        }
    };
    let highest = HYBRID_NAMES.into_iter().map(utilisation).fold(0.0, f32::max);
    let counted = if highest < policy.parameters.spread_threshold { 0.0 } else { highest };
    let asks_for_gpus = node.id_of(GPU).is_some_and(|id| scoring.demand.amount(id) > Amount::ZERO);
    let is_avoided = !asks_for_gpus && node.cell_of(GPU).total > Amount::ZERO;
    -counted - if is_avoided { HYBRID_AVOIDED } else { 0.0 }
}

/// `-` the placements since the last report.
///
/// Source: what the original Python server meant to do; join the shortest queue.
fn shortest_queue(_: &Policy, _: &Scoring<'_>, node: Node<'_>) -> f32 {
    -(node.queued() as f32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::node_table::{Demand, NodeTable, Placements};
    use crate::scheduler::policy::Parameters;
    use crate::scheduler::profile::Count;
    use crate::scheduler::units::UnitResources;
    use crate::wire::NodeId;

    type Resources<'a> = &'a [(&'a str, f64)];

    fn on_wire<'a>(resources: Resources<'a>) -> impl Iterator<Item = (&'a [u8], Amount)> + Clone {
        resources.iter().map(|&(name, value)| (name.as_bytes(), Amount::from_f64(value)))
    }

    /// Scores a demand on each of some nodes, after placing what is placed on the nodes by their index. The demand is all
    /// that was ever asked for.
    fn scores(policy: &str, nodes: &[Resources], placed: &[(u32, Resources)], demand: Resources) -> Vec<f32> {
        scores_after(demand, policy, nodes, placed, demand)
    }

    /// As [`scores`] where another demand is all that was ever asked for, once.
    fn scores_after(
        seen: Resources,
        policy: &str,
        nodes: &[Resources],
        placed: &[(u32, Resources)],
        demand: Resources,
    ) -> Vec<f32> {
        let policy = Policy::named(policy, Parameters::default()).expect("a policy of that name");
        let mut table = NodeTable::new(policy, UnitResources::default());
        for (index, node) in nodes.iter().enumerate() {
            assert_eq!(table.report(NodeId(index as i64), on_wire(node)), Ok(()));
        }
        let mut resolved = Demand::default();
        for (slot, demand) in placed {
            table.resolve(on_wire(demand), &mut resolved).expect("a known resource");
            table.place(*slot, &resolved);
        }
        table.resolve(on_wire(demand), &mut resolved).expect("a known resource");
        let mut seen_resolved = Demand::default();
        table.resolve(on_wire(seen), &mut seen_resolved).expect("a known resource");
        table.settle();
        let count = Count { demand: &seen_resolved, count: 1 };
        let profile = Profile::new(&table, if policy.learns() { vec![count] } else { vec![] }.into_iter());
        let scoring = Scoring { demand: &resolved, profile: &profile, asked: &profile.asked(&resolved) };
        table.nodes().map(|node| policy.score(&scoring, node)).collect()
    }

    #[test]
    fn scores_are_those_computed_by_hand() {
        const ONE_CPU: Resources = &[("CPU", 1.0)];
        const SMALL: Resources = &[("CPU", 4.0)];
        const LARGE: Resources = &[("CPU", 8.0)];
        const GPU: Resources = &[("CPU", 8.0), ("GPU", 2.0)];
        const ONE_GPU: Resources = &[("CPU", 2.0), ("GPU", 1.0)];
        type Case<'a> = (&'a str, &'a [Resources<'a>], &'a [(u32, Resources<'a>)], Resources<'a>, &'a [f32]);
        let cases: [Case; 14] = [
            // Free shares of the largest: 4/8, 8/8, 8/8 + 2/2.
            ("best-fit", &[SMALL, LARGE, GPU], &[], ONE_CPU, &[-0.5, -1.0, -2.0]),
            // Memory does not count.
            ("best-fit", &[&[("CPU", 8.0), ("memory", 1e9)], SMALL], &[], ONE_CPU, &[-1.0, -0.5]),
            // Two of eight are placed.
            ("best-fit", &[LARGE], &[(0, ONE_CPU), (0, ONE_CPU)], ONE_CPU, &[-0.75]),
            // (4-1)/4; (8-1)/8; ((8-1)/8 + 2/2) / 2.
            ("spread", &[SMALL, LARGE, GPU], &[], ONE_CPU, &[0.75, 0.875, 0.9375]),
            ("power-of-two", &[SMALL], &[(0, ONE_CPU)], ONE_CPU, &[0.75]),
            // r = (1/8), f = (4/8), (8/8): no angle; f = (1, 1): 45 degrees.
            ("balanced", &[SMALL, LARGE, GPU], &[], ONE_CPU, &[1.0, 1.0, 0.5f32.sqrt()]),
            // r = (2/8, 1/2), f = (1, 1): 0.75 / (sqrt(0.3125) sqrt(2)).
            ("balanced", &[GPU], &[], ONE_GPU, &[0.948_683_3]),
            // 1/4 and 1/8 are below the threshold; the node with GPUs is avoided.
            ("hybrid", &[SMALL, LARGE, GPU], &[], ONE_CPU, &[0.0, 0.0, -10.0]),
            // 1 of 4 is used, and 3 of 4; GPUs do not count.
            ("hybrid", &[SMALL], &[(0, ONE_CPU)], ONE_CPU, &[0.0]),
            ("hybrid", &[SMALL], &[(0, ONE_CPU), (0, ONE_CPU), (0, ONE_CPU)], ONE_CPU, &[-0.75]),
            ("hybrid", &[GPU], &[], ONE_GPU, &[0.0]),
            ("shortest-queue", &[SMALL, LARGE], &[(1, ONE_CPU)], ONE_CPU, &[0.0, -1.0]),
            ("first-fit", &[SMALL, LARGE], &[], ONE_CPU, &[0.0, 0.0]),
            // One kind, 2 CPUs and 1 GPU: scarcer are GPUs, D/C = 1/2 against 2/12 for CPUs, scarcity 1 and 1/3.
            // On the node of 8 CPUs and 2 GPUs: before, 2 tasks fit and 4 CPUs are stranded, W = 2 (1/3) 4/12; after,
            // 1 task fits and 4 CPUs are stranded as before. F is 0 before and after. L = (1/3) 6/8 + 1/2.
            ("stranded", &[GPU, SMALL], &[], ONE_GPU, &[-0.000_75, 0.0]),
        ];
        for (policy, nodes, placed, demand, expected) in cases {
            let scores = scores(policy, nodes, placed, demand);
            for (score, expected) in scores.iter().zip(expected) {
                // The second node of the last case is not feasible; its score means nothing.
                let meaningless = policy == "stranded" && *expected == 0.0;
                assert!(meaningless || (score - expected).abs() < 1e-5, "{policy} {demand:?}: {scores:?}");
            }
        }
    }

    #[test]
    fn fragmentation_counts_the_gpus_that_the_common_demands_cannot_use() {
        // Of 2 GPUs and 8 CPUs, a task of 2 CPUs and 1 GPU leaves 1 GPU and 6 CPUs, which another can use. With 3 CPUs it
        // leaves a GPU that none can use, half of what an average node has: ΔF = 0 - 0.5, in steps of 1/128.
        const NODES: &[Resources] = &[&[("CPU", 8.0), ("GPU", 2.0)], &[("CPU", 3.0), ("GPU", 2.0)]];
        const DEMAND: Resources = &[("CPU", 2.0), ("GPU", 1.0)];
        assert_eq!(scores("fragmentation", NODES, &[], DEMAND), [0.0, -64.0]);
        // ΔF = -0.5 again. W and L differ by less.
        let [whole, fragmented] = scores("binpack", NODES, &[], DEMAND)[..] else { panic!("two nodes") };
        assert!(whole > fragmented + 0.25, "{whole} {fragmented}");
    }

    #[test]
    fn binpack_weighs_what_is_fragmented_stranded_and_left_over() {
        // Two nodes of 4 CPUs and 2 GPUs; tasks were seen to ask for 1 of each, so D = (1, 1), C = (8, 4): GPUs are scarcest,
        // s = (1/2, 1). What is free is (CPUs, GPUs).
        const NODE: Resources = &[("CPU", 4.0), ("GPU", 2.0)];
        const SEEN: Resources = &[("CPU", 1.0), ("GPU", 1.0)];
        struct Case<'a> {
            demand: Resources<'a>,
            fragmented: f32,
            stranded: f32,
            left_over: f32,
            /// `N Σ s r / C`, by which W would go down, and `Σ s r / m`, by which L does: two nodes that are alike have the same for both.
            asked: f32,
        }
        // On the first node, which is empty: F = 0, since the task that was seen fits; with t = 2, W = 2 (1/2) 2/8 = 1/4.
        let cases = [
            // (3, 1) is left: F = 0; t = 1, W = 2 (1/2) 2/8 = 1/4; L = (1/2) 3/4 + 1/2.
            Case { demand: SEEN, fragmented: 0.0, stranded: 0.0, left_over: 0.875, asked: 0.625 },
            // (1, 2) is left: F = 0; t = 1, W = 2 (1/4) = 1/2; L = (1/2) 1/4 + 2/2.
            Case { demand: &[("CPU", 3.0)], fragmented: 0.0, stranded: -0.25, left_over: 1.125, asked: 0.375 },
            // (0, 2) is left: F = 1, all that an average node has; t = 0, W = 2 (2/4) = 1; L = 2/2.
            Case { demand: &[("CPU", 4.0)], fragmented: -1.0, stranded: -0.75, left_over: 1.0, asked: 0.5 },
        ];
        // The task that was seen has left: whole nodes have a prospect. Or it is still there, on the other node: they have none.
        for (prospect, placed) in [(1, &[][..]), (0, &[(1, SEEN)][..])] {
            for Case { demand, fragmented, stranded, left_over, asked } in &cases {
                let score = scores_after(SEEN, "binpack", &[NODE, NODE], placed, demand)[0];
                let (v, w) = (BINPACK_STRANDED[prospect], BINPACK_LEFTOVER[prospect]);
                let expected = fragmented + v * (stranded - asked) - w * (left_over + asked);
                assert!((score - expected).abs() < 1e-5, "{demand:?}, prospect {prospect}: {score} is {expected}");
            }
        }
    }

    #[test]
    fn a_task_without_gpus_avoids_nodes_with_gpus_by_any_name() {
        const NODES: &[Resources] = &[&[("CPU", 8.0), ("fpga", 2.0)], &[("CPU", 8.0)]];
        for policy in ["binpack", "stranded", "best-fit"] {
            let [with, without] = scores(policy, NODES, &[], &[("CPU", 1.0)])[..] else { panic!("two nodes") };
            assert!(without > with, "{policy}: {without} {with}");
        }
    }

    #[test]
    fn more_available_than_any_total_is_no_overflow() {
        const TOTAL: Resources = &[("CPU", 1e-4), ("GPU", 1e-4), ("fpga", 1e-4)];
        const AVAILABLE: Resources = &[("CPU", 1e308), ("GPU", 1e308), ("fpga", 1e308)];
        for definition in &DEFINITIONS {
            let policy = Policy::named(definition.name, Parameters::default()).expect("it has this name");
            let mut table = NodeTable::new(policy, UnitResources::default());
            table.update(NodeId(1), on_wire(AVAILABLE), on_wire(TOTAL), Placements::Dropped).expect("there is room");
            let mut demand = Demand::default();
            table.resolve(on_wire(TOTAL), &mut demand).expect("known resources");
            table.settle();
            let profile = Profile::new(&table, [Count { demand: &demand, count: 1 }].into_iter());
            let scoring = Scoring { demand: &demand, profile: &profile, asked: &profile.asked(&demand) };
            let score = policy.score(&scoring, table.node(0).expect("it is there"));
            assert!(!score.is_nan(), "{}", definition.name);
        }
    }

    #[test]
    fn names_are_distinct_and_found() {
        for (index, definition) in DEFINITIONS.iter().enumerate() {
            assert_eq!(
                Policy::named(definition.name, Parameters::default()).map(|policy| policy.name()),
                Some(definition.name)
            );
            assert!(DEFINITIONS[..index].iter().all(|other| other.name != definition.name));
        }
        assert!(Policy::named("", Parameters::default()).is_none());
    }
}
