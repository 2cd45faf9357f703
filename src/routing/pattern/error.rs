//! What can be wrong with a pattern.

use crate::yaml::Position;
use std::fmt;

/// Every fault of a pattern; one a line when displayed.
#[derive(Debug, Clone, PartialEq)]
pub struct PatternError {
    faults: Vec<PatternFault>,
}

/// One fault of a pattern, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct PatternFault {
    /// The path in the pattern, such as `payload.data.status[0]`; empty for the pattern itself.
    pub path: String,
    /// The place in the file; `None` for a pattern that was given as JSON.
    pub position: Option<Position>,
    /// What is wrong.
    pub reason: PatternReason,
}

/// What is wrong with a part of a pattern.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PatternReason {
    /// The text is not JSON, or JSON beyond the limits of depth and number range.
    #[error("expected a pattern as one JSON object: {reason}")]
    NotJson {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The text or the number of its fields is beyond the limit.
    #[error("expected a pattern of at most {limit} {unit}, found more: split it into several rules")]
    TooLarge {
        /// How much is allowed.
        limit: usize,
        /// Bytes or fields.
        unit: &'static str,
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

impl PatternReason {
    /// A stable word for labels.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotJson { .. } => "not_json",
            Self::TooLarge { .. } => "too_large",
            Self::Unexpected { .. } => "unexpected",
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::UnknownOperator { .. } => "unknown_operator",
            Self::InvalidOperand { .. } => "invalid_operand",
            Self::InsideAndOutsideOr => "inside_and_outside_or",
            Self::TooManyCombinations { .. } => "too_many_combinations",
        }
    }
}

impl PatternError {
    pub(super) fn new(faults: Vec<PatternFault>) -> Self {
        Self { faults }
    }

    /// A fault of the pattern as a whole.
    pub(super) fn of(reason: PatternReason) -> Self {
        Self { faults: vec![PatternFault { path: String::new(), position: None, reason }] }
    }

    /// The faults, at least one.
    pub fn faults(&self) -> &[PatternFault] {
        &self.faults
    }

    /// A stable word for labels: that of the first fault.
    pub fn kind(&self) -> &'static str {
        self.faults.first().map_or("unexpected", |fault| fault.reason.kind())
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
