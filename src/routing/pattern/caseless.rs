//! Case-insensitive comparison by Unicode: each character as written, in upper or in lower case.

/// A text that is compared case-insensitively.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Caseless {
    text: Box<str>,
}

impl Caseless {
    pub(super) fn new(text: &str) -> Self {
        Self { text: text.into() }
    }

    /// In bytes, as it is written.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn equals(&self, text: &str) -> bool {
        self.after(text) == Some("")
    }

    pub(super) fn starts(&self, text: &str) -> bool {
        self.after(text).is_some()
    }

    pub(super) fn ends(&self, text: &str) -> bool {
        self.text.chars().rev().try_fold(text, without_last).is_some()
    }

    /// The text in lower case, if all of it is ASCII. Then each of its spellings is ASCII too.
    pub(super) fn ascii(&self) -> Option<String> {
        self.text.is_ascii().then(|| self.text.to_ascii_lowercase())
    }

    /// The ASCII characters that it begins or ends with, in lower case.
    pub(super) fn ascii_affix(&self, at_start: bool) -> String {
        let is_other = |c: char| !c.is_ascii();
        let affix = if at_start { self.text.split(is_other).next() } else { self.text.rsplit(is_other).next() };
        affix.unwrap_or_default().to_ascii_lowercase()
    }

    /// The rest of `text` after this text as a prefix.
    fn after<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.text.chars().try_fold(text, without_first)
    }
}

// A character has at most three spellings. None begins or ends another, so the one that fits first is the only one.

/// A text without this character, in any spelling, at its beginning.
fn without_first(text: &str, c: char) -> Option<&str> {
    text.strip_prefix(c)
        .or_else(|| c.to_lowercase().try_fold(text, |rest, c| rest.strip_prefix(c)))
        .or_else(|| c.to_uppercase().try_fold(text, |rest, c| rest.strip_prefix(c)))
}

/// A text without this character, in any spelling, at its end.
fn without_last(text: &str, c: char) -> Option<&str> {
    text.strip_suffix(c)
        .or_else(|| c.to_lowercase().rev().try_fold(text, |rest, c| rest.strip_suffix(c)))
        .or_else(|| c.to_uppercase().rev().try_fold(text, |rest, c| rest.strip_suffix(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_to_write_a_character_begins_or_ends_another() {
        for c in '\0'..=char::MAX {
            let mut ways = vec![c.to_string(), c.to_lowercase().collect(), c.to_uppercase().collect()];
            ways.sort();
            ways.dedup();
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
        assert!(Caseless::new("aß").ends("gRASS") && !Caseless::new("aß").ends("gRAS"));
    }
}
