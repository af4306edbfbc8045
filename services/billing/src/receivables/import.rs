//! Imports lines that another system billed: a stream of them, all or none.
//!
//! The call reads, checks and encodes the stream; a task of its own writes the lines, in one
//! transaction. So a call that is cancelled never leaves a connection in the middle of a COPY: the task
//! sees its channel close without the end mark and rolls back.
//!
//! After the first fault nothing more is written, but the stream is read to its end, so that the
//! sender gets all faults at once (up to a limit), each with its row over the whole stream.
//!
//! A batch that was imported by mistake is taken back here as well.

use std::collections::HashMap;
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
use super::store::{self, Batch, CopyBuffer};
use crate::vocabulary::identifiers::BatchId;

/// Faults after which reading stops.
const MOST_FAULTS: usize = 500;
/// Most lines in one message, as in the contract.
const MOST_LINES_A_MESSAGE: usize = 5_000;
/// Lines written at a time.
const LINES_A_COPY: usize = 5_000;
/// Keys looked up at a time.
const KEYS_A_LOOKUP: usize = 10_000;
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

/// A line that was read.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// Its row in the stream.
    row: u32,
    /// The number of its network company.
    network_company: u32,
}

/// The state of reading a stream.
struct Reading<'a> {
    pool: &'a Pool,
    call: &'a Call,
    batch_id: &'a BatchId,
    terms: Terms,
    references: References,
    /// Writes the lines; `None` after the first fault, and if the batch exists already.
    writer: Option<Writer>,
    ready: CopyBuffer,
    hash: Sha256,
    seen: HashMap<LineKey, Seen>,
    /// The network companies of the lines, and their numbers.
    network_companies: HashMap<String, u32>,
    lines: u32,
    outstanding_lines: u32,
    faults: Vec<Fault>,
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
            ready: CopyBuffer::default(),
            hash: Sha256::new(),
            seen: HashMap::new(),
            network_companies: HashMap::new(),
            lines: 0,
            outstanding_lines: 0,
            faults: Vec::new(),
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
            if self.ready.lines >= LINES_A_COPY {
                self.hand_over().await?;
            }
        }
        if !self.faults.is_empty() {
            self.abandon_writer().await;
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
                    let (field, first) = (LINES.at(row as usize), LINES.at(first.row as usize));
                    let (english, chinese) = (format!("is the same line as {first}"), format!("{field} 与{first}重复"));
                    self.faults.push(Fault::rule(field, english, chinese));
                    return Ok(());
                }
                let network_company = self.number_of(&checked.line.network_company_id);
                self.seen.insert(checked.key, Seen { row, network_company });
                self.outstanding_lines += u32::from(!checked.is_settled());
                if self.writer.is_some() && self.faults.is_empty() {
                    self.ready.push(&self.call.tenant.id, self.batch_id, &checked).map_err(Refusal::internal)?;
                }
            }
        }
        Ok(())
    }

    fn number_of(&mut self, network_company_id: &str) -> u32 {
        if let Some(number) = self.network_companies.get(network_company_id) {
            return *number;
        }
        let number = u32::try_from(self.network_companies.len()).unwrap_or(u32::MAX);
        self.network_companies.insert(network_company_id.to_owned(), number);
        number
    }

    /// Passes the encoded lines to the writer. A writer that stopped returns why.
    async fn hand_over(&mut self) -> Result<(), Refusal> {
        let ready = std::mem::take(&mut self.ready);
        let Some(writer) = &self.writer else { return Ok(()) };
        if writer.portions.send(Portion::Lines(ready)).await.is_ok() {
            return Ok(());
        }
        match self.end_writer().await? {
            Written::LineExists => self.exists = true,
            // Another call imported the batch in the meantime; the hash tells if it is the same.
            Written::BatchExists => {}
            Written::Done => return Err(Refusal::internal("the writer stopped before the end")),
        }
        Ok(())
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
        if !self.faults.is_empty() || self.exists {
            self.abandon_writer().await;
            return Err(self.refuse().await?);
        }
        let batch = Batch {
            content_hash: self.hash.clone().finalize().to_vec(),
            lines: self.lines.into(),
            outstanding_lines: self.outstanding_lines.into(),
            taken_back: false,
        };
        if let Some(writer) = &self.writer {
            let ready = std::mem::take(&mut self.ready);
            // If these cannot be sent, the writer has stopped and returns why below.
            let _ = writer.portions.send(Portion::Lines(ready)).await;
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
                Written::LineExists => return Err(self.refuse().await?),
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
    async fn refuse(&mut self) -> Result<Refusal, Refusal> {
        let mut names = vec![String::new(); self.network_companies.len()];
        for (id, number) in &self.network_companies {
            if let Some(name) = names.get_mut(*number as usize) {
                name.clone_from(id);
            }
        }
        let name = |seen: &Seen| names.get(seen.network_company as usize).cloned().unwrap_or_default();
        let keys: Vec<_> = self.seen.iter().map(|(key, seen)| (name(seen), key.to_vec())).collect();
        for keys in keys.chunks(KEYS_A_LOOKUP) {
            if self.faults.len() >= MOST_FAULTS {
                break;
            }
            let (network_company_ids, keys): (Vec<_>, Vec<_>) = keys.iter().cloned().unzip();
            for key in store::existing(self.pool, &network_company_ids, &keys).await? {
                let seen = LineKey::try_from(key.as_slice()).ok().and_then(|key| self.seen.get(&key).copied());
                let Some(Seen { row, .. }) = seen else { continue };
                self.exists = true;
                let field = LINES.at(row as usize);
                let chinese = format!("{field} 应收明细已存在");
                self.faults.push(Fault::rule(field, "exists already", chinese));
            }
        }
        self.faults.sort_by_key(|fault| fault.field.row().unwrap_or_default());
        self.faults.truncate(MOST_FAULTS);
        let faults = std::mem::take(&mut self.faults);
        Ok(match faults.first() {
            // The line existed and is gone: its transaction was rolled back.
            None => Refusal::new(Common::Conflict, "数据正被其他请求修改，请重试"),
            Some(first)
                if self.exists && faults.iter().all(|f| f.kind == FaultKind::Rule && f.field.is_whole_row()) =>
            {
                Refusal::new(Reason::LineExists, first.text.clone()).faults(faults)
            }
            Some(_) => Refusal::for_faults(faults),
        })
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
    let field = LINES.at(row as usize).then(fault.field);
    Fault { text: format!("{field} {}", fault.text), field, ..fault }
}

/// A message to the writer.
enum Portion {
    /// Lines to write.
    Lines(CopyBuffer),
    /// The batch is complete: commit.
    End(Batch),
}

/// The outcome of writing a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// It is committed.
    Done,
    /// One of its lines exists; nothing is written.
    LineExists,
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
    while let Some(portion) = incoming.recv().await {
        match portion {
            Portion::Lines(lines) => match lines.send(&mut transaction).await {
                Err(error) if line_exists(&error) => return Ok(Written::LineExists),
                outcome => outcome?,
            },
            Portion::End(batch) => {
                store::record_batch(&mut transaction, &call, &batch_id, &batch).await?;
                transaction.commit().named("commit").await?;
                return Ok(Written::Done);
            }
        }
    }
    // The call ended before its stream did; the transaction ends with this task.
    Err(Refusal::new(Common::Unavailable, BROKEN))
}
