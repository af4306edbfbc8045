//! The statements that lock and change settlement accounts and their business processes.
//!
//! Lock order: user accounts by identifier, then settlement accounts by identifier. The open process of a locked account
//! is locked with it.

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::database::stored::Stored;
use communal_proto::Coded as _;
use communal_proto::billing::v1::{
    AttestationType, BusCategType, BusStateType, ChangedSettlementAccount, OpenedProcess,
};
use sqlx::PgConnection;

use crate::archive::settlement_accounts::application::{Connection, Process};
use crate::archive::settlement_accounts::lifecycle::{AccountState, Standing};
use crate::vocabulary::dates::day;
use crate::vocabulary::tariff::Utility;

/// A locked account, as far as its life is concerned.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the columns of the table, documented there
pub struct LockedAccount {
    pub settlement_account_id: String,
    pub user_account_id: String,
    pub customer_id: String,
    pub utility: Stored<Utility>,
    pub state: Stored<AccountState>,
    pub process_id: Option<String>,
    pub process_kind: Option<Stored<BusCategType>>,
    pub process_state: Option<Stored<BusStateType>>,
    pub new_customer_id: Option<String>,
    pub meter_id: Option<String>,
}

impl LockedAccount {
    /// Where it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let open = self.process_kind.zip(self.process_state).map(|(kind, state)| (kind.0, state.0));
        Standing { state: self.state.0, open, metered: self.meter_id.is_some() }
    }
}

/// Locks accounts by identifier and returns the identifiers of those that exist.
///
/// # Errors
/// Returns the database's error.
pub async fn lock_alone(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT settlement_account_id FROM settlement_account
         WHERE company_id = $1 AND settlement_account_id = ANY($2)
         ORDER BY settlement_account_id FOR UPDATE",
        call.tenant.id,
        ids as _,
    )
    .fetch_all(tx)
    .named("settlement_account_lock")
    .await
}

/// Locks accounts by identifier and returns those that exist, with what decides which processes they may have.
///
/// # Errors
/// Returns the database's error.
pub async fn lock(tx: &mut PgConnection, call: &Call, ids: &[&str]) -> Result<Vec<LockedAccount>, sqlx::Error> {
    // Locked first, so that what is read beside it is of after the wait.
    lock_alone(tx, call, ids).await?;
    sqlx::query_as!(
        LockedAccount,
        r#"SELECT a.settlement_account_id, a.user_account_id, u.customer_id, a.utility AS "utility: Stored<Utility>",
               a.state AS "state: Stored<AccountState>", p.process_id AS "process_id?",
               p.kind AS "process_kind?: Stored<BusCategType>", p.state AS "process_state?: Stored<BusStateType>",
               n.customer_id AS "new_customer_id?", m.meter_id AS "meter_id?"
           FROM settlement_account a
           JOIN user_account u USING (company_id, user_account_id)
           LEFT JOIN business_process p ON p.company_id = a.company_id
               AND p.settlement_account_id = a.settlement_account_id AND p.completed_at IS NULL
           LEFT JOIN user_account n ON n.company_id = p.company_id AND n.user_account_id = p.new_user_account_id
           LEFT JOIN meter m ON m.company_id = a.company_id AND m.settlement_account_id = a.settlement_account_id
           WHERE a.company_id = $1 AND a.settlement_account_id = ANY($2)
           ORDER BY a.settlement_account_id"#,
        call.tenant.id,
        ids as _,
    )
    .fetch_all(tx)
    .named("settlement_account_standing")
    .await
}

/// Returns the places, from 0, of the new connections whose name is taken, by a stored account or by one before them.
///
/// # Errors
/// Returns the database's error.
pub async fn taken(tx: &mut PgConnection, call: &Call, new: &[Connection]) -> Result<Vec<i64>, sqlx::Error> {
    let users: Vec<_> = new.iter().map(|c| c.user_account_id.as_str()).collect();
    let utilities: Vec<_> = new.iter().map(|c| c.utility.code()).collect();
    let names: Vec<_> = new.iter().map(|c| c.name.as_str()).collect();
    sqlx::query_scalar!(
        r#"SELECT place - 1 AS "place!"
           FROM (SELECT place, user_account_id, utility, folded(name) AS name, row_number() OVER (
                     PARTITION BY user_account_id, utility, folded(name) ORDER BY place) AS nth
                 FROM unnest($2::text[], $3::text[], $4::text[])
                     WITH ORDINALITY AS given (user_account_id, utility, name, place)) AS new
           WHERE nth > 1 OR EXISTS (
               SELECT FROM settlement_account a
               WHERE a.company_id = $1 AND a.user_account_id = new.user_account_id AND a.utility = new.utility
                   AND a.state NOT IN ('3', '4') AND folded(a.name) = new.name)
           ORDER BY place"#,
        call.tenant.id,
        users as _,
        utilities as _,
        names as _,
    )
    .fetch_all(tx)
    .named("settlement_account_taken")
    .await
}

/// Makes settlement accounts with their open process, for locked user accounts. Returns the processes in this order.
///
/// # Errors
/// Returns the database's error; it violates `settlement_account_name` if a name is taken.
pub async fn connect(
    tx: &mut PgConnection,
    call: &Call,
    new: &[Connection],
) -> Result<Vec<OpenedProcess>, sqlx::Error> {
    if new.is_empty() {
        return Ok(Vec::new());
    }
    let column = |value: fn(&Connection) -> &str| new.iter().map(value).collect::<Vec<_>>();
    let users = column(|c| c.user_account_id.as_str());
    // The identifiers of accounts ascend in the order of the request.
    let opened = sqlx::query_as!(
        OpenedProcess,
        "WITH made AS (
             INSERT INTO settlement_account (company_id, user_account_id, using_customer_id, utility, name, address,
                 business_kind, attestation)
             SELECT $1, u.user_account_id, u.using_customer_id, new.utility, new.name, new.address, $6, $7
             FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
                 WITH ORDINALITY AS new (user_account_id, utility, name, address, place)
             JOIN user_account u ON u.company_id = $1 AND u.user_account_id = new.user_account_id
             ORDER BY place
             RETURNING settlement_account_id),
         counted AS (
             INSERT INTO account_accumulator (company_id, settlement_account_id)
             SELECT $1, settlement_account_id FROM made)
         INSERT INTO business_process (company_id, settlement_account_id, kind, state)
         SELECT $1, settlement_account_id, $6, $8 FROM made ORDER BY settlement_account_id
         RETURNING settlement_account_id, process_id",
        call.tenant.id,
        users.as_slice() as _,
        column(|c| c.utility.code()) as _,
        column(|c| &c.name) as _,
        column(|c| &c.address) as _,
        BusCategType::New.stored(),
        AttestationType::None.stored(),
        BusStateType::Parameters.stored(),
    )
    .fetch_all(&mut *tx)
    .named("settlement_account_connect")
    .await?;
    sqlx::query!(
        "UPDATE user_account SET connected = true
         WHERE company_id = $1 AND user_account_id = ANY($2) AND NOT connected",
        call.tenant.id,
        users as _,
    )
    .execute(tx)
    .named("user_account_connect")
    .await?;
    Ok(opened)
}

/// Opens processes of locked accounts, each in its state. Returns them in this order.
///
/// # Errors
/// Returns the database's error.
pub async fn open(
    tx: &mut PgConnection,
    call: &Call,
    processes: &[Process],
    states: &[BusStateType],
) -> Result<Vec<OpenedProcess>, sqlx::Error> {
    if processes.is_empty() {
        return Ok(Vec::new());
    }
    let column = |value: fn(&Process) -> &str| processes.iter().map(value).collect::<Vec<_>>();
    let new_users: Vec<_> =
        processes.iter().map(|p| p.new_user_account_id.as_ref().map(|id| id.as_str().to_owned())).collect();
    sqlx::query_as!(
        OpenedProcess,
        "INSERT INTO business_process (company_id, settlement_account_id, kind, state, new_user_account_id)
         SELECT $1, settlement_account_id, kind, state, new_user_account_id
         FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])
             WITH ORDINALITY AS new (settlement_account_id, kind, state, new_user_account_id, place)
         ORDER BY place
         RETURNING settlement_account_id, process_id",
        call.tenant.id,
        column(|p| p.settlement_account_id.as_str()) as _,
        column(|p| p.kind.code()) as _,
        states.iter().map(|state| state.code()).collect::<Vec<_>>() as _,
        new_users as _,
    )
    .fetch_all(tx)
    .named("business_process_open")
    .await
}

/// Returns the user account of an account, if the company has it.
///
/// # Errors
/// Returns the database's error.
pub async fn user_account_of(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_id: &str,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "SELECT user_account_id FROM settlement_account WHERE company_id = $1 AND settlement_account_id = $2",
        call.tenant.id,
        settlement_account_id,
    )
    .fetch_optional(tx)
    .named("settlement_account_user")
    .await
}

/// Withdraws the open process of a locked account, which is in a state afterwards. With a new connection its parameters go
/// (the trigger `parameters_withdrawn`), so that nothing is of its book; and a user account, locked too, that has no other
/// settlement account is not connected any more.
///
/// # Errors
/// Returns the database's error.
pub async fn withdraw(
    tx: &mut PgConnection,
    call: &Call,
    settlement_account_id: &str,
    state: AccountState,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE business_process SET withdrawn = true, completed_at = platform.instant()
         WHERE company_id = $1 AND settlement_account_id = $2 AND completed_at IS NULL",
        call.tenant.id,
        settlement_account_id,
    )
    .execute(&mut *tx)
    .named("business_process_withdraw")
    .await?;
    if state != AccountState::Withdrawn {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE settlement_account SET state = $3 WHERE company_id = $1 AND settlement_account_id = $2",
        call.tenant.id,
        settlement_account_id,
        state.stored(),
    )
    .execute(&mut *tx)
    .named("settlement_account_withdraw")
    .await?;
    sqlx::query!(
        "UPDATE user_account u SET connected = false
         FROM settlement_account w
         WHERE w.company_id = $1 AND w.settlement_account_id = $2
             AND u.company_id = w.company_id AND u.user_account_id = w.user_account_id AND u.connected
             AND NOT EXISTS (
                 SELECT FROM settlement_account a
                 WHERE a.company_id = u.company_id AND a.user_account_id = u.user_account_id AND a.state <> $3)",
        call.tenant.id,
        settlement_account_id,
        state.stored(),
    )
    .execute(tx)
    .named("user_account_unconnect")
    .await?;
    Ok(())
}

/// Changes what is stored of a locked account.
///
/// # Errors
/// Returns the database's error; it violates `settlement_account_name` if the name is taken.
pub async fn change(tx: &mut PgConnection, call: &Call, new: &ChangedSettlementAccount) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "UPDATE settlement_account SET using_customer_id = $3, name = $4, attestation = $5, address = $6,
             control_kind = $7, industry_code = $8, industry_sector = $9, resident = $10, urban = $11, military = $12,
             temporary = $13, public_use = $14, connection_kind = $15, contract_signed = $16, contract_number = $17,
             contract_end_date = $18, remark = $19
         WHERE company_id = $1 AND settlement_account_id = $2",
        call.tenant.id,
        new.settlement_account_id,
        new.using_customer_id,
        new.settlement_account_name,
        new.settlement_attestation().stored(),
        new.address,
        new.control_kind().stored(),
        new.industry_code,
        new.industry_sector().stored(),
        new.resident().stored(),
        new.urban().stored(),
        new.military().stored(),
        new.temporary().stored(),
        new.public_use().stored(),
        new.connection_kind().stored(),
        new.contract_signed().stored(),
        new.contract_number,
        day(new.contract_deadline),
        new.remark,
    )
    .execute(tx)
    .named("settlement_account_change")
    .await?;
    Ok(())
}
