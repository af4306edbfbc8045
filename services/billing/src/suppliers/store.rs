//! The statements of stores and network nodes. Every query is bound by the company.
//!
//! Lock order: the registration of all companies, by an advisory lock, because an identifier that is registered for the
//! first time has no row yet; then stores and nodes by identifier.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_kit::identity::TenantKind;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{NetworkType, Node, Store};
use sqlx::{PgConnection, PgExecutor};

use super::rules::Elsewhere;
use crate::vocabulary::identifiers::{CompanyId, StoreId};

/// The suppliers of a package that exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// A network company has the identifier.
    pub network_company: bool,
    /// The tenant has the store.
    pub store: bool,
}

/// Looks up the suppliers that a package names.
///
/// # Errors
/// Returns the database's error.
pub async fn known(
    connection: &mut PgConnection,
    call: &Call,
    network_company_id: &CompanyId,
    retail_store_id: &StoreId,
) -> Result<Known, sqlx::Error> {
    sqlx::query_as!(
        Known,
        r#"SELECT EXISTS (SELECT FROM platform.tenant WHERE tenant_id = $1 AND kind = $2::integer) AS "network_company!",
                  EXISTS (SELECT FROM store WHERE company_id = $3 AND store_id = $4) AS "store!""#,
        network_company_id.as_str(),
        i32::from(TenantKind::NetworkCompany),
        call.tenant.id,
        retail_store_id.as_str(),
    )
    .fetch_one(connection)
    .named("store_known")
    .await
}

/// Returns whether a network company has the store.
///
/// # Errors
/// Returns the database's error.
pub async fn has_network_store(
    connection: &mut PgConnection,
    network_company_id: &CompanyId,
    network_store_id: &StoreId,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM store JOIN platform.tenant ON tenant_id = company_id AND kind = $3::integer
                          WHERE company_id = $1 AND store_id = $2) AS "exists!""#,
        network_company_id.as_str(),
        network_store_id.as_str(),
        i32::from(TenantKind::NetworkCompany),
    )
    .fetch_one(connection)
    .named("network_store_known")
    .await
}

/// Returns the kinds of those of the companies that are registered.
///
/// # Errors
/// Returns the database's error.
pub async fn kinds(
    executor: impl PgExecutor<'_>,
    company_ids: &[String],
) -> Result<Vec<(String, TenantKind)>, sqlx::Error> {
    let rows = sqlx::query!("SELECT tenant_id, kind FROM platform.tenant WHERE tenant_id = ANY($1)", company_ids)
        .fetch_all(executor)
        .named("company_kinds")
        .await?;
    rows.into_iter()
        .map(|row| {
            let kind =
                TenantKind::try_from(i32::from(row.kind)).map_err(|unknown| sqlx::Error::Decode(unknown.into()))?;
            Ok((row.tenant_id, kind))
        })
        .collect()
}

/// Returns those of the stores, each given with its company, that are registered.
///
/// # Errors
/// Returns the database's error.
pub async fn registered(
    executor: impl PgExecutor<'_>,
    company_ids: &[String],
    store_ids: &[String],
) -> Result<Vec<(String, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT s.company_id, s.store_id FROM unnest($1::text[], $2::text[]) AS own (company_id, store_id)
         JOIN store s ON s.company_id = own.company_id AND s.store_id = own.store_id",
        company_ids,
        store_ids,
    )
    .fetch_all(executor)
    .named("stores_registered")
    .await?;
    Ok(rows.into_iter().map(|row| (row.company_id, row.store_id)).collect())
}

/// Returns whether the calling company is the one that a request names and has the store, in the region if the request
/// names one. Reference data of a store is changed by naming all three.
///
/// # Errors
/// Returns the database's error.
pub async fn is_own(
    connection: &mut PgConnection,
    call: &Call,
    company_id: &str,
    store_id: &str,
    region_code: Option<&str>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM store WHERE company_id = $1 AND company_id = $2 AND store_id = $3
                              AND region_code = coalesce($4, region_code)) AS "exists!""#,
        call.tenant.id,
        company_id,
        store_id,
        region_code,
    )
    .fetch_one(connection)
    .named("store_own")
    .await
}

/// Returns the region of a company: that of its first store, by identifier. The region of prices that name no store.
///
/// # Errors
/// Returns the database's error.
pub async fn region_of(executor: impl PgExecutor<'_>, company_id: &str) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!("SELECT region_code FROM store WHERE company_id = $1 ORDER BY store_id LIMIT 1", company_id,)
        .fetch_optional(executor)
        .named("company_region")
        .await
}

/// Returns whether a network company has a node.
///
/// # Errors
/// Returns the database's error.
pub async fn has_node(
    connection: &mut PgConnection,
    network_company_id: &str,
    node_id: &str,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM node WHERE company_id = $1 AND node_id = $2) AS "exists!""#,
        network_company_id,
        node_id,
    )
    .fetch_one(connection)
    .named("node_known")
    .await
}

/// Returns the places, from 0, of the stores that the tenant does not have.
///
/// # Errors
/// Returns the database's error.
pub async fn unknown(connection: &mut PgConnection, call: &Call, store_ids: &[&str]) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"SELECT place - 1 AS "place!" FROM unnest($2::text[]) WITH ORDINALITY AS given (store_id, place)
           WHERE NOT EXISTS (SELECT FROM store s WHERE s.company_id = $1 AND s.store_id = given.store_id)"#,
        call.tenant.id,
        store_ids as _,
    )
    .fetch_all(connection)
    .named("store_unknown")
    .await
}

/// The advisory lock of the registration of stores and nodes.
const REGISTRATION: i64 = 7_310;

/// Keeps others from registering stores and nodes until this transaction ends.
async fn lock_registration(tx: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock($1)", REGISTRATION).execute(tx).named("registration_lock").await?;
    Ok(())
}

/// Selects those of the identifiers of a table that another company has, with their places.
macro_rules! select_elsewhere {
    ($table:tt, $identifier:tt, $call:expr, $ids:expr) => {
        sqlx::query_as!(
            Elsewhere,
            r#"SELECT own.place - 1 AS "place!", other.company_id
               FROM (SELECT t.tenant_id AS company_id, given.id, given.place
                     FROM platform.tenant t
                     CROSS JOIN unnest($2::text[]) WITH ORDINALITY AS given (id, place)
                     WHERE t.tenant_id <> $1 OFFSET 0) AS own
               JOIN "#
                + $table
                + " other ON other.company_id = own.company_id AND other."
                + $identifier
                + " = own.id ORDER BY own.place",
            $call.tenant.id,
            $ids as _,
        )
    };
}

/// Returns those of the store identifiers that another company has. No other call takes one until this transaction ends.
///
/// # Errors
/// Returns the database's error.
pub async fn stores_elsewhere(
    tx: &mut PgConnection,
    call: &Call,
    store_ids: &[&str],
) -> Result<Vec<Elsewhere>, sqlx::Error> {
    lock_registration(tx).await?;
    select_elsewhere!("store", "store_id", call, store_ids).fetch_all(tx).named("stores_elsewhere").await
}

/// Returns those of the node identifiers that another company has. No other call takes one until this transaction ends.
///
/// # Errors
/// Returns the database's error.
pub async fn nodes_elsewhere(
    tx: &mut PgConnection,
    call: &Call,
    node_ids: &[&str],
) -> Result<Vec<Elsewhere>, sqlx::Error> {
    lock_registration(tx).await?;
    select_elsewhere!("node", "node_id", call, node_ids).fetch_all(tx).named("nodes_elsewhere").await
}

/// Registers stores of the tenant, and changes name and region of those that exist. The identifiers must differ from
/// each other. Locks the stores in the order of their identifiers.
///
/// # Errors
/// Returns the database's error.
pub async fn register(connection: &mut PgConnection, call: &Call, stores: &[Store]) -> Result<(), sqlx::Error> {
    let column = |of: fn(&Store) -> &String| -> Vec<&str> { stores.iter().map(|s| of(s).as_str()).collect() };
    sqlx::query!(
        "INSERT INTO store (company_id, store_id, name, region_code)
         SELECT $1, s.store_id, s.name, s.region_code
         FROM unnest($2::text[], $3::text[], $4::text[]) AS s (store_id, name, region_code) ORDER BY s.store_id
         ON CONFLICT (company_id, store_id) DO UPDATE SET name = excluded.name, region_code = excluded.region_code
         WHERE (store.name, store.region_code) <> (excluded.name, excluded.region_code)",
        call.tenant.id,
        column(|s| &s.store_id) as _,
        column(|s| &s.name) as _,
        column(|s| &s.region_code) as _,
    )
    .execute(connection)
    .named("store_register")
    .await?;
    Ok(())
}

/// Returns the stores of a company by identifier, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn list(executor: impl PgExecutor<'_>, company_id: &str, limit: i64) -> Result<Vec<Store>, sqlx::Error> {
    sqlx::query_as!(
        Store,
        "SELECT store_id, name, region_code FROM store WHERE company_id = $1 ORDER BY store_id LIMIT $2",
        company_id,
        limit,
    )
    .fetch_all(executor)
    .named("store_list")
    .await
}

/// Registers a node, or changes name and store of the one of this identifier. Returns false if that is of another
/// utility.
///
/// # Errors
/// Returns the database's error; the violated constraint is `node_store` if the company has no such store.
pub async fn register_node(tx: &mut PgConnection, call: &Call, node: &Node) -> Result<bool, sqlx::Error> {
    let done = sqlx::query!(
        "INSERT INTO node AS known (company_id, node_id, name, store_id, utility)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (company_id, node_id) DO UPDATE SET name = excluded.name, store_id = excluded.store_id
         WHERE known.utility = excluded.utility",
        call.tenant.id,
        node.node_id,
        node.name,
        node.store_id,
        node.utility().stored(),
    );
    Ok(done.execute(tx).named("node_register").await?.rows_affected() == 1)
}

/// Returns the nodes of a company by identifier, at most `limit`.
///
/// # Errors
/// Returns the database's error.
pub async fn list_nodes(executor: impl PgExecutor<'_>, company_id: &str, limit: i64) -> Result<Vec<Node>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"SELECT node_id, name, store_id, utility AS "utility: Stored<NetworkType>"
           FROM node WHERE company_id = $1 ORDER BY node_id LIMIT $2"#,
        company_id,
        limit,
    )
    .fetch_all(executor)
    .named("node_list")
    .await?;
    let nodes = rows.into_iter().map(|row| Node {
        node_id: row.node_id,
        name: row.name,
        store_id: row.store_id,
        utility: row.utility.0.into(),
    });
    Ok(nodes.collect())
}
