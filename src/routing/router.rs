//! Which rules an event goes by.
//!
//! A rule that can only match through exact strings is found by one of them, the rarest, so it costs
//! nothing while that string is not in the event. The rest are looked at one by one. How it is done
//! stays behind [`Router::matches`].

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::Value;

use super::rule::Rule;

/// The rules of a folder, ready to be asked.
#[derive(Debug)]
pub struct Router {
    /// By name.
    rules: Vec<Arc<Rule>>,
    /// One index for each path that some rule is found by.
    indexes: Vec<Index>,
    /// What the indexes find: rules as positions in `rules`, rising.
    lists: Vec<Vec<usize>>,
    /// Rules that no index finds, as positions in `rules`.
    scanned: Vec<usize>,
}

/// The rules that are found by a string at one path, as positions in `lists`.
#[derive(Debug)]
struct Index {
    path: Vec<String>,
    lists: HashMap<String, usize>,
}

/// The rules that match one event, and the room to find them in: reused, it costs no allocation.
#[derive(Debug, Default)]
pub struct Matches {
    rules: Vec<Arc<Rule>>,
    lists: Vec<usize>,
    candidates: Vec<usize>,
}

impl Matches {
    /// The rules, by name.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }
}

impl Router {
    pub(super) fn new(mut rules: Vec<Arc<Rule>>) -> Self {
        rules.sort_by(|a, b| a.name().cmp(b.name()));
        let anchors: Vec<_> = rules.iter().map(|rule| rule.pattern().anchors()).collect();

        // How many alternatives would be found by each string at each path.
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
        Self { rules, indexes, lists, scanned }
    }

    /// The rules that match an event's document, by name.
    pub fn matches(&self, document: &Value) -> Vec<Arc<Rule>> {
        let mut matches = Matches::default();
        self.matches_into(document, &mut matches);
        matches.rules
    }

    /// As [`matches`](Self::matches), in room that the caller keeps from one event to the next.
    pub fn matches_into(&self, document: &Value, matches: &mut Matches) {
        let Matches { rules, lists, candidates } = matches;
        rules.clear();
        lists.clear();
        candidates.clear();
        for index in &self.indexes {
            strings_at(document, &index.path, &mut |text| {
                // An array may hold one string a million times: each list is looked at once.
                lists.extend(index.lists.get(text).filter(|list| lists.last() != Some(*list)));
            });
        }
        lists.sort_unstable();
        lists.dedup();
        candidates.extend(lists.iter().flat_map(|list| &self.lists[*list]).chain(&self.scanned));
        candidates.sort_unstable();
        candidates.dedup();
        let matching = candidates.iter().map(|rule| &self.rules[*rule]).filter(|rule| rule.pattern().matches(document));
        rules.extend(matching.cloned());
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
