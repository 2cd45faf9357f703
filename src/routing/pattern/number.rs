//! Numbers of JSON, compared without a silent loss: 300, 300.0 and 3e2 are one number, and integers
//! of 64 bits keep every digit.

use std::cmp::Ordering;

use serde_json::Number;

/// A number by its exact value: two are equal when their values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::routing) enum Exact {
    /// An integer, however it was written, up to 127 bits.
    Whole(i128),
    /// The bits of any other f64.
    Other(u64),
}

/// 2^127, the first f64 that no i128 holds.
const BEYOND: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;

impl Exact {
    pub(in crate::routing) fn of(number: &Number) -> Self {
        if let Some(whole) = number.as_i64() {
            Self::Whole(whole.into())
        } else if let Some(whole) = number.as_u64() {
            Self::Whole(whole.into())
        } else {
            // Without arbitrary precision every other number is an f64.
            Self::of_f64(number.as_f64().unwrap_or_default())
        }
    }

    fn of_f64(value: f64) -> Self {
        if value.fract() == 0.0 && value.abs() < BEYOND {
            #[expect(clippy::cast_possible_truncation, reason = "an integer of less than 127 bits, as was asked")]
            Self::Whole(value as i128)
        } else {
            Self::Other(value.to_bits())
        }
    }

    fn to_f64(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Other(bits) => f64::from_bits(bits),
        }
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Whole(a), Self::Whole(b)) => a.cmp(b),
            // One of them has a fraction or is huge, so rounding the other does not make them equal.
            (a, b) => a.to_f64().total_cmp(&b.to_f64()),
        }
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A range; a missing bound is without limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::routing) struct Range {
    pub(in crate::routing) lower: Option<Bound>,
    pub(in crate::routing) upper: Option<Bound>,
}

/// A bound of a range, itself inside or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::routing) struct Bound {
    pub(in crate::routing) value: Exact,
    pub(in crate::routing) inclusive: bool,
}

impl Range {
    pub(super) fn contains(&self, value: Exact) -> bool {
        let within = |bound: Option<Bound>, side: Ordering| {
            bound.is_none_or(|bound| {
                let order = value.cmp(&bound.value);
                order == side || (bound.inclusive && order == Ordering::Equal)
            })
        };
        within(self.lower, Ordering::Greater) && within(self.upper, Ordering::Less)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(text: &str) -> Exact {
        Exact::of(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn one_value_is_one_number_however_it_is_written() {
        for text in ["300", "300.0", "3e2", "3.00E+2"] {
            assert_eq!(exact(text), exact("300"), "{text}");
        }
        assert_eq!(exact("-0.0"), exact("0"));
        assert_ne!(exact("9007199254740993"), exact("9007199254740992"));
        assert_ne!(exact("18446744073709551615"), exact("18446744073709551614"));
        assert_eq!(exact("10000000000000000"), exact("1e16"));
    }

    proptest! {
        #[test]
        fn order_agrees_with_f64_where_f64_is_exact(a in -1e15..1e15f64, b in -1e15..1e15f64) {
            prop_assert_eq!(Exact::of_f64(a).cmp(&Exact::of_f64(b)), a.partial_cmp(&b).unwrap());
        }

        #[test]
        fn order_of_integers_is_exact(a: i64, b: i64) {
            prop_assert_eq!(Exact::Whole(a.into()).cmp(&Exact::Whole(b.into())), a.cmp(&b));
        }

        #[test]
        fn a_whole_number_and_a_fraction_compare_as_their_values(a in -1_000_000i64..1_000_000, b in -1e6..1e6f64) {
            prop_assert_eq!(Exact::Whole(a.into()).cmp(&Exact::of_f64(b)), (a as f64).partial_cmp(&b).unwrap());
        }
    }
}
