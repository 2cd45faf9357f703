//! Whether a line of a file may be shown, as the log of a CI run is read by many.
//!
//! Its invariant: a line is shown only where no secret belongs: the name, the description, the conditions and the agents of
//! a rule. Of agents, of requests and of bridge.yaml none is. The line may be no YAML at all, so only its characters and
//! its indentation count, and in doubt it is not shown.

use super::source::Line;

/// The longest line that is shown, in bytes.
const MAX_LINE: usize = 1_000;

/// The keys of a rule whose values are no secrets.
const OPEN: [&str; 4] = ["name", "description", "when", "to"];

/// Words of lines with a secret in the wrong place.
const TELLING: [&str; 18] = [
    "://",
    "@",
    "access-key",
    "access_key",
    "api-key",
    "api_key",
    "apikey",
    "auth",
    "basic ",
    "bearer",
    "cookie",
    "credential",
    "jaas",
    "passphrase",
    "passw",
    "private",
    "secret",
    "token",
];

/// The line without its comment, if it may be shown.
pub(super) fn shown<'l>(line: &Line<'l>) -> Option<&'l str> {
    let text = without_comment(line.text);
    let (top, parents) = line.parents.split_first()?;
    let is_rule = without_comment(top).trim_end() == "rules:" && text.len() <= MAX_LINE && !is_telling(text);
    (is_rule && is_open(parents, text)).then_some(text)
}

/// Whether a line of a rule stands in, or has nothing but, keys whose values are no secrets. The outermost of the parents
/// is the item of the rule.
fn is_open(parents: &[&str], text: &str) -> bool {
    let Some((item, parents)) = parents.split_first() else { return has_open_keys(text) };
    // What is not closed there goes on here.
    if !has_open_keys(without_comment(item)) {
        return false;
    }
    // The item may be the line of a key that this one stands below.
    let opens = |parent: &&&str| without_comment(parent).trim_end().ends_with(':');
    match parents.first().or(Some(item).filter(|item| opens(item) && !is_name(item))) {
        Some(parent) => has_open_keys(without_comment(parent)),
        None => has_open_keys(text),
    }
}

fn is_name(item: &str) -> bool {
    matches!(content(item), "name:" | "description:" | "")
}

/// Whether the keys that a line begins with, or the keys of the map that it begins, are all open.
fn has_open_keys(text: &str) -> bool {
    let content = content(text);
    match content.strip_prefix('{') {
        Some(map) => keys(map).is_some_and(|keys| keys.iter().all(|key| OPEN.contains(key))),
        None => content.split_once(':').is_some_and(|(key, _)| OPEN.contains(&key.trim())),
    }
}

/// A line without its indentation and the mark of an item.
fn content(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix("- ").map_or(text, str::trim_start)
}

/// The keys of a map in braces, without those of the maps in it; `None` if that is no such map.
fn keys(map: &str) -> Option<Vec<&str>> {
    let (mut found, mut depth, mut begin, mut quote) = (Vec::new(), 0_usize, Some(0), None);
    let (mut before, mut is_escaped) = (',', false);
    for (at, c) in map.char_indices() {
        let begins = matches!(before, ':' | ',' | '[' | '{');
        if !c.is_whitespace() {
            before = c;
        }
        match (quote, c) {
            _ if std::mem::take(&mut is_escaped) => {}
            (Some('"'), '\\') => is_escaped = true,
            (Some(open), c) if c == open => quote = None,
            // A key in quotes.
            (None, '\'' | '"') if begins && depth == 0 && begin.is_some() => return None,
            (None, '\'' | '"') if begins => quote = Some(c),
            (None, '{' | '[') => depth += 1,
            (None, '}' | ']') if depth == 0 => break,
            (None, '}' | ']') => depth -= 1,
            (None, ',') if depth == 0 => begin = Some(at + 1),
            (None, ':') if depth == 0 => {
                if let Some(begin) = begin.take() {
                    found.push(map[begin..at].trim());
                }
            }
            _ => {}
        }
    }
    // What is begun and is no key is a value without one.
    let is_rest_blank = begin.is_none_or(|begin| map[begin..].trim_end_matches('}').trim().is_empty());
    (is_rest_blank && quote.is_none()).then_some(found)
}

fn is_telling(text: &str) -> bool {
    let text = text.to_lowercase();
    TELLING.iter().any(|word| text.contains(word))
}

/// What stands before a comment. A `#` in quotes counts too: that shows less.
fn without_comment(text: &str) -> &str {
    let comment =
        text.char_indices().find(|(at, c)| *c == '#' && text[..*at].chars().last().is_none_or(char::is_whitespace));
    comment.map_or(text, |(at, _)| &text[..at])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_shown(parents: &[&str], text: &str) -> bool {
        shown(&Line { text, parents: parents.to_vec() }).is_some()
    }

    #[test]
    fn the_conditions_and_agents_of_rules_are_shown() {
        for (parents, line) in [
            (&["rules:"][..], "  - name: failed"),
            (&["rules: # all"], "- {name: a, when: {workflow_id: [{wildcard: 'a:b*'}], x: [\"}\"]}, to: [b]}"),
            (&["rules:"], "  - {name: a, when: {workflow_id: [x]},"),
            (&["rules:", "  - name: a"], "    when: {workflow_id: {prefix: etl_}, payload: {rows: 0}}"),
            (&["rules:", "  - name: a"], "    to: [audits]"),
            (&["rules:", "  - {name: a,"], "    to: [audits]}"),
            (&["rules:", "  - name: a", "    when:"], "      workflow_id: [etl]"),
            (&["rules:", "  - name: a", "    when:", "      payload:"], "        data: {rows: 0}"),
            (&["rules:", "  - when:"], "      workflow_id: [etl]"),
            (&["rules:", "  - name: a", "    to:"], "    - audits"),
        ] {
            assert!(is_shown(parents, line), "{parents:?} {line}");
        }
        let line = Line { text: "    to: [a] # curl -u u:hunter2", parents: vec!["rules:", "  - name: a"] };
        assert_eq!(shown(&line), Some("    to: [a] "));
    }

    #[test]
    fn no_line_is_shown_where_a_secret_may_stand() {
        for (parents, line) in [
            (&[][..], "rules: [{name: a, body: {x: hunter2}}]"),
            (&[], "agents: {a: {http: {url: 'http://h/', baerer: hunter2}}}"),
            (&["agents:", "  audit:"], "    name: hunter2"),
            (&["agents:", "  rules:"], "    - name: hunter2"),
            (&["  rules:"], "    - name: hunter2"),
            (&["kafka:", "  rules:"], "    name: hunter2"),
            (&["rules:", "  - name: a"], "    body: {x: hunter2}"),
            (&["rules:", "  - name: a"], "    bdoy: hunter2"),
            (&["rules:", "  - name: a"], "    \"hunter2\""),
            (&["rules:", "  - name: a"], "    hunter2"),
            (&["rules:", "  - name: a", "    body:"], "      when: hunter2"),
            (&["rules:", "  - name: a", "    headers:", "      when:"], "        to: hunter2"),
            (&["rules:", "  - body:"], "      name: hunter2"),
            (&["rules:", "  - {name: a, body: {"], "      name: hunter2"),
            (&["rules:", "  - {name: a, body:"], "      to: hunter2"),
            (&["rules:"], "  - {name: a, when: {x: [1]}, body: {x: hunter2}}"),
            (&["rules:"], "  - {name: a, bdoy: 'hunter2'}"),
            (&["rules:"], "  - {name: a, hunter2}"),
            (&["rules:"], "  - {name: a, 'body': hunter2}"),
            (&["rules:"], "  - {name: it's, body: {x: hunter2}}"),
            (&["rules:"], "  - {name: 'a, body: {x: hunter2}}"),
            (&["rules:"], "  - {name: \"a\\\"\", body: {x: hunter2}, to: \"\"}"),
            (&["rules:"], "  - hunter2"),
            (&["rules:", "  - name: a", "    when:"], "      url: [http://hunter2]"),
            (&["rules:", "  - name: a", "    when:"], "      Password: [hunter2]"),
        ] {
            assert!(!is_shown(parents, line), "{parents:?} {line}");
        }
        assert!(!is_shown(&["rules:", "- name: a"], &format!("  to: [{}]", "a".repeat(MAX_LINE))));
    }

    proptest! {
        #[test]
        fn nothing_below_another_key_of_a_rule_is_shown(
            key in "body|input|headers|http|bdoy", inner in "when|to|name|x", open in ":|: \\{|: \\[|: [|]",
        ) {
            let parent = format!("    {key}{open}");
            let line = format!("        {inner}: hunter2");
            prop_assert!(!is_shown(&["rules:", "  - name: a", &parent], &line));
        }

        #[test]
        fn any_line_is_looked_at_without_a_panic(parent in "\\PC{0,20}", line in "\\PC*|[-a:{}\\[\\],'\"#$ \t]{0,40}") {
            is_shown(&["rules:", &parent], &line);
        }
    }
}
