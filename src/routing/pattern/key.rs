//! What all values that satisfy a condition have in common, so that an index can find the condition by a value.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
};

use super::{
    caseless::Caseless,
    leaf::{AnythingBut, Leaf, Network, TextTest},
    number::{Exact, Range},
    set::Set,
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
    /// It is anything but one of these texts.
    ButTexts(But<'a, Box<str>>),
    /// It is anything but one of these numbers.
    ButNumbers(But<'a, Exact>),
    /// It is there.
    Any,
    /// It is not there: no key of a scalar, but of the field.
    Absent,
}

/// The values that an `anything-but` excludes.
#[derive(Debug, Clone, Copy)]
pub(in crate::routing) struct But<'a, V>(pub(in crate::routing) &'a Set<V>);

/// A text of so many bytes is not a long one.
pub(super) const LONG: usize = 64;

/// A list with more values is equal to itself alone: to compare long ones, or to hash them for each alternative of a `$or`, would
/// take more time than it saves.
const COMPARED: usize = 64;

impl<V: Ord> PartialEq for But<'_, V> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0) || (self.0.iter().len() <= COMPARED && self.0 == other.0)
    }
}

impl<V: Ord> Eq for But<'_, V> {}

impl<V: Ord + Hash> Hash for But<'_, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if self.0.iter().len() <= COMPARED { self.0.hash(state) } else { std::ptr::hash(self.0, state) }
    }
}

/// How many bytes an index looks a text up by that is within another.
pub(in crate::routing) const GRAM: usize = 3;

/// An end of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::routing) enum End {
    Start,
    End,
}

/// The keys of each alternative of a condition: what satisfies the condition, a scalar or the absence of one, has every key of
/// one alternative, so one of its keys is enough for an index. No alternative has none.
pub(in crate::routing) type Keys<'a> = Vec<Vec<Key<'a>>>;

impl Leaf {
    /// How many alternatives the [`keys`](Self::keys) have, without making them.
    pub(super) fn breadth(&self) -> usize {
        usize::from(self.absent)
            + usize::from(self.present)
            + self.constants.len()
            + self.texts.iter().len()
            + self.addresses.iter().len()
            + self.numbers.iter().len()
            + self.ranges.len()
            + self.networks.len()
            + self.anything_but.len()
            + self.tests.len()
    }

    /// How much there is of the condition: its values, and what is longer than usual of their texts.
    pub(super) fn weigh(&self) -> usize {
        let of_texts = |values: &Set<Box<str>>| values.iter().map(|text| 1 + text.len() / LONG).sum::<usize>();
        let of_operators = |tests: &[TextTest]| tests.iter().map(|test| 1 + test.len() / LONG).sum::<usize>();
        let but = |but: &AnythingBut| match but {
            AnythingBut::Texts(values) => of_texts(values),
            AnythingBut::Numbers(numbers) => numbers.iter().len(),
            AnythingBut::Tests(all) => of_operators(all),
        };
        self.breadth()
            + of_texts(&self.texts)
            + of_operators(&self.tests)
            + self.anything_but.iter().map(but).sum::<usize>()
    }

    /// The keys of what satisfies this condition.
    pub(super) fn keys(&self) -> Keys<'_> {
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
            weight: _,
            source: _,
        } = self;
        let absent = absent.then_some(Key::Absent);
        let any = present.then_some(Key::Any);
        let single = absent
            .into_iter()
            .chain(any)
            .chain(constants.iter().copied().map(Key::Constant))
            .chain(texts.iter().map(|text| Key::Text(text)))
            .chain(addresses.iter().copied().map(Key::Address))
            .chain(numbers.iter().copied().map(Key::Number))
            .chain(ranges.iter().map(Key::Range))
            .chain(networks.iter().copied().map(Key::Network))
            .chain(anything_but.iter().map(but_key));
        single.map(|key| vec![key]).chain(tests.iter().map(text_keys)).collect()
    }
}

fn but_key(but: &AnythingBut) -> Key<'_> {
    match but {
        AnythingBut::Texts(texts) => Key::ButTexts(But(texts)),
        AnythingBut::Numbers(numbers) => Key::ButNumbers(But(numbers)),
        AnythingBut::Tests(_) => Key::Any,
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
