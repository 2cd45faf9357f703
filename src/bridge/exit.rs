//! The exit codes of every command, by sysexits and, for signals, by the shell's 128 + number.

use std::process::ExitCode;

/// Why a command did not end with 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The command line has a mistake.
    Usage = 64,
    /// Some input is no event, or an event that can never be published.
    Data = 65,
    /// Kafka, an address or the system's resources cannot be had.
    Unavailable = 69,
    /// A defect.
    Software = 70,
    /// The ledger cannot be used, or a result cannot be written.
    Io = 74,
    /// The settings or the routing files have a mistake.
    Config = 78,
    /// SIGHUP, because the terminal is closed: the second one.
    Hangup = 129,
    /// A second Ctrl-C, or the first one of a command that stops half way.
    Interrupt = 130,
    /// A second SIGTERM, or the first one of a command that stops half way.
    Terminate = 143,
}

impl Exit {
    /// All of them but those of signals, with what the help says of each.
    const ERRORS: [(Self, &str); 6] = [
        (Self::Usage, "usage"),
        (Self::Data, "bad data"),
        (Self::Unavailable, "a part cannot be reached"),
        (Self::Software, "a defect"),
        (Self::Io, "the dedup ledger cannot be used or a result cannot be written"),
        (Self::Config, "bad configuration or rules"),
    ];

    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    /// The list for the help of the command line.
    pub(crate) fn help() -> String {
        let errors: Vec<String> =
            Self::ERRORS.iter().map(|(exit, meaning)| format!("{} {meaning}", exit.code())).collect();
        format!(
            "Exit codes: 0 done, {}, {}, {} and {} ended by a signal (a closed terminal, Ctrl-C or SIGTERM). Of run and demo it is the second one: \
             the first one finishes what is under way and exits with 0. Other commands say what is done so far.",
            errors.join(", "),
            Self::Hangup.code(),
            Self::Interrupt.code(),
            Self::Terminate.code(),
        )
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_documented_exit_codes_are_those_of_the_process() {
        let known: BTreeSet<u8> = Exit::ERRORS
            .iter()
            .map(|(exit, _)| exit.code())
            .chain([Exit::Hangup, Exit::Interrupt, Exit::Terminate].map(Exit::code))
            .collect();
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        let mut documented = BTreeSet::new();
        for page in fs::read_dir(docs).unwrap().map(|entry| entry.unwrap().path()) {
            let Ok(text) = fs::read_to_string(&page) else { continue };
            for (_, rest) in text.match_indices("exit code ").map(|(at, phrase)| (at, &text[at + phrase.len()..])) {
                let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
                let Ok(code) = digits.parse::<u8>() else { continue };
                assert!(code == 0 || known.contains(&code), "{}: exit code {code}", page.display());
                documented.insert(code);
            }
        }
        for exit in [Exit::Data, Exit::Unavailable, Exit::Software, Exit::Io, Exit::Config, Exit::Terminate] {
            assert!(documented.contains(&exit.code()), "{exit:?} is in no page of docs/");
        }
    }
}
