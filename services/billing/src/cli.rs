//! The command line of billing.

use clap::{Args, Parser, Subcommand};
use communal_kit::call::Call;
use communal_kit::config::Reader;
use communal_kit::database;
use communal_kit::identity::cli::IdentityCommand;
use communal_kit::identity::{Tenant, TenantKind, cli, store};
use communal_kit::server::shutdown_signal;
use communal_kit::telemetry::{self, TelemetrySettings};
use communal_proto::billing::v1::Store;

use crate::{Config, MIGRATOR, policy, replicas, suppliers};

/// Retail-utility billing (EPEIS)
#[derive(Debug, Parser)]
#[command(name = "billing", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve gRPC until SIGTERM or Ctrl-C
    Serve,
    /// Bring the database schema up to date
    Migrate,
    /// Load data
    Seed {
        /// The demo data; does nothing where it is there already
        #[arg(long, required = true)]
        demo: bool,
    },
    /// Check configuration, database, schema and replicas, and say so
    Check,
    /// Stores of suppliers
    #[command(subcommand)]
    Store(StoreCommand),
    #[command(flatten)]
    Identity(IdentityCommand),
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

/// Carries out a command; what it returns is for standard output.
///
/// # Errors
/// What is wrong with the configuration, the command or the database.
pub async fn run(cli: Cli) -> anyhow::Result<String> {
    let mut reader = Reader::from_environment();
    let config = Config::read(&mut reader);
    let telemetry = TelemetrySettings::read(&mut reader);
    reader.finish()?;
    match cli.command {
        Command::Serve => {
            let guard = telemetry::init("billing", &telemetry)?;
            let outcome = crate::serve(config, shutdown_signal()?).await;
            guard.shutdown().await;
            outcome.map(|()| String::new())
        }
        Command::Migrate => crate::migrate(&config).await.map(|()| "the schema is up to date\n".to_owned()),
        Command::Seed { demo: _ } => crate::seed(&config).await.map(|()| String::new()),
        Command::Check => check(&config).await,
        Command::Store(command) => stores(&config, command).await,
        Command::Identity(command) => {
            let pool = database::connect(&config.database)?;
            cli::run(command, &pool, &policy(), None, &config.clock).await
        }
    }
}

async fn check(config: &Config) -> anyhow::Result<String> {
    let pool = database::connect(&config.database)?;
    anyhow::ensure!(
        database::schema_is_current(&pool, &MIGRATOR).await?,
        "the schema is not up to date: run `billing migrate`"
    );
    replicas::check(&config.database, &config.replicas).await?;
    let replicas = if config.replicas.is_empty() { "" } else { ", the replicas too" };
    Ok(format!("configuration, database and schema are in order{replicas}\n"))
}

async fn stores(config: &Config, command: StoreCommand) -> anyhow::Result<String> {
    let pool = database::connect(&config.database)?;
    match command {
        StoreCommand::Add(add) => {
            let tenant = store::tenants(&pool).await?.into_iter().find(|(t, _)| t.id == add.company_id);
            anyhow::ensure!(tenant.is_some(), "there is no company {}: run `billing tenant add` first", add.company_id);
            let call = command_line_call(&add.company_id, "store add");
            let store = Store { store_id: add.store_id, name: add.name };
            suppliers::store::register(&mut *pool.acquire().await?, &call, &[store]).await?;
            Ok(String::new())
        }
        StoreCommand::List { company_id } => {
            let found = suppliers::store::list(&pool, &company_id, i64::MAX).await?;
            Ok(found.iter().map(|s| format!("{}\t{}\n", s.store_id, s.name)).collect())
        }
    }
}

/// What the command line does is noted as done by it.
pub(crate) fn command_line_call(tenant_id: &str, command: &str) -> Call {
    Call {
        tenant: Tenant { id: tenant_id.to_owned(), kind: TenantKind::RetailCompany },
        operator_id: "command-line".to_owned(),
        operator_name: "command-line".to_owned(),
        channel_id: "command-line".to_owned(),
        request_id: None,
        trace_id: String::new(),
        method: command.to_owned(),
    }
}
