//! YAML that a person wrote, with the place of every key and value.
//!
//! Owns the reading of a text into a tree of [`Node`]s. Its invariant: what it returns is one document
//! of JSON's types, without anchors, tags or a key twice, and of bounded depth; what it refuses, it
//! refuses with its place. It knows nothing of what a file means.

mod node;
mod read;
mod words;

pub use node::{Data, Entry, Node};
pub use read::read;
pub use words::{Position, one_line, quoted, suggestion};

/// Takes in what is wrong with a text.
pub trait Faults {
    /// One fault, and where it stands.
    fn fault(&mut self, position: Option<Position>, message: String);
}

impl Faults for Vec<(Option<Position>, String)> {
    fn fault(&mut self, position: Option<Position>, message: String) {
        self.push((position, message));
    }
}
