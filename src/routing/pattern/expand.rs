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
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) test: Option<Arc<Leaf>>,
    /// By name. A folder has several for each rule: a map would take ten times the memory.
    pub(super) children: Box<[(Arc<str>, Field)]>,
}

impl Field {
    /// The field of that name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        let at = self.children.binary_search_by(|(key, _)| (**key).cmp(name)).ok()?;
        self.children.get(at).map(|(_, child)| child)
    }
}

/// A field that others are still added to.
#[derive(Clone, Default)]
struct Growing {
    test: Option<Arc<Leaf>>,
    children: BTreeMap<Arc<str>, Growing>,
}

impl Growing {
    fn finish(self) -> Field {
        let children = self.children.into_iter().map(|(key, child)| (key, child.finish()));
        Field { test: self.test, children: children.collect() }
    }
}

/// The alternatives of a pattern.
pub(super) fn expand(syntax: &Syntax) -> Result<Vec<Field>, Vec<PatternFault>> {
    let mut faults = Vec::new();
    constrained(syntax, &[], &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let alternatives = object(syntax).map_err(|TooMany| {
        let reason = PatternReason::TooManyCombinations { limit: MAX_COMBINATIONS };
        vec![PatternFault { path: String::new(), position: None, reason }]
    })?;
    Ok(alternatives.into_iter().map(Growing::finish).collect())
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

fn object(syntax: &Syntax) -> Result<Vec<Growing>, TooMany> {
    let mut alternatives = vec![Growing::default()];
    for (key, field) in &syntax.fields {
        let choices = match &field.body {
            Body::Leaf(leaf) => vec![Growing { test: Some(Arc::clone(leaf)), children: BTreeMap::new() }],
            Body::Object(inner) => object(inner)?,
        };
        let choices: Vec<_> = choices
            .into_iter()
            .map(|field| Growing { test: None, children: BTreeMap::from([(Arc::clone(key), field)]) })
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
fn product(left: Vec<Growing>, right: &[Growing]) -> Result<Vec<Growing>, TooMany> {
    if left.len() * right.len() > MAX_COMBINATIONS {
        return Err(TooMany);
    }
    if let ([_], [only]) = (left.as_slice(), right) {
        return Ok(left.into_iter().map(|field| join(field, only)).collect());
    }
    let fields = |list: &[Growing]| list.iter().map(size).sum::<usize>();
    if fields(&left) * right.len() + fields(right) * left.len() > MAX_EXPANDED_FIELDS {
        return Err(TooMany);
    }
    Ok(left.iter().flat_map(|one| right.iter().map(|other| join(one.clone(), other))).collect())
}

fn size(field: &Growing) -> usize {
    1 + field.children.values().map(size).sum::<usize>()
}

/// Joins two parts of one alternative. No path has a test in both: that was refused before.
fn join(mut into: Growing, from: &Growing) -> Growing {
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
