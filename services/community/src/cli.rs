//! The command line of the service.

use std::io::Write;

use anyhow::{Context, ensure};
use chrono::TimeDelta;
use clap::{Parser, Subcommand};
use communal_kit::config::{ConfigurationFaults, Reader};
use communal_kit::database::{self, DatabaseSettings};
use communal_kit::identity::cli::IdentityCommand;
use communal_kit::identity::{cli, token};
use communal_kit::secret::Secret;
use communal_kit::server;
use communal_kit::telemetry::{self, TelemetrySettings};

use crate::{Config, MIGRATOR, config, migrate, seed, serve};

/// Community fees: fee items, fees and bill rules.
#[derive(Debug, Parser)]
#[command(name = "community", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or Ctrl-C
    Serve,
    /// Bring the database's schema up to date
    Migrate,
    /// Load demo data, once
    Seed {
        /// Say that demo data and its well-known credentials are what you want
        #[arg(long, required = true)]
        demo: bool,
    },
    /// Check configuration, database and schema, and say so
    Check,
    /// Print a bearer token of an operator
    Token {
        /// Operator
        #[arg(long)]
        operator: String,
        /// Hours for which the token is valid
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=720))]
        hours: u16,
    },
    #[command(flatten)]
    Identity(IdentityCommand),
}

/// Carries a command out.
///
/// # Errors
/// [`ConfigurationFaults`] where the configuration is at fault, or whatever else went wrong.
pub async fn run(arguments: Arguments, mut reader: Reader) -> anyhow::Result<()> {
    match arguments.command {
        Command::Serve => {
            // Listened to before anything starts, so that a signal during the start is not lost.
            let shutdown = server::shutdown_signal()?;
            let (config, telemetry) = (Config::read(&mut reader), TelemetrySettings::read(&mut reader));
            reader.finish()?;
            let guard = telemetry::init("community", &telemetry)?;
            let outcome = serve(&config, shutdown).await;
            guard.shutdown().await;
            outcome
        }
        Command::Check => {
            let config = Config::read(&mut reader);
            TelemetrySettings::read(&mut reader);
            reader.finish()?;
            let pool = database::connect(&config.database)?;
            ensure!(
                database::schema_is_current(&pool, &MIGRATOR).await?,
                "the schema is not up to date: run `community migrate`"
            );
            print("configuration, database and schema are in order\n")
        }
        Command::Migrate => {
            let settings = database_settings(reader)?;
            migrate(&database::connect(&settings)?).await?;
            print("the schema is up to date\n")
        }
        Command::Seed { demo: _ } => {
            let (sealing, clock) = (config::sealing_key(&mut reader), config::clock(&mut reader));
            let settings = database_settings(reader)?;
            let sealing = sealing.context("COMMUNAL_SEALING_KEY must be set: a demo app has a secret")?;
            let loaded = seed::demo(&database::connect(&settings)?, &sealing, &clock).await?;
            print(if loaded { "demo data loaded\n" } else { "demo data is there already\n" })
        }
        Command::Token { operator, hours } => {
            let (key, clock) = (config::token_key(&mut reader), config::clock(&mut reader));
            reader.finish()?;
            ensure!(!operator.is_empty(), "the operator must be named");
            let token = token::issue(&key, &operator, clock.now(), TimeDelta::hours(hours.into()))?;
            print(&format!("{token}\n"))
        }
        Command::Identity(command) => {
            let (sealing, clock) = (config::sealing_key(&mut reader), config::clock(&mut reader));
            let settings = database_settings(reader)?;
            // Administration of records needs no key of tokens.
            let policy = config::policy(Secret::default());
            let pool = database::connect(&settings)?;
            print(&cli::run(command, &pool, &policy, sealing.as_ref(), &clock).await?)
        }
    }
}

fn database_settings(mut reader: Reader) -> Result<DatabaseSettings, ConfigurationFaults> {
    let settings = DatabaseSettings::read(&mut reader, config::DATABASE_URL);
    reader.finish().map(|()| settings)
}

/// Prints what a command was asked for: keys and tokens go to standard output alone.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
