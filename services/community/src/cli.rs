//! The command line of the service.

use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use chrono::TimeDelta;
use clap::{Parser, Subcommand};
use communal_kit::call::Call;
use communal_kit::cli::{self, Administration, Service, ServiceCommand, database_settings};
use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::database;
use communal_kit::identity::{TenantKind, store, token};
use communal_kit::pool::Pool;
use communal_kit::secret::Secret;
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::migrate::Migrator;

use crate::bill_rules::run::Progress;
use crate::{Config, MIGRATOR, bill_rules, config, policy, seed, serve};

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
    Service(ServiceCommand<()>),
    /// Bills
    #[command(subcommand)]
    Bills(Bills),
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

#[derive(Debug, Subcommand)]
enum Bills {
    /// Make the bills that are due. May run several times at once, and again after it was killed
    Run {
        /// Only of this community
        #[arg(long)]
        community: Option<String>,
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
    type CheckArguments = ();

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

    async fn check(_: &Config, (): &()) -> anyhow::Result<String> {
        Ok(String::new())
    }
}

/// Runs a command, and returns what it prints to standard output.
///
/// # Errors
/// Returns `ConfigurationFaults` if the configuration is at fault, or what else failed.
pub async fn run(arguments: Arguments, mut reader: Reader) -> anyhow::Result<String> {
    match arguments.command {
        Command::Service(command) => cli::run::<Community>(command, reader).await,
        Command::Bills(Bills::Run { community }) => {
            let clock = Clock::read(&mut reader);
            let settings = database_settings::<Community>(reader)?;
            run_bills(&Pool::new(&settings)?, &clock, community.as_deref()).await
        }
        Command::Token { operator, hours } => {
            let (key, clock) = (config::token_key(&mut reader), Clock::read(&mut reader));
            reader.finish()?;
            ensure!(!operator.is_empty(), "the operator must be named");
            let token = token::issue(&key, &operator, clock.machine(), TimeDelta::hours(hours.into()))?;
            Ok(format!("{token}\n"))
        }
    }
}

/// Makes the bills of all communities, or of one, with a bar for each.
async fn run_bills(pool: &Pool, clock: &Clock, only: Option<&str>) -> anyhow::Result<String> {
    if clock.is_sandbox() {
        let mut connection = pool.begin().await.context("the database does not answer")?;
        let demo = database::holds_demo_data(&mut connection).await?;
        ensure!(demo, "COMMUNAL_SANDBOX_CLOCK is set, and the database holds no demo data");
        clock.admit_sandbox();
    }
    let tenants = store::tenants(pool).await.context("the database does not answer")?;
    let communities =
        tenants.into_iter().map(|(tenant, _)| tenant).filter(|tenant| tenant.kind == TenantKind::Community);
    let communities: Vec<_> = communities.filter(|tenant| only.is_none_or(|id| id == tenant.id)).collect();
    ensure!(only.is_none() || !communities.is_empty(), "there is no such community");
    let style = ProgressStyle::with_template("bills of {prefix} {bar:40} {pos}/{len} rules, {msg} {elapsed}")?;
    let mut report = String::new();
    for tenant in communities {
        let id = tenant.id.clone();
        let call = Call::internal(tenant, "bills run", clock.now());
        let bar = ProgressBar::new(0).with_style(style.clone()).with_prefix(id.clone());
        let done = bill_rules::run::run(pool, &call, clock.local(call.at), |progress| {
            bar.set_length(u64::try_from(progress.total).unwrap_or_default());
            bar.set_position(u64::try_from(progress.rules).unwrap_or_default());
            bar.set_message(format!("{} bills", progress.bills));
            true
        });
        let Progress { total: _, rules, bills, ended } = done.await.with_context(|| format!("community {id}"))?;
        bar.finish();
        writeln!(report, "{id}: {rules} rules, {bills} bills made, {ended} rules ended")?;
    }
    Ok(report)
}
