//! A PostgreSQL cluster of its own, in a scratch folder, on a free port.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use super::{
    PATIENCE, free_port, poll,
    process::{Log, Process, Scratch},
    when,
};

/// The cluster. Dropped, it is gone with everything in it.
pub struct Postgres {
    port: u16,
    process: Process,
    _folder: Scratch,
}

impl Postgres {
    /// A fresh cluster with the database `postgres`, to which everybody on this machine may connect.
    pub fn start() -> Self {
        let folder = Scratch::new("postgres");
        let data = folder.join("data");
        std::fs::create_dir(&data).expect("a scratch folder can be written");
        if rustix::process::geteuid().is_root() {
            // It refuses to run as root, so it gets the folder, and the way there.
            let owner = Command::new("chown").arg("postgres").arg(&data).status().expect("`chown` starts");
            assert!(owner.success(), "there is no user postgres: apt install postgresql");
            for folder in data.ancestors().skip(1) {
                // What is already open, and what is not ours, stays as it is.
                let _ = Command::new("chmod").arg("o+x").arg(folder).stderr(Stdio::null()).status();
            }
        }
        let mut initdb = postgres("initdb");
        initdb
            .args(["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data);
        let made = initdb.output().expect("`initdb` starts");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let mut server = postgres("postgres");
        server.arg("-D").arg(&data).args(["-c", "listen_addresses=127.0.0.1", "-k", "", "-p"]).arg(port.to_string());
        let mut process = Process::spawn("PostgreSQL", &server, Arc::new(Log::default()));
        poll(PATIENCE, "PostgreSQL takes connections", || {
            if let Some(status) = process.exit_status() {
                panic!("PostgreSQL ended ({status}):\n{}", process.log().tail(30));
            }
            let ready = process.log().tail(30).contains("ready to accept connections");
            when(ready && std::net::TcpStream::connect(("127.0.0.1", port)).is_ok(), process.log().tail(3))
        });
        Self { port, process, _folder: folder }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.process.kill();
    }
}

/// One of its programs, which Debian keeps out of the path, as a user who is not root.
fn postgres(program: &str) -> Command {
    let folder = std::fs::read_dir("/usr/lib/postgresql").ok().and_then(|versions| {
        let found = versions.flatten().map(|version| version.path().join("bin").join(program));
        found.filter(|path| path.is_file()).max()
    });
    let path = folder.unwrap_or_else(|| PathBuf::from(program));
    if !rustix::process::geteuid().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path);
    command
}
