//! Channels, keys, operators and tenants in the database.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, TimeDelta, Utc};
use communal_proto::identity::v1::{Proof, TenantKind};
use sqlx::{PgConnection, PgExecutor};

use crate::call::Tenant;
use crate::database::Statement as _;
use crate::identity::keys::{self, SealingKey};
use crate::identity::share::ChannelShare;
use crate::secret::Secret;

/// The most characters of an identifier, as the contract has it for administration over gRPC.
const LONGEST_IDENTIFIER: usize = 30;

/// A stored key.
#[derive(Debug)]
pub struct KeyRecord {
    /// The SHA-256 hash of the key.
    pub sha256: Vec<u8>,
    /// The secret, encrypted.
    pub sealed: Option<Vec<u8>>,
    /// The first instant at which the key is valid.
    pub valid_from: DateTime<Utc>,
    /// The first instant at which the key is no longer valid.
    pub valid_until: Option<DateTime<Utc>>,
}

impl KeyRecord {
    /// Returns whether the key is valid at an instant.
    #[must_use]
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.valid_from <= now && self.valid_until.is_none_or(|end| now < end)
    }
}

/// A channel with its keys and tenants.
#[derive(Debug)]
pub struct ChannelRecord {
    /// Identifier.
    pub channel_id: String,
    /// Name.
    pub name: String,
    /// The proof that its calls need.
    pub proof: Proof,
    /// True if the channel may administer credentials.
    pub admin: bool,
    /// The methods it may call; empty for all except administration.
    pub methods: Vec<String>,
    /// The instant since which it is disabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// The tenants it acts for.
    pub tenants: Vec<Tenant>,
    /// Keys, newest first.
    pub keys: Vec<KeyRecord>,
    /// The resources of the service that the channel uses.
    pub(crate) share: OnceLock<Arc<ChannelShare>>,
}

/// An operator and the tenants it acts for.
#[derive(Debug)]
pub struct OperatorRecord {
    /// Identifier.
    pub operator_id: String,
    /// Name.
    pub name: String,
    /// The instant since which it is disabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// The tenants it acts for.
    pub tenant_ids: Vec<String>,
}

/// The reason why a change of credentials is refused.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A channel with this identifier exists already.
    #[error("channel {0} exists")]
    ChannelExists(String),
    /// The channel does not exist.
    #[error("there is no channel {0}")]
    NoChannel(String),
    /// The operator does not exist.
    #[error("there is no operator {0}")]
    NoOperator(String),
    /// One of the tenants does not exist.
    #[error("one of the tenants does not exist")]
    NoTenant,
    /// The tenant exists already with another kind or name.
    #[error("tenant {tenant_id} exists, and is {}", facts(*kind, name.as_deref()))]
    TenantExists {
        /// The tenant.
        tenant_id: String,
        /// Its kind, if that is another one.
        kind: Option<TenantKind>,
        /// Its name, if that is another one.
        name: Option<String>,
    },
    /// The tenant does not exist.
    #[error("there is no tenant {0}")]
    UnknownTenant(String),
    /// A grant is no method of the contract and no service of it.
    #[error(
        "{0} is no method: write /communal.billing.v1.PackageService/AddSalePackage, or /communal.billing.v1.PackageService/* for a whole service"
    )]
    NoMethod(String),
    /// An identifier has characters that credentials cannot have, or too many.
    #[error("{0:?} is no identifier: 1 to 30 visible characters without spaces")]
    Identifier(String),
    /// An identifier is longer than the calls of this service can name.
    #[error("{identifier} has more than {most} characters, so that no call of this service could name it")]
    TooLong {
        /// Its place in the request.
        field: &'static str,
        /// The identifier.
        identifier: String,
        /// The most characters.
        most: usize,
    },
    /// The service's policy does not allow channels with this proof.
    #[error("this service takes no channel with this proof")]
    Proof,
    /// The secret must be encrypted, and no sealing key is configured.
    #[error("COMMUNAL_SEALING_KEY must be set to store a secret")]
    NoSealingKey,
    /// Encryption failed.
    #[error("the secret cannot be sealed")]
    Sealing(#[source] anyhow::Error),
    /// A statement failed.
    #[error(transparent)]
    Storage(#[from] sqlx::Error),
}

/// Says how a tenant differs from the one that was to be registered, and what changes it.
fn facts(kind: Option<TenantKind>, name: Option<&str>) -> String {
    let kind = kind.map(|kind| format!("of kind {}, which stays", kind_name(kind)));
    let name =
        name.map(|name| format!("named {name}, which RenameTenant changes (`tenant rename` of the command line)"));
    kind.into_iter().chain(name).collect::<Vec<_>>().join(", and ")
}

/// Returns the name of a kind of tenant as the command line writes it.
pub(crate) fn kind_name(kind: TenantKind) -> String {
    kind.as_str_name().trim_start_matches("TENANT_KIND_").to_lowercase()
}

fn kind_of(number: i16) -> TenantKind {
    TenantKind::try_from(i32::from(number)).unwrap_or_default()
}

fn stored(number: i32) -> i16 {
    i16::try_from(number).unwrap_or_default()
}

/// Returns the channel with an identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn channel(pool: impl PgExecutor<'_> + Copy, channel_id: &str) -> Result<Option<ChannelRecord>, sqlx::Error> {
    Ok(load_channels(pool, Some(channel_id)).await?.pop())
}

/// Returns all channels, ordered by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn channels(pool: impl PgExecutor<'_> + Copy) -> Result<Vec<ChannelRecord>, sqlx::Error> {
    load_channels(pool, None).await
}

async fn load_channels(
    pool: impl PgExecutor<'_> + Copy,
    only: Option<&str>,
) -> Result<Vec<ChannelRecord>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT c.channel_id, c.name, c.proof, c.admin, c.methods, c.disabled_at,
                  ARRAY(SELECT t.tenant_id FROM platform.channel_tenant t WHERE t.channel_id = c.channel_id
                        ORDER BY t.tenant_id) AS "tenant_ids!",
                  ARRAY(SELECT n.kind FROM platform.channel_tenant t JOIN platform.tenant n USING (tenant_id)
                        WHERE t.channel_id = c.channel_id ORDER BY t.tenant_id) AS "tenant_kinds!"
           FROM platform.channel c WHERE $1::text IS NULL OR c.channel_id = $1 ORDER BY c.channel_id"#,
        only,
    )
    .fetch_all(pool)
    .named("channel_load")
    .await?;
    let mut channels = Vec::with_capacity(rows.len());
    for row in rows {
        let keys = sqlx::query!(
            "SELECT key_sha256, sealed, valid_from, valid_until FROM platform.channel_key
             WHERE channel_id = $1 ORDER BY created_at DESC",
            row.channel_id,
        )
        .fetch_all(pool)
        .named("channel_keys")
        .await?;
        let tenants = row.tenant_ids.into_iter().zip(row.tenant_kinds);
        channels.push(ChannelRecord {
            channel_id: row.channel_id,
            name: row.name,
            proof: Proof::try_from(i32::from(row.proof)).unwrap_or_default(),
            admin: row.admin,
            methods: row.methods,
            disabled_at: row.disabled_at,
            tenants: tenants.map(|(id, kind)| Tenant { id, kind: kind_of(kind) }).collect(),
            keys: keys
                .into_iter()
                .map(|k| KeyRecord {
                    sha256: k.key_sha256,
                    sealed: k.sealed,
                    valid_from: k.valid_from,
                    valid_until: k.valid_until,
                })
                .collect(),
            share: OnceLock::new(),
        });
    }
    Ok(channels)
}

/// Returns the operator with an identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn operator(pool: impl PgExecutor<'_>, operator_id: &str) -> Result<Option<OperatorRecord>, sqlx::Error> {
    Ok(load_operators(pool, Some(operator_id)).await?.pop())
}

/// Returns all operators, ordered by identifier.
///
/// # Errors
/// Returns the database's error.
pub async fn operators(pool: impl PgExecutor<'_>) -> Result<Vec<OperatorRecord>, sqlx::Error> {
    load_operators(pool, None).await
}

async fn load_operators(pool: impl PgExecutor<'_>, only: Option<&str>) -> Result<Vec<OperatorRecord>, sqlx::Error> {
    sqlx::query_as!(
        OperatorRecord,
        r#"SELECT o.operator_id, o.name, o.disabled_at,
                  ARRAY(SELECT t.tenant_id FROM platform.operator_tenant t WHERE t.operator_id = o.operator_id
                        ORDER BY t.tenant_id) AS "tenant_ids!"
           FROM platform.operator o WHERE $1::text IS NULL OR o.operator_id = $1 ORDER BY o.operator_id"#,
        only,
    )
    .fetch_all(pool)
    .named("operator_load")
    .await
}

/// Registers a tenant, and returns whether it is new. One that exists stays as it is.
///
/// # Errors
/// Returns [`IdentityError::TenantExists`] if it exists with another kind or name.
pub async fn register_tenant(
    connection: &mut PgConnection,
    tenant_id: &str,
    kind: TenantKind,
    name: &str,
) -> Result<bool, IdentityError> {
    check_identifier(tenant_id)?;
    let done = sqlx::query!(
        "INSERT INTO platform.tenant (tenant_id, kind, name) VALUES ($1, $2, $3) ON CONFLICT (tenant_id) DO NOTHING",
        tenant_id,
        stored(kind.into()),
        name,
    )
    .execute(&mut *connection)
    .named("tenant_register")
    .await?;
    if done.rows_affected() == 1 {
        return Ok(true);
    }
    let there = sqlx::query!("SELECT kind, name FROM platform.tenant WHERE tenant_id = $1", tenant_id)
        .fetch_one(connection)
        .named("tenant_load")
        .await?;
    let other_kind = Some(kind_of(there.kind)).filter(|there| *there != kind);
    let other_name = Some(there.name).filter(|there| there != name);
    if other_kind.is_none() && other_name.is_none() {
        return Ok(false);
    }
    Err(IdentityError::TenantExists { tenant_id: tenant_id.to_owned(), kind: other_kind, name: other_name })
}

/// Renames a tenant.
///
/// # Errors
/// Returns [`IdentityError::UnknownTenant`] if it does not exist.
pub async fn rename_tenant(connection: &mut PgConnection, tenant_id: &str, name: &str) -> Result<(), IdentityError> {
    let done = sqlx::query!("UPDATE platform.tenant SET name = $2 WHERE tenant_id = $1", tenant_id, name)
        .execute(connection)
        .named("tenant_rename")
        .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(IdentityError::UnknownTenant(tenant_id.to_owned())) }
}

/// Returns all tenants with their names.
///
/// # Errors
/// Returns the database's error.
pub async fn tenants(pool: impl PgExecutor<'_>) -> Result<Vec<(Tenant, String)>, sqlx::Error> {
    let rows = sqlx::query!("SELECT tenant_id, kind, name FROM platform.tenant ORDER BY tenant_id");
    let rows = rows.fetch_all(pool).named("tenant_list").await?;
    Ok(rows.into_iter().map(|r| (Tenant { id: r.tenant_id, kind: kind_of(r.kind) }, r.name)).collect())
}

/// A channel to be added.
#[derive(Debug)]
pub struct NewChannel<'a> {
    /// Identifier.
    pub channel_id: &'a str,
    /// Name.
    pub name: &'a str,
    /// The proof that its calls need.
    pub proof: Proof,
    /// True if it may administer credentials.
    pub admin: bool,
    /// The tenants it acts for.
    pub tenant_ids: &'a [String],
    /// The methods it may call; empty for all except administration.
    pub methods: &'a [String],
    /// Its key or secret; generated if it is `None`.
    pub key: Option<Secret>,
    /// The time for which the key is valid.
    pub valid_for: Option<TimeDelta>,
}

/// Adds a channel in the caller's transaction and returns its key, which is not stored in plain text.
///
/// # Errors
/// Returns [`IdentityError::ChannelExists`] if the identifier is taken, [`IdentityError::NoTenant`] if
/// one of the tenants does not exist, and [`IdentityError::NoSealingKey`] if a secret must be encrypted
/// and no sealing key is configured.
pub async fn add_channel(
    connection: &mut PgConnection,
    new: &NewChannel<'_>,
    sealing: Option<&SealingKey>,
    now: DateTime<Utc>,
) -> Result<Option<Secret>, IdentityError> {
    check_identifier(new.channel_id)?;
    if let Some(unknown) = new.methods.iter().find(|grant| !is_method(grant)) {
        return Err(IdentityError::NoMethod(unknown.clone()));
    }
    let added = sqlx::query!(
        "INSERT INTO platform.channel (channel_id, name, proof, admin, methods) VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT DO NOTHING",
        new.channel_id,
        new.name,
        stored(new.proof.into()),
        new.admin,
        new.methods,
    )
    .execute(&mut *connection)
    .named("channel_insert")
    .await?;
    if added.rows_affected() == 0 {
        return Err(IdentityError::ChannelExists(new.channel_id.to_owned()));
    }
    let bound = sqlx::query!(
        "INSERT INTO platform.channel_tenant SELECT $1, tenant_id FROM platform.tenant WHERE tenant_id = ANY($2)",
        new.channel_id,
        new.tenant_ids,
    )
    .execute(&mut *connection)
    .named("channel_bind")
    .await?;
    all_bound(bound.rows_affected(), new.tenant_ids)?;
    if new.proof == Proof::None {
        return Ok(None);
    }
    let key = new.key.clone().unwrap_or_else(keys::generate);
    let until = new.valid_for.and_then(|life| now.checked_add_signed(life));
    add_key(connection, new.channel_id, new.proof, &key, sealing, now, until).await?;
    Ok(Some(key))
}

/// Returns whether a grant is the path of a method, or that of a service followed by `/*`.
fn is_method(grant: &str) -> bool {
    let service = grant.strip_suffix("/*");
    communal_proto::REQUESTS.iter().any(|(method, _)| match service {
        Some(service) => method.rsplit_once('/').is_some_and(|(of, _)| of == service),
        None => *method == grant,
    })
}

/// # Errors
/// Returns [`IdentityError::Identifier`] for a text that no call could send.
fn check_identifier(text: &str) -> Result<(), IdentityError> {
    let fits = (1..=LONGEST_IDENTIFIER).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(IdentityError::Identifier(text.to_owned())) }
}

fn all_bound(bound: u64, tenant_ids: &[String]) -> Result<(), IdentityError> {
    let distinct: std::collections::BTreeSet<_> = tenant_ids.iter().collect();
    if u64::try_from(distinct.len()).ok() == Some(bound) { Ok(()) } else { Err(IdentityError::NoTenant) }
}

async fn add_key(
    connection: &mut PgConnection,
    channel_id: &str,
    proof: Proof,
    key: &Secret,
    sealing: Option<&SealingKey>,
    now: DateTime<Utc>,
    until: Option<DateTime<Utc>>,
) -> Result<(), IdentityError> {
    let sealed = if proof == Proof::Signature {
        let sealing = sealing.ok_or(IdentityError::NoSealingKey)?;
        Some(sealing.seal(channel_id, key).map_err(IdentityError::Sealing)?)
    } else {
        None
    };
    sqlx::query!(
        "INSERT INTO platform.channel_key (channel_id, key_sha256, sealed, valid_from, valid_until)
         VALUES ($1, $2, $3, $4, $5)",
        channel_id,
        &keys::fingerprint(key.expose())[..],
        sealed,
        now,
        until,
    )
    .execute(connection)
    .named("channel_key_insert")
    .await?;
    Ok(())
}

/// Gives a channel a new key in the caller's transaction; the old keys expire after the overlap.
///
/// # Errors
/// Returns [`IdentityError::NoChannel`] if the channel does not exist, and [`IdentityError::Proof`] if
/// it has no keys.
pub async fn rotate_key(
    connection: &mut PgConnection,
    channel_id: &str,
    sealing: Option<&SealingKey>,
    now: DateTime<Utc>,
    overlap: TimeDelta,
    valid_for: Option<TimeDelta>,
) -> Result<Secret, IdentityError> {
    let row = sqlx::query!("SELECT proof FROM platform.channel WHERE channel_id = $1 FOR UPDATE", channel_id)
        .fetch_optional(&mut *connection)
        .named("channel_lock")
        .await?
        .ok_or_else(|| IdentityError::NoChannel(channel_id.to_owned()))?;
    let proof = Proof::try_from(i32::from(row.proof)).unwrap_or_default();
    if proof == Proof::None {
        return Err(IdentityError::Proof);
    }
    sqlx::query!(
        "UPDATE platform.channel_key SET valid_until = $2
         WHERE channel_id = $1 AND (valid_until IS NULL OR valid_until > $2)",
        channel_id,
        now + overlap,
    )
    .execute(&mut *connection)
    .named("channel_keys_end")
    .await?;
    let key = keys::generate();
    let until = valid_for.and_then(|life| now.checked_add_signed(life));
    add_key(connection, channel_id, proof, &key, sealing, now, until).await?;
    Ok(key)
}

/// Disables a channel.
///
/// # Errors
/// Returns [`IdentityError::NoChannel`] if the channel does not exist.
pub async fn disable_channel(
    connection: &mut PgConnection,
    channel_id: &str,
    now: DateTime<Utc>,
) -> Result<(), IdentityError> {
    let done = sqlx::query!(
        "UPDATE platform.channel SET disabled_at = coalesce(disabled_at, $2) WHERE channel_id = $1",
        channel_id,
        now,
    )
    .execute(connection)
    .named("channel_disable")
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(IdentityError::NoChannel(channel_id.to_owned())) }
}

/// Registers an operator, or replaces and enables one that exists, in the caller's transaction.
///
/// # Errors
/// Returns [`IdentityError::NoTenant`] if one of the tenants does not exist.
pub async fn register_operator(
    connection: &mut PgConnection,
    operator_id: &str,
    name: &str,
    tenant_ids: &[String],
) -> Result<(), IdentityError> {
    check_identifier(operator_id)?;
    sqlx::query!(
        "INSERT INTO platform.operator (operator_id, name) VALUES ($1, $2)
         ON CONFLICT (operator_id) DO UPDATE SET name = excluded.name, disabled_at = NULL",
        operator_id,
        name,
    )
    .execute(&mut *connection)
    .named("operator_upsert")
    .await?;
    sqlx::query!("DELETE FROM platform.operator_tenant WHERE operator_id = $1", operator_id)
        .execute(&mut *connection)
        .named("operator_unbind")
        .await?;
    let bound = sqlx::query!(
        "INSERT INTO platform.operator_tenant SELECT $1, tenant_id FROM platform.tenant WHERE tenant_id = ANY($2)",
        operator_id,
        tenant_ids,
    )
    .execute(connection)
    .named("operator_bind")
    .await?;
    all_bound(bound.rows_affected(), tenant_ids)
}

/// Disables an operator.
///
/// # Errors
/// Returns [`IdentityError::NoOperator`] if the operator does not exist.
pub async fn disable_operator(
    connection: &mut PgConnection,
    operator_id: &str,
    now: DateTime<Utc>,
) -> Result<(), IdentityError> {
    let done = sqlx::query!(
        "UPDATE platform.operator SET disabled_at = coalesce(disabled_at, $2) WHERE operator_id = $1",
        operator_id,
        now,
    )
    .execute(connection)
    .named("operator_disable")
    .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(IdentityError::NoOperator(operator_id.to_owned())) }
}
