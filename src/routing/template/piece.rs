//! A compiled template.

use std::sync::Arc;

use serde_json::Value;

/// The name of the variable that holds the value of a single expression.
pub(super) const CAUGHT: &str = "__value";

/// A compiled `input` or `body`, or a setting of an agent.
#[derive(Debug)]
pub(in crate::routing) struct Template {
    pub(super) root: Piece,
}

impl Template {
    /// The value itself, if no part of it is a template.
    pub(in crate::routing) fn literal(&self) -> Option<&Value> {
        match &self.root {
            Piece::Literal(value) => Some(value),
            _ => None,
        }
    }
}

/// A compiled value of a template's tree.
#[derive(Debug)]
pub(super) enum Piece {
    /// As it stands.
    Literal(Value),
    List(Vec<Piece>),
    Map(Vec<(String, Piece)>),
    /// One expression, whose value keeps its type.
    Expression(Leaf),
    /// Anything else with a template in it: a string.
    Text(Leaf),
}

/// A string with a template in it.
#[derive(Debug)]
pub(super) struct Leaf {
    pub(super) path: Arc<str>,
    /// As the file has it, with no value of a variable.
    pub(super) source: Arc<str>,
    /// Whether a value of a variable stands in it, which what the engine says could repeat.
    pub(super) has_variables: bool,
    /// The name under which the engine holds it.
    pub(super) name: Arc<str>,
}

impl Piece {
    pub(super) fn literal(&self) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value.clone()),
            _ => None,
        }
    }
}
