//! PACK and STRICT_PACK: few nodes, and one.

use std::cmp::Reverse;

use super::draft::{Basis, Draft, holds};
use super::first_fit::first_fit;
use super::fractions;
use super::shapes::Gang;
use super::{Budget, GangError, Step, Steps};
use crate::scheduler::cells::Slot;

/// Nodes that are filled on trial for each that is taken: the others hold less of the largest shape, or rank lower.
const TRIALS_MAX: usize = 32;

/// The highest ranked node that takes all demands.
///
/// # Errors
/// When too many nodes have enough in sum, but not in units.
pub fn strict_pack(gang: &Gang<'_>, basis: Basis) -> Result<Steps, GangError> {
    let mut budget = Budget::default();
    let mut search = fractions::Search::new(gang);
    let sums = gang.sums();
    for slot in gang.nodes_for_all() {
        let draft = Draft::new(gang, basis, slot);
        if draft.covers(&sums) {
            budget.spend(gang.demand_count()).ok_or(GangError::TooMuchWork)?;
            if let Some(order) = search.order(&draft) {
                return Ok(Some(order.into_iter().map(|shape| Step { shape, slot }).collect()));
            }
        }
    }
    Ok(None)
}

/// Few nodes: one if one takes all demands, else those that take the most of what is left.
pub fn pack(gang: &Gang<'_>, basis: Basis) -> Steps {
    let on_one_node = strict_pack(gang, basis).ok().flatten();
    on_one_node.or_else(|| fill_nodes(gang, basis)).or_else(|| first_fit(gang, basis))
}

/// Fills one node after the other: for the largest shape that is left, the node that takes the greatest volume of
/// all shapes. `None` where that leaves a demand without a node, or takes too long.
pub fn fill_nodes(gang: &Gang<'_>, basis: Basis) -> Steps {
    let mut budget = Budget::default();
    let mut left = gang.counts();
    let mut is_filled = vec![false; gang.slot_count()];
    let mut steps: Vec<Step> = Vec::with_capacity(gang.demand_count());
    for (largest, shape) in gang.shapes().iter().enumerate() {
        if left[largest] == 0 {
            continue;
        }
        let holding = |&slot: &Slot| (holds(gang, basis, slot, shape), slot);
        let mut nodes: Vec<(usize, Slot)> = shape.nodes(basis).iter().map(holding).collect();
        while left[largest] > 0 {
            budget.spend(nodes.len())?;
            nodes.retain(|&(_, slot)| !is_filled[slot as usize]);
            let mut best: Option<Filling> = None;
            for slot in most_holding(&nodes, left[largest]) {
                let filling = Filling::of(gang, basis, slot, &left);
                budget.spend(left.len() + filling.steps.len())?;
                if best.as_ref().is_none_or(|best| filling.volume > best.volume) {
                    best = Some(filling);
                }
            }
            let best = best?;
            is_filled[best.slot as usize] = true;
            best.steps.iter().for_each(|step| left[step.shape] -= 1);
            steps.extend(best.steps);
        }
    }
    Some(steps)
}

/// The nodes to try: those that hold most of the `count` demands that are left of a shape, ties by rank. `nodes` are
/// how many demands each holds, the highest rank first.
fn most_holding(nodes: &[(usize, Slot)], count: usize) -> impl Iterator<Item = Slot> + '_ {
    let keys = nodes.iter().enumerate().map(|(place, &(holds, _))| (Reverse(holds.min(count)), place));
    let mut order: Vec<(Reverse<usize>, usize)> = keys.collect();
    if order.len() > TRIALS_MAX {
        order.select_nth_unstable(TRIALS_MAX);
        order.truncate(TRIALS_MAX);
    }
    order.sort_unstable();
    order.into_iter().map(|(_, place)| nodes[place].1)
}

/// What a node takes of the demands that are left, the largest first.
struct Filling {
    slot: Slot,
    steps: Vec<Step>,
    volume: f32,
}

impl Filling {
    fn of(gang: &Gang<'_>, basis: Basis, slot: Slot, left: &[usize]) -> Self {
        let mut draft = Draft::new(gang, basis, slot);
        let mut filling = Self { slot, steps: Vec::new(), volume: 0.0 };
        for (index, shape) in gang.shapes().iter().enumerate() {
            let count = (0..left[index]).take_while(|_| draft.try_take(shape)).count();
            filling.steps.extend(std::iter::repeat_n(Step { shape: index, slot }, count));
            filling.volume += count as f32 * shape.size;
        }
        filling
    }
}
