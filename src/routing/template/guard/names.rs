//! The names of the guards, which templates may not use.

/// Guards: they return their operand, having charged for it. `READ` for an operand that is read
/// as a whole, `JOIN` for one that is copied into a new value, `ITEM` for one that is indexed, `PART`
/// for one that is sliced; `LIST` makes a list of a lazy sequence. `TIMES` is `*`.
pub(in crate::routing::template) const READ: &str = "__";
pub(in crate::routing::template) const JOIN: &str = "__join";
pub(in crate::routing::template) const ITEM: &str = "__item";
pub(in crate::routing::template) const PART: &str = "__part";
pub(in crate::routing::template) const LIST: &str = "__list";
pub(in crate::routing::template) const TIMES: &str = "__times";

/// The prefix of every name that the bridge adds.
pub(in crate::routing::template) const OURS: &str = "__";
