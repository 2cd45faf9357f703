//! What can be wrong with a pattern.

use std::fmt;

use crate::yaml::Position;

/// Every fault of a pattern; displayed one per line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatternError {
    faults: Vec<PatternFault>,
}

/// One fault of a pattern, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PatternFault {
    /// The path in the pattern, such as `payload.data.status[0]`; empty for the pattern itself.
    pub path: String,
    /// The position in the file.
    pub position: Option<Position>,
    /// What is wrong.
    pub reason: PatternReason,
}

/// What is wrong with a part of a pattern.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum PatternReason {
    /// It has more fields than allowed.
    #[error("expected a pattern of at most {limit} fields, found more: split it into several rules")]
    TooLarge {
        /// How much is allowed.
        limit: usize,
    },
    /// Something else was expected here.
    #[error("expected {expected}, found {found}: {advice}")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
        /// What was found.
        found: String,
        /// What to do.
        advice: &'static str,
    },
    /// A key that its object already has.
    #[error("the key {key} stands twice in one object: keep one, a list may hold several values")]
    DuplicateKey {
        /// The key, quoted.
        key: String,
    },
    /// A match expression with a name that is no operator.
    #[error("expected an operator, found {found}{suggestion}; the operators are {known}")]
    UnknownOperator {
        /// The name, quoted.
        found: String,
        /// The operator that was probably meant.
        suggestion: String,
        /// Every operator.
        known: &'static str,
    },
    /// An operand that its operator cannot take.
    #[error("`{operator}`: {reason}")]
    InvalidOperand {
        /// The operator.
        operator: &'static str,
        /// What was expected, what was found, what to do.
        reason: String,
    },
    /// A path that a `$or` and something outside of it both constrain.
    #[error(
        "this field is constrained both inside and outside of a `$or`: say it in one place, in every branch if need be"
    )]
    InsideAndOutsideOr,
    /// The alternatives of all `$or` multiply to too many.
    #[error("the `$or` of this pattern multiply to more than {limit} combinations: split it into several rules")]
    TooManyCombinations {
        /// How many are allowed.
        limit: usize,
    },
}

impl PatternError {
    pub(super) fn new(faults: Vec<PatternFault>) -> Self {
        Self { faults }
    }

    /// The faults, at least one.
    pub(crate) fn faults(&self) -> &[PatternFault] {
        &self.faults
    }
}

impl fmt::Display for PatternFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        self.reason.fmt(f)
    }
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PatternError {}
