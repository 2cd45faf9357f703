//! `man`: the manual pages, from the same texts as `--help`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Command};
use clap_mangen::Man;

use super::output::{self, fail};
use crate::bridge::Exit;

const EXAMPLE: &str = "Example: workflow-bridge man /usr/local/share/man/man1\n\n\
A page for each command: `man workflow-bridge`, `man workflow-bridge-run`. Pages of that name are replaced.";

/// Flags of `man`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct ManPages {
    /// The folder that they are written to; it is created
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

impl ManPages {
    /// Writes the pages of a command line.
    pub(super) fn main(&self, command: Command) -> ExitCode {
        match write(command, &self.folder) {
            Ok(pages) => {
                output::result(format_args!("{pages} pages written to {}", self.folder.display()));
                ExitCode::SUCCESS
            }
            Err(error) => {
                fail(Exit::Io, &format_args!("{}: {error}: name a folder to write to", self.folder.display()))
            }
        }
    }
}

fn write(mut command: Command, folder: &Path) -> io::Result<usize> {
    fs::create_dir_all(folder)?;
    command.build();
    write_all(&command, command.get_name(), folder)
}

/// The page of a command and of those below it.
fn write_all(command: &Command, name: &str, folder: &Path) -> io::Result<usize> {
    let mut page = Vec::new();
    Man::new(command.clone()).title(name.to_uppercase()).render(&mut page)?;
    fs::write(folder.join(format!("{name}.1")), page)?;
    let mut pages = 1;
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        pages += write_all(inner, &format!("{name}-{}", inner.get_name()), folder)?;
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    #[test]
    fn every_command_gets_a_page_with_its_flags() {
        let drain = Command::new("drain").arg(Arg::new("brokers").long("brokers").help("Kafka brokers"));
        let line = Command::new("bridge").about("Runs").subcommand(Command::new("spool").subcommand(drain));
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("share/man1");
        assert_eq!(write(line.clone(), &target).unwrap(), 3);
        let page = fs::read_to_string(target.join("bridge-spool-drain.1")).unwrap();
        assert!(page.contains("brokers") && page.contains("BRIDGE"), "{page}");
        let blocked = folder.path().join("file");
        fs::write(&blocked, "").unwrap();
        assert!(write(line, &blocked).is_err());
    }
}
