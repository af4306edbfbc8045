//! The PostgreSQL servers of a run: on unix sockets only, with the default durable settings, removed at the end of the run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::installation::Installation;

/// One server.
#[derive(Debug)]
pub(crate) struct Postgres {
    programs: PathBuf,
    owner: Option<String>,
    home: PathBuf,
}

impl Postgres {
    /// Creates an empty server and starts it.
    pub(crate) fn create(installation: &Installation, name: &str) -> anyhow::Result<Self> {
        let server = Self::at(installation, name);
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

    /// Creates a standby that streams from this server through a slot of its own, and starts it.
    pub(crate) fn standby(&self, installation: &Installation, name: &str) -> anyhow::Result<Self> {
        let standby = Self::at(installation, name);
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

    fn at(installation: &Installation, name: &str) -> Self {
        Self {
            programs: installation.postgres.clone(),
            owner: installation.owner.clone(),
            home: installation.folder.join(name),
        }
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

    /// Stops it and ends its connections.
    pub(crate) fn stop(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["--pgdata", &self.data(), "--mode=fast", "--wait", "stop"])
    }

    /// Promotes a standby and waits until it is the primary.
    pub(crate) fn promote(&self) -> anyhow::Result<()> {
        self.run("pg_ctl", &["--pgdata", &self.data(), "--wait", "promote"])
    }

    /// Kills the server and all its processes with SIGKILL, as if its machine were lost; returns their number.
    pub(crate) fn kill(&self) -> anyhow::Result<usize> {
        let file = std::fs::read_to_string(self.home.join("data/postmaster.pid"))?;
        let postmaster: i32 = file.lines().next().unwrap_or_default().parse()?;
        // The server is killed first, so that it does not restart the other processes.
        let children = children_of(postmaster);
        kill(Pid::from_raw(postmaster), Signal::SIGKILL)?;
        for child in &children {
            // The process may have ended already.
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
        // This is a file and not a pipe, which the started server would keep open.
        let output = std::env::temp_dir().join(format!("communal-chaos-{}.out", std::process::id()));
        let file = std::fs::File::create(&output)?;
        let status = command.args(arguments).stdout(Stdio::null()).stderr(file).status();
        let text = std::fs::read_to_string(&output).unwrap_or_default();
        let _ = std::fs::remove_file(&output);
        let status = status.with_context(|| program.display().to_string())?;
        ensure!(status.success(), "{} {}: {status}: {}", program.display(), arguments.join(" "), text.trim());
        Ok(())
    }

    fn command(&self, program: &Path) -> Command {
        command(self.owner.as_deref(), program)
    }
}

/// Makes a folder that only its owner can read.
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
    // Any user may enter this folder, and the caller's own servers must not be used.
    command.current_dir("/").stdin(Stdio::null());
    for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGDATA", "PGOPTIONS", "PGPASSWORD"] {
        command.env_remove(name);
    }
    command
}

impl Drop for Postgres {
    /// Stops the server immediately, because its data is discarded.
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
        // The format is "1234 (name with spaces) S parent …".
        let of = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(1)?.parse::<i32>().ok());
        if of == Some(parent) {
            children.push(pid);
        }
    }
    children
}

/// Waits until a condition holds; returns the time until then.
pub(crate) async fn until<F: Future<Output = bool>>(
    what: &str,
    within: Duration,
    mut condition: impl FnMut() -> F,
) -> anyhow::Result<Duration> {
    let began = tokio::time::Instant::now();
    while began.elapsed() < within {
        if tokio::time::timeout(within, condition()).await.unwrap_or(false) {
            return Ok(began.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("{what}: did not happen within {within:?}")
}
