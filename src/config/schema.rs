//! The JSON Schema of bridge.yaml, for editors. Its tests hold it to the reader and the table of this room.

/// The schema of the file.
pub(crate) const SCHEMA: &str = include_str!("../../schemas/bridge.schema.json");

#[cfg(test)]
mod tests;
