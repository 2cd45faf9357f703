//! Why a template cannot be rendered for an event.

use std::sync::Arc;

use crate::yaml::quoted;

/// A template that cannot be rendered for an event. The delivery becomes a dead letter with this reason.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// A leaf names something that the event does not have, or an operation on it fails.
    #[error("{owner}, {leaf}: cannot render {source_text}: {reason}")]
    Failed {
        /// Whose template it is, such as ``rule `r` ``.
        owner: Arc<str>,
        /// The leaf, such as `input.messages[0].content`.
        leaf: Arc<str>,
        /// The beginning of the template's text, quoted.
        source_text: String,
        /// The engine's message.
        reason: String,
    },
    /// With this event, rendering it takes more work or memory than is allowed.
    #[error("{owner}, {leaf}: cannot render {source_text}: {reason}")]
    TooCostly {
        /// Whose template it is, such as ``rule `r` ``.
        owner: Arc<str>,
        /// The leaf, such as `input.messages[0].content`.
        leaf: Arc<str>,
        /// The beginning of the template's text, quoted.
        source_text: String,
        /// The bound that was reached.
        reason: String,
    },
    /// The result is larger than is allowed.
    #[error(
        "{owner}, {leaf}: expected at most {limit} bytes, found more: send an identifier and let the agent fetch the rest"
    )]
    TooLarge {
        /// Whose template it is, such as ``rule `r` ``.
        owner: Arc<str>,
        /// The leaf that went over the limit.
        leaf: Arc<str>,
        /// How many bytes are allowed.
        limit: usize,
    },
}

/// The template in a text. What stands around it may be a secret, and is not repeated.
pub(super) fn shown_template(text: &str) -> String {
    let begin = ["{{", "{%", "{#"].iter().filter_map(|mark| text.find(mark)).min().unwrap_or_default();
    let template = &text[begin..];
    let closed = ["}}", "%}", "#}"].iter().filter_map(|mark| template.rfind(mark)).max().map(|at| at + 2);
    let end = closed.or_else(|| template.find('}').map(|at| at + 1)).unwrap_or(template.len());
    quoted(&template[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_a_template_is_not_repeated() {
        for (text, shown) in [
            ("Bearer hunter2 {{ event.id }}, hunter2", "{{ event.id }}"),
            ("{% if x %}y{% endif %} hunter2", "{% if x %}y{% endif %}"),
            ("a{{ event.id } hunter2", "{{ event.id }"),
            ("a {{ event.id", "{{ event.id"),
        ] {
            assert_eq!(shown_template(text), format!("{shown:?}"));
        }
    }
}
