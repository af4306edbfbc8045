//! Imports the payer objects and meter readings of a community that moves in: a stream of them, all
//! or none.
//!
//! The call reads and checks the stream; a task of its own writes, in one transaction. So a call that
//! is cancelled never leaves a connection in the middle of a transaction: the task sees its channel
//! close without the end mark and rolls back. Readings are kept to the end, because they may come
//! before their objects.
//!
//! After the first fault nothing more is written, but the stream is read to its end, so that the
//! sender gets all faults at once (up to a limit), each with its row over the whole stream.

use std::collections::{HashMap, HashSet};

use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::next;
use communal_kit::telemetry::boundary::belonging;
use communal_kit::write::announce;
use communal_proto::community::v1::fields::import_payer_objects_request::{PAYER_OBJECTS, READINGS};
use communal_proto::community::v1::fields::payer_object;
use communal_proto::community::v1::{ImportPayerObjectsRequest, ImportPayerObjectsResponse, MeterReading, PayerObject};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked, Checker, Fault, FieldName};
use futures::Stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use super::readings::{self, NewReading};
use super::rules::{self, Owners};
use super::store;

/// Faults after which reading stops.
const MOST_FAULTS: usize = 500;
/// Most rows of a kind in one message, as in the contract.
const MOST_ROWS_A_MESSAGE: usize = 5_000;
/// Most rows of a kind in one import.
const MOST_ROWS: usize = 500_000;
/// The message for people if a stream breaks.
const BROKEN: &str = "数据流中断，未导入任何数据";

/// Imports a stream.
///
/// # Errors
/// Returns all faults of the rows if there are any, `PAYER_OBJECT_NOT_FOUND` if a contract has a room
/// or a reading an object that does not exist, and `FEE_ITEM_NOT_FOUND` if a reading has such an item.
pub async fn import(
    pool: &Pool,
    call: &Call,
    mut stream: impl Stream<Item = Result<ImportPayerObjectsRequest, Status>> + Unpin,
) -> Result<ImportPayerObjectsResponse, Refusal> {
    let mut reading = Reading { writer: Some(Writer::start(pool.clone(), call.clone())), ..Reading::default() };
    let read = reading.read(&mut stream).await;
    if read.is_err() || !reading.faults.is_empty() {
        reading.abandon_writer().await;
    }
    read?;
    reading.finish().await
}

/// The state of reading a stream.
#[derive(Default)]
struct Reading {
    /// Writes the objects; `None` after the first fault.
    writer: Option<Writer>,
    objects: usize,
    /// Row of each object in the stream.
    rows: HashMap<String, usize>,
    /// Name and phone of each owner.
    owners: HashMap<String, (String, String)>,
    readings: Vec<NewReading>,
    /// Object, item and time of each reading.
    taken: HashSet<(String, String, String)>,
    faults: Vec<Fault>,
}

impl Reading {
    /// Reads the stream to its end, or until there are too many faults.
    async fn read(
        &mut self,
        stream: &mut (impl Stream<Item = Result<ImportPayerObjectsRequest, Status>> + Unpin),
    ) -> Result<(), Refusal> {
        while let Some(mut message) = next(stream, BROKEN).await? {
            bounded(PAYER_OBJECTS, "付费对象", message.payer_objects.len(), self.objects)?;
            bounded(READINGS, "抄表", message.readings.len(), self.readings.len())?;
            for object in &mut message.payer_objects {
                object.tidy_names();
                self.take_object(object);
            }
            for reading in &message.readings {
                self.take_reading(reading);
            }
            if self.faults.is_empty() {
                self.hand_over(message.payer_objects).await?;
            } else {
                self.abandon_writer().await;
            }
            if self.faults.len() >= MOST_FAULTS {
                break;
            }
        }
        Ok(())
    }

    fn take_object(&mut self, object: &PayerObject) {
        let row = self.objects;
        self.objects += 1;
        let mut faults = checked(object);
        faults.extend(rules::faults_of(object, &mut Owners::default()));
        let owner = (object.owner_name.clone(), object.owner_tel.clone());
        if !object.owner_id.is_empty()
            && *self.owners.entry(object.owner_id.clone()).or_insert_with(|| owner.clone()) != owner
        {
            let text = "同一业主的姓名或电话不一致";
            faults.push(Fault::rule(payer_object::OWNER_NAME, "differs from another row of the same owner", text));
        }
        if let Some(first) = self.rows.get(&object.payer_obj_id) {
            let text = format!("与第{first}行重复");
            faults.push(Fault::rule(payer_object::PAYER_OBJ_ID, format!("is the same as in row {first}"), text));
        } else {
            self.rows.insert(object.payer_obj_id.clone(), row);
        }
        self.push(PAYER_OBJECTS, row, faults);
    }

    fn take_reading(&mut self, reading: &MeterReading) {
        let row = self.readings.len();
        let mut faults = checked(reading);
        if let Some(reading) = readings::rules::read(reading) {
            faults.extend(readings::rules::faults_of(&reading, &mut self.taken));
            self.readings.push(reading);
        }
        self.push(READINGS, row, faults);
    }

    fn push(&mut self, rows: FieldName, row: usize, faults: Vec<Fault>) {
        let room = MOST_FAULTS.saturating_sub(self.faults.len());
        let at_row = |fault: Fault| Fault { field: rows.at(row).then(fault.field), ..fault };
        self.faults.extend(faults.into_iter().take(room).map(at_row));
    }

    /// Passes objects to the writer. A writer that stopped returns why.
    async fn hand_over(&mut self, objects: Vec<PayerObject>) -> Result<(), Refusal> {
        let Some(writer) = &self.writer else { return Ok(()) };
        if objects.is_empty() || writer.portions.send(Portion::Objects(objects)).await.is_ok() {
            return Ok(());
        }
        self.end_writer().await
    }

    /// Ends the writer without its end mark, and waits until its transaction is rolled back.
    async fn abandon_writer(&mut self) {
        if let Err(refusal) = self.end_writer().await {
            tracing::debug!(reason = refusal.reason(), "an import was abandoned");
        }
    }

    async fn end_writer(&mut self) -> Result<(), Refusal> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        drop(writer.portions);
        writer.task.await.map_err(Refusal::internal)?
    }

    async fn finish(mut self) -> Result<ImportPayerObjectsResponse, Refusal> {
        if self.objects == 0 && self.readings.is_empty() && self.faults.is_empty() {
            self.faults.push(Fault {
                field: PAYER_OBJECTS.into(),
                kind: FaultKind::Missing,
                description: "is required".into(),
                text: "付费对象不能为空".into(),
            });
        }
        if !self.faults.is_empty() {
            self.abandon_writer().await;
            return Err(Refusal::for_faults(self.faults).naming_rows());
        }
        let count = |rows: usize| i64::try_from(rows).unwrap_or(i64::MAX);
        let counts =
            ImportPayerObjectsResponse { payer_objects: count(self.objects), readings: count(self.readings.len()) };
        if let Some(writer) = &self.writer {
            // If this cannot be sent, the writer has stopped and returns why below.
            let _ = writer.portions.send(Portion::End(std::mem::take(&mut self.readings))).await;
        }
        self.end_writer().await?;
        Ok(counts)
    }
}

fn checked(row: &impl Checked) -> Vec<Fault> {
    let mut checker = Checker::default();
    row.check(&mut checker);
    checker.into_faults()
}

fn bounded(field: FieldName, title: &str, rows: usize, before: usize) -> Result<(), Refusal> {
    let (most, of) = match rows {
        rows if rows > MOST_ROWS_A_MESSAGE => (MOST_ROWS_A_MESSAGE, "每条消息"),
        rows if before + rows > MOST_ROWS => (MOST_ROWS, "每次导入"),
        _ => return Ok(()),
    };
    Err(Refusal::for_faults(vec![Fault {
        field: field.into(),
        kind: FaultKind::Rows,
        description: format!("has more than {most} rows"),
        text: format!("{of}的{title}不能超过{most}行"),
    }]))
}

/// A message to the writer.
enum Portion {
    /// Objects to write.
    Objects(Vec<PayerObject>),
    /// The import is complete: write the readings, check and commit.
    End(Vec<NewReading>),
}

/// The task that writes an import.
struct Writer {
    portions: mpsc::Sender<Portion>,
    task: JoinHandle<Result<(), Refusal>>,
}

impl Writer {
    fn start(pool: Pool, call: Call) -> Self {
        // One portion is written while the next is read.
        let (portions, incoming) = mpsc::channel(1);
        Self { portions, task: tokio::spawn(belonging(write(pool, call, incoming))) }
    }
}

async fn write(pool: Pool, call: Call, mut incoming: mpsc::Receiver<Portion>) -> Result<(), Refusal> {
    let mut transaction = pool.begin().named("begin").await?;
    announce(&mut transaction, &call).await?;
    while let Some(portion) = incoming.recv().await {
        match portion {
            Portion::Objects(objects) => store::upsert(&mut transaction, &call, &objects).await?,
            Portion::End(given) => {
                rules::rooms_exist(&store::unknown_rooms(&mut transaction, &call).await?)?;
                readings::rules::known(&readings::store::unknown(&mut transaction, &call, &given).await?)?;
                readings::store::upsert(&mut transaction, &call, &given).await?;
                transaction.commit().named("commit").await?;
                return Ok(());
            }
        }
    }
    // The call ended before its stream did, or has faults; the transaction ends with this task.
    Err(Refusal::new(Common::Unavailable, BROKEN))
}
