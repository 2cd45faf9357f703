//! Where what cannot be delivered goes: to a topic, or to a function of the program.

use std::{pin::Pin, sync::Arc};

use crate::kafka::{DeadLetter, DeadLetters};

/// Where what cannot be delivered goes.
pub(crate) enum DeadLetterSink {
    /// To the dead-letter topic.
    Topic(Box<DeadLetters>),
    /// To a function of the program, and nowhere else.
    Function(Arc<DeadLetterFunction>),
}

/// Gets what would be a dead letter. It has it when its future resolves; until then the delivery has no end.
pub(crate) type DeadLetterFunction = dyn Fn(DeadLetter) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync;

impl DeadLetterSink {
    /// Whether somebody has it before `stopped` resolves.
    pub(super) async fn deliver(&self, letter: &DeadLetter, stopped: impl Future<Output = ()>) -> bool {
        match self {
            Self::Topic(topic) => topic.deliver(letter, stopped).await.is_ok(),
            Self::Function(function) => tokio::select! {
                biased;
                () = function(letter.clone()) => true,
                () = stopped => false,
            },
        }
    }

    /// Whether it keeps what it gets.
    pub(super) fn is_topic(&self) -> bool {
        matches!(self, Self::Topic(_))
    }
}
