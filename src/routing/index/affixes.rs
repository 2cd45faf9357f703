//! The beginnings of a text among many texts, or its ends.

use std::cmp::Ordering;

use crate::routing::pattern::End;

/// Texts that are found by every text that begins (or ends) with them.
#[derive(Debug)]
pub(super) struct Affixes {
    end: End,
    /// In order, read from the end in question.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Its bytes, read from the end in question.
    affix: Box<[u8]>,
    list: usize,
    /// The longest other entry that this one begins with.
    shorter: Option<usize>,
}

impl Affixes {
    /// These texts, each with its list. No text is there twice.
    pub(super) fn new<'t>(end: End, texts: impl Iterator<Item = (&'t str, usize)>) -> Self {
        let entry = |(text, list): (&str, usize)| Entry { affix: bytes(end, text).collect(), list, shorter: None };
        let mut entries: Vec<Entry> = texts.map(entry).collect();
        entries.sort_by(|a, b| a.affix.cmp(&b.affix));
        // In this order, those that an entry begins with are the last ones before it that the one before it begins with, or it.
        let mut shorter: Vec<usize> = Vec::new();
        for number in 0..entries.len() {
            while shorter.last().is_some_and(|last| !entries[number].affix.starts_with(&entries[*last].affix)) {
                shorter.pop();
            }
            entries[number].shorter = shorter.last().copied();
            shorter.push(number);
        }
        Self { end, entries }
    }

    /// Calls `add` with the list of each text that this one begins (or ends) with.
    pub(super) fn find(&self, text: &str, mut add: impl FnMut(usize)) {
        // The longest that the text begins with is not after the text, and whatever is between the two begins with it too.
        let after = self.entries.partition_point(|entry| entry.compare(self.end, text) != Ordering::Greater);
        let mut next = after.checked_sub(1);
        while let Some(entry) = next.map(|number| &self.entries[number]) {
            if entry.begins(self.end, text) {
                break;
            }
            next = entry.shorter;
        }
        while let Some(entry) = next.map(|number| &self.entries[number]) {
            add(entry.list);
            next = entry.shorter;
        }
    }
}

impl Entry {
    fn compare(&self, end: End, text: &str) -> Ordering {
        match end {
            End::Start => (*self.affix).cmp(text.as_bytes()),
            End::End => self.affix.iter().copied().cmp(bytes(end, text)),
        }
    }

    fn begins(&self, end: End, text: &str) -> bool {
        match end {
            End::Start => text.as_bytes().starts_with(&self.affix),
            End::End => text.len() >= self.affix.len() && bytes(end, text).zip(self.affix.iter()).all(|(a, b)| a == *b),
        }
    }
}

/// The bytes of a text, read from this end.
fn bytes(end: End, text: &str) -> impl Iterator<Item = u8> + '_ {
    let bytes = text.as_bytes();
    let last = bytes.len().saturating_sub(1);
    (0..bytes.len()).map(move |at| match end {
        End::Start => bytes[at],
        End::End => bytes[last - at],
    })
}
