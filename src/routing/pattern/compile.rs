//! Compiles a tree of nodes into the syntax tree of a pattern: fields, `$or` and lists of alternatives. Every fault
//! is collected.

use std::{collections::HashSet, sync::Arc};

use super::{
    error::{PatternFault, PatternReason},
    leaf::{Alternatives, Leaf},
    operator,
    scope::{PathStep, Scope},
};
use crate::yaml::{Data, Entry, Node, Position, quoted};

/// The key of an alternative between objects.
pub(in crate::routing) const OR: &str = "$or";

/// The most fields of a pattern.
const MAX_FIELDS: usize = 10_000;

/// An object of a pattern.
#[derive(Debug, Default)]
pub(super) struct Syntax {
    pub(super) fields: Vec<(Arc<str>, FieldSyntax)>,
    /// The branches of `$or`, at least two.
    pub(super) or: Option<Vec<Syntax>>,
}

/// A field of an object: constrained itself, or through its own fields.
#[derive(Debug)]
pub(super) struct FieldSyntax {
    pub(super) path: Arc<str>,
    pub(super) at: Option<Position>,
    pub(super) body: Body,
}

#[derive(Debug)]
pub(super) enum Body {
    Leaf(Arc<Leaf>),
    Object(Syntax),
}

pub(super) fn compile(node: &Node, faults: &mut Vec<PatternFault>) -> Syntax {
    object(node, &mut Scope::new(faults))
}

fn object(node: &Node, scope: &mut Scope<'_>) -> Syntax {
    let mut syntax = Syntax::default();
    let Data::Map(entries) = &node.data else {
        let found = node.found();
        let advice = "write fields, each with a list of the values that match";
        scope.fault(node.at, PatternReason::Unexpected { expected: "an object with fields", found, advice });
        return syntax;
    };
    if entries.is_empty() {
        scope.fault(
            node.at,
            PatternReason::Unexpected {
                expected: "an object with at least one field",
                found: "an empty one".into(),
                advice: "name a field, or ask for its presence with [{\"exists\": true}]",
            },
        );
    }
    let mut seen = HashSet::new();
    for entry in entries {
        scope.fields += 1;
        if scope.fields == MAX_FIELDS {
            scope.fault(entry.at, PatternReason::TooLarge { limit: MAX_FIELDS });
        }
        if scope.fields >= MAX_FIELDS {
            return syntax;
        }
        if !seen.insert(entry.key.as_str()) {
            scope.within(PathStep::Key(&entry.key), |scope| {
                scope.fault(entry.at, PatternReason::DuplicateKey { key: quoted(&entry.key) });
            });
            continue;
        }
        scope.within(PathStep::Key(&entry.key), |scope| match &entry.value.data {
            Data::List(items) if entry.key == OR => syntax.or = Some(or(items, entry, scope)),
            _ => syntax.fields.extend(field(entry, scope).map(|field| (entry.key.as_str().into(), field))),
        });
    }
    syntax
}

fn field(entry: &Entry, scope: &mut Scope<'_>) -> Option<FieldSyntax> {
    let node = &entry.value;
    let body = match &node.data {
        Data::Map(_) => Body::Object(object(node, scope)),
        Data::List(items) if items.is_empty() => {
            scope.fault(
                node.at,
                PatternReason::Unexpected {
                    expected: "a list with at least one value",
                    found: "an empty one".into(),
                    advice: "name the values that match",
                },
            );
            return None;
        }
        Data::List(items) => {
            let mut alternatives = Alternatives::default();
            for (index, item) in items.iter().enumerate() {
                scope.within(PathStep::Item(index), |scope| operator::alternative(item, &mut alternatives, scope));
            }
            Body::Leaf(Arc::new(alternatives.finish(source(items))))
        }
        _ => {
            scope.fault(
                node.at,
                PatternReason::Unexpected {
                    expected: if operator::is_operator(&entry.key) {
                        "a list or an object (operators stand in a list, as in [{\"prefix\": \"etl_\"}])"
                    } else {
                        "a list or an object"
                    },
                    found: node.found(),
                    advice: "put the value into brackets",
                },
            );
            return None;
        }
    };
    Some(FieldSyntax { path: scope.path.as_str().into(), at: entry.at, body })
}

/// The most characters that are kept of a list, for messages.
const MAX_SOURCE_CHARS: usize = 200;

/// A list as JSON. No more of it is written than is kept.
fn source(items: &[Node]) -> Box<str> {
    let mut text = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(&item.to_json().to_string());
        if text.len() > 4 * MAX_SOURCE_CHARS {
            break;
        }
    }
    text.push(']');
    match text.char_indices().nth(MAX_SOURCE_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

fn or(items: &[Node], entry: &Entry, scope: &mut Scope<'_>) -> Vec<Syntax> {
    if items.len() < 2 || !items.iter().all(|item| matches!(item.data, Data::Map(_))) {
        let found = match items.iter().find(|item| !matches!(item.data, Data::Map(_))) {
            Some(item) => format!("{} in it", item.found()),
            None => format!("{} of them", items.len()),
        };
        let advice = "give it the objects of which one has to match";
        scope.fault(
            entry.value.at.or(entry.at),
            PatternReason::Unexpected { expected: "a list of two objects or more after $or", found, advice },
        );
    }
    let mut branches = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let Data::Map(entries) = &item.data else { continue };
        scope.within(PathStep::Item(index), |scope| {
            for entry in entries.iter().filter(|entry| operator::is_operator(&entry.key)) {
                scope.fault(
                    entry.at,
                    PatternReason::Unexpected {
                        expected: "a field of the event",
                        found: format!("the operator `{}`", entry.key),
                        advice: "in a branch of $or name the field first, and the operator in its list",
                    },
                );
            }
            branches.push(object(item, scope));
        });
    }
    branches
}
