//! The definition of matching, spelled out over plain JSON: what the compiled patterns are compared with.
//!
//! Some alternative of the pattern and some choice of one element for each array satisfy every field; a field is absent
//! when no element that fits the choice has it. It shares no code with the compiled patterns, and takes exponential time.

use std::{cmp::Ordering, collections::BTreeMap, net::IpAddr};

use serde_json::{Map, Number, Value};

use super::OR;

type Path = Vec<String>;
/// For each array on the way, by its place, which element was taken.
type Choice = BTreeMap<String, usize>;
/// The fields of one alternative with their lists of values and operators.
type Alternative<'a> = Vec<(Path, &'a [Value])>;

/// The most alternatives of a pattern that are tried.
const MAX_ALTERNATIVES: usize = 1_000;

/// Whether a valid pattern matches an event; `None` when that takes more than so many steps.
pub(in crate::routing) fn matches(pattern: &Value, event: &Value, steps: u64) -> Option<bool> {
    let (Some(pattern), true) = (pattern.as_object(), event.is_object()) else { return Some(false) };
    let mut values = Vec::new();
    flatten(event, &Path::new(), "", &Choice::new(), &mut values);
    let mut search = Search { values, steps };
    for alternative in alternatives(pattern, &Path::new())? {
        if search.satisfied(&alternative, &Choice::new(), &mut Vec::new())? {
            return Some(true);
        }
    }
    Some(false)
}

/// The pattern without `$or`; `None` for too many alternatives.
fn alternatives<'a>(object: &'a Map<String, Value>, path: &Path) -> Option<Vec<Alternative<'a>>> {
    let mut all = vec![Vec::new()];
    for (key, value) in object {
        let inner = [path.as_slice(), std::slice::from_ref(key)].concat();
        let choices = match value {
            Value::Array(branches) if key == OR => {
                let branches: Option<Vec<_>> =
                    branches.iter().map(|branch| alternatives(branch.as_object()?, path)).collect();
                branches?.concat()
            }
            Value::Array(list) => vec![vec![(inner, list.as_slice())]],
            other => alternatives(other.as_object()?, &inner)?,
        };
        if all.len() * choices.len() > MAX_ALTERNATIVES {
            return None;
        }
        all = all
            .iter()
            .flat_map(|one| choices.iter().map(|other| [one.as_slice(), other.as_slice()].concat()))
            .collect();
    }
    Some(all)
}

fn flatten<'a>(
    value: &'a Value,
    path: &Path,
    place: &str,
    choice: &Choice,
    found: &mut Vec<(Path, &'a Value, Choice)>,
) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                let path = [path.as_slice(), std::slice::from_ref(key)].concat();
                flatten(inner, &path, &format!("{place}/{key:?}"), choice, found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let mut choice = choice.clone();
                choice.insert(place.to_owned(), index);
                flatten(item, path, &format!("{place}/{index}"), &choice, found);
            }
        }
        scalar => found.push((path.clone(), scalar, choice.clone())),
    }
}

fn consistent(a: &Choice, b: &Choice) -> bool {
    a.iter().all(|(place, index)| b.get(place).is_none_or(|other| other == index))
}

struct Search<'e> {
    values: Vec<(Path, &'e Value, Choice)>,
    steps: u64,
}

impl Search<'_> {
    fn satisfied<'t>(
        &mut self,
        tests: &'t [(Path, &[Value])],
        choice: &Choice,
        absent: &mut Vec<&'t Path>,
    ) -> Option<bool> {
        self.steps = self.steps.checked_sub(1 + self.values.len() as u64)?;
        let Some(((path, list), rest)) = tests.split_first() else {
            let is_there =
                |path: &Path| self.values.iter().any(|(other, _, its)| other == path && consistent(choice, its));
            return Some(!absent.iter().any(|path| is_there(path)));
        };
        for at in 0..self.values.len() {
            let (other, value, its) = &self.values[at];
            if other == path && consistent(choice, its) && list.iter().any(|item| accepts(item, value)) {
                let mut choice = choice.clone();
                choice.extend(its.clone());
                if self.satisfied(rest, &choice, absent)? {
                    return Some(true);
                }
            }
        }
        if list.iter().any(|item| item["exists"] == false) {
            absent.push(path);
            let found = self.satisfied(rest, choice, absent);
            absent.pop();
            return found;
        }
        Some(false)
    }
}

/// Whether a value or an operator of a list accepts a scalar.
fn accepts(item: &Value, scalar: &Value) -> bool {
    let operator = match (item, scalar) {
        (Value::Object(operator), _) => operator,
        (Value::Number(one), Value::Number(other)) => return compare(one, other) == Ordering::Equal,
        (Value::String(one), Value::String(other)) => return is_address(one, other).unwrap_or(one == other),
        (one, other) => return one == other,
    };
    let Some((name, operand)) = operator.iter().next() else { return false };
    match (name.as_str(), scalar) {
        ("exists", _) => operand == true,
        ("exactly", _) => operand == scalar,
        ("anything-but", _) => !excluded(operand, scalar),
        ("numeric", Value::Number(number)) => in_range(operand, number),
        ("cidr", Value::String(text)) => in_network(operand.as_str().unwrap_or_default(), text),
        (_, Value::String(text)) => is_text(name, operand, text),
        _ => false,
    }
}

fn excluded(operand: &Value, scalar: &Value) -> bool {
    match operand {
        Value::Array(list) => list.iter().any(|item| excluded(item, scalar)),
        Value::Object(operator) => operator.iter().any(|(name, texts)| {
            let texts = texts.as_array().map_or(std::slice::from_ref(texts), Vec::as_slice);
            scalar.as_str().is_some_and(|scalar| texts.iter().any(|text| is_text(name, text, scalar)))
        }),
        Value::Number(number) => scalar.as_number().is_some_and(|scalar| compare(number, scalar) == Ordering::Equal),
        text => text == scalar,
    }
}

fn is_text(operator: &str, operand: &Value, text: &str) -> bool {
    if let Some(inner) = operand.get("equals-ignore-case").and_then(Value::as_str) {
        let mut parts = text.char_indices().map(|(at, _)| at).chain([text.len()]).map(|at| text.split_at(at));
        return match operator {
            "prefix" => parts.any(|(prefix, _)| is_caseless(inner, prefix)),
            _ => parts.any(|(_, suffix)| is_caseless(inner, suffix)),
        };
    }
    let Some(operand) = operand.as_str() else { return false };
    match operator {
        "prefix" => text.get(..operand.len()) == Some(operand),
        "suffix" => text.chars().rev().collect::<String>().starts_with(&operand.chars().rev().collect::<String>()),
        "wildcard" => is_wildcard(operand, text),
        _ => is_caseless(operand, text),
    }
}

/// Each character as written, in upper or in lower case.
fn is_caseless(operand: &str, text: &str) -> bool {
    let mut rest = vec![text];
    for c in operand.chars() {
        let spellings = [c.to_string(), c.to_lowercase().collect(), c.to_uppercase().collect()];
        rest =
            rest.iter().flat_map(|rest| spellings.iter().filter_map(|way| rest.strip_prefix(way.as_str()))).collect();
        rest.dedup();
    }
    rest.contains(&"")
}

/// By a table: `reached[n]` says whether the operand so far can take the first `n` characters of the text.
fn is_wildcard(operand: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut reached = vec![false; text.len() + 1];
    reached[0] = true;
    let mut characters = operand.chars();
    while let Some(c) = characters.next() {
        if c == '*' {
            let first = reached.iter().position(|reached| *reached).unwrap_or(reached.len());
            reached.iter_mut().skip(first).for_each(|reached| *reached = true);
            continue;
        }
        let literal = if c == '\\' { characters.next() } else { Some(c) };
        for at in (1..reached.len()).rev() {
            reached[at] = reached[at - 1] && literal == Some(text[at - 1]);
        }
        reached[0] = false;
    }
    reached.last() == Some(&true)
}

fn is_address(one: &str, other: &str) -> Option<bool> {
    let one: IpAddr = one.parse().ok()?;
    Some(other.parse().is_ok_and(|other: IpAddr| one == other))
}

fn in_network(network: &str, text: &str) -> bool {
    fn bits(address: IpAddr) -> Vec<bool> {
        let octets = match address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        octets.iter().flat_map(|octet| (0..8).rev().map(move |bit| (octet >> bit) & 1 == 1)).collect()
    }
    let Some((network, count)) = network.split_once('/') else { return false };
    let (Ok(network), Ok(text), Ok(count)) = (network.parse(), text.parse(), count.parse()) else { return false };
    let (network, text): (Vec<bool>, Vec<bool>) = (bits(network), bits(text));
    network.len() == text.len() && network.iter().zip(&text).take(count).all(|(one, other)| one == other)
}

fn in_range(operand: &Value, number: &Number) -> bool {
    operand.as_array().into_iter().flat_map(|list| list.chunks(2)).all(|pair| {
        let [Value::String(operator), Value::Number(bound)] = pair else { return false };
        match compare(number, bound) {
            Ordering::Less => operator.starts_with('<'),
            Ordering::Equal => operator.ends_with('='),
            Ordering::Greater => operator.starts_with('>'),
        }
    })
}

/// Compares two numbers by their exact values.
fn compare(one: &Number, other: &Number) -> Ordering {
    match (one.as_i128(), other.as_i128()) {
        (Some(one), Some(other)) => one.cmp(&other),
        (None, None) => {
            let (one, other) = (one.as_f64().unwrap_or_default(), other.as_f64().unwrap_or_default());
            one.partial_cmp(&other).unwrap_or(Ordering::Equal)
        }
        (Some(whole), None) => compare_whole(whole, other.as_f64().unwrap_or_default()),
        (None, Some(whole)) => compare_whole(whole, one.as_f64().unwrap_or_default()).reverse(),
    }
}

/// An integer of 64 bits and an f64.
fn compare_whole(whole: i128, float: f64) -> Ordering {
    if float.abs() >= 1e30 {
        return if float > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    #[expect(clippy::cast_possible_truncation, reason = "below 1e30, which an i128 holds")]
    let truncated = float.trunc() as i128;
    whole.cmp(&truncated).then(0.0_f64.partial_cmp(&float.fract()).unwrap_or(Ordering::Equal))
}
