//! Why a template cannot be rendered for an event.

use std::sync::Arc;

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
