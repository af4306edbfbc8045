//! PostgreSQL servers of this run: on unix sockets only, with the durable settings they come
//! with, and gone when the run ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Place;

/// One server.
#[derive(Debug)]
pub(crate) struct Postgres {
    programs: PathBuf,
    owner: Option<String>,
    home: PathBuf,
}

impl Postgres {
    /// Makes an empty server and starts it.
    pub(crate) fn create(place: &Place, name: &str) -> anyhow::Result<Self> {
        let server = Self::at(place, name);
        server.make_folder(&server.home)?;
        let data = server.data();
        server.run(
            "initdb",
            &[
                "--pgdata",
                &data,
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--auth-local=trust",
                "--auth-host=reject",
                "--no-instructions",
                "--no-sync",
            ],
        )?;
        server.start(&[])?;
        Ok(server)
    }

    /// Makes a standby that streams from this server through a slot of its own, and starts it.
    pub(crate) fn standby(&self, place: &Place, name: &str) -> anyhow::Result<Self> {
        let standby = Self::at(place, name);
        standby.make_folder(&standby.home)?;
        let primary = format!("host={} port=5432 user=postgres application_name={name}", self.socket().display());
        standby.run(
            "pg_basebackup",
            &[
                "--pgdata",
                &standby.data(),
                "--write-recovery-conf",
                "--create-slot",
                "--slot",
                name,
                "--dbname",
                &primary,
                "--checkpoint=fast",
                "--no-sync",
            ],
        )?;
        standby.start(&[])?;
        Ok(standby)
    }

    fn at(place: &Place, name: &str) -> Self {
        Self { programs: place.postgres.clone(), owner: place.owner.clone(), home: place.folder.join(name) }
    }

    /// The folder of its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("socket")
    }

    fn data(&self) -> String {
        self.home.join("data").display().to_string()
    }

    /// Starts it and waits until it answers.
    pub(crate) fn start(&self, settings: &[&str]) -> anyhow::Result<()> {
        self.make_folder(&self.socket())?;
        let mut options = format!(
            "-c listen_addresses='' -c port=5432 -c unix_socket_directories='{}' -c max_connections=200 \
             -c wal_log_hints=on -c log_min_messages=warning",
            self.socket().display(),
        );
        for setting in settings {
            options.push_str(" -c ");
            options.push_str(setting);
        }
        let log = self.home.join("log").display().to_string();
        self.run("pg_ctl", &["--pgdata", &self.data(), "--log", &log, "--options", &options, "--wait", "start"])
    }

    /// Stops it; connections are ended.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["--pgdata", &self.data(), "--mode=fast", "--wait", "stop"])
    }

    /// Makes a standby the primary and waits until it is.
    pub(crate) fn promote(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["--pgdata", &self.data(), "--wait", "promote"])
    }

    /// `kill -9` of the server and of every process it started, as when its machine is lost.
    pub(crate) fn kill(&self) -> anyhow::Result<usize> {
        let file = std::fs::read_to_string(self.home.join("data/postmaster.pid"))?;
        let postmaster: i32 = file.lines().next().unwrap_or_default().parse()?;
        // The server first, so that it starts nothing in place of what is killed after it.
        let children = children_of(postmaster);
        kill(Pid::from_raw(postmaster), Signal::SIGKILL)?;
        for child in &children {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(*child), Signal::SIGKILL);
        }
        Ok(children.len() + 1)
    }

    fn make_folder(&self, folder: &Path) -> anyhow::Result<()> {
        make_folder(self.owner.as_deref(), folder)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let program = self.programs.join(program);
        let mut command = self.command(&program);
        // Not a pipe: a server started by this would hold it open.
        let said = std::env::temp_dir().join(format!("communal-chaos-{}.out", std::process::id()));
        let file = std::fs::File::create(&said)?;
        let status = command.args(arguments).stdout(Stdio::null()).stderr(file).status();
        let text = std::fs::read_to_string(&said).unwrap_or_default();
        let _ = std::fs::remove_file(&said);
        let status = status.with_context(|| program.display().to_string())?;
        ensure!(status.success(), "{} {}: {status}: {}", program.display(), arguments.join(" "), text.trim());
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        command(self.owner.as_deref(), program)
    }
}

/// Makes a folder that is its owner's alone.
pub(crate) fn make_folder(owner: Option<&str>, folder: &Path) -> anyhow::Result<()> {
    let status = command(owner, Path::new("mkdir")).args(["-p", "-m", "700"]).arg(folder).status()?;
    ensure!(status.success(), "{} cannot be made", folder.display());
    Ok(())
}

fn command(owner: Option<&str>, program: &Path) -> Command {
    let mut command = match owner {
        Some(owner) => {
            let mut command = Command::new("runuser");
            command.args(["-u", owner, "--"]).arg(program);
            command
        }
        None => Command::new(program),
    };
    // A folder that any user may be in, and none of the caller's own servers.
    command.current_dir("/").stdin(Stdio::null());
    for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGDATA", "PGOPTIONS", "PGPASSWORD"] {
        command.env_remove(name);
    }
    command
}

impl Drop for Postgres {
    /// Its data is thrown away, so it need not end well.
    fn drop(&mut self) {
        if self.home.join("data/postmaster.pid").exists() {
            let _ =
                self.run("pg_ctl", &["--pgdata", &self.data(), "--mode=immediate", "--timeout=10", "--wait", "stop"]);
        }
    }
}

fn children_of(parent: i32) -> Vec<i32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // «1234 (name with spaces) S parent …»
        let of = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<i32>().ok());
        if of == Some(parent) {
            children.push(pid);
        }
    }
    children
}

/// Waits until a question is answered with yes.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut question: impl FnMut() -> F,
) -> anyhow::Result<Duration> {
    let began = tokio::time::Instant::now();
    while began.elapsed() < within {
        if tokio::time::timeout(within, question()).await.unwrap_or(false) {
            return Ok(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{what}: not within {within:?}")
}
