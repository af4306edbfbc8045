//! Lines as they come in, billed here or imported: written once, and each either open or closed.

use communal_kit::call::Call;
use communal_kit::database::copy::CopyRows;
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_kit::pool::Pool;
use communal_proto::Coded as _;
use sqlx::error::BoxDynError;
use sqlx::{PgConnection, PgExecutor};

use crate::receivables::line::{BilledLine, CheckedLine, Payments};
use crate::vocabulary::dates::AccountMonth;
use crate::vocabulary::identifiers::BatchId;

/// The columns of a line, in the order in which [`NewLines`] writes them. The actor is given: the defaults of
/// the table would ask for it at every row.
const LINES: &str = "COPY receivable_line (network_company_id, settlement_account_id, account_month, charge_off_id, \
    line_number, retail_company_id, book_id, retail_store_id, package_kind, charge_off_date, levy_date, fee, importer_id, \
    batch_id, issued, operator_id, channel_id, trace_id, written_at) FROM STDIN WITH (FORMAT binary)";
const LINE_COLUMNS: i16 = 19;

/// The columns of what is outstanding.
const OPEN: &str = "COPY receivable_open (network_company_id, book_id, settlement_account_id, account_month, charge_off_id, \
    line_number, retail_company_id, retail_store_id, package_kind, fee, paid_total, latest_paid, latest_paid_date, \
    latest_payment_id, previous_paid_date, previous_payment_id, levy_date, issued) FROM STDIN WITH (FORMAT binary)";
const OPEN_COLUMNS: i16 = 18;

/// The columns of what closed a line.
const CLOSINGS: &str = "COPY receivable_closing (network_company_id, settlement_account_id, account_month, charge_off_id, \
    line_number, paid_total, latest_paid, latest_paid_date, latest_payment_id, previous_paid_date, previous_payment_id, \
    levy_date, settled_month, with_line, operator_id, channel_id, trace_id, written_at) FROM STDIN WITH (FORMAT binary)";
const CLOSING_COLUMNS: i16 = 18;

/// New lines, encoded for COPY.
#[derive(Debug)]
pub struct NewLines {
    lines: CopyRows,
    open: CopyRows,
    closings: CopyRows,
}

impl Default for NewLines {
    fn default() -> Self {
        Self {
            lines: CopyRows::new(LINE_COLUMNS),
            open: CopyRows::new(OPEN_COLUMNS),
            closings: CopyRows::new(CLOSING_COLUMNS),
        }
    }
}

impl NewLines {
    /// Appends an imported line.
    ///
    /// # Errors
    /// Returns an error if a value has no binary form.
    pub fn push_imported(&mut self, call: &Call, batch_id: &BatchId, checked: &CheckedLine) -> Result<(), BoxDynError> {
        let line = checked.billed().ok_or("a line without a day of its charge-off or its month")?;
        self.push(call, &line, &checked.payments(), Some(batch_id.as_str()))
    }

    fn push(
        &mut self,
        call: &Call,
        line: &BilledLine<'_>,
        payments: &Payments<'_>,
        batch_id: Option<&str>,
    ) -> Result<(), BoxDynError> {
        let rows = &mut self.lines;
        begin_line(rows, line)?;
        rows.put(line.retail_company_id)?;
        rows.put(line.book_id)?;
        rows.put(line.retail_store_id)?;
        rows.put(line.package_kind.stored())?;
        rows.put(line.charge_off_date)?;
        rows.put(line.levy_date)?;
        rows.put(line.fee)?;
        rows.put(batch_id.map(|_| call.tenant.id.as_str()))?;
        rows.put(batch_id)?;
        rows.put(line.issued)?;
        put_actor(rows, call)?;
        match line.closed {
            None => self.push_open(line, payments),
            Some(settled_month) => self.push_closing(call, line, payments, settled_month),
        }
    }

    fn push_open(&mut self, line: &BilledLine<'_>, payments: &Payments<'_>) -> Result<(), BoxDynError> {
        let rows = &mut self.open;
        rows.begin_row();
        rows.put(line.network_company_id)?;
        rows.put(line.book_id)?;
        rows.put(line.settlement_account_id)?;
        rows.put(line.account_month.number())?;
        rows.put(line.charge_off_id)?;
        rows.put(line.line_number)?;
        rows.put(line.retail_company_id)?;
        rows.put(line.retail_store_id)?;
        rows.put(line.package_kind.stored())?;
        rows.put(line.fee)?;
        rows.put(payments.paid_total.unwrap_or_default())?;
        put_payments(rows, payments)?;
        rows.put(line.issued)
    }

    fn push_closing(
        &mut self,
        call: &Call,
        line: &BilledLine<'_>,
        payments: &Payments<'_>,
        settled_month: AccountMonth,
    ) -> Result<(), BoxDynError> {
        let rows = &mut self.closings;
        begin_line(rows, line)?;
        rows.put(line.fee)?;
        put_payments(rows, payments)?;
        rows.put(settled_month.number())?;
        rows.put(true)?;
        put_actor(rows, call)
    }

    /// Writes the lines. Their account months are open.
    ///
    /// # Errors
    /// Returns the database's error; it violates a unique constraint if a line exists.
    pub async fn send(self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        self.lines.send(&mut *connection, LINES).named("line_copy").await?;
        self.open.send(&mut *connection, OPEN).named("line_open_copy").await?;
        self.closings.send(connection, CLOSINGS).named("line_closing_copy").await
    }
}

/// Puts who writes a row, and when.
fn put_actor(rows: &mut CopyRows, call: &Call) -> Result<(), BoxDynError> {
    rows.put(call.operator_id.as_str())?;
    rows.put(call.channel_id.as_str())?;
    rows.put(call.trace_id.as_str())?;
    rows.put(call.at)
}

/// Begins a row with the identity of its line.
fn begin_line(rows: &mut CopyRows, line: &BilledLine<'_>) -> Result<(), BoxDynError> {
    rows.begin_row();
    rows.put(line.network_company_id)?;
    rows.put(line.settlement_account_id)?;
    rows.put(line.account_month.number())?;
    rows.put(line.charge_off_id)?;
    rows.put(line.line_number)
}

/// Appends the latest payment, the one before, and the levy date.
fn put_payments(rows: &mut CopyRows, payments: &Payments<'_>) -> Result<(), BoxDynError> {
    rows.put(payments.latest_paid)?;
    rows.put(payments.latest_paid_date)?;
    rows.put(payments.latest_payment_id)?;
    rows.put(payments.previous_paid_date)?;
    rows.put(payments.previous_payment_id)?;
    rows.put(payments.levy_date)
}

/// Writes the lines of bills, within the transaction that bills them. Their account months are open. The unique key of a line
/// admits no second one.
///
/// # Errors
/// Returns the database's error, and an error of encoding if a value has no binary form.
pub async fn write_billed(tx: &mut PgConnection, call: &Call, lines: &[BilledLine<'_>]) -> Result<(), sqlx::Error> {
    let mut rows = NewLines::default();
    for line in lines {
        let payments = Payments { levy_date: line.levy_date, ..Payments::default() };
        rows.push(call, line, &payments, None).map_err(sqlx::Error::Encode)?;
    }
    rows.send(tx).await
}

/// Makes the partitions of account months of lines. The months of bills are open when a company opened them; an import brings
/// others.
///
/// Who makes a partition keeps others from it until its transaction ends, so that this is no part of an import's. That one
/// calls it again, and learns of the partitions that came after its first lines.
///
/// # Errors
/// Returns the database's error.
pub async fn open_line_months(executor: impl PgExecutor<'_>, months: &[i32]) -> Result<(), sqlx::Error> {
    if months.is_empty() {
        return Ok(());
    }
    sqlx::query!("SELECT FROM open_line_months($1)", months).execute(executor).named("line_months_open").await?;
    Ok(())
}

/// The identity of a line, with its row in an import.
#[derive(Clone, Debug)]
pub struct LineIdentity {
    row: i32,
    network_company_id: String,
    settlement_account_id: String,
    account_month: i32,
    charge_off_id: String,
    line_number: i64,
}

impl LineIdentity {
    /// The identity of a line that was read, at a row.
    #[must_use]
    pub fn of(row: u32, checked: CheckedLine) -> Self {
        let line_number = checked.line_number();
        let line = checked.line;
        Self {
            row: row.cast_signed(),
            network_company_id: line.network_company_id,
            settlement_account_id: line.settlement_account_id,
            account_month: line.account_month,
            charge_off_id: line.charge_off_id,
            line_number,
        }
    }

    /// Its account month.
    #[must_use]
    pub fn account_month(&self) -> i32 {
        self.account_month
    }
}

/// Returns the rows of lines that exist.
///
/// # Errors
/// Returns the database's error.
pub async fn existing(pool: &Pool, lines: &[LineIdentity]) -> Result<Vec<u32>, sqlx::Error> {
    fn each<'l, T>(lines: &'l [LineIdentity], value: impl Fn(&'l LineIdentity) -> T) -> Vec<T> {
        lines.iter().map(value).collect()
    }
    let mut tx = pool.begin().named("begin").await?;
    look_up_by_keys(&mut tx).await?;
    let rows = sqlx::query_scalar!(
        r#"SELECT own.place AS "row!"
           FROM unnest($1::text[], $2::text[], $3::integer[], $4::text[], $5::bigint[], $6::integer[])
               AS own (network_company_id, settlement_account_id, account_month, charge_off_id, line_number, place)
           JOIN receivable_line r ON r.network_company_id = own.network_company_id
               AND r.settlement_account_id = own.settlement_account_id AND r.account_month = own.account_month
               AND r.charge_off_id = own.charge_off_id AND r.line_number = own.line_number"#,
        each(lines, |line| line.network_company_id.as_str()) as _,
        each(lines, |line| line.settlement_account_id.as_str()) as _,
        &each(lines, |line| line.account_month),
        each(lines, |line| line.charge_off_id.as_str()) as _,
        &each(lines, |line| line.line_number),
        &each(lines, |line| line.row),
    )
    .fetch_all(&mut *tx)
    .named("line_existing")
    .await?;
    tx.rollback().named("rollback").await?;
    Ok(rows.into_iter().map(i32::cast_unsigned).collect())
}
