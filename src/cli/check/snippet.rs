//! A line of a file with a caret below the column of a finding, at most 100 characters wide.

use std::fmt::Write as _;

use crate::yaml::visible;

/// The most characters that are shown of a line.
const MAX_CHARS: usize = 100;
/// How many of them stand before the column if the line is longer.
const BEFORE: usize = 60;

/// The line and the caret, each with the number of the line or a gap before it.
pub(super) fn snippet(line: &str, number: usize, column: usize) -> String {
    let line: Vec<char> = line.chars().collect();
    let caret = column.saturating_sub(1).min(line.len());
    let (from, to) = if line.len() <= MAX_CHARS {
        (0, line.len())
    } else {
        let from = caret.saturating_sub(BEFORE).min(line.len() - MAX_CHARS);
        (from, from + MAX_CHARS)
    };
    let mut shown = String::new();
    let mut gap = String::new();
    if from > 0 {
        shown.push('…');
        gap.push(' ');
    }
    for (index, c) in line.iter().enumerate().take(to).skip(from) {
        let text = if *c == '\t' { " ".to_owned() } else { visible(c.encode_utf8(&mut [0; 4])) };
        if index < caret {
            gap.extend(std::iter::repeat_n(' ', text.chars().map(width).sum()));
        }
        shown.push_str(&text);
    }
    if to < line.len() {
        shown.push('…');
    }
    let number = number.to_string();
    let mut text = format!("  {number} | {}\n", shown.trim_end());
    // Writing to a String cannot fail.
    let _ = write!(text, "  {:width$} | {gap}^", "", width = number.len());
    text
}

/// How many cells of a terminal a character takes.
fn width(c: char) -> usize {
    match c {
        '\u{300}'..='\u{36f}' => 0,
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{1f300}'..='\u{1faff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &str, column: usize) -> String {
        snippet(line, 12, column)
    }

    #[test]
    fn the_caret_stands_below_the_column() {
        assert_eq!(plain("a: b", 4), "  12 | a: b\n     |    ^");
        assert_eq!(plain("a: b", 5), "  12 | a: b\n     |     ^");
        assert_eq!(plain("", 1), "  12 | \n     | ^");
        assert_eq!(plain("\ta: b", 2), "  12 |  a: b\n     |  ^");
        assert_eq!(plain("名: b", 4), "  12 | 名: b\n     |     ^");
        assert_eq!(plain("e\u{301}: b", 5), "  12 | e\u{301}: b\n     |    ^");
    }

    #[test]
    fn what_a_terminal_obeys_or_hides_is_an_escape() {
        assert_eq!(plain("a\u{1b}[1m: b", 7), "  12 | a\\u{1b}[1m: b\n     |            ^");
        assert_eq!(plain("a\u{200b}b", 3), "  12 | a\\u{200b}b\n     |          ^");
        assert!(!plain("a\rb\u{9b}c\u{202e}", 1).contains(['\r', '\u{9b}', '\u{202e}']));
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let line = format!("{}X{}", "a".repeat(150), "b".repeat(150));
        let text = plain(&line, 151);
        let (shown, caret) = text.split_once('\n').unwrap();
        let shown = shown.strip_prefix("  12 | ").unwrap();
        assert_eq!(shown, format!("…{}X{}…", "a".repeat(60), "b".repeat(39)));
        assert_eq!(caret.strip_prefix("     | ").unwrap().chars().position(|c| c == '^'), Some(61));
        assert!(plain(&line, 1).starts_with("  12 | aaa") && plain(&line, 1).contains("a…\n"));
        assert!(plain(&line, 301).contains("| …") && !plain(&line, 301).contains("b…"));
    }
}
