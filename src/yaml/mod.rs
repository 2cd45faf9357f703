//! YAML that a person wrote, with the position of every key and value.
//!
//! Parses a text into a tree of [`Node`]s. Its invariant: the tree is one document
//! of JSON's types, with aliases and merge keys replaced by what they stand for, without tags or duplicate keys, and of
//! bounded depth and size; every fault has a
//! position. It does not know what a file means.

mod anchors;
mod faults;
mod node;
mod read;
mod secrecy;
mod unclosed;
mod words;

#[cfg(feature = "service")]
pub(crate) use anchors::Expansion;
pub(crate) use faults::Faults;
pub(crate) use node::{Data, Entry, Node};
pub(crate) use read::read;
#[cfg(feature = "service")]
pub(crate) use read::read_within;
pub(crate) use secrecy::shown_key;
#[cfg(feature = "service")]
pub(crate) use secrecy::{is_key, is_variable_name, shown_path, shown_variable};
pub(crate) use words::{Position, one_line, quoted, suggestion};
#[cfg(feature = "service")]
pub(crate) use words::{excerpt, misspelling, visible};
