//! Finds the rules that an event may match by the values that it has, without trying the others.
//!
//! For each alternative of a rule one of its fields is chosen, and for each value that the field may have one [`Key`]. An event
//! that has none of these keys does not match the rule. Where many rules share a key, they are asked for another of their fields
//! by an index of their own, and so on. Whether an event that has all these keys matches is not decided here.

mod affixes;
mod choose;
mod contained;
mod found;
mod keyed;
mod lists;
mod others;
mod ranges;

use std::{cmp::Reverse, collections::HashMap};

use super::pattern::{Alternative, Key, Pattern};
use crate::event::{Shape, Tree};
use choose::{Chosen, Fields};
use found::Found;
use keyed::Keyed;
use lists::Lists;

/// So many rules of one key are tried one by one.
const FEW: usize = 4;

/// The further indexes of a folder are of so many times the weight of its rules: a rule with a thousand values is in a thousand
/// lists, and each of them could have an index over its thousand other fields.
const FURTHER: usize = 4;

/// So many fields of a rule are asked for, one after the other.
const MOST_LEVELS: usize = 4;

/// A field with more keys is not asked for after another: each takes a place for each alternative, in every further index.
const MOST_KEYS: usize = 2;

/// From the values of an event to the rules that it may match.
#[derive(Debug, Default)]
pub(super) struct Index {
    root: Node,
    lists: Lists,
    /// The lists of fields that have to be absent, ascending.
    absent: Vec<usize>,
    /// Of lists with many rules, which [`Lists`] has none of: which index they have.
    further: HashMap<usize, usize>,
    indexes: Vec<Index>,
    /// The rules that are found by no key.
    rest: Vec<usize>,
}

/// A place in the document.
#[derive(Debug, Default)]
struct Node {
    keyed: Option<Box<Keyed>>,
    /// The list of the rules for which it has to be absent.
    absent: Option<usize>,
    fields: HashMap<Box<str>, Node>,
}

/// An alternative of a rule.
#[derive(Clone, Copy)]
struct Member<'a> {
    rule: usize,
    alternative: Alternative<'a>,
    weight: usize,
}

impl Index {
    /// An index of these patterns; the number of a rule is its place among them.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = &'a Pattern> + Clone) -> Self {
        let alternatives = |(rule, pattern): (usize, &'a Pattern)| {
            pattern.alternatives().map(move |alternative| Member { rule, alternative, weight: alternative.weight() })
        };
        let weight = patterns.clone().map(Pattern::weight).fold(0, usize::saturating_add);
        let members: Vec<Member<'a>> = patterns.enumerate().flat_map(alternatives).collect();
        let fields = Fields { used: Vec::new(), most_keys: usize::MAX };
        Self::of(&members, &fields, weight.saturating_mul(FURTHER))
    }

    /// `budget` is the weight that the further indexes may have.
    fn of<'a>(members: &[Member<'a>], fields: &Fields<'a>, budget: usize) -> Self {
        let choice = fields.choice(members.iter().map(|member| member.alternative));
        let (mut places, mut found_by, mut rest) = (Places::default(), Vec::new(), Vec::new());
        for (number, member) in members.iter().enumerate() {
            match choice.choose(member.alternative) {
                Some(chosen) => places.add(chosen, |list| found_by.push((list, number))),
                None => rest.push(member.rule),
            }
        }
        drop(choice);
        found_by.sort_unstable();
        found_by.dedup();
        rest.dedup();
        let paths = places.of_lists();
        let further = Further::of(&found_by, members, &paths, (fields, budget));
        let few = found_by.iter().filter(|(list, _)| !further.lists.contains_key(list));
        let few: Vec<_> = few.map(|(list, member)| (*list, members[*member].rule)).collect();
        let lists = Lists::new(paths.len(), few);
        let (root, absent) = places.finish();
        Self { root, lists, absent, further: further.lists, indexes: further.indexes, rest }
    }

    /// The rules that an event may match, ascending.
    pub(super) fn candidates<T: Tree>(&self, document: &T) -> Vec<usize> {
        let mut rules = Vec::new();
        self.find(document, &mut rules);
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    fn find<T: Tree>(&self, document: &T, rules: &mut Vec<usize>) {
        let mut found = Found::default();
        self.root.visit(document, Place::ALONE, &mut found);
        rules.extend(&self.rest);
        let mut further: Vec<&usize> = Vec::new();
        for list in found.into_lists(&self.absent) {
            // Only a list that has an index is empty.
            let of_list = self.lists.get(list);
            rules.extend(of_list);
            if of_list.is_empty() {
                further.extend(self.further.get(&list));
            }
        }
        // An array may have the values of a thousand lists that share one.
        further.sort_unstable();
        further.dedup();
        further.into_iter().filter_map(|index| self.indexes.get(*index)).for_each(|index| index.find(document, rules));
    }
}

/// The indexes of the longest lists, over the fields that are left.
#[derive(Default)]
struct Further {
    /// Which index each list has.
    lists: HashMap<usize, usize>,
    indexes: Vec<Index>,
}

impl Further {
    /// `found_by` has each list with its members, ascending; `paths` the path of each list.
    fn of<'a>(
        found_by: &[(usize, usize)],
        members: &[Member<'a>],
        paths: &[&[&'a str]],
        (fields, mut budget): (&Fields<'a>, usize),
    ) -> Self {
        let mut further = Self::default();
        if fields.used.len() + 1 >= MOST_LEVELS {
            return further;
        }
        let mut by_list: Vec<_> = found_by.chunk_by(|a, b| a.0 == b.0).filter(|list| list.len() > FEW).collect();
        // Stable: the same folder makes the same index.
        by_list.sort_by_key(|list| Reverse(list.len()));
        // The lists of a field with several values often have the same members: they share one index.
        let mut groups: Vec<(Vec<Member<'a>>, Vec<usize>, usize)> = Vec::new();
        let mut same: HashMap<(&[&str], Vec<usize>), usize> = HashMap::new();
        for found_by in by_list {
            let Some(&(list, _)) = found_by.first() else { continue };
            let numbers: Vec<usize> = found_by.iter().map(|(_, member)| *member).collect();
            if let Some(group) = same.get(&(paths[list], numbers.clone())) {
                groups[*group].1.push(list);
                continue;
            }
            let of_list: Vec<Member<'a>> = numbers.iter().map(|member| members[*member]).collect();
            let weight = of_list.iter().fold(0, |sum: usize, member| sum.saturating_add(member.weight));
            if let Some(left) = budget.checked_sub(weight) {
                budget = left;
                same.insert((paths[list], numbers), groups.len());
                groups.push((of_list, vec![list], weight));
            }
        }
        // What is left is for the indexes below these, for each by its weight.
        let all = groups.iter().fold(0, |sum: usize, (.., weight)| sum.saturating_add(*weight)).max(1);
        for (of_list, lists, weight) in groups {
            let mut used = fields.used.clone();
            used.extend(lists.first().map(|list| paths[*list].to_vec()));
            let share = usize::try_from(budget as u128 * weight as u128 / all as u128).unwrap_or_default();
            let index = Index::of(&of_list, &Fields { used, most_keys: MOST_KEYS }, share);
            if !index.root.fields.is_empty() {
                further.lists.extend(lists.into_iter().map(|list| (list, further.indexes.len())));
                further.indexes.push(index);
            }
        }
        further
    }
}

/// The keys at each path, while they are collected.
#[derive(Default)]
struct Places<'a> {
    /// By path: which of them it is, and the list of each key.
    keys: HashMap<Vec<&'a str>, (usize, HashMap<Key<'a>, usize>)>,
    /// Which path each list is of.
    paths: Vec<usize>,
}

impl<'a> Places<'a> {
    /// Calls `found_by` with the list of each key.
    fn add(&mut self, Chosen { path, keys }: Chosen<'a>, mut found_by: impl FnMut(usize)) {
        let next = self.keys.len();
        let (path, places) = self.keys.entry(path).or_insert_with(|| (next, HashMap::new()));
        for key in keys {
            found_by(*places.entry(key).or_insert_with(|| {
                self.paths.push(*path);
                self.paths.len() - 1
            }));
        }
    }

    /// The path of each list.
    fn of_lists(&self) -> Vec<&[&'a str]> {
        let mut paths: Vec<&[&str]> = vec![&[]; self.keys.len()];
        self.keys.iter().for_each(|(path, (number, _))| paths[*number] = path);
        self.paths.iter().map(|number| paths[*number]).collect()
    }

    /// The nodes, and the lists of fields that have to be absent.
    fn finish(self) -> (Node, Vec<usize>) {
        let (mut root, mut absent) = (Node::default(), Vec::new());
        for (path, (_, mut keys)) in self.keys {
            let node = root.at(&path);
            node.absent = keys.remove(&Key::Absent);
            absent.extend(node.absent);
            node.keyed = (!keys.is_empty()).then(|| Box::new(Keyed::new(keys)));
        }
        absent.sort_unstable();
        (root, absent)
    }
}

impl Node {
    /// The node of a path, made if it is not there.
    fn at(&mut self, path: &[&str]) -> &mut Self {
        path.iter().fold(self, |node, key| node.fields.entry((*key).into()).or_default())
    }

    /// Looks up each value that has a place here, through arrays.
    fn visit<T: Tree>(&self, value: &T, place: Place, found: &mut Found) {
        if let (true, Some(list)) = (place.is_alone, self.absent)
            && is_there(value)
        {
            found.is_there(list);
        }
        match value.shape() {
            Shape::List(items) => {
                let mut place = Place { is_alone: false, ..place };
                for item in items {
                    self.visit(item, place, found);
                    place.is_first = false;
                }
            }
            // Whichever has fewer: an event with a thousand fields, or rules that name a thousand.
            Shape::Object if value.field_count() < self.fields.len() => {
                for (key, inner) in value.fields() {
                    if let Some(node) = self.fields.get(key) {
                        node.visit(inner, place, found);
                    }
                }
            }
            Shape::Object => {
                for (key, node) in &self.fields {
                    if let Some(inner) = value.field(key) {
                        node.visit(inner, place, found);
                    }
                }
            }
            Shape::Scalar(scalar) => {
                if let Some(keyed) = &self.keyed {
                    keyed.look_up(scalar, place.is_first, found);
                }
            }
        }
    }
}

/// Where a value is.
#[derive(Clone, Copy)]
struct Place {
    /// There is no array on the way: what one element has, another may lack.
    is_alone: bool,
    /// It is in the first element of each array on the way.
    is_first: bool,
}

impl Place {
    const ALONE: Self = Self { is_alone: true, is_first: true };
}

/// Whether a value is a scalar, or an array that has nothing else and is not empty.
fn is_there<T: Tree>(value: &T) -> bool {
    match value.shape() {
        Shape::Scalar(_) => true,
        Shape::List(items) => !items.is_empty() && items.iter().all(is_there),
        Shape::Object => false,
    }
}

#[cfg(test)]
mod tests;
