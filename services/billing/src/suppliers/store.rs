//! Where stores are kept. Every query is bound by the company.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::identity::TenantKind;
use communal_proto::billing::v1::Store;
use sqlx::{PgConnection, PgExecutor};

use crate::vocabulary::identifiers::{CompanyId, StoreId};

/// Which of the suppliers that a package names exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// A network company has the identifier.
    pub network_company: bool,
    /// The caller has the store.
    pub store: bool,
}

/// Looks up what a package names.
///
/// # Errors
/// Storage faults.
pub async fn known(
    connection: &mut PgConnection,
    call: &Call,
    network_company_id: &CompanyId,
    retail_store_id: &StoreId,
) -> Result<Known, sqlx::Error> {
    sqlx::query_as!(
        Known,
        r#"SELECT EXISTS (SELECT FROM platform.tenant WHERE tenant_id = $1 AND kind = $2) AS "network_company!",
                  EXISTS (SELECT FROM supplier_store WHERE company_id = $3 AND store_id = $4) AS "store!""#,
        network_company_id.as_str(),
        crate::packages::store::number(TenantKind::NetworkCompany),
        call.tenant.id,
        retail_store_id.as_str(),
    )
    .fetch_one(connection)
    .named("store_known")
    .await
}

/// Registers stores of the caller; one that exists is renamed. The identifiers must be
/// different from each other, and are locked in their order.
///
/// # Errors
/// Storage faults.
pub async fn register(connection: &mut PgConnection, call: &Call, stores: &[Store]) -> Result<(), sqlx::Error> {
    let (ids, names): (Vec<_>, Vec<_>) = stores.iter().map(|s| (s.store_id.clone(), s.name.clone())).unzip();
    sqlx::query!(
        "INSERT INTO supplier_store (company_id, store_id, name, operator_id, channel_id, trace_id)
         SELECT $1, s.store_id, s.name, $4, $5, $6
         FROM unnest($2::text[], $3::text[]) AS s (store_id, name) ORDER BY s.store_id
         ON CONFLICT (company_id, store_id) DO UPDATE SET name = excluded.name, operator_id = excluded.operator_id,
             channel_id = excluded.channel_id, trace_id = excluded.trace_id, written_at = now()",
        call.tenant.id,
        &ids,
        &names,
        call.operator_id,
        call.channel_id,
        call.trace_id,
    )
    .execute(connection)
    .named("store_register")
    .await?;
    Ok(())
}

/// The stores of a company, by identifier; at most `limit`.
///
/// # Errors
/// Storage faults.
pub async fn list(executor: impl PgExecutor<'_>, company_id: &str, limit: i64) -> Result<Vec<Store>, sqlx::Error> {
    sqlx::query_as!(
        Store,
        "SELECT store_id, name FROM supplier_store WHERE company_id = $1 ORDER BY store_id LIMIT $2",
        company_id,
        limit,
    )
    .fetch_all(executor)
    .named("store_list")
    .await
}
