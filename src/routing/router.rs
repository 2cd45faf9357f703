//! Which rules match an event.
//!
//! A rule that can only match through exact strings is indexed by one of them, the rarest, so it costs
//! nothing for an event without that string. All other rules are tried one by one.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;

use super::rule::Rule;
use crate::event::FieldSet;

/// The rules of a folder, with their indexes.
#[derive(Debug)]
pub(crate) struct Router {
    /// By name.
    rules: Vec<Arc<Rule>>,
    /// One index for each path.
    indexes: Vec<Index>,
    /// The entries of the indexes: rules as positions in `rules`, ascending.
    lists: Vec<Vec<usize>>,
    /// The rules without an index, as positions in `rules`.
    scanned: Vec<usize>,
    /// The fields that any rule reads.
    fields: FieldSet,
}

/// From a string at one path to its rules, as a position in `lists`.
#[derive(Debug)]
struct Index {
    path: Vec<String>,
    lists: HashMap<String, usize>,
}

impl Router {
    pub(super) fn new(mut rules: Vec<Arc<Rule>>) -> Self {
        rules.sort_by(|a, b| a.name().cmp(b.name()));
        let anchors: Vec<_> = rules.iter().map(|rule| rule.pattern().anchors()).collect();

        // How many alternatives each string at each path would select.
        let mut frequency: HashMap<(&[&str], &str), usize> = HashMap::new();
        for anchor in anchors.iter().flatten().flatten() {
            for value in &anchor.values {
                *frequency.entry((&anchor.path, value)).or_default() += 1;
            }
        }
        let commonest = |path: &[&str], values: &[&str]| {
            values.iter().filter_map(|value| frequency.get(&(path, *value))).max().copied().unwrap_or_default()
        };

        let mut indexes: BTreeMap<Vec<String>, HashMap<String, usize>> = BTreeMap::new();
        let mut lists: Vec<Vec<usize>> = Vec::new();
        let mut scanned = Vec::new();
        for (rule, alternatives) in anchors.iter().enumerate() {
            let rarest: Option<Vec<_>> = alternatives
                .iter()
                .map(|anchors| anchors.iter().min_by_key(|anchor| commonest(&anchor.path, &anchor.values)))
                .collect();
            let Some(rarest) = rarest else {
                scanned.push(rule);
                continue;
            };
            for anchor in rarest {
                let path: Vec<_> = anchor.path.iter().map(|key| (*key).to_owned()).collect();
                let index = indexes.entry(path).or_default();
                for value in &anchor.values {
                    let list = *index.entry((*value).to_owned()).or_insert_with(|| {
                        lists.push(Vec::new());
                        lists.len() - 1
                    });
                    if lists[list].last() != Some(&rule) {
                        lists[list].push(rule);
                    }
                }
            }
        }
        let indexes = indexes.into_iter().map(|(path, lists)| Index { path, lists }).collect();
        let mut fields = FieldSet::default();
        for rule in &rules {
            rule.pattern().add_fields(&mut fields);
        }
        Self { rules, indexes, lists, scanned, fields }
    }

    /// The fields of a document that matching reads.
    pub(crate) fn fields(&self) -> &FieldSet {
        &self.fields
    }

    /// The rules that match an event's document, by name. A document with these [`fields`](Self::fields) is enough.
    pub(crate) fn matches(&self, document: &Value) -> Vec<Arc<Rule>> {
        let mut lists = Vec::new();
        for index in &self.indexes {
            strings_at(document, &index.path, &mut |text| {
                // An array may have the same string a million times: it is looked up once in a row.
                lists.extend(index.lists.get(text).filter(|list| lists.last() != Some(*list)));
            });
        }
        lists.sort_unstable();
        lists.dedup();
        let mut candidates: Vec<_> = lists.iter().flat_map(|list| &self.lists[*list]).chain(&self.scanned).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let rules = candidates.into_iter().map(|rule| &self.rules[*rule]);
        rules.filter(|rule| rule.pattern().matches(document)).cloned().collect()
    }

    /// The rules, by name.
    pub(super) fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

/// The strings at a path, through arrays.
fn strings_at<'v>(value: &'v Value, path: &[String], visit: &mut impl FnMut(&'v str)) {
    match (value, path) {
        (Value::Array(items), _) => items.iter().for_each(|item| strings_at(item, path, visit)),
        (Value::String(text), []) => visit(text),
        (Value::Object(fields), [key, rest @ ..]) => {
            if let Some(inner) = fields.get(key) {
                strings_at(inner, rest, visit);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
