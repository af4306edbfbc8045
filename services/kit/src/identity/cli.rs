//! The commands that administer credentials, which are the same in every service. They create the first
//! channel.

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use clap::{Args, Subcommand, ValueEnum};
use communal_proto::identity::v1 as pb;
use communal_proto::identity::v1::{Proof, TenantKind};
use communal_proto::{Checked, Checker};
use sqlx::PgPool;

use crate::clock::Clock;
use crate::identity::store::{self, ChannelRecord, NewChannel};
use crate::identity::{Policy, SealingKey};

/// The commands `channel`, `tenant` and `operator`.
#[derive(Debug, Subcommand)]
pub enum IdentityCommand {
    /// Channels: EPEIS channels, HC apps
    #[command(subcommand)]
    Channel(ChannelCommand),
    /// Tenants: suppliers, communities
    #[command(subcommand)]
    Tenant(TenantCommand),
    /// Operators: people on whose behalf channels call
    #[command(subcommand)]
    Operator(OperatorCommand),
}

/// The commands `channel …`.
#[derive(Debug, Subcommand)]
pub enum ChannelCommand {
    /// Add a channel; prints its key, once
    Add(AddChannel),
    /// Give a channel a new key; prints it, once
    Rotate {
        /// Channel
        channel_id: String,
        /// Hours for which the old keys stay valid
        #[arg(long, default_value_t = 24)]
        overlap_hours: u32,
        /// Days for which the new key is valid; without end if not given
        #[arg(long)]
        valid_days: Option<u32>,
    },
    /// Disable a channel
    Disable {
        /// Channel
        channel_id: String,
    },
    /// List channels: state, proof, whether an administrator, end of the keys, tenants, methods, name
    List,
}

/// The arguments of `channel add`.
#[derive(Debug, Args)]
pub struct AddChannel {
    /// Identifier
    channel_id: String,
    /// Name
    #[arg(long)]
    name: String,
    /// Proof of the channel
    #[arg(long, value_enum)]
    proof: ProofArgument,
    /// May administer credentials over gRPC
    #[arg(long)]
    admin: bool,
    /// Tenant it acts for; repeat for more
    #[arg(long = "tenant")]
    tenant_ids: Vec<String>,
    /// Method it may call, like /communal.billing.v1.PackageService/AddSalePackage, or /…Service/*; repeat for more; all
    /// but administration if not given
    #[arg(long = "method")]
    methods: Vec<String>,
    /// Days for which the key is valid; without end if not given
    #[arg(long)]
    valid_days: Option<u32>,
}

/// The proof of a channel; see [`Proof`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ProofArgument {
    /// A key sent with each call
    Key,
    /// An MD5 signature made with a secret (HC)
    Signature,
    /// Nothing; the operator's token is the only proof (HC browsers)
    None,
}

/// The commands `tenant …`.
#[derive(Debug, Subcommand)]
pub enum TenantCommand {
    /// Register a tenant. One that exists with the same kind and name stays as it is
    Add {
        /// Identifier
        tenant_id: String,
        /// Kind
        #[arg(long, value_enum)]
        kind: KindArgument,
        /// Name
        #[arg(long)]
        name: String,
    },
    /// Rename a tenant
    Rename {
        /// Tenant
        tenant_id: String,
        /// Its new name
        #[arg(long)]
        name: String,
    },
    /// List tenants
    List,
}

/// The kind of a tenant; see [`TenantKind`].
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KindArgument {
    /// Network company (管网公司)
    Network,
    /// Retail company (销售公司)
    Retail,
    /// Community (小区)
    Community,
}

/// The commands `operator …`.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// Register an operator, or replace one
    Add {
        /// Identifier
        operator_id: String,
        /// Name
        #[arg(long)]
        name: String,
        /// Tenant the operator acts for; repeat for more
        #[arg(long = "tenant")]
        tenant_ids: Vec<String>,
    },
    /// Disable an operator
    Disable {
        /// Operator
        operator_id: String,
    },
    /// List operators
    List,
}

fn proof_of(argument: ProofArgument) -> Proof {
    match argument {
        ProofArgument::Key => Proof::Key,
        ProofArgument::Signature => Proof::Signature,
        ProofArgument::None => Proof::None,
    }
}

fn kind_of(argument: KindArgument) -> TenantKind {
    match argument {
        KindArgument::Network => TenantKind::NetworkCompany,
        KindArgument::Retail => TenantKind::RetailCompany,
        KindArgument::Community => TenantKind::Community,
    }
}

fn days(days: Option<u32>) -> Option<TimeDelta> {
    days.map(|d| TimeDelta::days(d.into()))
}

/// Tidies the names of what an administrator gives, and checks it by the rules of the contract, as a call over gRPC is
/// checked.
///
/// # Errors
/// Returns an error that names each field at fault.
pub fn checked<M: Checked>(mut message: M) -> anyhow::Result<M> {
    let mut checker = Checker::default();
    message.tidy_names();
    message.check(&mut checker);
    let faults: Vec<_> =
        checker.into_faults().iter().map(|f| format!("{} {}", f.field.proto_path(), f.description)).collect();
    anyhow::ensure!(faults.is_empty(), "{}", faults.join("; "));
    Ok(message)
}

/// Runs a command and returns its output for standard output.
///
/// # Errors
/// Returns an error if the policy does not allow the command, a named record does not exist, or the
/// database fails.
pub async fn run(
    command: IdentityCommand,
    pool: &PgPool,
    policy: &Policy,
    sealing: Option<&SealingKey>,
    clock: &Clock,
) -> anyhow::Result<String> {
    match command {
        IdentityCommand::Channel(command) => channel(command, pool, policy, sealing, clock).await,
        IdentityCommand::Tenant(command) => tenant(command, pool, policy).await,
        IdentityCommand::Operator(command) => operator(command, pool, policy, clock).await,
    }
}

async fn channel(
    command: ChannelCommand,
    pool: &PgPool,
    policy: &Policy,
    sealing: Option<&SealingKey>,
    clock: &Clock,
) -> anyhow::Result<String> {
    let mut transaction = pool.begin().await?;
    let printed = match command {
        ChannelCommand::Add(add) => {
            let proof = proof_of(add.proof);
            anyhow::ensure!(policy.proofs.contains(&proof), "this service takes no channel with this proof");
            let AddChannel { channel_id, name, proof: _, admin, tenant_ids, methods, valid_days } = add;
            let add = checked(pb::AddChannelRequest {
                channel_id,
                name,
                proof: proof.into(),
                admin,
                tenant_ids,
                methods,
                valid_days: valid_days.map(i32::try_from).transpose()?.unwrap_or_default(),
            })?;
            policy.check_length("channel_id", &add.channel_id)?;
            let new = NewChannel {
                channel_id: &add.channel_id,
                name: &add.name,
                proof,
                admin: add.admin,
                tenant_ids: &add.tenant_ids,
                methods: &add.methods,
                key: None,
                valid_for: days(valid_days),
            };
            let key = store::add_channel(&mut transaction, &new, sealing, clock.machine()).await?;
            key.map(|k| format!("{}\n", k.expose())).unwrap_or_default()
        }
        ChannelCommand::Rotate { channel_id, overlap_hours, valid_days } => {
            let overlap = TimeDelta::hours(overlap_hours.into());
            let key =
                store::rotate_key(&mut transaction, &channel_id, sealing, clock.machine(), overlap, days(valid_days))
                    .await?;
            format!("{}\n", key.expose())
        }
        ChannelCommand::Disable { channel_id } => {
            store::disable_channel(&mut transaction, &channel_id, clock.machine()).await?;
            String::new()
        }
        ChannelCommand::List => {
            let channels = store::channels(pool).await?;
            channels.iter().map(|channel| line_of(channel, clock.machine())).collect()
        }
    };
    transaction.commit().await?;
    Ok(printed)
}

/// Returns the line of a channel: identifier, state, proof, administrator or not, end of its keys, tenants, methods, name.
fn line_of(channel: &ChannelRecord, now: DateTime<Utc>) -> String {
    let tenants: Vec<_> = channel.tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    let proof = channel.proof.as_str_name().trim_start_matches("PROOF_").to_lowercase();
    let valid: Vec<_> = channel.keys.iter().filter(|key| key.is_valid(now)).collect();
    let state = match (channel.disabled_at, valid.is_empty() && !channel.keys.is_empty()) {
        (Some(_), _) => "disabled",
        (None, true) => "expired",
        (None, false) => "enabled",
    };
    // A key without an end is valid longest.
    let until = match valid.iter().map(|key| key.valid_until).collect::<Option<Vec<_>>>() {
        Some(ends) => {
            ends.into_iter().max().map_or_else(|| "-".to_owned(), |end| end.format("%Y-%m-%dT%H:%MZ").to_string())
        }
        None => "no end".to_owned(),
    };
    let role = if channel.admin { "administrator" } else { "-" };
    let methods = if channel.methods.is_empty() { "all methods".to_owned() } else { channel.methods.join(",") };
    let (id, name) = (&channel.channel_id, &channel.name);
    format!("{id}\t{state}\t{proof}\t{role}\t{until}\t{}\t{methods}\t{name}\n", tenants.join(","))
}

async fn tenant(command: TenantCommand, pool: &PgPool, policy: &Policy) -> anyhow::Result<String> {
    match command {
        TenantCommand::Add { tenant_id, kind, name } => {
            let kind = kind_of(kind);
            anyhow::ensure!(policy.tenant_kinds.contains(&kind), "this service bills for no tenant of this kind");
            let tenant = pb::Tenant { tenant_id, kind: kind.into(), name };
            let tenant = checked(pb::RegisterTenantRequest { tenant: Some(tenant) })?.tenant.unwrap_or_default();
            policy.check_length("tenant_id", &tenant.tenant_id)?;
            let mut connection = pool.acquire().await.context("no database")?;
            let is_new = store::register_tenant(&mut connection, &tenant.tenant_id, kind, &tenant.name).await?;
            let same = format!("tenant {} exists already with this kind and name\n", tenant.tenant_id);
            Ok(if is_new { String::new() } else { same })
        }
        TenantCommand::Rename { tenant_id, name } => {
            let pb::RenameTenantRequest { tenant_id, name } = checked(pb::RenameTenantRequest { tenant_id, name })?;
            let mut connection = pool.acquire().await.context("no database")?;
            store::rename_tenant(&mut connection, &tenant_id, &name).await?;
            Ok(String::new())
        }
        TenantCommand::List => {
            let tenants = store::tenants(pool).await?;
            Ok(tenants.iter().map(|(t, name)| format!("{}\t{}\t{name}\n", t.id, store::kind_name(t.kind))).collect())
        }
    }
}

async fn operator(command: OperatorCommand, pool: &PgPool, policy: &Policy, clock: &Clock) -> anyhow::Result<String> {
    let mut transaction = pool.begin().await?;
    let printed = match command {
        OperatorCommand::Add { operator_id, name, tenant_ids } => {
            let operator = pb::Operator { operator_id, name, tenant_ids, disabled_at: None };
            let request = checked(pb::RegisterOperatorRequest { operator: Some(operator) })?;
            let pb::Operator { operator_id, name, tenant_ids, .. } = request.operator.unwrap_or_default();
            policy.check_length("operator_id", &operator_id)?;
            store::register_operator(&mut transaction, &operator_id, &name, &tenant_ids).await?;
            String::new()
        }
        OperatorCommand::Disable { operator_id } => {
            store::disable_operator(&mut transaction, &operator_id, clock.machine()).await?;
            String::new()
        }
        OperatorCommand::List => {
            let operators = store::operators(pool).await?;
            operators
                .iter()
                .map(|o| {
                    let state = if o.disabled_at.is_some() { "disabled" } else { "enabled" };
                    format!("{}\t{state}\t{}\t{}\n", o.operator_id, o.tenant_ids.join(","), o.name)
                })
                .collect()
        }
    };
    transaction.commit().await?;
    Ok(printed)
}
