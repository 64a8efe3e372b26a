//! Amounts of a resource.

use std::fmt;

/// An amount of a resource, exact to 1/10,000, which is Ray's granularity.
///
/// The range is that of Ray's fixed point numbers too: ±9.2e14 (838 TiB where the unit is a byte). What is
/// beyond it, and every sum that would be, stays at the end of the range.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

/// How many of the smallest amount make a whole.
const UNITS_PER_WHOLE: f64 = 10_000.0;

impl Amount {
    /// Nothing.
    pub const ZERO: Amount = Amount(0);

    /// The end of the range, and any sum beyond it.
    pub const MAX: Amount = Amount(i64::MAX);

    /// One whole.
    pub const WHOLE: Amount = Amount(UNITS_PER_WHOLE as i64);

    /// The multiple of 1/10,000 nearest to `value`, which is finite.
    #[inline]
    pub fn from_f64(value: f64) -> Self {
        debug_assert!(value.is_finite());
        // As `f64::round` does, which is a call of a function. `as` stops at the ends of the range.
        let units = value * UNITS_PER_WHOLE;
        let whole = units as i64;
        let rest = units - whole as f64;
        Self(whole.saturating_add(i64::from(rest >= 0.5) - i64::from(rest <= -0.5)))
    }

    /// The nearest double. It comes back as this amount up to 2^51 multiples of 1/10,000, which is 2.2e11; above, where a
    /// double and its product with 10,000 are each rounded, it may be one beside it. Whole numbers come back up to 1.4e13.
    #[inline]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / UNITS_PER_WHOLE
    }

    /// The amount in multiples of 1/10,000.
    #[inline]
    pub const fn units(self) -> i64 {
        self.0
    }

    /// An amount of `units` multiples of 1/10,000.
    #[inline]
    pub const fn from_units(units: i64) -> Self {
        Self(units)
    }

    /// The amount as people read it, where it is one of the resource of this name.
    pub fn readable(self, resource: &str) -> ReadableAmount<'_> {
        ReadableAmount { amount: self, resource }
    }

    /// The sum, or the end of the range.
    #[inline]
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or the end of the range.
    #[inline]
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times the amount, or the end of the range.
    #[inline]
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self(self.0.saturating_mul(i64::from(count)))
    }

    /// How many times another amount, which is positive, is in this one; 0 where this one is negative.
    #[inline]
    pub fn count_of(self, other: Self) -> u32 {
        debug_assert!(other > Self::ZERO);
        u32::try_from((self.0 / other.0).max(0)).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % Self::WHOLE.0 {
            // As the double would be shown, in less time.
            0 => (self.0 / Self::WHOLE.0).fmt(f),
            _ => self.to_f64().fmt(f),
        }
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Resources that Ray counts in bytes.
const BYTE_RESOURCES: [&str; 2] = ["memory", "object_store_memory"];

/// Units of bytes with the shift that makes a byte one, the largest first.
const BYTE_UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];

/// An amount as people read it: with a unit, as in `ray status`, where it counts bytes.
#[derive(Clone, Copy, Debug)]
pub struct ReadableAmount<'a> {
    amount: Amount,
    resource: &'a str,
}

impl fmt::Display for ReadableAmount<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !BYTE_RESOURCES.contains(&self.resource) {
            return self.amount.fmt(f);
        }
        let bytes = self.amount.to_f64();
        let scaled = BYTE_UNITS.map(|(unit, shift)| (unit, bytes / f64::from(1u32 << shift)));
        match scaled.into_iter().find(|(_, number)| number.abs() >= 1.0) {
            Some((unit, number)) => write!(f, "{number:.2}{unit}"),
            None => write!(f, "{bytes}B"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Units up to which amounts survive the way through a double.
    const EXACT_MAX: i64 = 1 << 51;
    /// Whole numbers up to which they do.
    const EXACT_WHOLE_MAX: i64 = 1 << 43;

    #[test]
    fn bytes_are_shown_with_a_unit() {
        let cases = [
            ("CPU", 0.5, "0.5"),
            ("CPU", 4096.0, "4096"),
            ("memory", 0.0, "0B"),
            ("memory", 1023.0, "1023B"),
            ("memory", 1536.0, "1.50KiB"),
            ("object_store_memory", 3.0 * 1048576.0, "3.00MiB"),
            ("memory", -1610612736.0, "-1.50GiB"),
            ("memory", 2e12, "1862.65GiB"),
        ];
        for (resource, amount, expected) in cases {
            assert_eq!(Amount::from_f64(amount).readable(resource).to_string(), expected);
        }
    }

    #[test]
    fn values_round_to_the_nearest_multiple() {
        let cases = [
            (1.0, 10_000),
            (0.1, 1_000),
            (1.6667, 16_667),
            (0.00004, 0),
            (0.00005, 1),
            (-0.00005, -1),
            (-0.0, 0),
            (f64::MIN_POSITIVE / 2.0, 0),
            (7_000_000_000.0, 70_000_000_000_000),
            (1e308, i64::MAX),
            (-1e308, i64::MIN),
        ];
        for (value, units) in cases {
            assert_eq!(Amount::from_f64(value).units(), units, "{value}");
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_the_way_through_a_double(units in -EXACT_MAX..=EXACT_MAX) {
            let amount = Amount::from_units(units);
            prop_assert_eq!(Amount::from_f64(amount.to_f64()), amount);
        }

        #[test]
        fn a_whole_number_survives_further(whole in -EXACT_WHOLE_MAX..=EXACT_WHOLE_MAX) {
            let amount = Amount::from_units(whole * Amount::WHOLE.units());
            prop_assert_eq!(Amount::from_f64(whole as f64), amount);
            prop_assert_eq!(amount.to_f64(), whole as f64);
        }

        #[test]
        fn any_double_becomes_the_nearest_amount(value in -1e11..1e11) {
            let amount = Amount::from_f64(value);
            // Half of the smallest amount away at most, but for what the double itself cannot tell.
            let tolerance = 0.5 / UNITS_PER_WHOLE + value.abs() * f64::EPSILON;
            prop_assert!((amount.to_f64() - value).abs() <= tolerance, "{} for {}", amount, value);
        }

        #[test]
        fn larger_doubles_are_no_smaller_amounts(
            a in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
            b in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO,
        ) {
            prop_assert!(Amount::from_f64(a.min(b)) <= Amount::from_f64(a.max(b)));
        }

        #[test]
        fn what_is_reserved_and_released_leaves_nothing(amounts in vec(0..1i64 << 40, 0..100), seed: u64) {
            let mut sum = Amount::ZERO;
            amounts.iter().for_each(|&units| sum = sum.saturating_add(Amount::from_units(units)));
            let mut released = amounts;
            fastrand::Rng::with_seed(seed).shuffle(&mut released);
            released.iter().for_each(|&units| sum = sum.saturating_sub(Amount::from_units(units)));
            prop_assert_eq!(sum, Amount::ZERO);
        }

        #[test]
        fn an_amount_is_in_its_multiple_as_often(units in 1..1i64 << 31, count: u32) {
            let amount = Amount::from_units(units);
            prop_assert_eq!(amount.times(count).count_of(amount), count);
        }
    }

    #[test]
    fn ten_tenths_are_one_whole() {
        let mut sum = Amount::ZERO;
        for _ in 0..10 {
            sum = sum.saturating_add(Amount::from_f64(0.1));
        }
        assert_eq!(sum, Amount::from_f64(1.0));
    }
}
