//! The JSON Schema of routing files, for editors. Its tests hold it to the readers of this room.

/// The schema of one file.
pub(crate) const SCHEMA: &str = include_str!("../../schemas/routing.schema.json");

#[cfg(test)]
mod tests;
