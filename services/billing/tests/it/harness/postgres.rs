//! Servers of a test's own: a primary, and standbys that stream from it. On unix sockets only,
//! in a folder that goes with them.
//!
//! `COMMUNAL_TEST_POSTGRES` is the folder of PostgreSQL's programs, `COMMUNAL_TEST_POSTGRES_OWNER` the
//! user that they run as if it is another one; `./dev test` sets both.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

/// The folder of servers; it is removed on drop.
pub struct Place {
    programs: PathBuf,
    owner: Option<String>,
    folder: PathBuf,
}

impl Place {
    pub fn new() -> Self {
        let programs = std::env::var_os("COMMUNAL_TEST_POSTGRES")
            .expect("COMMUNAL_TEST_POSTGRES must name the folder of PostgreSQL's programs; `./dev test` does");
        let owner = std::env::var("COMMUNAL_TEST_POSTGRES_OWNER").ok();
        let mut place = Self { programs: programs.into(), owner, folder: PathBuf::new() };
        // A short path: sockets lie in it.
        let made = place.command(Path::new("mktemp")).args(["-d", "/tmp/communal-replicas.XXXXXX"]).output().unwrap();
        assert!(made.status.success(), "no folder: {made:?}");
        place.folder = String::from_utf8(made.stdout).unwrap().trim().into();
        place
    }

    /// Makes an empty server and starts it.
    pub fn primary(&self) -> Server<'_> {
        let server = Server { place: self, home: self.folder.join("primary") };
        self.run(
            "initdb",
            &[
                "--pgdata",
                &server.data(),
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--auth-local=trust",
                "--auth-host=reject",
                "--no-instructions",
                "--no-sync",
            ],
        );
        server.start();
        server
    }

    /// Runs a program of PostgreSQL.
    fn run(&self, program: &str, arguments: &[&str]) {
        // Not a pipe: a server started by this would hold it open.
        let path = self.programs.join(program);
        let status = self.command(&path).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert!(status.success(), "{program} {arguments:?}: {status}");
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match &self.owner {
            Some(owner) => {
                let mut command = Command::new("runuser");
                command.args(["-u", owner, "--"]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // A folder that any user may read, and no setting of the caller's own servers.
        command.current_dir("/").stdin(Stdio::null());
        for name in ["PGHOST", "PGPORT", "PGUSER", "PGDATABASE", "PGDATA", "PGOPTIONS", "PGPASSWORD"] {
            command.env_remove(name);
        }
        command
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.command(Path::new("rm")).arg("-rf").arg(&self.folder).status();
    }
}

/// One server.
pub struct Server<'p> {
    place: &'p Place,
    home: PathBuf,
}

impl Server<'_> {
    /// Makes a standby that streams from this server, and starts it.
    pub fn standby(&self) -> Server<'_> {
        let standby = Server { place: self.place, home: self.place.folder.join("standby") };
        let primary = format!("host={} port=5432 user=postgres", self.socket());
        self.place.run(
            "pg_basebackup",
            &[
                "--pgdata",
                &standby.data(),
                "--write-recovery-conf",
                "--create-slot",
                "--slot=standby",
                "--dbname",
                &primary,
                "--checkpoint=fast",
                "--no-sync",
            ],
        );
        standby.start();
        standby
    }

    pub fn start(&self) {
        let made = self.place.command(Path::new("mkdir")).args(["-p", "-m", "700", &self.socket()]).status();
        assert!(made.unwrap().success());
        // Small and fast: it is thrown away. On a standby no reader delays the replay.
        let options = format!(
            "-c listen_addresses='' -c port=5432 -c unix_socket_directories='{}' -c max_connections=60 -c fsync=off \
             -c shared_buffers=16MB -c autovacuum=off -c log_min_messages=warning -c max_standby_streaming_delay=0",
            self.socket(),
        );
        let log = self.home.join("log").display().to_string();
        self.place.run("pg_ctl", &["--pgdata", &self.data(), "--log", &log, "--options", &options, "--wait", "start"]);
    }

    /// Stops it at once, as if its machine were lost.
    pub fn stop(&self) {
        self.place.run("pg_ctl", &["--pgdata", &self.data(), "--mode=immediate", "--timeout=10", "--wait", "stop"]);
    }

    /// Makes a standby a primary of its own.
    pub fn promote(&self) {
        self.place.run("pg_ctl", &["--pgdata", &self.data(), "--wait", "promote"]);
    }

    /// The URL of a database of it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@localhost:5432/{database}?host={}", self.socket())
    }

    /// A connection for administration.
    pub fn pool(&self, database: &str) -> PgPool {
        PgPoolOptions::new().max_connections(1).connect_lazy(&self.url(database)).unwrap()
    }

    fn socket(&self) -> String {
        self.home.join("socket").display().to_string()
    }

    fn data(&self) -> String {
        self.home.join("data").display().to_string()
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        // Not `run`, which panics: it may have been stopped before.
        let mut command = self.place.command(&self.place.programs.join("pg_ctl"));
        command.args(["--pgdata", &self.data(), "--mode=immediate", "--timeout=10", "--wait", "stop"]);
        let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}
