//! The statements of stores. Every query is bound by the company.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::identity::TenantKind;
use communal_proto::billing::v1::Store;
use sqlx::{PgConnection, PgExecutor};

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

/// Whether a network company has the store.
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

/// Registers stores of the tenant, and renames those that exist. The identifiers must differ from
/// each other. Locks the stores in the order of their identifiers.
///
/// # Errors
/// Returns the database's error.
pub async fn register(connection: &mut PgConnection, call: &Call, stores: &[Store]) -> Result<(), sqlx::Error> {
    let (ids, names): (Vec<_>, Vec<_>) = stores.iter().map(|s| (s.store_id.clone(), s.name.clone())).unzip();
    sqlx::query!(
        "INSERT INTO store (company_id, store_id, name)
         SELECT $1, s.store_id, s.name
         FROM unnest($2::text[], $3::text[]) AS s (store_id, name) ORDER BY s.store_id
         ON CONFLICT (company_id, store_id) DO UPDATE SET name = excluded.name WHERE store.name <> excluded.name",
        call.tenant.id,
        &ids,
        &names,
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
        "SELECT store_id, name FROM store WHERE company_id = $1 ORDER BY store_id LIMIT $2",
        company_id,
        limit,
    )
    .fetch_all(executor)
    .named("store_list")
    .await
}
