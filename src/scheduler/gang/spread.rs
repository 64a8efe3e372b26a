//! SPREAD and STRICT_SPREAD: many nodes, and a node for each demand.

use super::draft::{Basis, Drafts};
use super::first_fit::first_fit;
use super::matching::largest_matching;
use super::pack::fill_nodes;
use super::shapes::Gang;
use super::{Budget, GangError, Step, Steps};

/// A node for each demand.
///
/// # Errors
/// When there are too many to look at.
pub fn strict_spread(gang: &Gang<'_>, basis: Basis) -> Result<Steps, GangError> {
    let steps = largest_matching(gang, basis).ok_or(GangError::TooMuchWork)?;
    Ok((steps.len() == gang.demand_count()).then_some(steps))
}

/// Many nodes: as many demands as possible on nodes of their own, the others in levels above them.
pub fn spread(gang: &Gang<'_>, basis: Basis) -> Steps {
    let matching = largest_matching(gang, basis);
    let above_matching = matching.and_then(|steps| levels(gang, basis, steps));
    let spread = above_matching.or_else(|| levels(gang, basis, Vec::new()));
    spread.or_else(|| first_fit(gang, basis)).or_else(|| fill_nodes(gang, basis))
}

/// Level by level, puts one demand on each node that has so many of the gang so far and still fits, the largest shape
/// first. Level 0 may be given. `None` where a level takes no demand though some are left, or it takes too long.
fn levels(gang: &Gang<'_>, basis: Basis, mut steps: Vec<Step>) -> Steps {
    let mut budget = Budget::default();
    let mut drafts = Drafts::new(gang, basis);
    let mut left = gang.counts();
    for step in &steps {
        drafts.draft(step.slot).take(&gang.shapes()[step.shape]);
        left[step.shape] -= 1;
    }
    let first_level = usize::from(!steps.is_empty());
    for level in first_level.. {
        if steps.len() == gang.demand_count() {
            break;
        }
        let step_count = steps.len();
        for (index, shape) in gang.shapes().iter().enumerate() {
            for &slot in shape.nodes(basis) {
                if left[index] == 0 {
                    break;
                }
                budget.spend(1)?;
                let draft = drafts.draft(slot);
                if draft.taken() == level && draft.try_take(shape) {
                    left[index] -= 1;
                    steps.push(Step { shape: index, slot });
                }
            }
        }
        if steps.len() == step_count {
            return None;
        }
    }
    Some(steps)
}
