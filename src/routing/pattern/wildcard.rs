//! `*` in a text. The literal parts are searched from the left, each once: no backtracking.

/// A text with `*` for any run of characters, the empty one included.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wildcard {
    /// The literal parts between the stars: one more than there are stars.
    parts: Vec<String>,
}

impl Wildcard {
    /// Parses `*` as a star, `\*` and `\\` as the literal characters.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = vec![String::new()];
        let mut after_star = false;
        let mut chars = text.chars().enumerate();
        while let Some((index, c)) = chars.next() {
            let literal = match c {
                '*' if after_star => {
                    return Err(format!("expected one star, found `**` at character {index}: one star is any run"));
                }
                '*' => {
                    parts.push(String::new());
                    after_star = true;
                    continue;
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('*' | '\\'))) => escaped,
                    _ => {
                        return Err(format!(
                            "expected `\\*` or `\\\\`, found another use of `\\` at character {}: double the backslash",
                            index + 1
                        ));
                    }
                },
                other => other,
            };
            after_star = false;
            if let Some(part) = parts.last_mut() {
                part.push(literal);
            }
        }
        Ok(Self { parts })
    }

    /// The literal parts between the stars: one more than there are stars.
    pub(super) fn parts(&self) -> &[String] {
        &self.parts
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = self.parts.as_slice() else {
            return self.parts.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for part in middle {
            match rest.find(part.as_str()) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::routing::tests::cpu_time;

    /// The definition: a star is any run.
    fn naive(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|at| naive(rest, &text[at..])),
            [c, rest @ ..] => text.first() == Some(c) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_definition(pattern in "[ab*é]{0,8}", text in "[abé]{0,10}") {
            prop_assume!(!pattern.contains("**"));
            let pattern_chars: Vec<_> = pattern.chars().collect();
            let text_chars: Vec<_> = text.chars().collect();
            prop_assert_eq!(Wildcard::parse(&pattern).unwrap().matches(&text), naive(&pattern_chars, &text_chars));
        }
    }

    #[test]
    fn many_stars_on_a_long_text_cost_no_more_than_a_scan_each() {
        let wildcard = Wildcard::parse(&format!("{}b", "a*".repeat(2_000))).unwrap();
        let text = "a".repeat(1_000_000);
        let started = cpu_time();
        assert!(!wildcard.matches(&text));
        let took = cpu_time().saturating_sub(started);
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}
