//! Compiles the values and operators of one list.

use super::{
    caseless::Caseless,
    error::PatternReason,
    leaf::{Alternatives, AnythingBut, Network, TextTest},
    number::{Bound, Exact, Range},
    scope::{PathStep, Scope},
    wildcard::Wildcard,
};
use crate::yaml::{Data, Entry, Node, quoted, suggestion};

/// The operators, in the order of the docs.
pub(in crate::routing) const OPERATORS: [&str; 9] =
    ["prefix", "suffix", "anything-but", "numeric", "exists", "cidr", "wildcard", "equals-ignore-case", "exactly"];
const OPERATOR_LIST: &str =
    "prefix, suffix, anything-but, numeric, exists, cidr, wildcard, equals-ignore-case and exactly";

pub(super) fn is_operator(word: &str) -> bool {
    OPERATORS.contains(&word)
}

/// Adds one item of a list to the alternatives.
pub(super) fn alternative(node: &Node, alternatives: &mut Alternatives, scope: &mut Scope<'_>) {
    match &node.data {
        Data::Null => constant(alternatives, None),
        Data::Bool(value) => constant(alternatives, Some(*value)),
        Data::Number(number) => alternatives.numbers.push(Exact::of(number)),
        Data::Text(text) => {
            if let Ok(address) = text.parse() {
                alternatives.addresses.push(address);
            } else {
                alternatives.texts.push(text.as_str().into());
            }
        }
        Data::List(_) => {
            let advice = "write the values into one list, they are alternatives";
            unexpected(node, "a value or an operator", advice, scope);
        }
        Data::Map(entries) => {
            if let [entry] = entries.as_slice() {
                scope.within(PathStep::Key(&entry.key), |scope| operator(entry, alternatives, scope));
            } else {
                let advice = "one operator to an object; the objects of a list are alternatives";
                let found = if entries.is_empty() { "none".to_owned() } else { format!("{} of them", entries.len()) };
                let reason = PatternReason::Unexpected { expected: "an object with one operator", found, advice };
                scope.fault(node.at, reason);
            }
        }
    }
}

fn constant(alternatives: &mut Alternatives, value: Option<bool>) {
    if !alternatives.constants.contains(&value) {
        alternatives.constants.push(value);
    }
}

fn operator(entry: &Entry, alternatives: &mut Alternatives, scope: &mut Scope<'_>) {
    let node = &entry.value;
    match entry.key.as_str() {
        "exactly" => alternatives.texts.extend(text(node, "exactly", scope).map(Into::into)),
        "prefix" | "suffix" | "wildcard" | "equals-ignore-case" => alternatives.tests.extend(text_test(entry, scope)),
        "cidr" => {
            if let Some(text) = text(node, "cidr", scope) {
                match Network::parse(text) {
                    Ok(network) => alternatives.networks.push(network),
                    Err(reason) => invalid(node, "cidr", reason, scope),
                }
            }
        }
        "exists" => match node.data {
            Data::Bool(true) => alternatives.present = true,
            Data::Bool(false) => alternatives.absent = true,
            _ => unexpected(node, "true or false", "true asks for the field, false for its absence", scope),
        },
        "numeric" => match range(node) {
            Ok(Numeric::Equal(number)) => alternatives.numbers.push(number),
            Ok(Numeric::Range(range)) => alternatives.ranges.push(range),
            Err(reason) => invalid(node, "numeric", reason, scope),
        },
        "anything-but" => alternatives.anything_but.extend(anything_but(node, scope)),
        other => {
            let reason = PatternReason::UnknownOperator {
                found: quoted(other),
                suggestion: suggestion(other, OPERATORS),
                known: OPERATOR_LIST,
            };
            scope.fault(entry.at, reason);
        }
    }
}

/// An operator with a string; prefix and suffix also take `{"equals-ignore-case": ...}`.
fn text_test(entry: &Entry, scope: &mut Scope<'_>) -> Option<TextTest> {
    let node = &entry.value;
    let caseless = match &node.data {
        Data::Map(inner) => match inner.as_slice() {
            [inner] if inner.key == "equals-ignore-case" => Some(&inner.value),
            _ => None,
        },
        _ => None,
    };
    match (entry.key.as_str(), caseless) {
        ("prefix", Some(inner)) => {
            text(inner, "equals-ignore-case", scope).map(|text| TextTest::CaselessPrefix(Caseless::new(text)))
        }
        ("suffix", Some(inner)) => {
            text(inner, "equals-ignore-case", scope).map(|text| TextTest::CaselessSuffix(Caseless::new(text)))
        }
        ("prefix", None) => text(node, "prefix", scope).map(|text| TextTest::Prefix(text.into())),
        ("suffix", None) => text(node, "suffix", scope).map(|text| TextTest::Suffix(text.into())),
        ("wildcard", _) => {
            let text = text(node, "wildcard", scope)?;
            Wildcard::parse(text)
                .map(TextTest::Wildcard)
                .map_err(|reason| invalid(node, "wildcard", reason, scope))
                .ok()
        }
        _ => text(node, "equals-ignore-case", scope).map(|text| TextTest::Caseless(Caseless::new(text))),
    }
}

fn anything_but(node: &Node, scope: &mut Scope<'_>) -> Option<AnythingBut> {
    const OPERAND: &str =
        "a string, a number, a list of either, or one of prefix, suffix, wildcard and equals-ignore-case";
    match &node.data {
        Data::Text(_) | Data::Number(_) => plain_list(std::slice::from_ref(node), scope),
        Data::List(items) if !items.is_empty() => plain_list(items, scope),
        Data::Map(entries) => match entries.as_slice() {
            [entry] if matches!(entry.key.as_str(), "prefix" | "suffix" | "wildcard" | "equals-ignore-case") => {
                Some(AnythingBut::Tests(scope.within(PathStep::Key(&entry.key), |scope| tests(entry, scope))))
            }
            _ => {
                unexpected(node, OPERAND, "name what must not match", scope);
                None
            }
        },
        _ => {
            unexpected(node, OPERAND, "name what must not match", scope);
            None
        }
    }
}

fn plain_list(items: &[Node], scope: &mut Scope<'_>) -> Option<AnythingBut> {
    let (mut texts, mut numbers) = (Vec::new(), Vec::new());
    for item in items {
        match &item.data {
            Data::Text(text) => texts.push(Box::from(text.as_str())),
            Data::Number(number) => numbers.push(Exact::of(number)),
            _ => {
                unexpected(item, "a string or a number", "anything-but knows no other values", scope);
                return None;
            }
        }
        if !texts.is_empty() && !numbers.is_empty() {
            let advice = "anything-but takes either; another type always differs";
            unexpected(item, "a list of strings or a list of numbers", advice, scope);
            return None;
        }
    }
    Some(if texts.is_empty() { AnythingBut::Numbers(numbers.into()) } else { AnythingBut::Texts(texts.into()) })
}

/// The operand of an operator below `anything-but`: one text or several.
fn tests(entry: &Entry, scope: &mut Scope<'_>) -> Vec<TextTest> {
    let items = match &entry.value.data {
        Data::List(items) if !items.is_empty() => items.as_slice(),
        _ => std::slice::from_ref(&entry.value),
    };
    let mut tests = Vec::with_capacity(items.len());
    for item in items {
        match &item.data {
            Data::Text(text) if text.is_empty() && matches!(entry.key.as_str(), "prefix" | "suffix") => {
                let advice = "every string begins and ends with the empty one, so nothing could match";
                unexpected(item, "a text that is not empty", advice, scope);
            }
            Data::Text(_) => {
                let single = Entry { key: entry.key.clone(), at: entry.at, value: item.clone() };
                tests.extend(text_test(&single, scope));
            }
            _ => unexpected(item, "a string or a list of strings", "write the texts that must not match", scope),
        }
    }
    tests
}

enum Numeric {
    Equal(Exact),
    Range(Range),
}

/// `["=", 3]`, one bound, or a lower bound and then an upper one.
fn range(node: &Node) -> Result<Numeric, String> {
    const SHAPE: &str = "as in [\">\", 0, \"<=\", 5]";
    let Data::List(items) = &node.data else {
        return Err(format!("expected a list, found {}: write it {SHAPE}", node.found()));
    };
    let pair = |operator: &Node, number: &Node| match (&operator.data, &number.data) {
        (Data::Text(operator), Data::Number(number)) => Ok((operator.clone(), Exact::of(number))),
        (Data::Text(_), _) => Err(format!("expected a number, found {}: write it {SHAPE}", number.found())),
        _ => Err(format!("expected one of = < <= > >=, found {}: write it {SHAPE}", operator.found())),
    };
    let pairs = match items.as_slice() {
        [a, b] => vec![pair(a, b)?],
        [a, b, c, d] => vec![pair(a, b)?, pair(c, d)?],
        _ => return Err(format!("expected 2 or 4 items, found {}: write it {SHAPE}", items.len())),
    };
    let words: Vec<_> = pairs.iter().map(|(operator, _)| operator.as_str()).collect();
    let bound = |index: usize| Bound { value: pairs[index].1, inclusive: words[index].ends_with('=') };
    match words.as_slice() {
        ["="] => Ok(Numeric::Equal(pairs[0].1)),
        [">" | ">="] => Ok(Numeric::Range(Range { lower: Some(bound(0)), upper: None })),
        ["<" | "<="] => Ok(Numeric::Range(Range { lower: None, upper: Some(bound(0)) })),
        [">" | ">=", "<" | "<="] if pairs[0].1 < pairs[1].1 => {
            Ok(Numeric::Range(Range { lower: Some(bound(0)), upper: Some(bound(1)) }))
        }
        [">" | ">=", "<" | "<="] => Err("the lower bound is not below the upper one: no number matches".into()),
        ["<" | "<=", ">" | ">="] => Err(format!("expected the lower bound first: write it {SHAPE}")),
        [word, ..] if !matches!(*word, "=" | "<" | "<=" | ">" | ">=") => {
            Err(format!("expected one of = < <= > >=, found {word:?}"))
        }
        _ => Err(format!("expected = alone, one bound, or a lower and an upper one: write it {SHAPE}")),
    }
}

fn text<'n>(node: &'n Node, operator: &'static str, scope: &mut Scope<'_>) -> Option<&'n str> {
    let text = node.text();
    if text.is_none() {
        let expected = if operator == "prefix" || operator == "suffix" {
            "a string, or an object with equals-ignore-case"
        } else {
            "a string"
        };
        unexpected(node, expected, "quote it if it looks like a number", scope);
    }
    text
}

fn unexpected(node: &Node, expected: &'static str, advice: &'static str, scope: &mut Scope<'_>) {
    scope.fault(node.at, PatternReason::Unexpected { expected, found: node.found(), advice });
}

fn invalid(node: &Node, operator: &'static str, reason: String, scope: &mut Scope<'_>) {
    scope.fault(node.at, PatternReason::InvalidOperand { operator, reason });
}
