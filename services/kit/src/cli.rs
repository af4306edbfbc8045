//! The command line of a Communal process: the commands that every service has, serving, and exit
//! codes.

use std::fmt::{Debug, Display};
use std::io::Write as _;
use std::process::ExitCode;

use anyhow::ensure;
use clap::{Args, Subcommand};
use sqlx::migrate::Migrator;

use crate::clock::Clock;
use crate::config::{ConfigurationFaults, EXIT_CONFIGURATION, Reader};
use crate::database::{self, DatabaseSettings};
use crate::identity::cli::IdentityCommand;
use crate::identity::{self, Policy, SealingKey};
use crate::refusal::Refusal;
use crate::server;
use crate::telemetry::{self, TelemetrySettings};

/// The commands of every service, to which a service adds its own. `check` takes the arguments `C` of the service.
#[derive(Debug, Subcommand)]
pub enum ServiceCommand<C: Args> {
    /// Serve gRPC until SIGTERM or Ctrl-C
    Serve,
    /// Bring the database's schema up to date
    Migrate,
    /// Load demo data, once
    Seed {
        /// Confirm that demo data and its well-known credentials are wanted
        #[arg(long, required = true)]
        demo: bool,
    },
    /// Check configuration, database and schema
    Check(C),
    /// Channels, tenants and operators
    #[command(flatten)]
    Identity(IdentityCommand),
}

/// A service with the parts that its command line needs.
pub trait Service {
    /// The name of the service, of its binary and of its database.
    const NAME: &'static str;
    /// The setting of the database's URL.
    const DATABASE_URL: &'static str;
    /// The service's own migrations.
    const MIGRATOR: &'static Migrator;

    /// The configuration for serving.
    type Config;
    /// The arguments of `check`; `()` without any.
    type CheckArguments: Args + Debug;

    /// Reads the configuration; faults are gathered in the reader.
    fn read(reader: &mut Reader) -> Self::Config;

    /// Reads the settings for administration of credentials.
    fn administration(reader: &mut Reader) -> Administration;

    /// Serves until `shutdown` ends.
    ///
    /// # Errors
    /// Returns an error if the service cannot start or fails.
    fn serve(config: Self::Config, shutdown: impl Future<Output = ()>) -> impl Future<Output = anyhow::Result<()>>;

    /// Loads the demo data unless it is loaded already; returns whether it did.
    ///
    /// # Errors
    /// Returns the database's error.
    fn seed(reader: Reader) -> impl Future<Output = anyhow::Result<bool>>;

    /// Checks what only this service has; returns a text for the report of `check`.
    ///
    /// # Errors
    /// Returns an error that names what is wrong.
    fn check(config: &Self::Config, arguments: &Self::CheckArguments) -> impl Future<Output = anyhow::Result<String>>;
}

/// The settings for administration of credentials.
#[derive(Debug)]
pub struct Administration {
    /// The policy that channels and tenants must fit.
    pub policy: Policy,
    /// The key under which secrets are stored.
    pub sealing: Option<SealingKey>,
    /// The clock.
    pub clock: Clock,
}

/// Runs a command that every service has; returns its output for standard output.
///
/// # Errors
/// Returns [`ConfigurationFaults`] if the configuration has faults, and otherwise the error of the
/// command.
pub async fn run<S: Service>(command: ServiceCommand<S::CheckArguments>, mut reader: Reader) -> anyhow::Result<String> {
    match command {
        ServiceCommand::Serve => {
            let (config, telemetry) = (S::read(&mut reader), TelemetrySettings::read(&mut reader));
            reader.finish()?;
            serve(S::NAME, &telemetry, async |shutdown| S::serve(config, shutdown).await).await?;
            Ok(String::new())
        }
        ServiceCommand::Migrate => {
            let pool = database::connect(&database_settings::<S>(reader)?)?;
            database::migrate(&pool, S::MIGRATOR).await?;
            let slow = database::slow_collation(&pool).await?;
            let advice = slow.map(|collation| {
                format!("texts are compared by the collation {collation}: LC_COLLATE C takes less (docs/runbook.md, Collation)\n")
            });
            Ok(format!("the schema is up to date\n{}", advice.unwrap_or_default()))
        }
        ServiceCommand::Seed { demo: _ } => {
            let loaded = S::seed(reader).await?;
            Ok(if loaded { "demo data loaded\n" } else { "demo data is there already\n" }.to_owned())
        }
        ServiceCommand::Check(arguments) => {
            let config = S::read(&mut reader);
            TelemetrySettings::read(&mut reader);
            let database = DatabaseSettings::read(&mut reader, S::DATABASE_URL);
            reader.finish()?;
            let current = database::schema_is_current(&database::connect(&database)?, S::MIGRATOR).await?;
            ensure!(current, "the schema is not up to date: run `{} migrate`", S::NAME);
            let more = S::check(&config, &arguments).await?;
            Ok(format!("configuration, database and schema are in order{more}\n"))
        }
        ServiceCommand::Identity(command) => {
            let Administration { policy, sealing, clock } = S::administration(&mut reader);
            let pool = database::connect(&database_settings::<S>(reader)?)?;
            identity::cli::run(command, &pool, &policy, sealing.as_ref(), &clock).await
        }
    }
}

/// Reads the settings of the service's database only.
///
/// # Errors
/// Returns all faults of the settings.
pub fn database_settings<S: Service>(mut reader: Reader) -> Result<DatabaseSettings, ConfigurationFaults> {
    let settings = DatabaseSettings::read(&mut reader, S::DATABASE_URL);
    reader.finish().map(|()| settings)
}

/// Serves with telemetry until SIGTERM or Ctrl-C, and flushes telemetry last.
///
/// # Errors
/// Returns an error if the service cannot start or fails.
pub async fn serve(
    process: &'static str,
    settings: &TelemetrySettings,
    serving: impl AsyncFnOnce(server::Shutdown) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // Registered before anything else, so that a signal during the start is not lost.
    let shutdown = server::shutdown_signal()?;
    let guard = telemetry::init(process, settings)?;
    let outcome = serving(shutdown).await;
    guard.shutdown().await;
    outcome
}

/// The exit code of a command that did its work and left something undone that it names.
const EXIT_INCOMPLETE: u8 = 3;

/// What a command prints to standard output, and whether it left something undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Printed {
    text: String,
    is_complete: bool,
}

impl Printed {
    /// The output of a command that left something undone, which the text names.
    #[must_use]
    pub fn incomplete(text: String) -> Self {
        Self { text, is_complete: false }
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<String> for Printed {
    fn from(text: String) -> Self {
        Self { text, is_complete: true }
    }
}

/// Prints the output of a command, or its error in English, and returns the exit code. Keys and tokens are printed
/// to standard output only, and logging may not have started yet.
#[must_use]
pub fn exit_code(process: &str, outcome: anyhow::Result<impl Into<Printed>>) -> ExitCode {
    let printed = |printed: Printed| (std::io::stdout().write_all(printed.text.as_bytes()), printed.is_complete);
    match outcome.map(|outcome| printed(outcome.into())) {
        Ok((Ok(()), true)) => ExitCode::SUCCESS,
        Ok((Ok(()), false)) => ExitCode::from(EXIT_INCOMPLETE),
        Ok((Err(_), _)) => ExitCode::FAILURE,
        Err(error) if error.is::<ConfigurationFaults>() => {
            complain(process, &error);
            ExitCode::from(EXIT_CONFIGURATION)
        }
        Err(error) => {
            match error.downcast_ref::<Refusal>() {
                Some(refusal) => complain(process, &refusal.english()),
                None => complain(process, &format!("{error:#}")),
            }
            ExitCode::FAILURE
        }
    }
}

fn complain(process: &str, what: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{process}: {what}");
}
