//! The command line of the service.

use clap::{Args, Parser, Subcommand};
use communal_kit::call::Call;
use communal_kit::cli::{self, Administration, Printed, Service, ServiceCommand};
use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::database::{DatabaseSettings, holds_demo_data, on_constraint};
use communal_kit::identity::cli::checked;
use communal_kit::identity::{TenantKind, store};
use communal_kit::pool::Pool;
use communal_kit::replicas;
use communal_kit::write::run_as;
use communal_proto::billing::v1::fields;
use communal_proto::billing::v1::{AccountItem, CategoryItem, NetworkType, Node, Reason, Store, YesNo};
use communal_proto::{Coded as _, Reason as _};
use indicatif::{ProgressBar, ProgressStyle};
use sqlx::migrate::Migrator;

use crate::archive::customers::store as customers;
use crate::charge_off::store::proof;
use crate::reasons::category_item_not_found;
use crate::receivables::import::take_back;
use crate::receivables::store::owed_by;
use crate::reference::catalogue::store as items;
use crate::runs::run::Progress;
use crate::suppliers::rules::Elsewhere;
use crate::vocabulary::dates::{AccountMonth, time_number};
use crate::vocabulary::vacancy::VacancyRatios;
use crate::{Config, MIGRATOR, config, policy, runs, seed, serve, suppliers};

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
    Service(ServiceCommand<CheckArguments>),
    /// Blank what is personal of a customer whose accounts are closed and paid
    ForgetCustomer {
        /// Company
        company_id: String,
        /// Customer
        customer_id: String,
    },
    /// Stores of suppliers
    #[command(subcommand)]
    Store(StoreCommand),
    /// Network nodes of network companies
    #[command(subcommand)]
    Node(NodeCommand),
    /// Account items and category items of companies
    #[command(subcommand)]
    Catalogue(CatalogueCommand),
    /// Imported batches of receivable lines
    #[command(subcommand)]
    Batch(BatchCommand),
    /// Bill the accounts of a company for the open month. May run several times at once, and again after it was killed
    Run(Run),
}

/// What a check of the books is limited to: all companies and months by default.
#[derive(Debug, Args)]
struct CheckArguments {
    /// Prove the books of this company only
    #[arg(long)]
    company: Option<String>,
    /// Prove this account month only, like 202403; what concerns a whole history is left out
    #[arg(long, value_parser = account_month)]
    month: Option<AccountMonth>,
}

#[derive(Debug, Args)]
struct Run {
    /// Company
    #[arg(long)]
    company: String,
    /// Account month, like 202403
    #[arg(long)]
    month: i32,
    /// Only this book
    #[arg(long, default_value = "")]
    book: String,
}

#[derive(Debug, Subcommand)]
enum BatchCommand {
    /// Remove the lines of a batch that was imported by mistake, if nothing changed them since
    TakeBack {
        /// Company that imported it
        company_id: String,
        /// Batch
        batch_id: String,
    },
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Register a store, or change its name and region
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
    /// Administrative division, like 110101000000
    #[arg(long)]
    region: String,
}

#[derive(Debug, Subcommand)]
enum NodeCommand {
    /// Register a node, or change its name and store
    Add(AddNode),
    /// List the nodes of a company
    List {
        /// Company
        company_id: String,
    },
}

#[derive(Debug, Args)]
struct AddNode {
    /// Network company
    company_id: String,
    /// Node
    node_id: String,
    /// Name
    #[arg(long)]
    name: String,
    /// Store of the company
    #[arg(long)]
    store: String,
    /// Documented code of the utility: 1 water, 2 electricity, …
    #[arg(long, value_parser = utility)]
    utility: NetworkType,
}

#[derive(Debug, Subcommand)]
enum CatalogueCommand {
    /// Register a category item, or rename it
    AddCategoryItem(AddCategoryItem),
    /// Register an account item, or change its name and main category item
    AddAccountItem(AddAccountItem),
    /// List the category items and the account items of a company
    List {
        /// Company
        company_id: String,
    },
}

#[derive(Debug, Args)]
struct AddCategoryItem {
    /// Company
    company_id: String,
    /// Number
    number: i64,
    /// Name
    #[arg(long)]
    name: String,
    /// Documented code of the utility: 1 water, 2 electricity, …
    #[arg(long, value_parser = utility)]
    utility: NetworkType,
    /// It is a surcharge
    #[arg(long)]
    surcharge: bool,
    /// Kind, an opaque code
    #[arg(long, default_value = "")]
    kind: String,
}

#[derive(Debug, Args)]
struct AddAccountItem {
    /// Company
    company_id: String,
    /// Code
    code: String,
    /// Name
    #[arg(long)]
    name: String,
    /// Documented code of the utility: 1 water, 2 electricity, …
    #[arg(long, value_parser = utility)]
    utility: NetworkType,
    /// Category item of its main lines
    #[arg(long)]
    category_item: i64,
}

fn account_month(number: &str) -> Result<AccountMonth, String> {
    number.parse().ok().and_then(AccountMonth::read).ok_or_else(|| "is no account month, like 202403".to_owned())
}

fn utility(code: &str) -> Result<NetworkType, String> {
    NetworkType::from_code(code).ok_or_else(|| "is no code of a utility".to_owned())
}

/// Retail-utility billing, as the command line runs it.
#[derive(Debug)]
struct Billing;

impl Service for Billing {
    const NAME: &'static str = "billing";
    const DATABASE_URL: &'static str = config::DATABASE_URL;
    const MIGRATOR: &'static Migrator = &MIGRATOR;
    type Config = Config;
    type CheckArguments = CheckArguments;

    fn read(reader: &mut Reader) -> Config {
        Config::read(reader)
    }

    fn administration(reader: &mut Reader) -> Administration {
        Administration { policy: policy(), sealing: None, clock: Clock::read(reader) }
    }

    async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        serve(config, shutdown).await
    }

    async fn seed(mut reader: Reader) -> anyhow::Result<bool> {
        let (clock, keys) = (Clock::read(&mut reader), config::personal(&mut reader));
        let pool = Pool::new(&cli::database_settings::<Self>(reader)?)?;
        let loaded = seed::demo(&pool, &clock, &keys, &seed::Volume::DEMO).await?;
        pool.close().await;
        Ok(loaded)
    }

    async fn check(config: &Config, arguments: &CheckArguments) -> anyhow::Result<String> {
        replicas::check(&config.database, &config.replicas).await?;
        let of_books = check_books(&config.database, arguments).await?;
        let of_replicas = if config.replicas.is_empty() { "" } else { ", the replicas too" };
        Ok(format!("{of_replicas}{of_books}"))
    }
}

/// Proves that the books of companies agree. Returns what is to be told beside that.
async fn check_books(database: &DatabaseSettings, arguments: &CheckArguments) -> anyhow::Result<String> {
    let pool = Pool::new(database)?;
    let mut breaches = Vec::new();
    let (mut known, mut billed) = (false, false);
    let mut tenants: Vec<_> = store::tenants(pool.driver()).await?.into_iter().map(|(tenant, _)| tenant).collect();
    if let Some(company) = &arguments.company {
        tenants.retain(|tenant| tenant.id == *company);
        anyhow::ensure!(!tenants.is_empty(), "there is no company {company}");
    }
    for tenant in tenants {
        let mut connection = pool.begin().await?;
        // The proof of a large company takes longer than a call.
        sqlx::query("SELECT set_config('statement_timeout', '0', true)").execute(&mut *connection).await?;
        let found = match arguments.month {
            Some(month) => {
                let extent = proof::extent(&mut connection, &tenant.id, month).await?;
                known |= extent.known || extent.billed;
                billed |= extent.billed;
                proof::breaches_of(&mut connection, &tenant.id, month).await?
            }
            None => proof::breaches(&mut connection, &tenant.id).await?,
        };
        breaches.extend(found.iter().map(|breach| format!("{}: {}: {}", tenant.id, breach.rule, breach.key)));
        connection.rollback().await?;
    }
    anyhow::ensure!(breaches.is_empty(), "the books do not agree:\n{}", breaches.join("\n"));
    let of_company = arguments.company.as_ref().map(|company| format!(" of company {company}"));
    let Some(month) = arguments.month.map(AccountMonth::number) else {
        return Ok(format!("; the books{} agree", of_company.unwrap_or_default()));
    };
    let whose = of_company.as_deref().unwrap_or(" of a company");
    anyhow::ensure!(known, "there is no account month {month}{whose}");
    let of_company = of_company.as_deref().unwrap_or_default();
    Ok(if billed {
        format!("; the books{of_company} agree in {month}")
    } else {
        format!("; nothing{of_company} was billed in {month}")
    })
}

/// Runs a command, and returns what it prints to standard output.
///
/// # Errors
/// Returns `ConfigurationFaults` if the configuration is at fault, or what else failed.
pub async fn run(arguments: Arguments, reader: Reader) -> anyhow::Result<Printed> {
    let printed = match arguments.command {
        Command::Run(run) => return run_month(reader, run).await,
        Command::Service(command) => cli::run::<Billing>(command, reader).await,
        Command::ForgetCustomer { company_id, customer_id } => {
            let (pool, clock) = database(reader)?;
            let call = call_for(&pool, &clock, company_id).await?;
            forget_customer(&pool, &call, &customer_id).await
        }
        Command::Store(command) => {
            let (pool, clock) = database(reader)?;
            stores(&pool, &clock, command).await
        }
        Command::Node(command) => {
            let (pool, clock) = database(reader)?;
            nodes(&pool, &clock, command).await
        }
        Command::Catalogue(command) => {
            let (pool, clock) = database(reader)?;
            catalogue(&pool, &clock, command).await
        }
        Command::Batch(BatchCommand::TakeBack { company_id, batch_id }) => {
            let (pool, clock) = database(reader)?;
            let call = call_for(&pool, &clock, company_id).await?;
            let batch_id = batch_id.into();
            let reply = run_as(&pool, &call, async |tx| take_back(tx, &call, &batch_id).await).await?;
            let already = if reply.replayed { " (it had been taken back before)" } else { "" };
            Ok(format!("{} lines taken back{already}\n", reply.lines))
        }
    };
    printed.map(Printed::from)
}

/// Bills the accounts of a company, with a bar that shows how far the run is. Accounts that are parked leave it incomplete.
async fn run_month(mut reader: Reader, run: Run) -> anyhow::Result<Printed> {
    let settings = config::charge_off(&mut reader);
    let vacancy = reader.parsed("billing_vacancy_ratios", VacancyRatios::default());
    let workers = config::run_workers(&mut reader);
    let (pool, clock) = database(reader)?;
    if clock.is_sandbox() {
        let mut connection = pool.begin().await?;
        let demo = holds_demo_data(&mut connection).await?;
        anyhow::ensure!(demo, "COMMUNAL_SANDBOX_CLOCK is set, and the database holds no demo data");
        clock.admit_sandbox();
    }
    let call = call_for(&pool, &clock, run.company).await?;
    let local = clock.local(call.at);
    let terms = runs::run::Terms { settings, vacancy, workers, now: (local.date(), time_number(local)) };
    let scope = runs::run::Scope { account_month: run.month, book_id: run.book };
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} accounts, {msg} {elapsed}")?;
    let bar = ProgressBar::new(0).with_style(style);
    let shown = bar.clone();
    let done = runs::run::run(&pool, &call, &scope, &terms, move |progress| {
        shown.set_length(u64::try_from(progress.accounts).unwrap_or_default());
        shown.set_position(u64::try_from(progress.accounts_done).unwrap_or_default());
        shown.set_message(format!("{} bills, {} parked", progress.bills, progress.parked));
        true
    });
    let Progress { accounts, bills, parked, total, drawn, .. } = done.await?;
    bar.finish();
    let mut printed =
        format!("{accounts} accounts: {bills} bills of {total}, {parked} accounts parked, {drawn} drawn\n");
    let reasons = runs::store::parked_by_reason(&pool, &call.tenant.id, &scope).await?;
    if reasons.is_empty() {
        return Ok(printed.into());
    }
    printed.push_str("accounts  parked for (ListParkedAccounts names them)\n");
    for runs::store::ParkedFor { reason, accounts } in reasons {
        printed.push_str(&format!("{accounts:>8}  {reason}\n"));
    }
    Ok(Printed::incomplete(printed))
}

fn database(mut reader: Reader) -> anyhow::Result<(Pool, Clock)> {
    let clock = Clock::read(&mut reader);
    Ok((Pool::new(&cli::database_settings::<Billing>(reader)?)?, clock))
}

/// The call by which an administrator reads and writes data of a company.
async fn call_for(pool: &Pool, clock: &Clock, company_id: String) -> anyhow::Result<Call> {
    let tenants = store::tenants(pool.driver()).await?;
    let tenant = tenants.into_iter().map(|(tenant, _)| tenant).find(|tenant| tenant.id == company_id);
    let Some(tenant) = tenant else {
        anyhow::bail!("there is no company {company_id}: run `billing tenant add` first")
    };
    Ok(Call::internal(tenant, "command-line", clock.now()))
}

/// Fails if another company has an identifier.
fn is_of_no_other(what: &str, id: &str, found: &[Elsewhere]) -> anyhow::Result<()> {
    match found.first() {
        None => Ok(()),
        Some(Elsewhere { company_id, .. }) => anyhow::bail!("{what} {id} is of another company, {company_id}"),
    }
}

async fn stores(pool: &Pool, clock: &Clock, command: StoreCommand) -> anyhow::Result<String> {
    match command {
        StoreCommand::Add(AddStore { company_id, store_id, name, region }) => {
            let call = call_for(pool, clock, company_id).await?;
            let store = checked(Store { store_id, name, region_code: region })?;
            let found = run_as(pool, &call, async |tx| {
                let found = suppliers::store::stores_elsewhere(tx, &call, &[&store.store_id]).await?;
                if found.is_empty() {
                    suppliers::store::register(tx, &call, std::slice::from_ref(&store)).await?;
                }
                Ok(found)
            });
            is_of_no_other("store", &store.store_id, &found.await?)?;
            Ok(String::new())
        }
        StoreCommand::List { company_id } => {
            let call = call_for(pool, clock, company_id).await?;
            let found = suppliers::store::list(pool, &call.tenant.id, i64::MAX).await?;
            Ok(found.iter().map(|s| format!("{}\t{}\t{}\n", s.store_id, s.region_code, s.name)).collect())
        }
    }
}

async fn nodes(pool: &Pool, clock: &Clock, command: NodeCommand) -> anyhow::Result<String> {
    match command {
        NodeCommand::Add(AddNode { company_id, node_id, name, store, utility }) => {
            let call = call_for(pool, clock, company_id).await?;
            anyhow::ensure!(call.tenant.kind == TenantKind::NetworkCompany, "only a network company has nodes");
            let node = checked(Node { node_id, name, store_id: store, utility: utility.into() })?;
            let registered = run_as(pool, &call, async |tx| {
                let found = suppliers::store::nodes_elsewhere(tx, &call, &[&node.node_id]).await?;
                let has_store = suppliers::store::unknown(tx, &call, &[&node.store_id]).await?.is_empty();
                let fits = found.is_empty() && has_store && suppliers::store::register_node(tx, &call, &node).await?;
                Ok((found, has_store, fits))
            });
            let (found, has_store, fits) = registered.await?;
            is_of_no_other("node", &node.node_id, &found)?;
            anyhow::ensure!(has_store, "company {} has no store {}", call.tenant.id, node.store_id);
            anyhow::ensure!(fits, "node {} is of another utility", node.node_id);
            Ok(String::new())
        }
        NodeCommand::List { company_id } => {
            let call = call_for(pool, clock, company_id).await?;
            let found = suppliers::store::list_nodes(pool, &call.tenant.id, i64::MAX).await?;
            let line = |n: &Node| format!("{}\t{}\t{}\t{}\n", n.node_id, n.store_id, n.utility().code(), n.name);
            Ok(found.iter().map(line).collect())
        }
    }
}

async fn catalogue(pool: &Pool, clock: &Clock, command: CatalogueCommand) -> anyhow::Result<String> {
    match command {
        CatalogueCommand::AddCategoryItem(AddCategoryItem { company_id, number, name, utility, surcharge, kind }) => {
            let call = call_for(pool, clock, company_id).await?;
            let surcharge = if surcharge { YesNo::Yes } else { YesNo::No };
            let item = CategoryItem {
                category_item: number,
                name,
                utility: utility.into(),
                surcharge: surcharge.into(),
                kind,
            };
            let item = checked(item)?;
            let added = run_as(pool, &call, async |tx| Ok(items::register_category_item(tx, &call, &item).await?));
            anyhow::ensure!(added.await?, "the number is of another utility, or a surcharge where this is none");
            Ok(String::new())
        }
        CatalogueCommand::AddAccountItem(AddAccountItem { company_id, code, name, utility, category_item }) => {
            let call = call_for(pool, clock, company_id).await?;
            let item =
                AccountItem { account_item: code, name, utility: utility.into(), main_category_item: category_item };
            let item = checked(item)?;
            let added = run_as(pool, &call, async |tx| {
                let no_item = || category_item_not_found(fields::account_item::MAIN_CATEGORY_ITEM);
                let registered = items::register_account_item(tx, &call, &item).await;
                registered.map_err(on_constraint("account_item_main", no_item))
            });
            let (code, main) = (&item.account_item, item.main_category_item);
            let is_registered = match added.await {
                Err(refusal) if refusal.reason() == Reason::CategoryItemNotFound.name() => {
                    let company_id = &call.tenant.id;
                    anyhow::bail!(
                        "company {company_id} has no category item {main} of this utility that is no surcharge"
                    )
                }
                outcome => outcome?,
            };
            anyhow::ensure!(is_registered, "account item {code} is of another utility");
            Ok(String::new())
        }
        CatalogueCommand::List { company_id } => {
            let call = call_for(pool, clock, company_id).await?;
            let category_items = items::list_category_items(pool, &call.tenant.id, i64::MAX).await?;
            let account_items = items::list_account_items(pool, &call.tenant.id, i64::MAX).await?;
            let category_items = category_items.iter().map(|i| {
                let surcharge = if i.surcharge() == YesNo::Yes { "surcharge" } else { "main" };
                format!("category item\t{}\t{}\t{surcharge}\t{}\n", i.category_item, i.utility().code(), i.name)
            });
            let account_items = account_items.iter().map(|i| {
                let (code, utility, main) = (&i.account_item, i.utility().code(), i.main_category_item);
                format!("account item\t{code}\t{utility}\t{main}\t{}\n", i.name)
            });
            Ok(category_items.chain(account_items).collect())
        }
    }
}

/// Forgets a customer of the call's company.
async fn forget_customer(pool: &Pool, call: &Call, customer_id: &str) -> anyhow::Result<String> {
    let outcome = run_as(pool, call, async |tx| {
        let standing = customers::lock_standing(tx, call, customer_id).await?;
        let owed = owed_by(tx, &call.tenant.id, customer_id).await?;
        if owed.lines == 0 && standing.as_ref().is_some_and(|s| !s.forgotten && s.against().is_none()) {
            customers::forget(tx, call, customer_id).await?;
        }
        Ok((standing, owed))
    });
    let (standing, owed) = outcome.await?;
    match standing {
        None => anyhow::bail!("company {} has no customer {customer_id}", call.tenant.id),
        Some(standing) if standing.forgotten => Ok("the customer is forgotten already\n".to_owned()),
        Some(standing) => match standing.against() {
            Some(against) => anyhow::bail!("customer {customer_id} {against}"),
            None if owed.lines > 0 => anyhow::bail!(
                "customer {customer_id} is named by {} open lines, which owe {}, whoever has their accounts now",
                owed.lines,
                owed.outstanding
            ),
            None => Ok("the customer is forgotten; backups keep its data until they are deleted\n".to_owned()),
        },
    }
}
