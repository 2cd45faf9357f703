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
    /// Rules that no index finds, as positions in `rules`.
    scanned: Vec<usize>,
}

/// The rules that are found by a string at one path.
#[derive(Debug)]
struct Index {
    path: Vec<String>,
    rules: HashMap<String, Vec<usize>>,
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

        let mut indexes: BTreeMap<Vec<String>, HashMap<String, Vec<usize>>> = BTreeMap::new();
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
                    let found = index.entry((*value).to_owned()).or_default();
                    if found.last() != Some(&rule) {
                        found.push(rule);
                    }
                }
            }
        }
        let indexes = indexes.into_iter().map(|(path, rules)| Index { path, rules }).collect();
        Self { rules, indexes, scanned }
    }

    /// The rules that match an event's document, by name. Allocates nothing when none does.
    pub fn matches(&self, document: &Value) -> Vec<Arc<Rule>> {
        let mut found: Vec<&[usize]> = Vec::new();
        for index in &self.indexes {
            strings_at(document, &index.path, &mut |text| {
                if let Some(rules) = index.rules.get(text) {
                    found.push(rules);
                }
            });
        }
        // An array may hold one string a thousand times: each list is looked at once.
        found.sort_unstable_by_key(|rules| rules.as_ptr());
        found.dedup_by_key(|rules| rules.as_ptr());
        let mut candidates: Vec<usize> = found.into_iter().flatten().copied().collect();
        candidates.sort_unstable();
        candidates.dedup();

        let matching = |rule: &usize| self.rules[*rule].pattern().matches(document);
        candidates.retain(matching);
        candidates.extend(self.scanned.iter().copied().filter(matching));
        candidates.sort_unstable();
        candidates.into_iter().map(|rule| Arc::clone(&self.rules[rule])).collect()
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
