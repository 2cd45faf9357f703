//! Which of many texts are within a text.

use std::collections::HashMap;

use crate::routing::pattern::GRAM;

/// Texts that are found by every text that has them within. Each is looked up by a few bytes of its own, those that the fewest
/// others have, at each place of the text; then it is compared.
#[derive(Debug)]
pub(super) struct Contained {
    texts: Vec<Entry>,
    /// The texts of each few bytes.
    by_gram: HashMap<[u8; GRAM], Vec<usize>>,
}

#[derive(Debug)]
struct Entry {
    text: Box<str>,
    /// Where in it the bytes are that it is looked up by.
    at: usize,
    list: usize,
}

impl Contained {
    /// These texts, each with its list. None is shorter than [`GRAM`] bytes.
    pub(super) fn new(texts: &[(&str, usize)]) -> Self {
        let mut count: HashMap<&[u8; GRAM], usize> = HashMap::new();
        for (text, _) in texts {
            grams(text).for_each(|(_, gram)| *count.entry(gram).or_default() += 1);
        }
        let mut contained = Self { texts: Vec::with_capacity(texts.len()), by_gram: HashMap::new() };
        for (text, list) in texts {
            let rarest = grams(text).min_by_key(|(_, gram)| count.get(gram));
            let Some((at, gram)) = rarest else { continue };
            contained.by_gram.entry(*gram).or_default().push(contained.texts.len());
            contained.texts.push(Entry { text: (*text).into(), at, list: *list });
        }
        contained
    }

    /// Calls `add` with the list of each text that is within this one.
    pub(super) fn find(&self, text: &str, mut add: impl FnMut(usize)) {
        // A million `a` have each of `aaa`, `aaaa`, `aaaaa` a million times: then one search for each is cheaper.
        let mut left = 64 + 4 * self.texts.len() + text.len() / 4;
        for (at, gram) in grams(text) {
            for number in self.by_gram.get(gram).into_iter().flatten() {
                let entry = &self.texts[*number];
                let from = at.checked_sub(entry.at).and_then(|from| text.as_bytes().get(from..));
                if from.is_some_and(|from| from.starts_with(entry.text.as_bytes())) {
                    add(entry.list);
                }
                left -= 1;
                if left == 0 {
                    let within = self.texts.iter().filter(|entry| text.contains(&*entry.text));
                    return within.for_each(|entry| add(entry.list));
                }
            }
        }
    }
}

/// Every few bytes of a text that follow each other, and where.
fn grams(text: &str) -> impl Iterator<Item = (usize, &[u8; GRAM])> {
    text.as_bytes().windows(GRAM).filter_map(|window| window.first_chunk()).enumerate()
}
