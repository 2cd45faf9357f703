//! The JSON Schema of test files, for editors. Its tests hold it to the reader.

/// The schema of one file.
pub(crate) const SCHEMA: &str = include_str!("../../../schemas/test.schema.json");

#[cfg(test)]
mod tests;
