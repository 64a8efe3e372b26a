//! Devices behind the sum of a resource: two halves of different GPUs are not one GPU.
//!
//! A node reports how much it has of a *unit resource* (`--unit-resources`) as one number. As Ray assigns devices, an amount
//! below 1 goes to a single unit, the fullest that holds it, and whole numbers take units that are free entirely.
//! Of a bare sum the kindest reading is taken: whole units and one part.

use std::rc::Rc;

use super::amount::Amount;
use super::resource_names::EscapedName;

const WHOLE: i64 = Amount::WHOLE.units();

/// The resources that come in units where nothing else is said, by Ray's names.
pub const UNIT_RESOURCES: [&str; 1] = ["GPU"];

/// The names of the resources that come in units.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitResources(Rc<[Box<[u8]>]>);

impl UnitResources {
    /// The resources of these names.
    pub fn named<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        Self(names.into_iter().map(|name| name.as_bytes().into()).collect())
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|name| EscapedName(name).to_string())
    }

    /// Whether the resource of a name comes in units.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.0.iter().any(|other| **other == *name)
    }
}

/// Units of a node that are in use in part and told apart, at most: no machine has so many devices. Of more, the fullest
/// count as used up.
const PARTS_MAX: usize = 16;

/// What is free of the units of one resource on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    /// Units that are free entirely.
    whole: i64,
    /// What is free of those in use in part, in 1/10,000, ascending; each above 0 and below a whole.
    parts: [u16; PARTS_MAX],
    part_count: usize,
}

impl Units {
    /// The kindest reading of a sum of free amounts.
    #[inline]
    pub fn of_sum(free: Amount) -> Self {
        let free = free.units().max(0);
        let mut units = Self { whole: free / WHOLE, parts: [0; PARTS_MAX], part_count: 0 };
        if free % WHOLE > 0 {
            units.insert(free % WHOLE);
        }
        units
    }

    /// What is free of all units together.
    pub fn sum(&self) -> Amount {
        Amount::from_units(self.whole * WHOLE + self.parts().iter().map(|&part| i64::from(part)).sum::<i64>())
    }

    /// Whether the units can host an amount.
    #[inline]
    pub fn can_host(&self, amount: Amount) -> bool {
        let (whole, part) = split(amount);
        self.whole > whole || self.whole == whole && (part == 0 || self.fullest_holding(part).is_some())
    }

    /// Takes an amount that the units can host.
    pub fn take(&mut self, amount: Amount) {
        debug_assert!(self.can_host(amount));
        let (whole, part) = split(amount);
        self.whole -= whole;
        if part == 0 {
            return;
        }
        let left = match self.fullest_holding(part) {
            Some(place) => i64::from(self.remove(place)) - part,
            None => {
                self.whole -= 1;
                WHOLE - part
            }
        };
        if left > 0 {
            self.insert(left);
        }
    }

    /// Gives back an amount of `total`. Nobody says of which unit: a part goes where it makes a unit whole, else to the
    /// emptiest unit that it fits back into, else to one that is used up.
    pub fn give(&mut self, amount: Amount, total: Amount) {
        let (whole, part) = split(amount);
        let sum = self.sum().saturating_add(amount);
        self.whole += whole;
        if part > 0 {
            let place = self.parts().iter().rposition(|&other| i64::from(other) + part <= WHOLE);
            let given = place.map_or(0, |place| i64::from(self.remove(place))) + part;
            match given {
                WHOLE => self.whole += 1,
                given => self.insert(given),
            }
        }
        let unit_count = total.units().saturating_add(WHOLE - 1) / WHOLE;
        if self.whole + self.part_count as i64 > unit_count {
            // The parts were others than was thought.
            *self = Self::of_sum(sum);
        }
    }

    /// What is free in units of which less than `amount` is free, or less than all where it is more than a unit: the
    /// part of what is free that a demand of `amount` cannot use.
    #[inline]
    pub fn unusable(&self, amount: Amount) -> Amount {
        let used_from = amount.units().min(WHOLE);
        let parts = self.parts().iter().map(|&part| i64::from(part));
        Amount::from_units(parts.take_while(|&part| part < used_from).sum())
    }

    /// Whether no unit is in use in part.
    #[inline]
    pub fn are_whole(&self) -> bool {
        self.part_count == 0
    }

    fn parts(&self) -> &[u16] {
        &self.parts[..self.part_count]
    }

    fn fullest_holding(&self, part: i64) -> Option<usize> {
        self.parts().iter().position(|&free| i64::from(free) >= part)
    }

    fn remove(&mut self, place: usize) -> u16 {
        let part = self.parts[place];
        self.parts.copy_within(place + 1..self.part_count, place);
        self.part_count -= 1;
        part
    }

    fn insert(&mut self, part: i64) {
        if self.part_count == PARTS_MAX {
            self.remove(0);
        }
        debug_assert!(0 < part && part < WHOLE);
        let place = self.parts().partition_point(|&other| i64::from(other) < part);
        self.parts.copy_within(place..self.part_count, place + 1);
        self.parts[place] = part as u16;
        self.part_count += 1;
    }
}

/// Whole units and the part of another.
#[inline]
fn split(amount: Amount) -> (i64, i64) {
    (amount.units() / WHOLE, amount.units() % WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(value: f64) -> Amount {
        Amount::from_f64(value)
    }

    /// What is free: entirely, and of each unit in use in part.
    fn state(units: &Units) -> (i64, Vec<f64>) {
        (units.whole, units.parts().iter().map(|&part| f64::from(part) / 10_000.0).collect())
    }

    #[test]
    fn amounts_are_hosted_as_devices_are_assigned() {
        // A node's sum, what is taken one after the other, what is free then, what can and what cannot be hosted.
        type Case = (f64, &'static [f64], (i64, &'static [f64]), &'static [f64], &'static [f64]);
        let cases: [Case; 9] = [
            (4.0, &[], (4, &[]), &[0.1, 1.0, 4.0], &[4.5, 5.0]),
            (3.5, &[], (3, &[0.5]), &[0.5, 3.0, 3.5], &[3.6, 4.0]),
            (0.0, &[], (0, &[]), &[], &[0.1, 1.0]),
            (-1.0, &[], (0, &[]), &[], &[0.1, 1.0]),
            (2.0, &[0.6, 0.6], (0, &[0.4, 0.4]), &[0.4], &[0.5, 0.8, 1.0]),
            (2.0, &[0.5, 0.5], (1, &[]), &[1.0], &[1.5]),
            // The fullest unit that holds it.
            (3.0, &[0.5, 0.8, 0.2], (1, &[0.5]), &[1.5], &[2.0]),
            (3.0, &[0.5, 0.8, 0.4], (1, &[0.1, 0.2]), &[1.2, 0.2], &[1.3, 2.0]),
            (4.0, &[2.0, 0.3, 1.0], (0, &[0.7]), &[0.7], &[0.8, 1.0]),
        ];
        for (sum, taken, (whole, parts), hosted, refused) in cases {
            let mut units = Units::of_sum(amount(sum));
            taken.iter().for_each(|&value| units.take(amount(value)));
            assert_eq!(state(&units), (whole, parts.to_vec()), "{sum} less {taken:?}");
            assert!(hosted.iter().all(|&value| units.can_host(amount(value))), "{sum} less {taken:?}");
            assert!(!refused.iter().any(|&value| units.can_host(amount(value))), "{sum} less {taken:?}");
        }
    }

    #[test]
    fn what_is_given_back_makes_units_whole_where_it_can() {
        // What is taken of two units, what is given back, what is free then.
        type Case = (&'static [f64], f64, (i64, &'static [f64]));
        let cases: [Case; 6] = [
            (&[0.6, 0.6], 0.6, (1, &[0.4])),
            (&[0.6, 0.7], 0.7, (1, &[0.4])),
            (&[0.5, 0.4, 0.5], 0.4, (0, &[0.1, 0.9])),
            (&[1.0, 0.5], 1.0, (1, &[0.5])),
            (&[1.0, 0.5, 0.5], 0.5, (0, &[0.5])),
            (&[1.0, 1.0], 1.0, (1, &[])),
        ];
        for (taken, given, (whole, parts)) in cases {
            let mut units = Units::of_sum(amount(2.0));
            taken.iter().for_each(|&value| units.take(amount(value)));
            units.give(amount(given), amount(2.0));
            assert_eq!(state(&units), (whole, parts.to_vec()), "{taken:?}, back {given}");
        }
    }

    #[test]
    fn parts_are_unusable_for_what_needs_more() {
        let mut units = Units::of_sum(amount(4.0));
        [0.5, 0.8, 0.6].into_iter().for_each(|value| units.take(amount(value)));
        assert_eq!(state(&units), (1, vec![0.2, 0.4, 0.5]));
        for (demanded, unusable) in [(0.2, 0.0), (0.3, 0.2), (0.5, 0.6), (0.6, 1.1), (1.0, 1.1), (3.0, 1.1)] {
            assert_eq!(units.unusable(amount(demanded)), amount(unusable), "{demanded}");
        }
    }

    #[test]
    fn the_sum_stays_right_whatever_comes_and_goes() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for total in [1, 2, 8, PARTS_MAX as i64] {
            let total = Amount::from_units(total * WHOLE);
            let mut units = Units::of_sum(total);
            let mut placed: Vec<Amount> = Vec::new();
            for _ in 0..5_000 {
                let value = if random.bool() { random.i64(1..10) * 1_000 } else { random.i64(1..4) * WHOLE };
                let value = Amount::from_units(value);
                if random.u8(0..3) > 0 && units.can_host(value) {
                    units.take(value);
                    placed.push(value);
                } else if !placed.is_empty() {
                    units.give(placed.swap_remove(random.usize(0..placed.len())), total);
                }
                let used: i64 = placed.iter().map(|amount| amount.units()).sum();
                assert_eq!(units.sum().units() + used, total.units());
                assert!(
                    units.parts().is_sorted() && units.parts().iter().all(|&part| 0 < part && i64::from(part) < WHOLE)
                );
            }
        }
    }

    #[test]
    fn more_parts_than_are_told_apart_count_as_used_up() {
        let mut units = Units::of_sum(amount(1_000.0));
        for _ in 0..=PARTS_MAX {
            units.take(amount(0.6));
        }
        units.take(amount(0.7));
        assert_eq!((units.part_count, units.can_host(amount(0.4))), (PARTS_MAX, true));
        assert!(units.sum() < amount(1_000.0));
    }
}
