//! A month of a company that `RunBook` bills, from points that are read and tables of the month that are empty: compared with bare
//! COPY and UPDATE of the same rows in the same transactions, and with one account a transaction.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use communal_proto::billing::v1::{RunBookRequest, RunBookResponse};
use prost::Message;
use sqlx::{AssertSqlSafe, PgPool, Row};

use super::archive::{import, messages, with_reference_data};
use super::readings::{create_points, enter, open_month, readings};
use super::{Run, figure};
use crate::arithmetic::Target;
use crate::grpc::{Client, Metadata};
use crate::report::Measurement;
use crate::stage::{ACTOR, Stage};

const RUN: &str = "/communal.billing.v1.RunService/RunBook";
pub(super) const MONTH: i32 = 202_601;
/// What every account consumes at least: a bill has three tiers, and a line for each.
const QUANTITY: u64 = 130;
/// Connections of the contestants: chunks that the service works on at once, by default.
const WORKERS: usize = 2;
/// Chunks whose accounts are billed one at a time.
const SINGLE_CHUNKS: i32 = 4;
/// The tables that a run adds rows to.
const ADDED: [&str; 4] = ["bill", "receivable_line", "receivable_open", "ledger"];

/// The rows that a run changes: the columns of their keys with the types, the columns that are set, and the condition.
struct Changed {
    table: &'static str,
    keys: &'static [(&'static str, &'static str)],
    set: &'static [(&'static str, &'static str)],
    /// The account that a row of `t` is of, and what it is joined with to know it.
    account: (&'static str, &'static str),
}

const CHANGED: [Changed; 3] = [
    Changed {
        table: "account_accumulator",
        keys: &[("company_id", "text"), ("settlement_account_id", "text")],
        set: &[
            ("account_month", "integer"),
            ("year_quantity", "numeric"),
            ("month_quantity", "numeric"),
            ("version", "bigint"),
        ],
        account: ("t.settlement_account_id", ""),
    },
    Changed {
        table: "account_register",
        keys: &[("company_id", "text"), ("settlement_account_id", "text"), ("flow", "text"), ("register", "text")],
        set: &[
            ("last_reading", "numeric"),
            ("last_read_on", "date"),
            ("last_read_time", "integer"),
            ("billed_days", "integer"),
            ("metered_total", "numeric"),
            ("billed_total", "numeric"),
            ("old_quantity", "numeric"),
        ],
        account: ("t.settlement_account_id", ""),
    },
    Changed {
        table: "balance",
        keys: &[("company_id", "text"), ("customer_id", "text"), ("fund", "text")],
        set: &[("entry", "bigint"), ("balance", "numeric")],
        account: ("b.settlement_account_id", "JOIN bill b USING (company_id, customer_id)"),
    },
];

impl Changed {
    fn columns(&self) -> impl Iterator<Item = &(&'static str, &'static str)> {
        self.keys.iter().chain(self.set)
    }

    /// The columns as arrays of texts, one row a chunk.
    fn prepared(&self) -> String {
        let arrays: Vec<_> =
            self.columns().map(|(name, _)| format!("array_agg(t.{name}::text ORDER BY p.account)")).collect();
        let (account, joined) = self.account;
        format!(
            "SELECT p.chunk, {} FROM {} t {joined} JOIN placed p ON p.account = {account} GROUP BY p.chunk ORDER BY p.chunk",
            arrays.join(", "),
            self.table
        )
    }

    /// Sets the rows of a chunk from those arrays.
    fn update(&self) -> String {
        let names: Vec<_> = self.columns().map(|(name, _)| *name).collect();
        let places: Vec<_> = (1..=names.len()).map(|place| format!("${place}::text[]")).collect();
        let set: Vec<_> = self.set.iter().map(|(name, kind)| format!("{name} = own.{name}::{kind}")).collect();
        let keys: Vec<_> = self.keys.iter().map(|(name, _)| format!("t.{name} = own.{name}")).collect();
        format!(
            "UPDATE {} t SET {} FROM (SELECT k.* FROM unnest({}) AS k ({}) OFFSET 0) AS own WHERE {}",
            self.table,
            set.join(", "),
            places.join(", "),
            names.join(", "),
            keys.join(" AND ")
        )
    }
}

type Arrays = Vec<Vec<Option<String>>>;

/// What a run wrote, as chunks: the rows that it added are files, those that it changed are arrays.
struct Prepared {
    chunks: Vec<i32>,
    /// For each of [`CHANGED`], for each chunk.
    changed: Vec<Vec<Arrays>>,
    /// The accounts of each chunk.
    accounts: Vec<Vec<String>>,
}

fn file(folder: &str, table: &str, chunk: i32) -> String {
    format!("{folder}/bench_run_{table}_{chunk}.copy")
}

pub(super) async fn columns(pool: &PgPool, table: &str) -> anyhow::Result<String> {
    let columns = "SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute
                   WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped";
    Ok(sqlx::query_scalar(columns).bind(table).fetch_one(pool).await?)
}

pub(super) async fn execute(pool: &PgPool, statement: String) -> anyhow::Result<u64> {
    let done = sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(pool).await;
    Ok(done.with_context(|| statement)?.rows_affected())
}

/// Notes what the run of a database wrote.
async fn prepare(pool: &PgPool, folder: &str) -> anyhow::Result<Prepared> {
    execute(
        pool,
        "CREATE UNLOGGED TABLE placed AS
         SELECT c.chunk, m.settlement_account_id AS account
         FROM run_chunk c JOIN meter_point m ON m.company_id = c.company_id
             AND (m.book_id, m.settlement_account_id) >= (c.from_book, c.from_account)
             AND (m.book_id, m.settlement_account_id) <= (c.to_book, c.to_account);
         CREATE INDEX ON placed (account); ANALYZE placed"
            .to_owned(),
    )
    .await?;
    let chunks: Vec<i32> =
        sqlx::query_scalar("SELECT DISTINCT chunk FROM placed ORDER BY chunk").fetch_all(pool).await?;
    for table in ADDED {
        let columns = columns(pool, table).await?;
        let joined = if table == "ledger" { "JOIN bill b ON b.charge_off_id = t.serial" } else { "" };
        let account = if table == "ledger" { "b.settlement_account_id" } else { "t.settlement_account_id" };
        execute(
            pool,
            format!(
                "CREATE UNLOGGED TABLE of_chunk AS
                 SELECT p.chunk, t.* FROM {table} t {joined} JOIN placed p ON p.account = {account} ORDER BY p.chunk;
                 CREATE INDEX ON of_chunk (chunk); ANALYZE of_chunk"
            ),
        )
        .await?;
        for chunk in &chunks {
            let to = file(folder, table, *chunk);
            let rows = format!("SELECT {columns} FROM of_chunk WHERE chunk = {chunk}");
            execute(pool, format!("COPY ({rows}) TO '{to}' (FORMAT binary)")).await?;
        }
        execute(pool, "DROP TABLE of_chunk".to_owned()).await?;
    }
    let mut changed = Vec::new();
    for table in &CHANGED {
        let rows = sqlx::query(AssertSqlSafe(table.prepared())).fetch_all(pool).await?;
        let arrays = rows.iter().map(|row| (1..row.len()).map(|column| row.try_get(column)).collect());
        changed.push(arrays.collect::<Result<Vec<Arrays>, sqlx::Error>>()?);
    }
    let accounts =
        sqlx::query_scalar("SELECT array_agg(account ORDER BY account) FROM placed GROUP BY chunk ORDER BY chunk");
    Ok(Prepared { chunks, changed, accounts: accounts.fetch_all(pool).await? })
}

const CLOSE_POINTS: &str = "DELETE FROM point_open o
     USING (SELECT k.*, '1' AS kind FROM unnest($1::text[], $2::text[]) AS k (company_id, account) OFFSET 0) AS own
     WHERE o.company_id = own.company_id AND o.settlement_account_id = own.account AND o.kind = own.kind";
const POST: &str = "INSERT INTO posting (company_id, posting_id, operation_date, revenue, cash)
     VALUES ($1, $2, '2026-01-31', 0, 0)";

/// Writes the rows of a chunk as fast as PostgreSQL takes them.
async fn write_chunk(pool: &PgPool, folder: &str, prepared: &Prepared, place: usize) -> anyhow::Result<()> {
    let mut tx = pool.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(ACTOR.to_owned())).execute(&mut *tx).await?;
    for (table, chunks) in CHANGED.iter().zip(&prepared.changed) {
        let statement = table.update();
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for array in &chunks[place] {
            query = query.bind(array);
        }
        query.execute(&mut *tx).await?;
    }
    let accounts = &prepared.accounts[place];
    let company = &prepared.changed[0][place][0];
    sqlx::query(CLOSE_POINTS).bind(company).bind(accounts).execute(&mut *tx).await?;
    for table in ADDED {
        let from = file(folder, table, prepared.chunks[place]);
        sqlx::raw_sql(AssertSqlSafe(format!("COPY {table} FROM '{from}' (FORMAT binary)"))).execute(&mut *tx).await?;
    }
    sqlx::query(POST).bind(company.first()).bind(1_000_000 + place as i64).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// Does `work` with each of `all` numbers, by some connections at once.
async fn share<W: Future<Output = anyhow::Result<()>>>(all: usize, work: impl Fn(usize) -> W) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let one = || async {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= all {
                return Ok::<_, anyhow::Error>(());
            }
            work(number).await?;
        }
    };
    futures::future::try_join_all((0..WORKERS).map(|_| one())).await?;
    Ok(())
}

/// Rows of the first chunks, to be written one account at a time, and the statements that do it.
async fn stage_single(pool: &PgPool, folder: &str, prepared: &Prepared) -> anyhow::Result<Vec<String>> {
    let mut statements = vec![
        "SELECT p.snapshot, r.readings, x.year_quantity, x.month_quantity, x.version FROM point_open o
         JOIN billing_point p USING (company_id, settlement_account_id, account_month, kind, number)
         JOIN point_reading r USING (company_id, settlement_account_id, account_month, kind, number)
         JOIN account_accumulator x USING (company_id, settlement_account_id)
         WHERE o.company_id = $2 AND o.settlement_account_id = $1 FOR UPDATE OF o"
            .to_owned(),
    ];
    for table in ADDED {
        execute(pool, format!("CREATE UNLOGGED TABLE one_{table} (LIKE {table})")).await?;
        for chunk in prepared.chunks.iter().filter(|chunk| **chunk <= SINGLE_CHUNKS) {
            let from = file(folder, table, *chunk);
            execute(pool, format!("COPY one_{table} FROM '{from}' (FORMAT binary)")).await?;
        }
        // A customer of the bench has one account, of the same number.
        let key = if table == "ledger" { "'A' || substr(customer_id, 2)" } else { "settlement_account_id" };
        execute(pool, format!("CREATE INDEX ON one_{table} (({key})); ANALYZE one_{table}")).await?;
        let columns = columns(pool, table).await?;
        let lines = format!("SELECT {columns} FROM one_{table} WHERE {key} = $1 AND $2 <> ''");
        statements.push(format!("INSERT INTO {table} ({columns}) {lines}"));
    }
    let of = "company_id = $2 AND settlement_account_id = $1";
    statements.push(format!(
        "UPDATE account_accumulator SET account_month = {MONTH}, year_quantity = 140, month_quantity = 140,
             version = version + 1 WHERE {of}"
    ));
    statements.push(format!(
        "UPDATE account_register SET last_reading = last_reading + 140, last_read_on = '2026-01-31', billed_days = 31,
             metered_total = metered_total + 140, billed_total = billed_total + 140 WHERE {of}"
    ));
    statements.push(
        "UPDATE balance SET entry = entry + 1, balance = balance + 210
         WHERE company_id = $2 AND customer_id = 'K' || substr($1, 2) AND fund = '2'"
            .to_owned(),
    );
    statements.push(format!("DELETE FROM point_open WHERE {of}"));
    Ok(statements)
}

async fn write_account(pool: &PgPool, statements: &[String], account: &str, number: i64) -> anyhow::Result<()> {
    let company = communal_fixtures::credentials::billing::RETAIL;
    let mut tx = pool.begin().await?;
    sqlx::raw_sql(AssertSqlSafe(ACTOR.to_owned())).execute(&mut *tx).await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement.clone())).bind(account).bind(company).execute(&mut *tx).await?;
    }
    sqlx::query(POST).bind(company).bind(2_000_000 + number).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

/// A database in which a month is read and nothing of it is billed. Nobody is connected to it.
pub(super) struct ReadMonth {
    pub(super) database: &'static str,
    pub(super) metadata: Metadata,
    pub(super) accounts: u64,
}

impl ReadMonth {
    pub(super) async fn of(stage: &Stage, database: &'static str, accounts: u64) -> anyhow::Result<Self> {
        let service = with_reference_data(stage, database).await?;
        import(&service, &messages("archive", accounts), accounts).await?;
        // The customers had bills before.
        let balances = "INSERT INTO balance (company_id, customer_id, fund, entry, balance)
                        SELECT company_id, customer_id, '2', 0, 0 FROM customer";
        execute(&service.pool, format!("{ACTOR}; {balances}")).await?;
        // The archive is old, the month is new.
        execute(&service.pool, "VACUUM ANALYZE".to_owned()).await?;
        let client = Client::connect(&service.process.address).await?;
        open_month(&service, &client, MONTH).await?;
        create_points(&service, &client, accounts).await?;
        enter(&service, &client, accounts, readings(accounts, QUANTITY)).await?;
        service.pool.close().await;
        Ok(Self { database, metadata: service.metadata.clone(), accounts })
    }

    /// The same month in a copy of the database.
    pub(super) async fn another(&self, stage: &Stage, database: &'static str) -> anyhow::Result<Self> {
        stage.create_database(database, Some(self.database)).await?;
        Ok(Self { database, metadata: self.metadata.clone(), accounts: self.accounts })
    }

    /// A copy of the database, and a connection of each contestant.
    pub(super) async fn copy(&self, stage: &Stage, database: &str) -> anyhow::Result<PgPool> {
        stage.create_database(database, Some(self.database)).await?;
        stage.pool(database).await
    }

    /// Has the service bill the month in a copy, which stays.
    pub(super) async fn bill(&self, stage: &Stage, database: &str) -> anyhow::Result<(Ran, PgPool)> {
        let pool = self.copy(stage, database).await?;
        let process = stage.serve("billing", database)?;
        let client = Client::connect(&process.address).await?;
        let request = RunBookRequest { account_month: MONTH, book_id: String::new() }.encode_to_vec();
        execute(&pool, "CHECKPOINT".to_owned()).await?;
        let before = (process.group.read(), stage.postgres.read());
        let start = Instant::now();
        let mut last = Ok(RunBookResponse::default());
        let take = |state| last = RunBookResponse::decode(state);
        client.take_stream(RUN, &self.metadata, request.into(), take).await.context("the run was refused")?;
        let rate = self.accounts as f64 / start.elapsed().as_secs_f64();
        let each = |used: u64| used as f64 / 1e3 / self.accounts as f64;
        let cpu = [each(process.group.since(&before.0)), each(stage.postgres.since(&before.1))];
        let last = last?;
        if last.bills != self.accounts as i64 {
            let why = "SELECT reason || ': ' || description FROM parked_account LIMIT 1";
            let why: Option<String> = sqlx::query_scalar(why).fetch_optional(&pool).await?;
            bail!("{} of {} bills; {}", last.bills, self.accounts, why.unwrap_or_default());
        }
        Ok((Ran { rate, cpu, memory: process.group.peak_resident()? as f64 / 1e6 }, pool))
    }
}

/// The cost of a run.
pub(super) struct Ran {
    /// Accounts a second.
    pub(super) rate: f64,
    /// CPU time of the service and of PostgreSQL, in microseconds an account.
    pub(super) cpu: [f64; 2],
    /// The most memory of the service, in megabytes.
    pub(super) memory: f64,
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let (stage, accounts) = (run.stage, run.extent.run_accounts);
    let folder = stage.setting("data_directory").await?;
    let month = ReadMonth::of(stage, "bench_run_read", accounts).await?;

    let (mut runs, mut bare, mut single) = (vec![], vec![], vec![]);
    let mut bare_cpu = vec![];
    let mut prepared = None;
    for _ in 0..run.extent.rounds.min(3) {
        let (ran, pool) = month.bill(stage, "bench_run").await?;
        runs.push(ran);
        if prepared.is_none() {
            prepared = Some(prepare(&pool, &folder).await?);
        }
        pool.close().await;

        let Some(prepared) = &prepared else { continue };
        let pool = month.copy(stage, "bench_run_bare").await?;
        execute(&pool, "CHECKPOINT".to_owned()).await?;
        let before = stage.postgres.read();
        let start = Instant::now();
        share(prepared.chunks.len(), |place| write_chunk(&pool, &folder, prepared, place)).await?;
        bare.push(accounts as f64 / start.elapsed().as_secs_f64());
        bare_cpu.push(stage.postgres.since(&before) as f64 / 1e3 / accounts as f64);
        let bills: i64 = sqlx::query_scalar("SELECT count(*) FROM bill").fetch_one(&pool).await?;
        ensure!(bills == accounts as i64, "{bills} of {accounts} bills");
        pool.close().await;

        let pool = month.copy(stage, "bench_run_single").await?;
        let statements = stage_single(&pool, &folder, prepared).await?;
        let alone: Vec<_> =
            prepared.accounts.iter().take(usize::try_from(SINGLE_CHUNKS)?).flatten().map(String::as_str).collect();
        execute(&pool, "CHECKPOINT".to_owned()).await?;
        let start = Instant::now();
        share(alone.len(), |place| write_account(&pool, &statements, alone[place], place as i64)).await?;
        single.push(alone.len() as f64 / start.elapsed().as_secs_f64());
        let bills: i64 = sqlx::query_scalar("SELECT count(*) FROM bill").fetch_one(&pool).await?;
        ensure!(bills == alone.len() as i64, "{bills} of {} bills", alone.len());
        pool.close().await;
    }
    let rate = figure(runs.iter().map(|ran| ran.rate));
    let memory = figure(runs.iter().map(|ran| ran.memory));
    run.report.measurements.extend([
        Measurement::alone(
            "run",
            format!("a month of {accounts} accounts, three lines each"),
            "accounts/s",
            rate,
            Target::AtLeast(0.7),
        )
        .to_limit("bare COPY and UPDATE of the same rows", figure(bare.into_iter())),
        Measurement::alone("run", "the same, end to end", "accounts/s", rate, Target::AtLeast(15_000.0)),
        Measurement::alone("run", "the same", "accounts/s", rate, Target::AtLeast(20.0))
            .to_limit("one account a transaction", figure(single.into_iter())),
        Measurement::alone("run", "memory of the service, at most", "MB", memory, Target::AtMost(120.0)),
    ]);
    let part = |part: usize| figure(runs.iter().map(|ran| ran.cpu[part])).median;
    run.report.remarks.push(format!(
        "run: service {:.1} µs an account, PostgreSQL {:.1}; bare rows {:.1}",
        part(0),
        part(1),
        figure(bare_cpu.into_iter()).median,
    ));
    Ok(())
}
