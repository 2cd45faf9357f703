//! Nouns after a number, in messages.

use std::fmt;

/// `1 rule`, `2 rules`, `2 entries`.
pub(crate) fn counted<N: Copy + fmt::Display + PartialEq + From<bool>>(count: N, noun: &str) -> String {
    let is_one = count == N::from(true);
    match noun.strip_suffix('y') {
        _ if is_one => format!("{count} {noun}"),
        Some(stem) => format!("{count} {stem}ies"),
        None => format!("{count} {noun}s"),
    }
}

/// `1 record is no event`, `2 records are no events`.
pub(crate) fn no_events(records: u64) -> String {
    format!("{} {}", counted(records, "record"), if records == 1 { "is no event" } else { "are no events" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        let said = [
            counted(0, "rule"),
            counted(1, "rule"),
            counted(2, "rule"),
            counted(2, "delivery"),
            counted(1, "delivery"),
        ];
        assert_eq!(said, ["0 rules", "1 rule", "2 rules", "2 deliveries", "1 delivery"]);
    }
}
