//! Expands `$or`: a pattern becomes alternatives without `$or`, so that the conditions of a branch and those
//! around it apply to the same element of an array.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use super::{
    compile::{Body, FieldSyntax, Syntax},
    error::{PatternFault, PatternReason},
    leaf::Leaf,
};

/// The most alternatives of a pattern.
const MAX_COMBINATIONS: usize = 1_000;

/// The most fields of all alternatives together.
const MAX_EXPANDED_FIELDS: usize = 200_000;

/// A field of one alternative: the condition on its own value, and those on its fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Field {
    pub(super) test: Option<Arc<Leaf>>,
    pub(super) children: BTreeMap<Arc<str>, Field>,
}

/// The alternatives of a pattern.
pub(super) fn expand(syntax: &Syntax) -> Result<Vec<Field>, Vec<PatternFault>> {
    let mut faults = Vec::new();
    constrained(syntax, &[], &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    object(syntax).map_err(|TooMany| {
        let reason = PatternReason::TooManyCombinations { limit: MAX_COMBINATIONS };
        vec![PatternFault { path: String::new(), position: None, reason }]
    })
}

type Constrained<'a> = BTreeMap<Vec<&'a str>, &'a FieldSyntax>;

/// The paths that a part of the pattern constrains; one that a `$or` and its surroundings share is a
/// fault.
fn constrained<'a>(syntax: &'a Syntax, prefix: &[&'a str], faults: &mut Vec<PatternFault>) -> Constrained<'a> {
    let mut outside = Constrained::new();
    for (key, field) in &syntax.fields {
        let path = [prefix, &[Arc::as_ref(key)]].concat();
        match &field.body {
            Body::Leaf(_) => drop(outside.insert(path, field)),
            Body::Object(inner) => outside.extend(constrained(inner, &path, faults)),
        }
    }
    let mut inside = Constrained::new();
    for branch in syntax.or.iter().flatten() {
        inside.extend(constrained(branch, prefix, faults));
    }
    for (path, field) in inside {
        match outside.entry(path) {
            btree_map::Entry::Vacant(entry) => drop(entry.insert(field)),
            btree_map::Entry::Occupied(_) => {
                let reason = PatternReason::InsideAndOutsideOr;
                faults.push(PatternFault { path: field.path.to_string(), position: field.at, reason });
            }
        }
    }
    outside
}

/// More alternatives, or larger ones, than are allowed.
struct TooMany;

fn object(syntax: &Syntax) -> Result<Vec<Field>, TooMany> {
    let mut alternatives = vec![Field::default()];
    for (key, field) in &syntax.fields {
        let choices = match &field.body {
            Body::Leaf(leaf) => vec![Field { test: Some(Arc::clone(leaf)), children: BTreeMap::new() }],
            Body::Object(inner) => object(inner)?,
        };
        let choices: Vec<_> = choices
            .into_iter()
            .map(|field| Field { test: None, children: BTreeMap::from([(Arc::clone(key), field)]) })
            .collect();
        alternatives = product(alternatives, &choices)?;
    }
    if let Some(branches) = &syntax.or {
        let mut choices = Vec::new();
        for branch in branches {
            choices.extend(object(branch)?);
            if choices.len() > MAX_COMBINATIONS {
                return Err(TooMany);
            }
        }
        alternatives = product(alternatives, &choices)?;
    }
    Ok(alternatives)
}

/// Joins each of `left` with each of `right`.
fn product(left: Vec<Field>, right: &[Field]) -> Result<Vec<Field>, TooMany> {
    if left.len() * right.len() > MAX_COMBINATIONS {
        return Err(TooMany);
    }
    if let ([_], [only]) = (left.as_slice(), right) {
        return Ok(left.into_iter().map(|field| join(field, only)).collect());
    }
    let fields = |list: &[Field]| list.iter().map(size).sum::<usize>();
    if fields(&left) * right.len() + fields(right) * left.len() > MAX_EXPANDED_FIELDS {
        return Err(TooMany);
    }
    Ok(left.iter().flat_map(|one| right.iter().map(|other| join(one.clone(), other))).collect())
}

fn size(field: &Field) -> usize {
    1 + field.children.values().map(size).sum::<usize>()
}

/// Joins two parts of one alternative. No path has a test in both: that was refused before.
fn join(mut into: Field, from: &Field) -> Field {
    if into.test.is_none() {
        into.test.clone_from(&from.test);
    }
    for (key, child) in &from.children {
        let joined = match into.children.remove(key) {
            Some(own) => join(own, child),
            None => child.clone(),
        };
        into.children.insert(Arc::clone(key), joined);
    }
    into
}
