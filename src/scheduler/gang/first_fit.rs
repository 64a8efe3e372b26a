//! What is left to try when a strategy finds no placement: any node that fits.

use std::iter::repeat_n;

use super::draft::{Basis, Drafts};
use super::shapes::Gang;
use super::{Step, Steps};

/// Demands of a gang, at most, whose placements are searched, which also limits the depth of recursion. Of more, the
/// search would reach a small part only.
const SEARCHED_MAX: usize = 32;

/// Nodes that the search looks at: some milliseconds' worth.
const SEARCH_LOOKS_MAX: usize = 1 << 16;

/// Puts every demand on the first node that fits, the largest shape first; failing that, the shape with the fewest
/// nodes first; and failing that, where there are few demands, on others of the nodes, as far as a bounded search goes.
pub fn first_fit(gang: &Gang<'_>, basis: Basis) -> Steps {
    let largest_first: Vec<usize> = (0..gang.shapes().len()).collect();
    let scarcest_first = gang.scarcest_first(basis);
    let in_order = in_order(gang, basis, &largest_first).or_else(|| in_order(gang, basis, &scarcest_first));
    in_order.or_else(|| {
        let demands = scarcest_first.iter().flat_map(|&shape| repeat_n(shape, gang.shapes()[shape].count()));
        let mut search = Search {
            gang,
            basis,
            demands: demands.collect(),
            drafts: Drafts::new(gang, basis),
            steps: Vec::new(),
            looks_left: SEARCH_LOOKS_MAX,
        };
        (gang.demand_count() <= SEARCHED_MAX && search.complete(0)).then_some(search.steps)
    })
}

fn in_order(gang: &Gang<'_>, basis: Basis, order: &[usize]) -> Steps {
    let mut drafts = Drafts::new(gang, basis);
    let mut steps = Vec::with_capacity(gang.demand_count());
    for &index in order {
        let shape = &gang.shapes()[index];
        let mut left = shape.count();
        for &slot in shape.nodes(basis) {
            let draft = drafts.draft(slot);
            while left > 0 && draft.try_take(shape) {
                left -= 1;
                steps.push(Step { shape: index, slot });
            }
            if left == 0 {
                break;
            }
        }
        if left > 0 {
            return None;
        }
    }
    Some(steps)
}

/// The placements of all demands, depth first.
struct Search<'g> {
    gang: &'g Gang<'g>,
    basis: Basis,
    /// The shape of each demand.
    demands: Vec<usize>,
    drafts: Drafts<'g>,
    /// What has been placed.
    steps: Vec<Step>,
    looks_left: usize,
}

impl Search<'_> {
    /// Places the demands that are left, the next on a node at `start` of its list or later. Returns whether it could.
    fn complete(&mut self, start: usize) -> bool {
        let gang = self.gang;
        let Some(&index) = self.demands.get(self.steps.len()) else { return true };
        let shape = &gang.shapes()[index];
        for (place, &slot) in shape.nodes(self.basis).iter().enumerate().skip(start) {
            if self.looks_left == 0 {
                return false;
            }
            self.looks_left -= 1;
            let draft = self.drafts.draft(slot);
            if !draft.fits(shape) {
                continue;
            }
            let before = draft.clone();
            draft.take(shape);
            self.steps.push(Step { shape: index, slot });
            // Demands that are alike go in the order of their nodes: exchanging them changes nothing.
            let is_next_alike = self.demands.get(self.steps.len()) == Some(&index);
            if self.complete(if is_next_alike { place } else { 0 }) {
                return true;
            }
            self.steps.pop();
            *self.drafts.draft(slot) = before;
        }
        false
    }
}
