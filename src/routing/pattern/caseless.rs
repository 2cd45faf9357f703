//! Case-insensitive comparison by Unicode: each character as written, in upper or in lower case.

/// A text that is compared case-insensitively.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Caseless {
    /// The spellings of each character; none is a prefix or a suffix of another.
    characters: Vec<Vec<String>>,
}

impl Caseless {
    pub(super) fn new(text: &str) -> Self {
        let characters = text
            .chars()
            .map(|c| {
                let mut ways = vec![c.to_string()];
                for way in [c.to_lowercase().collect::<String>(), c.to_uppercase().collect()] {
                    if !ways.contains(&way) {
                        ways.push(way);
                    }
                }
                ways
            })
            .collect();
        Self { characters }
    }

    pub(super) fn equals(&self, text: &str) -> bool {
        self.after(text) == Some("")
    }

    pub(super) fn starts(&self, text: &str) -> bool {
        self.after(text).is_some()
    }

    pub(super) fn ends(&self, text: &str) -> bool {
        self.characters
            .iter()
            .rev()
            .try_fold(text, |rest, ways| ways.iter().find_map(|way| rest.strip_suffix(way.as_str())))
            .is_some()
    }

    /// The text in lower case, if all of it is ASCII. Then each of its spellings is ASCII too.
    pub(super) fn ascii(&self) -> Option<String> {
        let text = self.ascii_affix(true);
        (text.len() == self.characters.len()).then_some(text)
    }

    /// The ASCII characters that it begins or ends with, in lower case.
    pub(super) fn ascii_affix(&self, at_start: bool) -> String {
        let written = self.characters.iter().filter_map(|ways| ways.first());
        let ascii = |way: &&String| way.is_ascii();
        let affix: String = if at_start {
            written.take_while(ascii).map(String::as_str).collect()
        } else {
            let count = written.rev().take_while(ascii).count();
            let rest = self.characters.iter().skip(self.characters.len() - count);
            rest.filter_map(|ways| ways.first()).map(String::as_str).collect()
        };
        affix.to_ascii_lowercase()
    }

    /// The rest of `text` after this text as a prefix.
    fn after<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.characters.iter().try_fold(text, |rest, ways| ways.iter().find_map(|way| rest.strip_prefix(way.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_to_write_a_character_begins_or_ends_another() {
        for c in '\0'..=char::MAX {
            let ways = &Caseless::new(&c.to_string()).characters[0];
            for (index, one) in ways.iter().enumerate() {
                for other in ways.iter().skip(index + 1) {
                    let apart = !one.starts_with(other) && !other.starts_with(one);
                    assert!(apart && !one.ends_with(other) && !other.ends_with(one), "{c:?}: {one:?}, {other:?}");
                }
            }
        }
    }

    #[test]
    fn case_is_that_of_unicode() {
        assert!(Caseless::new("straße").equals("STRASSE"));
        assert!(Caseless::new("É").equals("é"));
        assert!(!Caseless::new("k").equals("\u{212a}"));
        assert!(Caseless::new("EvEnT").starts("eventbridge"));
        assert!(Caseless::new(".PnG").ends("a.png"));
        assert!(Caseless::new("ǅ").equals("ǅ"));
    }
}
