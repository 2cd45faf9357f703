//! The keys of one place in the document, by kind.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use super::{affixes::Affixes, contained::Contained, found::Found, others::Others, ranges::Ranges};
use crate::{
    event::Scalar,
    routing::pattern::{End, Exact, Key, first_bits},
};

/// From a scalar to the lists of its keys.
#[derive(Debug, Default)]
pub(super) struct Keyed {
    any: Option<usize>,
    constants: HashMap<Option<bool>, usize>,
    numbers: HashMap<Exact, usize>,
    ranges: Option<Box<Ranges>>,
    texts: HashMap<Box<str>, usize>,
    affixes: Vec<Affixes>,
    contained: Option<Box<Contained>>,
    caseless: Option<Box<Caseless>>,
    networks: Option<Box<Networks>>,
    but_texts: Option<Box<Others<Box<str>>>>,
    but_numbers: Option<Box<Others<Exact>>>,
}

/// Texts in lower case.
#[derive(Debug, Default)]
struct Caseless {
    texts: HashMap<Box<str>, usize>,
    affixes: Vec<Affixes>,
}

/// Networks, and addresses as the smallest of them.
#[derive(Debug, Default)]
struct Networks {
    /// The sizes that there are.
    bits: BTreeSet<u8>,
    /// Several for one: the bits of a host may differ in how a network is written.
    lists: HashMap<(bool, u128, u8), Vec<usize>>,
}

impl Keyed {
    /// These keys, each with its list.
    pub(super) fn new(keys: HashMap<Key<'_>, usize>) -> Self {
        let mut keyed = Self::default();
        let (mut ranges, mut contained) = (Vec::new(), Vec::new());
        let (mut but_texts, mut but_numbers) = (Vec::new(), Vec::new());
        let mut affixes: Vec<(End, &str, usize)> = Vec::new();
        let mut caseless_affixes: Vec<(End, String, usize)> = Vec::new();
        for (key, list) in keys {
            match key {
                Key::Any => keyed.any = Some(list),
                Key::Constant(constant) => _ = keyed.constants.insert(constant, list),
                Key::Number(number) => _ = keyed.numbers.insert(number, list),
                Key::Range(range) => ranges.push((range, list)),
                Key::Text(text) => _ = keyed.texts.insert(text.into(), list),
                Key::Affix(end, text) => affixes.push((end, text, list)),
                Key::Contains(text) => contained.push((text, list)),
                Key::CaselessText(text) => {
                    keyed.caseless.get_or_insert_default().texts.insert(text.into(), list);
                }
                Key::CaselessAffix(end, text) => caseless_affixes.push((end, text, list)),
                Key::Address(address) => {
                    let bits = if address.is_ipv4() { 32 } else { 128 };
                    keyed.networks.get_or_insert_default().add(first_bits(address, bits), bits, list);
                }
                Key::ButTexts(texts) => but_texts.push((list, texts)),
                Key::ButNumbers(numbers) => but_numbers.push((list, numbers)),
                Key::Absent => {}
                Key::Network(network) => {
                    let (is_v4, shared, bits) = network.shared();
                    keyed.networks.get_or_insert_default().add((is_v4, shared), bits, list);
                }
            }
        }
        keyed.ranges = (!ranges.is_empty()).then(|| Box::new(Ranges::new(&ranges)));
        keyed.contained = (!contained.is_empty()).then(|| Box::new(Contained::new(&contained)));
        keyed.but_texts = Others::new(but_texts).map(Box::new);
        keyed.but_numbers = Others::new(but_numbers).map(Box::new);
        keyed.affixes = by_end(&affixes);
        if !caseless_affixes.is_empty() {
            keyed.caseless.get_or_insert_default().affixes = by_end(&caseless_affixes);
        }
        keyed
    }

    /// Adds the lists of each key that a scalar has. `is_first` is false for all but the first value of an array.
    pub(super) fn look_up(&self, scalar: Scalar<'_>, is_first: bool, found: &mut Found) {
        if let Some(others) = &self.but_texts {
            let text = if let Scalar::Text(text) = scalar { Some(text) } else { None };
            others.find(text, is_first, found);
        }
        if let Some(others) = &self.but_numbers {
            let number = if let Scalar::Number(number) = scalar { Some(Exact::of(number)) } else { None };
            others.find(number.as_ref(), is_first, found);
        }
        let mut add = |list| found.add(list);
        self.any.into_iter().for_each(&mut add);
        match scalar {
            Scalar::Null => self.constants.get(&None).copied().into_iter().for_each(add),
            Scalar::Bool(value) => self.constants.get(&Some(value)).copied().into_iter().for_each(add),
            Scalar::Number(number) => {
                let number = Exact::of(number);
                self.numbers.get(&number).copied().into_iter().for_each(&mut add);
                self.ranges.iter().for_each(|ranges| ranges.find(number, &mut add));
            }
            Scalar::Text(text) => self.look_up_text(text, &mut add),
        }
    }

    /// How many values conditions exclude here.
    #[cfg(test)]
    pub(super) fn excluded(&self) -> usize {
        self.but_texts.as_ref().map_or(0, |others| others.len())
            + self.but_numbers.as_ref().map_or(0, |others| others.len())
    }

    fn look_up_text(&self, text: &str, add: &mut impl FnMut(usize)) {
        self.texts.get(text).copied().into_iter().for_each(&mut *add);
        self.affixes.iter().for_each(|affixes| affixes.find(text, &mut *add));
        if let Some(contained) = &self.contained {
            contained.find(text, &mut *add);
        }
        if let Some(caseless) = &self.caseless {
            let lower = text.to_ascii_lowercase();
            caseless.texts.get(lower.as_str()).copied().into_iter().for_each(&mut *add);
            caseless.affixes.iter().for_each(|affixes| affixes.find(&lower, &mut *add));
        }
        if let Some(networks) = &self.networks
            && let Ok(address) = text.parse()
        {
            networks.find(address, add);
        }
    }
}

fn by_end<T: AsRef<str>>(affixes: &[(End, T, usize)]) -> Vec<Affixes> {
    let of = |wanted: End| {
        let of_this_end = affixes.iter().filter(|(end, ..)| *end == wanted);
        let mut texts = of_this_end.map(|(_, text, list)| (text.as_ref(), *list)).peekable();
        texts.peek().is_some().then(|| Affixes::new(wanted, texts))
    };
    [End::Start, End::End].into_iter().filter_map(of).collect()
}

impl Networks {
    fn add(&mut self, (is_v4, shared): (bool, u128), bits: u8, list: usize) {
        self.bits.insert(bits);
        self.lists.entry((is_v4, shared, bits)).or_default().push(list);
    }

    fn find(&self, address: IpAddr, add: &mut impl FnMut(usize)) {
        for bits in &self.bits {
            let (is_v4, shared) = first_bits(address, *bits);
            self.lists.get(&(is_v4, shared, *bits)).into_iter().flatten().copied().for_each(&mut *add);
        }
    }
}
