//! Whether one node can take all demands of a gang that asks for fractions of units.
//!
//! Fractions have to be put into single units, so it is not enough that the sums fit. A node puts each into the fullest
//! unit that holds it (see [`Units::take`](crate::scheduler::units::Units::take)), and what comes out depends on the
//! order of the demands. The largest fraction first nearly always works; where it does not, other orders are searched,
//! up to a number of steps.

use std::cmp::Reverse;

use super::draft::Draft;
use super::shapes::Gang;
use crate::scheduler::amount::Amount;

/// Demands with fractions, at most, whose orders are searched; it also limits the depth of recursion. The orders of
/// more are too many anyway.
const FRACTIONS_MAX: usize = 32;

/// Steps of the search on one node, enough for the 1,957 of six different fractions, and on all nodes together: some
/// milliseconds' worth.
const STEPS_MAX: usize = 1 << 12;
const STEPS_IN_ALL_MAX: usize = 1 << 16;

/// The search for orders in which nodes take all demands.
pub struct Search<'g> {
    gang: &'g Gang<'g>,
    /// First the shapes without fractions, then the others, the largest fraction first.
    shapes: Vec<usize>,
    /// How many of them are without fractions.
    whole_count: usize,
    has_few_fractions: bool,
    steps_left: usize,
}

impl<'g> Search<'g> {
    /// A search for the demands of a gang.
    pub fn new(gang: &'g Gang<'g>) -> Self {
        let mut shapes: Vec<usize> = (0..gang.shapes().len()).collect();
        let fraction = |shape: &usize| gang.largest_fraction(*shape);
        shapes.sort_by_key(|shape| (fraction(shape) > Amount::ZERO, Reverse(fraction(shape))));
        let whole_count = shapes.partition_point(|shape| fraction(shape) == Amount::ZERO);
        let fraction_count: usize = shapes[whole_count..].iter().map(|&shape| gang.shapes()[shape].count()).sum();
        let has_few_fractions = fraction_count <= FRACTIONS_MAX;
        Self { gang, shapes, whole_count, has_few_fractions, steps_left: STEPS_IN_ALL_MAX }
    }

    /// An order of the demands, as shapes, in which a node takes them all; `None` where none is found.
    pub fn order(&mut self, draft: &Draft) -> Option<Vec<usize>> {
        let (mut draft, mut order) = (draft.clone(), Vec::with_capacity(self.gang.demand_count()));
        if !self.take_in_turn(&self.shapes[..self.whole_count], &mut draft, &mut order) {
            return None;
        }
        let fractions = &self.shapes[self.whole_count..];
        let mut largest_first = order.clone();
        if self.take_in_turn(fractions, &mut draft.clone(), &mut largest_first) {
            return Some(largest_first);
        }
        if !self.has_few_fractions {
            return None;
        }
        let steps_max = STEPS_MAX.min(self.steps_left);
        let mut orders = Orders { gang: self.gang, fractions, left: self.gang.counts(), order, steps_left: steps_max };
        let is_found = orders.complete(&draft);
        self.steps_left -= steps_max - orders.steps_left;
        is_found.then_some(orders.order)
    }

    /// Takes all demands of some shapes. Returns whether all fit.
    fn take_in_turn(&self, shapes: &[usize], draft: &mut Draft, order: &mut Vec<usize>) -> bool {
        shapes.iter().all(|&index| {
            let shape = &self.gang.shapes()[index];
            order.extend(std::iter::repeat_n(index, shape.count()));
            (0..shape.count()).all(|_| draft.try_take(shape))
        })
    }
}

/// The orders of the fractions on one node, depth first.
struct Orders<'g> {
    gang: &'g Gang<'g>,
    fractions: &'g [usize],
    /// By shape, how many are still to be taken.
    left: Vec<usize>,
    /// What has been taken.
    order: Vec<usize>,
    steps_left: usize,
}

impl Orders<'_> {
    /// Completes the order on what is left of the node. Returns whether it could.
    fn complete(&mut self, draft: &Draft) -> bool {
        if self.order.len() == self.gang.demand_count() {
            return true;
        }
        let shapes = self.gang.shapes();
        let (fractions, left) = (self.fractions, &self.left);
        // What does not fit now never will.
        if !fractions.iter().all(|&index| left[index] == 0 || draft.fits(&shapes[index])) {
            return false;
        }
        for &index in fractions {
            if self.left[index] == 0 {
                continue;
            }
            if self.steps_left == 0 {
                return false;
            }
            self.steps_left -= 1;
            let mut draft = draft.clone();
            draft.take(&shapes[index]);
            self.left[index] -= 1;
            self.order.push(index);
            if self.complete(&draft) {
                return true;
            }
            self.order.pop();
            self.left[index] += 1;
        }
        false
    }
}
