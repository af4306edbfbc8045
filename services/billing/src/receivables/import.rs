//! Imports lines that another system billed: a stream of them, all or none.
//!
//! The call reads, checks and encodes the stream; a task of its own writes the lines, in one
//! transaction. So a call that is cancelled never leaves a connection in the middle of a COPY: the task
//! sees its channel close without the end mark and rolls back.
//!
//! After the first fault nothing more is written, but the stream is read to its end, so that the
//! sender gets all faults at once (up to a limit), each with its row over the whole stream.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::telemetry::boundary::belonging;
use communal_kit::write::announce;
use communal_proto::billing::v1::fields::import_batch;
use communal_proto::billing::v1::fields::import_receivable_lines_request::{BATCH, LINES};
use communal_proto::billing::v1::{
    ImportReceivableLinesRequest, ImportReceivableLinesResponse, Reason, ReceivableLine,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked, Checker, Fault, FieldName};
use futures::{Stream, StreamExt};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use super::line::{LineKey, check};
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
/// Longest wait for the next message. A sender that is silent longer has gone, even if its connection is
/// still open.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Imports a batch of at most `most_lines`.
///
/// # Errors
/// Returns all faults of the lines if there are any, `LINE_EXISTS` if a line exists already, and
/// `BATCH_REUSED` if the batch was imported with other lines.
pub async fn import(
    pool: &Pool,
    call: &Call,
    most_lines: u32,
    mut stream: impl Stream<Item = Result<ImportReceivableLinesRequest, Status>> + Unpin,
) -> Result<ImportReceivableLinesResponse, Refusal> {
    let Some(message) = next(&mut stream).await? else {
        return Err(Refusal::for_faults(vec![missing(BATCH, "批次")]));
    };
    let batch_id = batch_id(&message)?;
    let mut reading = Reading::new(call, &batch_id, most_lines);
    if store::batch(pool, &call.tenant.id, &batch_id).await?.is_none() {
        reading.writer = Some(Writer::start(pool.clone(), call.clone(), batch_id.clone()));
    }
    let read = reading.read(message, &mut stream).await;
    if read.is_err() {
        reading.abandon_writer().await;
    }
    read?;
    reading.finish(pool).await
}

async fn next(
    stream: &mut (impl Stream<Item = Result<ImportReceivableLinesRequest, Status>> + Unpin),
) -> Result<Option<ImportReceivableLinesRequest>, Refusal> {
    match tokio::time::timeout(LONGEST_SILENCE, stream.next()).await {
        Err(silence) => Err(Refusal::new(Common::DeadlineExceeded, "数据流中断，未导入任何明细").cause(silence)),
        Ok(None) => Ok(None),
        Ok(Some(Ok(message))) => Ok(Some(message)),
        // The sender cancelled or lost its connection, so it does not read the answer.
        Ok(Some(Err(status))) => Err(Refusal::new(Common::Unavailable, "数据流中断，未导入任何明细").cause(status)),
    }
}

fn missing(field: FieldName, title: &str) -> Fault {
    Fault {
        field: field.into(),
        kind: FaultKind::Missing,
        description: "is required".into(),
        text: format!("{title}不能为空"),
    }
}

fn batch_id(first: &ImportReceivableLinesRequest) -> Result<BatchId, Refusal> {
    let Some(batch) = &first.batch else { return Err(Refusal::for_faults(vec![missing(BATCH, "批次")])) };
    let mut checker = Checker::default();
    batch.check(&mut checker);
    let inside = |fault: Fault| Fault { field: BATCH.then(fault.field), ..fault };
    let faults: Vec<_> = checker.into_faults().into_iter().map(inside).collect();
    if faults.is_empty() { Ok(batch.batch_id.as_str().into()) } else { Err(Refusal::for_faults(faults)) }
}

/// The state of reading a stream.
struct Reading<'a> {
    call: &'a Call,
    batch_id: &'a BatchId,
    most_lines: u32,
    /// Writes the lines; `None` after the first fault, and if the batch exists already.
    writer: Option<Writer>,
    ready: CopyBuffer,
    hash: Sha256,
    /// Row of each line in the stream.
    rows: HashMap<LineKey, u32>,
    network_company_ids: BTreeSet<String>,
    lines: u32,
    outstanding_lines: u32,
    faults: Vec<Fault>,
    /// True if a line exists twice, in the batch or from before it.
    exists: bool,
}

impl<'a> Reading<'a> {
    fn new(call: &'a Call, batch_id: &'a BatchId, most_lines: u32) -> Self {
        Self {
            call,
            batch_id,
            most_lines,
            writer: None,
            ready: CopyBuffer::default(),
            hash: Sha256::new(),
            rows: HashMap::new(),
            network_company_ids: BTreeSet::new(),
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
            match next(stream).await? {
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
        for line in lines {
            if self.lines >= self.most_lines {
                let most = usize::try_from(self.most_lines).unwrap_or(usize::MAX);
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
        match check(line, &self.call.tenant.id) {
            Err(faults) => {
                let room = MOST_FAULTS.saturating_sub(self.faults.len());
                self.faults.extend(faults.into_iter().take(room).map(|fault| at_row(row, fault)));
            }
            Ok(checked) => {
                if let Some(first) = self.rows.get(&checked.key) {
                    self.exists = true;
                    let (field, first) = (LINES.at(row as usize), LINES.at(*first as usize));
                    let (english, chinese) = (format!("is the same line as {first}"), format!("{field} 与{first}重复"));
                    self.faults.push(Fault::rule(field, english, chinese));
                    return Ok(());
                }
                self.rows.insert(checked.key, row);
                if !self.network_company_ids.contains(&checked.line.network_company_id) {
                    self.network_company_ids.insert(checked.line.network_company_id.clone());
                }
                self.outstanding_lines += u32::from(!checked.is_settled());
                if self.writer.is_some() && self.faults.is_empty() {
                    self.ready.push(self.batch_id, &checked).map_err(Refusal::internal)?;
                }
            }
        }
        Ok(())
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

    async fn finish(mut self, pool: &Pool) -> Result<ImportReceivableLinesResponse, Refusal> {
        if self.lines == 0 {
            self.faults.push(missing(LINES, "应收明细"));
        }
        if !self.faults.is_empty() || self.exists {
            self.abandon_writer().await;
            return Err(self.refuse(pool).await?);
        }
        let batch = Batch {
            content_hash: self.hash.clone().finalize().to_vec(),
            lines: self.lines.into(),
            outstanding_lines: self.outstanding_lines.into(),
        };
        if let Some(writer) = &self.writer {
            let ready = std::mem::take(&mut self.ready);
            let network_company_ids = self.network_company_ids.iter().cloned().collect();
            // If these cannot be sent, the writer has stopped and returns why below.
            let _ = writer.portions.send(Portion::Lines(ready)).await;
            let _ = writer.portions.send(Portion::End { batch: batch.clone(), network_company_ids }).await;
            match self.end_writer().await? {
                Written::Done => {
                    metrics::counter!("communal_billing_lines_imported_total").increment(self.lines.into());
                    return Ok(ImportReceivableLinesResponse {
                        lines: batch.lines,
                        outstanding_lines: batch.outstanding_lines,
                        replayed: false,
                    });
                }
                Written::LineExists => return Err(self.refuse(pool).await?),
                Written::BatchExists => {}
            }
        }
        match store::batch(pool, &self.call.tenant.id, self.batch_id).await? {
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
    async fn refuse(&mut self, pool: &Pool) -> Result<Refusal, Refusal> {
        let network_company_ids: Vec<_> = self.network_company_ids.iter().cloned().collect();
        let keys: Vec<_> = self.rows.keys().copied().collect();
        for keys in keys.chunks(KEYS_A_LOOKUP) {
            if self.faults.len() >= MOST_FAULTS {
                break;
            }
            for key in store::existing(pool, &network_company_ids, &store::key_column(keys)).await? {
                let row = LineKey::try_from(key.as_slice()).ok().and_then(|key| self.rows.get(&key).copied());
                let Some(row) = row else { continue };
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
    /// The batch is complete: check and commit.
    End { batch: Batch, network_company_ids: Vec<String> },
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
        let delay = Duration::from_secs(1);
        return Err(Refusal::new(Common::Conflict, "该批次正在导入，请稍后重试").retry_after(delay));
    }
    if store::batch(&mut *transaction, &call.tenant.id, &batch_id).await?.is_some() {
        return Ok(Written::BatchExists);
    }
    // Lines have no other unique key; each partition has an index of its own for it.
    let line_exists = |error: &sqlx::Error| error.as_database_error().is_some_and(|e| e.is_unique_violation());
    while let Some(portion) = incoming.recv().await {
        match portion {
            Portion::Lines(lines) => match lines.send(&mut transaction).await {
                Err(error) if line_exists(&error) => return Ok(Written::LineExists),
                outcome => outcome?,
            },
            Portion::End { batch, network_company_ids } => {
                if store::any_line_twice(&mut transaction, &network_company_ids).await? {
                    return Ok(Written::LineExists);
                }
                store::record_batch(&mut transaction, &call, &batch_id, &batch).await?;
                transaction.commit().named("commit").await?;
                return Ok(Written::Done);
            }
        }
    }
    // The call ended before its stream did; the transaction ends with this task.
    Err(Refusal::new(Common::Unavailable, "数据流中断，未导入任何明细"))
}
