//! What waits in the queue of a consumer.

use super::{notices::Notice, queue::Queue};
use crate::agents::{HandlerCall, HandlerError};

/// What a handler's function returned.
pub type Verdict = Result<(), HandlerError>;

/// Calls, each with the place of its handler.
pub(super) type Calls = Queue<(usize, HandlerCall), Verdict, Notice>;
