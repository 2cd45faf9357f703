//! The verdict on one item of a pattern.

/// What is reported about one item of a list.
pub(super) enum Verdict {
    Fine,
    /// Some event could match it, but it is probably a mistake.
    Odd(String),
    /// No event can match it.
    Never(String),
}
