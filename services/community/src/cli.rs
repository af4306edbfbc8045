//! The command line of the service.

use anyhow::{Context as _, ensure};
use chrono::TimeDelta;
use clap::{Parser, Subcommand};
use communal_kit::cli::{self, Administration, Service, ServiceCommand, database_settings};
use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::database;
use communal_kit::identity::token;
use communal_kit::secret::Secret;
use sqlx::migrate::Migrator;

use crate::{Config, MIGRATOR, config, policy, seed, serve};

/// Community fees: fee items, fees and bill rules.
#[derive(Debug, Parser)]
#[command(name = "community", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Service(ServiceCommand),
    /// Print a bearer token of an operator
    Token {
        /// Operator
        #[arg(long)]
        operator: String,
        /// Hours for which the token is valid
        #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=720))]
        hours: u16,
    },
}

/// Community fees, as the command line runs them.
#[derive(Debug)]
struct Community;

impl Service for Community {
    const NAME: &'static str = "community";
    const DATABASE_URL: &'static str = config::DATABASE_URL;
    const MIGRATOR: &'static Migrator = &MIGRATOR;
    type Config = Config;

    fn read(reader: &mut Reader) -> Config {
        Config::read(reader)
    }

    fn administration(reader: &mut Reader) -> Administration {
        // Administration of records needs no key of tokens.
        Administration {
            policy: policy(Secret::default()),
            sealing: config::sealing_key(reader),
            clock: Clock::read(reader),
        }
    }

    async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        serve(&config, shutdown).await
    }

    async fn seed(mut reader: Reader) -> anyhow::Result<bool> {
        let (sealing, clock) = (config::sealing_key(&mut reader), Clock::read(&mut reader));
        let settings = database_settings::<Self>(reader)?;
        let sealing = sealing.context("COMMUNAL_SEALING_KEY must be set: a demo app has a secret")?;
        seed::demo(&database::connect(&settings)?, &sealing, &clock).await
    }

    async fn check(_: &Config) -> anyhow::Result<&'static str> {
        Ok("")
    }
}

/// Runs a command, and returns what it prints to standard output.
///
/// # Errors
/// Returns `ConfigurationFaults` if the configuration is at fault, or what else failed.
pub async fn run(arguments: Arguments, mut reader: Reader) -> anyhow::Result<String> {
    match arguments.command {
        Command::Service(command) => cli::run::<Community>(command, reader).await,
        Command::Token { operator, hours } => {
            let (key, clock) = (config::token_key(&mut reader), Clock::read(&mut reader));
            reader.finish()?;
            ensure!(!operator.is_empty(), "the operator must be named");
            let token = token::issue(&key, &operator, clock.machine(), TimeDelta::hours(hours.into()))?;
            Ok(format!("{token}\n"))
        }
    }
}
