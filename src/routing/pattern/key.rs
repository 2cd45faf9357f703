//! What all values that satisfy a condition have in common, so that an index can find the condition by a value.

use std::net::IpAddr;

use super::{
    caseless::Caseless,
    leaf::{Leaf, Network, TextTest},
    number::{Exact, Range},
    wildcard::Wildcard,
};

/// A property of a scalar by which it is looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::routing) enum Key<'a> {
    /// It is this text.
    Text(&'a str),
    /// It is this text, which is in lower case, with ASCII letters in either case.
    CaselessText(String),
    /// It is a text that begins or ends so.
    Affix(End, &'a str),
    /// The same, with ASCII letters in either case; this one is in lower case.
    CaselessAffix(End, String),
    /// It is a text with this within, of at least [`GRAM`] bytes.
    Contains(&'a str),
    /// It is this number.
    Number(Exact),
    /// It is a number of this range.
    Range(&'a Range),
    /// It is this address, in any spelling.
    Address(IpAddr),
    /// It is an address of this network.
    Network(Network),
    /// It is `true`, `false` or (`None`) `null`.
    Constant(Option<bool>),
    /// It is there.
    Any,
}

/// How many bytes an index looks a text up by that is within another.
pub(in crate::routing) const GRAM: usize = 3;

/// An end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::routing) enum End {
    Start,
    End,
}

/// The keys of each alternative of a condition: a scalar that satisfies the condition has every key of one alternative, so
/// one of its keys is enough for an index. No alternative has none.
pub(in crate::routing) type Keys<'a> = Vec<Vec<Key<'a>>>;

impl Leaf {
    /// The keys of the scalars that satisfy this condition; `None` if the field may be absent.
    pub(super) fn keys(&self) -> Option<Keys<'_>> {
        let Self {
            absent,
            present,
            constants,
            texts,
            addresses,
            numbers,
            ranges,
            networks,
            tests,
            anything_but,
            source: _,
        } = self;
        if *absent {
            return None;
        }
        let any = (*present || !anything_but.is_empty()).then_some(Key::Any);
        let single = any
            .into_iter()
            .chain(constants.iter().copied().map(Key::Constant))
            .chain(texts.iter().map(|text| Key::Text(text)))
            .chain(addresses.iter().copied().map(Key::Address))
            .chain(numbers.iter().copied().map(Key::Number))
            .chain(ranges.iter().map(Key::Range))
            .chain(networks.iter().copied().map(Key::Network));
        Some(single.map(|key| vec![key]).chain(tests.iter().map(text_keys)).collect())
    }
}

fn text_keys(test: &TextTest) -> Vec<Key<'_>> {
    let keys: Vec<Key<'_>> = match test {
        TextTest::Prefix(prefix) => affix(End::Start, prefix).into_iter().collect(),
        TextTest::Suffix(suffix) => affix(End::End, suffix).into_iter().collect(),
        TextTest::Wildcard(wildcard) => wildcard_keys(wildcard),
        TextTest::Caseless(caseless) => match caseless.ascii() {
            Some(lower) => vec![Key::CaselessText(lower)],
            None => [End::Start, End::End].into_iter().filter_map(|end| caseless_affix(end, caseless)).collect(),
        },
        TextTest::CaselessPrefix(caseless) => caseless_affix(End::Start, caseless).into_iter().collect(),
        TextTest::CaselessSuffix(caseless) => caseless_affix(End::End, caseless).into_iter().collect(),
    };
    if keys.is_empty() { vec![Key::Any] } else { keys }
}

fn affix(end: End, text: &str) -> Option<Key<'_>> {
    (!text.is_empty()).then_some(Key::Affix(end, text))
}

/// The ASCII characters at one end of a text: those after them may have spellings of any length.
fn caseless_affix(end: End, caseless: &Caseless) -> Option<Key<'static>> {
    let ascii = caseless.ascii_affix(end == End::Start);
    (!ascii.is_empty()).then_some(Key::CaselessAffix(end, ascii))
}

fn wildcard_keys(wildcard: &Wildcard) -> Vec<Key<'_>> {
    let [first, middle @ .., last] = wildcard.parts() else {
        return wildcard.parts().iter().map(|only| Key::Text(only)).collect();
    };
    let longest = middle.iter().max_by_key(|part| part.len()).filter(|part| part.len() >= GRAM);
    let ends = [affix(End::Start, first), affix(End::End, last)];
    ends.into_iter().flatten().chain(longest.map(|part| Key::Contains(part))).collect()
}
