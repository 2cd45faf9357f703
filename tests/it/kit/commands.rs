//! The command line in a folder of its own, without settings from the environment of the tests.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use super::{Bridge, PATIENCE, kafka, poll, process::Scratch};

/// A folder with these files.
pub fn folder_with(files: &[(&str, &str)]) -> Scratch {
    let folder = Scratch::new("cli");
    for (name, text) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a scratch folder can be written");
        fs::write(path, text).expect("a scratch folder can be written");
    }
    folder
}

/// A command, not started.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_workflow-bridge"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("KAFKA_") || name.starts_with("BRIDGE_")) {
            command.env_remove(name);
        }
    }
    command.current_dir(folder).args(arguments);
    command
}

/// Runs a command to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).stdin(Stdio::null()).output().expect("the binary starts")
}

/// A command in the folder of a bridge, with its brokers, topic, group and rules; not started.
pub fn beside(bridge: &Bridge, arguments: &[&str]) -> Command {
    let mut command = command(bridge.folder(), arguments);
    command.args(["--brokers", kafka().bootstrap(), "--topic", bridge.topic(), "--group", bridge.group()]);
    command.arg("--routing").arg(bridge.folder().join("routing")).stdin(Stdio::null());
    command
}

/// The exit code, stdout and stderr. A broker that stands still makes a command give up: it is made again then.
#[track_caller]
pub fn until_kafka_answers(what: &str, make: impl Fn() -> Command) -> (Option<i32>, String, String) {
    poll(PATIENCE, &format!("Kafka answers {what}"), || {
        let output = make().output().expect("the program starts");
        let ended = (output.status.code(), text(&output.stdout), text(&output.stderr));
        if ended.0 == Some(69) { Err(ended) } else { Ok(ended) }
    })
}

/// What it wrote.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The end of a pipe that nobody reads, as `| head -1` leaves it.
pub fn closed_pipe() -> Stdio {
    let (_, writer) = std::io::pipe().expect("a pipe can be made");
    writer.into()
}
