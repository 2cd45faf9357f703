//! Writes a test as YAML.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

use super::read::CaseFiles;

/// A test as a part of a file, below `tests:`.
#[derive(Debug)]
pub(crate) struct Written(pub(crate) String);

/// Writes a test of a native event, with the rules that match and their agents. `None` when YAML cannot have the event: a
/// name in it is too long, or it nests too deep.
pub(crate) fn write_case(name: &str, event: &Value, rules: &[(String, Vec<String>)]) -> Option<Written> {
    let mut text = format!("  - name: {}\n    event:\n", scalar(&Value::from(name)));
    for (field, value) in event.as_object()? {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "      {}: {}", scalar(&Value::from(field.as_str())), scalar(value));
    }
    text.push_str("    expect:");
    if rules.is_empty() {
        text.push_str(" []");
    }
    for (rule, agents) in rules {
        let (rule, agents) = (scalar(&Value::from(rule.as_str())), scalar(&Value::from(agents.clone())));
        let _ = write!(text, "\n      - {{rule: {rule}, to: {agents}}}");
    }
    text.push('\n');
    is_read_back(&text, event).then_some(Written(text))
}

/// JSON is YAML, but for characters that YAML cannot have as they are.
fn scalar(value: &Value) -> String {
    let mut text = String::new();
    for c in value.to_string().chars() {
        let is_plain = matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
            && !matches!(c, '\u{2028}' | '\u{2029}');
        let code = u32::from(c);
        // All of them stand in texts: the rest of JSON is ASCII.
        let _ = match code {
            _ if is_plain => write!(text, "{c}"),
            0..=0xffff => write!(text, "\\u{code:04x}"),
            0x1_0000.. => write!(text, "\\U{code:08x}"),
        };
    }
    text
}

fn is_read_back(text: &str, event: &Value) -> bool {
    let read = CaseFiles::of_text(Path::new("written"), &format!("tests:\n{text}"));
    let [case] = &read.cases[..] else { return false };
    read.problems.is_empty() && serde_json::from_slice::<Value>(&case.record.value).is_ok_and(|read| read == *event)
}
