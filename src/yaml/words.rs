//! Places in a text, and words in a message about it.

use std::fmt;

/// A place in a text, both parts counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// `: did you mean ...?` for a word that is close to a known one, or nothing.
pub fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // A bounded word: the distance costs the product of both lengths.
    if found.chars().nth(64).is_some() {
        return String::new();
    }
    let lower = found.to_lowercase();
    known
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(distance, word)| *distance <= 1 + word.chars().count() / 4)
        .min()
        .map(|(_, word)| format!(": did you mean `{word}`?"))
        .unwrap_or_default()
}

/// A text as it is quoted in a message: shortened, and with nothing that could break a line.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// A name as it stands in a message: shortened, on one line.
pub fn one_line(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
