//! `completions`: a script that completes the command line in a shell.

use std::process::ExitCode;

use clap::{Args, Command};
use clap_complete::{Shell, generate};

use super::output;

const EXAMPLE: &str = "Example: workflow-bridge completions bash > /etc/bash_completion.d/workflow-bridge\n\
Example: workflow-bridge completions zsh > \"${fpath[1]}/_workflow-bridge\"\n\
Example: workflow-bridge completions fish > ~/.config/fish/completions/workflow-bridge.fish";

/// Flags of `completions`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    /// Writes the script for a command line.
    pub(super) fn main(&self, mut command: Command) -> ExitCode {
        output::result(format_args!("{}", script(self.shell, &mut command)));
        ExitCode::SUCCESS
    }
}

fn script(shell: Shell, command: &mut Command) -> String {
    let name = command.get_name().to_owned();
    // Into memory: it panics when it cannot write.
    let mut script = Vec::new();
    generate(shell, command, name, &mut script);
    String::from_utf8_lossy(&script).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use clap::{Arg, ValueEnum as _};

    use super::*;

    #[test]
    fn every_shell_gets_a_script_with_the_commands_and_flags() {
        for shell in Shell::value_variants() {
            let check = Command::new("check").arg(Arg::new("deny").long("deny"));
            let script = script(*shell, &mut Command::new("workflow-bridge").subcommand(check));
            for word in ["workflow-bridge", "check", "deny"] {
                assert!(script.contains(word), "{shell}: no {word} in\n{script}");
            }
        }
    }
}
