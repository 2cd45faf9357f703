//! Where the faults of a text are collected.

use super::Position;

/// Collects the faults of a text.
pub(crate) trait Faults {
    /// Adds a fault and its position.
    fn fault(&mut self, position: Option<Position>, message: String);
}

impl Faults for Vec<(Option<Position>, String)> {
    fn fault(&mut self, position: Option<Position>, message: String) {
        self.push((position, message));
    }
}
