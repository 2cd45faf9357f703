//! A failed expectation in words.

use crate::{
    routing::cases::{Difference, Failure},
    yaml::visible,
};

/// The lines about a failure; the first says what it is about.
pub(super) fn lines(failure: &Failure) -> Vec<String> {
    match failure {
        Failure::NoEvent { reason, message } => {
            let message = visible(message);
            vec![format!("expected an event, found a record that would be a dead letter (`{reason}`): {message}")]
        }
        Failure::NoMatch { explanation } => {
            let mut lines = vec![format!("rule `{}`: expected to match, and it does not", explanation.rule)];
            for condition in explanation.explanation.conditions.iter().filter(|condition| !condition.holds) {
                let (path, expected, found) = (&condition.path, &condition.expected, &condition.found);
                lines.push(format!("  {path}: the rule expects {expected}, found {found}"));
            }
            lines
        }
        Failure::Unexpected { rule, agents } => {
            let agents = agents.join(", ");
            vec![format!("rule `{rule}`: matches, for {agents}, and the test does not name it")]
        }
        Failure::Agents { rule, expected, found } => {
            let (mut expected, mut found) = (expected.clone(), found.clone());
            expected.sort();
            found.sort();
            vec![format!("rule `{rule}`: expected to send to {}, found {}", expected.join(", "), found.join(", "))]
        }
        Failure::NoSuchAgent { rule, part } => {
            let kind = if *part == "input" { "LangGraph" } else { "http" };
            vec![format!("rule `{rule}`: the test has an `{part}`, and the rule sends to no {kind} agent: take it out")]
        }
        Failure::Template { rule, agent, message } => vec![format!(
            "rule `{rule}`, agent `{agent}`: the delivery would be a dead letter (`template`): {}",
            visible(message)
        )],
        Failure::Content { rule, agent, part, differences, more } => {
            let mut lines = vec![format!("rule `{rule}`, agent `{agent}`: its {part} differs (- expected, + found)")];
            lines.extend(differences.iter().flat_map(of_difference));
            if *more > 0 {
                lines.push(format!("  and {more} more"));
            }
            lines
        }
    }
}

fn of_difference(difference: &Difference) -> Vec<String> {
    let Difference { path, expected, found } = difference;
    let place = if path.is_empty() { "the whole value" } else { path };
    let side = |sign: char, value: &Option<String>| match value {
        Some(value) => format!("    {sign} {value}"),
        None => format!("    {sign} nothing"),
    };
    vec![format!("  {place}:"), side('-', expected), side('+', found)]
}
