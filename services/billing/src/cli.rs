//! The command line of the service.

use clap::{Args, Parser, Subcommand};
use communal_kit::call::Call;
use communal_kit::cli::{self, Administration, Service, ServiceCommand};
use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::identity::store;
use communal_kit::pool::Pool;
use communal_kit::replicas;
use communal_kit::write::run_as;
use communal_proto::billing::v1::Store;
use sqlx::migrate::Migrator;

use crate::{Config, MIGRATOR, config, policy, seed, serve, suppliers};

/// Retail-utility billing (EPEIS)
#[derive(Debug, Parser)]
#[command(name = "billing", version)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Service(ServiceCommand),
    /// Stores of suppliers
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Register a store, or rename it
    Add(AddStore),
    /// List the stores of a company
    List {
        /// Company
        company_id: String,
    },
}

#[derive(Debug, Args)]
struct AddStore {
    /// Company
    company_id: String,
    /// Store
    store_id: String,
    /// Name
    #[arg(long)]
    name: String,
}

/// Retail-utility billing, as the command line runs it.
#[derive(Debug)]
struct Billing;

impl Service for Billing {
    const NAME: &'static str = "billing";
    const DATABASE_URL: &'static str = config::DATABASE_URL;
    const MIGRATOR: &'static Migrator = &MIGRATOR;
    type Config = Config;

    fn read(reader: &mut Reader) -> Config {
        Config::read(reader)
    }

    fn administration(reader: &mut Reader) -> Administration {
        Administration { policy: policy(), sealing: None, clock: config::clock(reader) }
    }

    async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        serve(config, shutdown).await
    }

    async fn seed(mut reader: Reader) -> anyhow::Result<bool> {
        let clock = config::clock(&mut reader);
        let pool = Pool::new(&cli::database_settings::<Self>(reader)?)?;
        let loaded = seed::demo(&pool, &clock, &seed::Volume::DEMO).await?;
        pool.close().await;
        Ok(loaded)
    }

    async fn check(config: &Config) -> anyhow::Result<&'static str> {
        replicas::check(&config.database, &config.replicas).await?;
        Ok(if config.replicas.is_empty() { "" } else { ", the replicas too" })
    }
}

/// Runs a command, and returns what it prints to standard output.
///
/// # Errors
/// Returns `ConfigurationFaults` if the configuration is at fault, or what else failed.
pub async fn run(arguments: Arguments, mut reader: Reader) -> anyhow::Result<String> {
    match arguments.command {
        Command::Service(command) => cli::run::<Billing>(command, reader).await,
        Command::Store(command) => {
            let clock = config::clock(&mut reader);
            let settings = cli::database_settings::<Billing>(reader)?;
            stores(&Pool::new(&settings)?, &clock, command).await
        }
    }
}

async fn stores(pool: &Pool, clock: &Clock, command: StoreCommand) -> anyhow::Result<String> {
    match command {
        StoreCommand::Add(add) => {
            let tenants = store::tenants(pool.driver()).await?;
            let tenant = tenants.into_iter().map(|(tenant, _)| tenant).find(|tenant| tenant.id == add.company_id);
            let Some(tenant) = tenant else {
                anyhow::bail!("there is no company {}: run `billing tenant add` first", add.company_id)
            };
            let call = Call::internal(tenant, "command-line", clock.now());
            let stores = [Store { store_id: add.store_id, name: add.name }];
            run_as(pool, &call, async |tx| Ok(suppliers::store::register(tx, &call, &stores).await?)).await?;
            Ok(String::new())
        }
        StoreCommand::List { company_id } => {
            let found = suppliers::store::list(pool, &company_id, i64::MAX).await?;
            Ok(found.iter().map(|s| format!("{}\t{}\n", s.store_id, s.name)).collect())
        }
    }
}
