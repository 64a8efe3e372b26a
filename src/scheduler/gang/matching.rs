//! The largest number of demands that can lie on different nodes.
//!
//! A largest matching of demands and nodes by augmenting paths (Berge, 1957): whenever a demand finds no unused node, a
//! path of exchanges is looked for that frees one, and where there is none, the matching cannot grow by this demand.
//! Demands of a shape are alike, so paths lead from shape to shape, and each shape is looked at once.

use super::draft::Basis;
use super::shapes::Gang;
use super::{Budget, Step};
use crate::scheduler::cells::Slot;

/// As many demands as possible on different nodes: each on its highest ranked node as far as exchanges allow, the
/// shapes with the fewest nodes first. `None` where it takes too long.
pub fn largest_matching(gang: &Gang<'_>, basis: Basis) -> Option<Vec<Step>> {
    let mut matching = Matching { gang, basis, users: vec![None; gang.slot_count()], budget: Budget::default() };
    for shape in gang.scarcest_first(basis) {
        let mut left = matching.match_unused(shape)?;
        while left > 0 && matching.exchange(shape)? {
            left -= 1;
        }
    }
    let used = matching.users.iter().zip(0..).filter_map(|(user, slot)| Some(Step { shape: (*user)?, slot }));
    Some(used.collect())
}

struct Matching<'g> {
    gang: &'g Gang<'g>,
    basis: Basis,
    /// By slot, the shape of the demand on it.
    users: Vec<Option<usize>>,
    budget: Budget,
}

impl<'g> Matching<'g> {
    fn nodes(&self, shape: usize) -> &'g [Slot] {
        self.gang.shapes()[shape].nodes(self.basis)
    }

    /// Puts demands of a shape on unused nodes. Returns how many are left when there are no more.
    fn match_unused(&mut self, shape: usize) -> Option<usize> {
        let mut left = self.gang.shapes()[shape].count();
        for &slot in self.nodes(shape) {
            if left == 0 {
                break;
            }
            self.budget.spend(1)?;
            let user = &mut self.users[slot as usize];
            if user.is_none() {
                *user = Some(shape);
                left -= 1;
            }
        }
        Some(left)
    }

    /// Frees a node for one more demand of a shape, the shortest path of exchanges first. Returns whether it could;
    /// a used node stays used.
    fn exchange(&mut self, start: usize) -> Option<bool> {
        // For each shape by which other it was reached, through which of its nodes.
        let mut reached: Vec<Option<(usize, Slot)>> = vec![None; self.gang.shapes().len()];
        let mut queue = vec![start];
        let mut next = 0;
        while let Some(&shape) = queue.get(next) {
            next += 1;
            for &slot in self.nodes(shape) {
                self.budget.spend(1)?;
                match self.users[slot as usize] {
                    None => {
                        self.shift(shape, slot, &reached);
                        return Some(true);
                    }
                    Some(user) if user != start && reached[user].is_none() => {
                        reached[user] = Some((shape, slot));
                        queue.push(user);
                    }
                    Some(_) => {}
                }
            }
        }
        Some(false)
    }

    /// Gives an unused node to a shape, which leaves another node to the shape that it was reached by, and so on.
    fn shift(&mut self, mut shape: usize, mut slot: Slot, reached: &[Option<(usize, Slot)>]) {
        self.users[slot as usize] = Some(shape);
        while let Some((other, left)) = reached[shape] {
            (shape, slot) = (other, left);
            self.users[slot as usize] = Some(shape);
        }
    }
}
