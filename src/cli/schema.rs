//! `schema`: the JSON Schema of a kind of file, for editors.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::output;
use crate::{config, routing};

const HELP: &str = "Example: workflow-bridge schema routing > routing/routing.schema.json

An editor with a language server for YAML completes and checks a file that begins with
  # yaml-language-server: $schema=routing.schema.json
The path is relative to the file.";

/// Flags of `schema`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Schema {
    /// The kind of file
    #[arg(value_name = "KIND")]
    kind: Kind,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// A file of the routing folder
    Routing,
    /// The settings, bridge.yaml
    Bridge,
    /// A file of routing tests
    Test,
}

impl Schema {
    pub(super) fn main(&self) -> ExitCode {
        let schema = match self.kind {
            Kind::Routing => routing::SCHEMA,
            Kind::Bridge => config::SCHEMA,
            Kind::Test => routing::cases::SCHEMA,
        };
        output::result(format_args!("{}", schema.trim_end()));
        ExitCode::SUCCESS
    }
}
