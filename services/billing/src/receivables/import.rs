//! Imports lines that another system billed: a stream of them, all or none.
//!
//! The call reads, checks and encodes the stream; a task of its own writes the lines, in one
//! transaction. So a call that is cancelled never leaves a connection in the middle of a COPY: the task
//! sees its channel close without the end mark and rolls back.
//!
//! After the first fault nothing more is written and what was is rolled back, but the stream is read to its end, so that
//! the sender gets all faults at once (up to a limit), each with its row over the whole stream. Lines that exist are faults
//! too: from the first fault on the writer looks for lines instead of writing them. It does not look for those that it
//! wrote, since they cannot have existed.
//!
//! Partitions of account months are made before the lines that need them, on a connection of their own.
//!
//! A batch that was imported by mistake is taken back here as well.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::telemetry::boundary::belonging;
use communal_kit::uploads::Upload;
use communal_kit::write::announce;
use communal_proto::billing::v1::fields::import_batch;
use communal_proto::billing::v1::fields::import_receivable_lines_request::{BATCH, LINES};
use communal_proto::billing::v1::fields::take_back_receivable_batch_request;
use communal_proto::billing::v1::{
    ImportBatch, ImportReceivableLinesRequest, ImportReceivableLinesResponse, Reason, ReceivableLine,
    TakeBackReceivableBatchResponse,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked, Checker, Fault, FieldName};
use futures::Stream;
use prost::Message;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use super::line::{LineKey, check};
use super::references::References;
use super::store::{self, Batch, LineIdentity, NewLines};
use crate::vocabulary::identifiers::BatchId;

/// Faults after which reading stops.
const MOST_FAULTS: usize = 500;
/// Most lines in one message, as in the contract.
const MOST_LINES_A_MESSAGE: usize = 5_000;
/// Lines written at a time.
const LINES_A_COPY: usize = 5_000;
/// The message for people if a stream breaks.
const BROKEN: &str = "数据流中断，未导入任何明细";

fn rows(message: &ImportReceivableLinesRequest) -> usize {
    message.lines.len()
}

/// How an import is carried out.
#[derive(Debug)]
pub struct Terms {
    /// Its place and pace.
    pub upload: Upload,
    /// Most lines of a batch.
    pub most_lines: u32,
    /// No line was charged off or paid after it.
    pub today: NaiveDate,
}

/// Imports a batch.
///
/// # Errors
/// Returns all faults of the lines if there are any, `LINE_EXISTS` if a line exists already, `BATCH_REUSED`
/// if the batch was imported with other lines, and `BATCH_TAKEN_BACK` if it was taken back.
pub async fn import(
    pool: &Pool,
    call: &Call,
    mut terms: Terms,
    mut stream: impl Stream<Item = Result<ImportReceivableLinesRequest, Status>> + Unpin,
) -> Result<ImportReceivableLinesResponse, Refusal> {
    let Some(mut message) = terms.upload.next(&mut stream, rows, BROKEN).await? else {
        return Err(Refusal::for_faults(vec![missing(BATCH, "批次")]));
    };
    let batch = message.batch.take();
    let batch = checked(batch.as_ref())?;
    let batch_id = BatchId::from(batch.batch_id.as_str());
    let known = store::batch(pool, &call.tenant.id, &batch_id).await?;
    if known.as_ref().is_some_and(|known| known.taken_back) {
        return Err(taken_back(&batch_id));
    }
    let mut reading = Reading::new(pool, call, &batch_id, terms, References::of(batch));
    if known.is_none() {
        reading.writer = Some(Writer::start(pool.clone(), call.clone(), batch_id.clone()));
    }
    let read = reading.read(message, &mut stream).await;
    if read.is_err() {
        reading.abandon_writer().await;
    }
    read?;
    reading.finish().await
}

/// Takes a batch back, within a transaction: all its lines go.
///
/// # Errors
/// Returns `BATCH_NOT_FOUND`, or `BATCH_TOUCHED` if something changed one of its lines since the import.
pub async fn take_back(
    connection: &mut PgConnection,
    call: &Call,
    batch_id: &BatchId,
) -> Result<TakeBackReceivableBatchResponse, Refusal> {
    if !store::reserve_batch(connection, &call.tenant.id, batch_id).await? {
        return Err(busy());
    }
    let field = take_back_receivable_batch_request::BATCH_ID;
    let Some(batch) = store::batch(&mut *connection, &call.tenant.id, batch_id).await? else {
        let fault = Fault::rule(field, "is no batch of the calling company", "批次不存在");
        return Err(Refusal::of(Reason::BatchNotFound).fault(fault));
    };
    let replayed = batch.taken_back;
    if !replayed {
        let gone = store::take_back(connection, call, batch_id).await?;
        let touched = batch.lines - gone;
        if touched != 0 {
            let text = format!("批次中有{touched}条明细在导入后已有变动，不能撤回");
            let fault = Fault::rule(field, format!("has {touched} lines that changed since"), text.clone());
            return Err(Refusal::new(Reason::BatchTouched, text).fault(fault));
        }
    }
    Ok(TakeBackReceivableBatchResponse { lines: batch.lines, replayed })
}

fn taken_back(batch_id: &BatchId) -> Refusal {
    let text = format!("批次{batch_id}已撤回，请使用新的批次号");
    let fault = Fault::rule(BATCH.then(import_batch::BATCH_ID), "was taken back", text.clone());
    Refusal::new(Reason::BatchTakenBack, text).fault(fault)
}

fn busy() -> Refusal {
    Refusal::new(Common::Conflict, "该批次正在导入或撤回，请稍后重试").retry_after(Duration::from_secs(1))
}

fn missing(field: FieldName, title: &str) -> Fault {
    Fault {
        field: field.into(),
        kind: FaultKind::Missing,
        description: "is required".into(),
        text: format!("{title}不能为空"),
    }
}

fn checked(batch: Option<&ImportBatch>) -> Result<&ImportBatch, Refusal> {
    let Some(batch) = batch else { return Err(Refusal::for_faults(vec![missing(BATCH, "批次")])) };
    let mut checker = Checker::default();
    batch.check(&mut checker);
    let inside = |fault: Fault| Fault { field: BATCH.then(fault.field), ..fault };
    let faults: Vec<_> = checker.into_faults().into_iter().map(inside).collect();
    if faults.is_empty() { Ok(batch) } else { Err(Refusal::for_faults(faults)) }
}

/// The state of reading a stream.
struct Reading<'a> {
    pool: &'a Pool,
    call: &'a Call,
    batch_id: &'a BatchId,
    terms: Terms,
    references: References,
    /// Writes the lines, or looks for them after the first fault; `None` if the batch exists already.
    writer: Option<Writer>,
    ready: Lines,
    hash: Sha256,
    /// The lines that were read, with their rows in the stream.
    seen: HashMap<LineKey, u32>,
    /// The account months whose partitions are made.
    opened: BTreeSet<i32>,
    lines: u32,
    outstanding_lines: u32,
    faults: Vec<Fault>,
    /// True if the writer knows of a fault. It has rolled back then, and holds no transaction while the sender goes on.
    told: bool,
    /// True if a line exists twice, in the batch or from before it.
    exists: bool,
}

impl<'a> Reading<'a> {
    fn new(pool: &'a Pool, call: &'a Call, batch_id: &'a BatchId, terms: Terms, references: References) -> Self {
        Self {
            pool,
            call,
            batch_id,
            terms,
            references,
            writer: None,
            ready: Lines::default(),
            hash: Sha256::new(),
            seen: HashMap::new(),
            opened: BTreeSet::new(),
            lines: 0,
            outstanding_lines: 0,
            faults: Vec::new(),
            told: false,
            exists: false,
        }
    }

    /// Reads the stream to its end, or until there are too many faults.
    async fn read(
        &mut self,
        first: ImportReceivableLinesRequest,
        stream: &mut (impl Stream<Item = Result<ImportReceivableLinesRequest, Status>> + Unpin),
    ) -> Result<(), Refusal> {
        let mut message = first;
        loop {
            self.take(message.lines).await?;
            if self.faults.len() >= MOST_FAULTS {
                return Ok(());
            }
            match self.terms.upload.next(stream, rows, BROKEN).await? {
                Some(more) => message = more,
                None => return Ok(()),
            }
            if message.batch.is_some() {
                let chinese = "批次只能出现在第一条消息中";
                self.faults.push(Fault::rule(BATCH, "is in the first message only", chinese));
            }
        }
    }

    /// Ends the writer without its end mark, and waits until its transaction is rolled back: the sender may
    /// send the batch again as soon as it gets the refusal, and must not meet this attempt.
    async fn abandon_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.portions);
            if let Ok(Err(refusal)) = writer.task.await {
                tracing::debug!(reason = refusal.reason(), "an import was abandoned");
            }
        }
    }

    async fn take(&mut self, lines: Vec<ReceivableLine>) -> Result<(), Refusal> {
        if lines.len() > MOST_LINES_A_MESSAGE {
            return Err(Refusal::for_faults(vec![rows_fault(MOST_LINES_A_MESSAGE, "每条消息")]));
        }
        let asked = self.references.unknown(&lines);
        if !asked.is_empty() {
            let found = store::registered(self.pool, &asked).await?;
            self.references.learn(asked, found);
        }
        for line in lines {
            if self.lines >= self.terms.most_lines {
                let most = usize::try_from(self.terms.most_lines).unwrap_or(usize::MAX);
                return Err(Refusal::for_faults(vec![rows_fault(most, "每个批次")]));
            }
            self.take_line(line)?;
            if self.ready.identities.len() >= LINES_A_COPY {
                self.hand_over().await?;
            }
        }
        if !self.faults.is_empty() && !self.told {
            self.hand_over().await?;
        }
        Ok(())
    }

    fn take_line(&mut self, line: ReceivableLine) -> Result<(), Refusal> {
        let row = self.lines;
        self.lines += 1;
        let encoded = line.encode_length_delimited_to_vec();
        self.hash.update(&encoded);
        match check(line, &self.call.tenant.id, self.terms.today, &self.references) {
            Err(faults) => {
                let room = MOST_FAULTS.saturating_sub(self.faults.len());
                self.faults.extend(faults.into_iter().take(room).map(|fault| at_row(row, fault)));
            }
            Ok(checked) => {
                if let Some(first) = self.seen.get(&checked.key) {
                    self.exists = true;
                    let first = LINES.at(*first as usize).proto_path();
                    let (english, chinese) = (format!("is the same line as {first}"), format!("与{first}重复"));
                    self.faults.push(Fault::rule(LINES.at(row as usize), english, chinese));
                    return Ok(());
                }
                self.seen.insert(checked.key, row);
                self.outstanding_lines += u32::from(!checked.is_settled());
                if self.writer.is_some() {
                    if self.faults.is_empty() {
                        let rows = &mut self.ready.rows;
                        rows.push_imported(self.call, self.batch_id, &checked).map_err(Refusal::internal)?;
                    }
                    self.ready.identities.push(LineIdentity::of(row, checked));
                }
            }
        }
        Ok(())
    }

    /// Passes the lines that were read to the writer. A writer that stopped returns why.
    async fn hand_over(&mut self) -> Result<(), Refusal> {
        let mut ready = std::mem::take(&mut self.ready);
        let Some(writer) = &self.writer else { return Ok(()) };
        ready.faultless = self.faults.is_empty();
        self.told = !ready.faultless;
        if ready.faultless {
            let months = ready.identities.iter().map(LineIdentity::account_month);
            ready.months = months.filter(|month| self.opened.insert(*month)).collect();
            store::open_line_months(self.pool, &ready.months).await?;
        }
        if writer.portions.send(Portion::Lines(Box::new(ready))).await.is_ok() {
            return Ok(());
        }
        match self.end_writer().await? {
            // Another call imported the batch in the meantime; the hash tells if it is the same.
            Written::BatchExists => Ok(()),
            Written::Done | Written::Nothing { .. } => Err(Refusal::internal("the writer stopped before the end")),
        }
    }

    async fn end_writer(&mut self) -> Result<Written, Refusal> {
        let Some(writer) = self.writer.take() else { return Ok(Written::BatchExists) };
        drop(writer.portions);
        writer.task.await.map_err(Refusal::internal)?
    }

    async fn finish(mut self) -> Result<ImportReceivableLinesResponse, Refusal> {
        if self.lines == 0 {
            self.faults.push(missing(LINES, "应收明细"));
        }
        // Also without lines: a writer that hears of the first fault here rolls back.
        self.hand_over().await?;
        if !self.faults.is_empty() {
            let existing = match self.end_writer().await? {
                Written::Nothing { existing } => existing,
                Written::Done | Written::BatchExists => Vec::new(),
            };
            return Err(self.refuse(existing));
        }
        let batch = Batch {
            content_hash: self.hash.clone().finalize().to_vec(),
            lines: self.lines.into(),
            outstanding_lines: self.outstanding_lines.into(),
            taken_back: false,
        };
        if let Some(writer) = &self.writer {
            // If this cannot be sent, the writer has stopped and returns why below.
            let _ = writer.portions.send(Portion::End(batch.clone())).await;
            match self.end_writer().await? {
                Written::Done => {
                    metrics::counter!("communal_billing_lines_imported_total").increment(self.lines.into());
                    return Ok(ImportReceivableLinesResponse {
                        lines: batch.lines,
                        outstanding_lines: batch.outstanding_lines,
                        replayed: false,
                    });
                }
                Written::Nothing { existing } => return Err(self.refuse(existing)),
                Written::BatchExists => {}
            }
        }
        match store::batch(self.pool, &self.call.tenant.id, self.batch_id).await? {
            Some(known) if known.taken_back => Err(taken_back(self.batch_id)),
            Some(known) if known.content_hash == batch.content_hash => {
                metrics::counter!("communal_idempotent_replays_total", "method" => self.call.method.clone())
                    .increment(1);
                Ok(ImportReceivableLinesResponse {
                    lines: known.lines,
                    outstanding_lines: known.outstanding_lines,
                    replayed: true,
                })
            }
            Some(_) => {
                let text = format!("批次{}已导入过其他明细", self.batch_id);
                let field = BATCH.then(import_batch::BATCH_ID);
                let fault = Fault::rule(field, "was imported with other lines", text.clone());
                Err(Refusal::new(Reason::BatchReused, text).fault(fault))
            }
            None => Err(Refusal::new(Common::Conflict, "数据正被其他请求修改，请重试")),
        }
    }

    /// Builds the refusal of all faults, the lines that exist among them.
    fn refuse(mut self, existing: Vec<u32>) -> Refusal {
        self.exists |= !existing.is_empty();
        for row in existing {
            self.faults.push(Fault::rule(LINES.at(row as usize), "exists already", "应收明细已存在"));
        }
        self.faults.sort_by_key(|fault| fault.field.row().unwrap_or_default());
        self.faults.truncate(MOST_FAULTS);
        let faults = self.faults;
        match faults.first() {
            // The line existed and is gone: its transaction was rolled back.
            None => Refusal::new(Common::Conflict, "数据正被其他请求修改，请重试"),
            Some(first)
                if self.exists && faults.iter().all(|f| f.kind == FaultKind::Rule && f.field.is_whole_row()) =>
            {
                Refusal::new(Reason::LineExists, first.text.clone()).faults(faults).naming_rows()
            }
            Some(_) => Refusal::for_faults(faults).naming_rows(),
        }
    }
}

fn rows_fault(most: usize, of: &str) -> Fault {
    Fault {
        field: LINES.into(),
        kind: FaultKind::Rows,
        description: format!("has more than {most} rows"),
        text: format!("{of}的应收明细不能超过{most}行"),
    }
}

fn at_row(row: u32, fault: Fault) -> Fault {
    Fault { field: LINES.at(row as usize).then(fault.field), ..fault }
}

/// Lines for the writer.
#[derive(Debug, Default)]
struct Lines {
    rows: NewLines,
    identities: Vec<LineIdentity>,
    /// Account months whose partitions were made for these lines.
    months: Vec<i32>,
    /// False if the batch has a fault: then the lines are looked for, and not written.
    faultless: bool,
}

/// A message to the writer.
enum Portion {
    /// Lines to write.
    Lines(Box<Lines>),
    /// The batch is complete: commit.
    End(Batch),
}

/// The outcome of writing a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Written {
    /// It is committed.
    Done,
    /// It has a fault, so that nothing is written. Some of its lines exist.
    Nothing {
        /// The rows of those.
        existing: Vec<u32>,
    },
    /// It was imported before; nothing is written.
    BatchExists,
}

/// The task that writes a batch.
struct Writer {
    portions: mpsc::Sender<Portion>,
    task: JoinHandle<Result<Written, Refusal>>,
}

impl Writer {
    fn start(pool: Pool, call: Call, batch_id: BatchId) -> Self {
        // One portion is written while the next is made ready.
        let (portions, incoming) = mpsc::channel(1);
        Self { portions, task: tokio::spawn(belonging(write(pool, call, batch_id, incoming))) }
    }
}

async fn write(
    pool: Pool,
    call: Call,
    batch_id: BatchId,
    mut incoming: mpsc::Receiver<Portion>,
) -> Result<Written, Refusal> {
    let mut transaction = pool.begin().named("begin").await?;
    announce(&mut transaction, &call).await?;
    if !store::reserve_batch(&mut transaction, &call.tenant.id, &batch_id).await? {
        return Err(busy());
    }
    if store::batch(&mut *transaction, &call.tenant.id, &batch_id).await?.is_some() {
        return Ok(Written::BatchExists);
    }
    // The only unique key that lines come with is theirs.
    let line_exists = |error: &sqlx::Error| error.as_database_error().is_some_and(|e| e.is_unique_violation());
    let mut writing = Some(transaction);
    let mut existing = Vec::new();
    while let Some(portion) = incoming.recv().await {
        match portion {
            Portion::Lines(lines) => {
                let Lines { rows, identities, months, faultless } = *lines;
                if let Some(transaction) = writing.as_mut().filter(|_| faultless) {
                    store::open_line_months(&mut **transaction, &months).await?;
                    match rows.send(transaction).await {
                        Err(error) if line_exists(&error) => {}
                        outcome => {
                            outcome?;
                            continue;
                        }
                    }
                }
                if let Some(transaction) = writing.take() {
                    transaction.rollback().named("rollback").await?;
                }
                if existing.len() < MOST_FAULTS && !identities.is_empty() {
                    existing.extend(store::existing(&pool, &identities).await?);
                }
            }
            Portion::End(batch) => {
                let Some(mut transaction) = writing else { break };
                store::record_batch(&mut transaction, &call, &batch_id, &batch).await?;
                transaction.commit().named("commit").await?;
                return Ok(Written::Done);
            }
        }
    }
    match writing {
        None => Ok(Written::Nothing { existing }),
        // The call ended before its stream did; the transaction ends with this task.
        Some(_) => Err(Refusal::new(Common::Unavailable, BROKEN)),
    }
}
