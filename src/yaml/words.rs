//! Places in a text, and words in a message about it.

use std::fmt;

/// A place in a text, both parts counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
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
pub(crate) fn suggestion<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(found, known, |length| 1 + length / 4)
}

/// As [`suggestion`], for a word that may well be another one: only one letter may differ, or two be swapped.
pub(crate) fn misspelling<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(found, known, |_| 1)
}

fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>, most: impl Fn(usize) -> usize) -> String {
    // Bounded words: the distance costs the product of both lengths.
    let is_short = |word: &str| word.chars().nth(64).is_none();
    if found.is_empty() || !is_short(found) {
        return String::new();
    }
    let lower = found.to_lowercase();
    known
        .into_iter()
        .filter(|word| is_short(word))
        .filter_map(|word| {
            let known = word.to_lowercase();
            let (found, known) = without_common_words(&lower, &known);
            let distance = strsim::damerau_levenshtein(found, known);
            let shorter = found.chars().count().min(known.chars().count());
            (distance <= most(shorter)).then_some((distance, word))
        })
        .min()
        .map(|(_, word)| format!(": did you mean `{}`?", visible(word)))
        .unwrap_or_default()
}

/// Two names without the words that both begin with: `workflow_started` is not like `workflow_failed`.
fn without_common_words<'a>(a: &'a str, b: &'a str) -> (&'a str, &'a str) {
    let common = a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count();
    let words = a.as_bytes()[..common].iter().rposition(|byte| *byte == b'_').map_or(0, |at| at + 1);
    // Both begin with the same bytes up to an ASCII character.
    (a.get(words..).unwrap_or(a), b.get(words..).unwrap_or(b))
}

/// A text in which what a terminal does not show, or obeys, is written as an escape: control characters, spaces without
/// width, marks of direction.
pub(crate) fn visible(text: &str) -> String {
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(
                c,
                '\u{a0}' | '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202f}'
                    | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
                    | '\u{e0000}'..='\u{e007f}'
            )
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hidden(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The beginning of a text, [`visible`].
pub(crate) fn excerpt(text: &str, most_chars: usize) -> String {
    match text.char_indices().nth(most_chars) {
        Some((end, _)) => format!("{}…", visible(&text[..end])),
        None => visible(text),
    }
}

/// A text as it is quoted in a message: shortened, and with nothing that could break a line.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(60).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// A name as it stands in a message: shortened, on one line.
pub(crate) fn one_line(name: &str) -> String {
    name.chars().take(64).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_that_is_close_is_proposed() {
        const TYPES: [&str; 2] = ["WORKFLOW_COMPLETED", "WORKFLOW_FAILED"];
        for (found, known, expected) in [
            ("WORKFLOW_COMPLETD", &TYPES[..], Some("WORKFLOW_COMPLETED")),
            ("workflow_failed", &TYPES, Some("WORKFLOW_FAILED")),
            ("WORKFLOW_FAIL", &TYPES, Some("WORKFLOW_FAILED")),
            ("WORKFLW_FAILED", &TYPES, Some("WORKFLOW_FAILED")),
            // A word in common makes two names no more alike.
            ("WORKFLOW_STARTED", &TYPES, None),
            ("event", &["event_id", "event_type"], None),
            ("topcs", &["topics"], Some("topics")),
            ("", &["a"], None),
        ] {
            let expected = expected.map(|name| format!(": did you mean `{name}`?")).unwrap_or_default();
            assert_eq!(suggestion(found, known.iter().copied()), expected, "{found}");
        }
    }
}
