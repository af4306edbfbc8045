//! Takes over lines billed elsewhere: a stream of them, all or none.
//!
//! The stream is read, checked and encoded in the call; a task of its own writes what is ready,
//! in one transaction, so that a call that is cancelled never leaves a connection in the middle
//! of a COPY: the task sees its channel close without the end mark and rolls back.
//!
//! After the first fault nothing more is written, but the stream is read on, so that the sender
//! learns of all faults at once (up to a limit), each by its row over the whole stream.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::telemetry::boundary::belonging;
use communal_proto::billing::v1::fields::import_receivable_lines_request::{BATCH, LINES};
use communal_proto::billing::v1::{ImportReceivableLinesRequest, ImportReceivableLinesResponse, ReceivableLine};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked, Checker, Fault};
use futures::{Stream, StreamExt};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use super::line::{LineKey, check};
use super::store::{self, Batch, CopyBuffer};
use crate::reasons::{Reason, refuse};

/// Faults after which reading stops.
const MOST_FAULTS: usize = 500;
/// Lines in one message, as the contract says.
const MOST_LINES_A_MESSAGE: usize = 5_000;
/// Lines written at a time.
const LINES_A_COPY: usize = 5_000;
/// Keys looked up at a time.
const KEYS_A_LOOK_UP: usize = 10_000;
/// A sender that is silent for so long has gone, though its connection may not know.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Takes over a batch of at most `most_lines`.
///
/// # Errors
/// All faults of the lines; `LINE_EXISTS`, `BATCH_REUSED`; storage faults.
pub async fn import(
    pool: &Pool,
    call: &Call,
    most_lines: u32,
    mut stream: impl Stream<Item = Result<ImportReceivableLinesRequest, Status>> + Unpin,
) -> Result<ImportReceivableLinesResponse, Refusal> {
    let Some(message) = next(&mut stream).await? else {
        return Err(Refusal::for_faults(vec![missing("batch", "批次")]));
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
        // The sender cancelled or broke off: nobody is left to read the answer.
        Ok(Some(Err(status))) => Err(Refusal::new(Common::Unavailable, "数据流中断，未导入任何明细").cause(status)),
    }
}

fn missing(field: &str, title: &str) -> Fault {
    Fault {
        field: field.into(),
        kind: FaultKind::Missing,
        description: "is required".into(),
        text: format!("{title}不能为空"),
    }
}

fn batch_id(first: &ImportReceivableLinesRequest) -> Result<String, Refusal> {
    let Some(batch) = &first.batch else { return Err(Refusal::for_faults(vec![missing("batch", "批次")])) };
    let mut checker = Checker::default();
    batch.check(&mut checker);
    let inside = |fault: Fault| Fault { field: BATCH.then(fault.field), ..fault };
    let faults: Vec<_> = checker.into_faults().into_iter().map(inside).collect();
    if faults.is_empty() { Ok(batch.batch_id.clone()) } else { Err(Refusal::for_faults(faults)) }
}

/// A stream while it is read.
struct Reading<'a> {
    call: &'a Call,
    batch_id: &'a str,
    most_lines: u32,
    /// Writes what is ready; none once there is a fault, and where the batch exists already.
    writer: Option<Writer>,
    ready: CopyBuffer,
    hash: Sha256,
    /// Row of each line.
    rows: HashMap<LineKey, u32>,
    network_company_ids: BTreeSet<String>,
    lines: u32,
    outstanding_lines: u32,
    faults: Vec<Fault>,
    /// Lines that exist, in the batch or before it.
    exists: bool,
}

impl<'a> Reading<'a> {
    fn new(call: &'a Call, batch_id: &'a str, most_lines: u32) -> Self {
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

    /// Reads the stream to its end, or to where there are faults enough.
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
                let words = "批次只能出现在第一条消息中";
                self.faults.push(Fault::rule("batch", "is in the first message only", words));
            }
        }
    }

    /// Ends the writer without its end mark, and waits until what it wrote is rolled back: who
    /// hears the refusal may send the batch again at once, and must not meet this attempt.
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
                    self.faults.push(Fault::rule(
                        format!("lines[{row}]"),
                        format!("is the same line as lines[{first}]"),
                        format!("lines[{row}] 与lines[{first}]重复"),
                    ));
                    return Ok(());
                }
                self.rows.insert(checked.key, row);
                if !self.network_company_ids.contains(&checked.line.network_company_id) {
                    self.network_company_ids.insert(checked.line.network_company_id.clone());
                }
                self.outstanding_lines += u32::from(!checked.is_settled());
                if self.writer.is_some() && self.faults.is_empty() {
                    self.ready.push(self.call, self.batch_id, &checked).map_err(Refusal::internal)?;
                }
            }
        }
        Ok(())
    }

    /// Gives the writer what is ready. A writer that stopped says why.
    async fn hand_over(&mut self) -> Result<(), Refusal> {
        let ready = std::mem::take(&mut self.ready);
        let Some(writer) = &self.writer else { return Ok(()) };
        if writer.portions.send(Portion::Lines(ready)).await.is_ok() {
            return Ok(());
        }
        match self.end_writer().await? {
            Written::LineExists => self.exists = true,
            // Another call took the same batch over in the meantime; the hash will tell whether
            // it is the same.
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
            self.faults.push(missing("lines", "应收明细"));
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
            // Where these cannot be sent the writer has stopped, and says why below.
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
                let words = format!("批次{}已导入过其他明细", self.batch_id);
                let fault = Fault::rule("batch.batchId", "was imported with other lines", words.clone());
                Err(refuse(Reason::BatchReused, words).fault(fault))
            }
            None => Err(Refusal::new(Common::Conflict, "数据正被其他请求修改，请重试")),
        }
    }

    /// All faults there are, the lines that exist among them.
    async fn refuse(&mut self, pool: &Pool) -> Result<Refusal, Refusal> {
        let network_company_ids: Vec<_> = self.network_company_ids.iter().cloned().collect();
        let keys: Vec<_> = self.rows.keys().copied().collect();
        for keys in keys.chunks(KEYS_A_LOOK_UP) {
            if self.faults.len() >= MOST_FAULTS {
                break;
            }
            for key in store::existing(pool, &network_company_ids, &store::key_column(keys)).await? {
                let row = LineKey::try_from(key.as_slice()).ok().and_then(|key| self.rows.get(&key).copied());
                let Some(row) = row else { continue };
                self.exists = true;
                self.faults.push(Fault::rule(
                    format!("lines[{row}]"),
                    "exists already",
                    format!("lines[{row}] 应收明细已存在"),
                ));
            }
        }
        self.faults.sort_by_key(|fault| fault.field.row().unwrap_or_default());
        self.faults.truncate(MOST_FAULTS);
        let faults = std::mem::take(&mut self.faults);
        Ok(match faults.first() {
            // The line was there and is gone: whoever wrote it rolled back.
            None => Refusal::new(Common::Conflict, "数据正被其他请求修改，请重试"),
            Some(first)
                if self.exists && faults.iter().all(|f| f.kind == FaultKind::Rule && f.field.is_whole_row()) =>
            {
                refuse(Reason::LineExists, first.text.clone()).faults(faults)
            }
            Some(_) => Refusal::for_faults(faults),
        })
    }
}

fn rows_fault(most: usize, of: &str) -> Fault {
    Fault {
        field: "lines".into(),
        kind: FaultKind::Rows,
        description: format!("has more than {most} rows"),
        text: format!("{of}的应收明细不能超过{most}行"),
    }
}

fn at_row(row: u32, fault: Fault) -> Fault {
    let field = LINES.at(row as usize).then(fault.field);
    Fault { text: format!("{field} {}", fault.text), field, ..fault }
}

/// What the writer is told.
enum Portion {
    /// Lines to write.
    Lines(CopyBuffer),
    /// The batch is complete: check and commit.
    End { batch: Batch, network_company_ids: Vec<String> },
}

/// What became of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// It is committed.
    Done,
    /// One of its lines exists; nothing is written.
    LineExists,
    /// It was taken over before; nothing is written.
    BatchExists,
}

/// The task that writes a batch.
struct Writer {
    portions: mpsc::Sender<Portion>,
    task: JoinHandle<Result<Written, Refusal>>,
}

impl Writer {
    fn start(pool: Pool, call: Call, batch_id: String) -> Self {
        // One portion is written while the next is made ready.
        let (portions, incoming) = mpsc::channel(1);
        Self { portions, task: tokio::spawn(belonging(write(pool, call, batch_id, incoming))) }
    }
}

async fn write(
    pool: Pool,
    call: Call,
    batch_id: String,
    mut incoming: mpsc::Receiver<Portion>,
) -> Result<Written, Refusal> {
    let mut transaction = pool.begin().named("begin").await?;
    if !store::reserve_batch(&mut transaction, &call.tenant.id, &batch_id).await? {
        let delay = Duration::from_secs(1);
        return Err(Refusal::new(Common::Conflict, "该批次正在导入，请稍后重试").retry_after(delay));
    }
    if store::batch(&mut *transaction, &call.tenant.id, &batch_id).await?.is_some() {
        return Ok(Written::BatchExists);
    }
    // Lines have no other key, and each partition has an index of its own for it.
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
                store::note_batch(&mut transaction, &call, &batch_id, &batch).await?;
                transaction.commit().named("commit").await?;
                return Ok(Written::Done);
            }
        }
    }
    // The call ended before its stream did; the transaction goes with this task.
    Err(Refusal::new(Common::Unavailable, "数据流中断，未导入任何明细"))
}
