//! Enters readings: those of one request, and of a stream in one transaction that ends with it.
//!
//! In a stream everything is judged, so that the sender gets all faults at once (up to a limit), each with its row over the
//! whole stream. With a fault the transaction is rolled back at the end, unless the sender wants the readings that fit.

use std::collections::{BTreeSet, HashMap, HashSet};

use communal_kit::call::Call;
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::refusal::{Refusal, reason_of};
use communal_kit::uploads::Upload;
use communal_kit::write::announce;
use communal_proto::billing::v1::fields::read_meters_request::{READINGS, SCOPE};
use communal_proto::billing::v1::fields::{read_meters_scope, register_reading as fields};
use communal_proto::billing::v1::{
    FaultyReading, ReadMetersRequest, ReadMetersResponse, ReadMetersScope, Reason, RegisterReading,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked as _, Checker, Fault, Reason as _};
use futures::Stream;
use futures::future::join;
use sqlx::PgConnection;
use tonic::Status;

use super::rules::{Entered, ReadAt, Reader, judge, objection};
use super::store::{self, NamedMeter};
use crate::archive::{books, settlement_accounts};
use crate::metering::points;
use crate::metering::points::store::OpenPoint;

/// A reading that is not entered: its place, its reason if it has one of its own, and the fault, its field without the row.
#[derive(Debug)]
pub struct Refused {
    /// The place of the reading.
    pub row: usize,
    /// The reason, `None` for a fault of the reading itself.
    pub reason: Option<Reason>,
    /// The fault.
    pub fault: Fault,
}

/// Enters readings, each with its place, into the open points of their meters, and returns those that are refused. What is
/// not refused is written; whether it stays is for the caller to decide. Outdated points are made again first. With a book,
/// the meters have to be those of it.
///
/// # Errors
/// Returns the database's error, and `CONFLICT` if a meter went to another account meanwhile.
pub async fn enter(
    tx: &mut PgConnection,
    call: &Call,
    readings: &[(usize, Entered)],
    at: ReadAt,
    book_id: Option<&str>,
) -> Result<Vec<Refused>, Refusal> {
    look_up_by_keys(tx).await?;
    let meters = named_meters(tx, call, readings).await?;
    let open = open_points(tx, call, &meters).await?;
    let keys: Vec<_> = open.iter().map(OpenPoint::key).collect();
    let points = store::points(&mut *tx, &call.tenant.id, &keys).await?;
    let mut points: HashMap<_, _> =
        points.into_iter().map(|point| (point.key.settlement_account_id.clone(), point)).collect();
    let mut refused = Vec::new();
    let mut changed = HashSet::new();
    for (row, entered) in readings {
        let (reason, fault) = match meters.get(&entered.meter_id) {
            None => {
                let reason = Reason::MeterNotFound;
                (Some(reason), Fault::rule(fields::METER_ID, "is no meter of the company", reason.text()))
            }
            Some(meter) => {
                let point = meter.settlement_account_id.as_ref().and_then(|account| points.get_mut(account));
                match point.filter(|point| point.snapshot.meter_id() == entered.meter_id) {
                    None => {
                        let reason = Reason::BillingPointNotOpen;
                        let english = "is on no account whose billing point is not charged off";
                        (Some(reason), Fault::rule(fields::METER_ID, english, reason.text()))
                    }
                    Some(point) if book_id.is_some_and(|book_id| book_id != point.snapshot.book_id) => {
                        (None, Fault::rule(fields::METER_ID, "is in another book", "装置不属于该抄表区段"))
                    }
                    Some(point) => match judge(entered, &point.snapshot, at) {
                        Ok(read) => {
                            point.readings.enter(read);
                            changed.insert(point.key.settlement_account_id.clone());
                            continue;
                        }
                        Err(refused) => refused,
                    },
                }
            }
        };
        refused.push(Refused { row: *row, reason, fault });
    }
    // Locked points are in the order of their accounts.
    let changed: Vec<_> = open.iter().filter(|point| changed.contains(&point.settlement_account_id)).collect();
    let read: Vec<_> = changed.iter().filter_map(|point| points.get(&point.settlement_account_id)).collect();
    store::write(tx, call, &read).await?;
    let calculated = changed.into_iter().filter(|point| point.lines > 0);
    let (ids, months): (Vec<_>, Vec<_>) =
        calculated.map(|point| (point.settlement_account_id.as_str(), point.account_month)).unzip();
    points::store::discard_calculations(tx, call, &ids, &months).await?;
    Ok(refused)
}

/// The meters that the company has.
async fn named_meters(
    tx: &mut PgConnection,
    call: &Call,
    readings: &[(usize, Entered)],
) -> Result<HashMap<String, NamedMeter>, sqlx::Error> {
    let ids: BTreeSet<_> = readings.iter().map(|(_, entered)| entered.meter_id.as_str()).collect();
    let ids: Vec<_> = ids.into_iter().collect();
    let meters = store::meters(tx, call, &ids).await?;
    Ok(meters.into_iter().map(|meter| (meter.meter_id.clone(), meter)).collect())
}

/// Locks the open points of the meters' accounts, after the accounts of those that are made again.
async fn open_points(
    tx: &mut PgConnection,
    call: &Call,
    meters: &HashMap<String, NamedMeter>,
) -> Result<Vec<OpenPoint>, Refusal> {
    let accounts = |wanted: fn(&NamedMeter) -> bool| {
        let wanted = meters.values().filter(|meter| wanted(meter));
        wanted.filter_map(|meter| meter.settlement_account_id.as_deref()).collect::<BTreeSet<_>>()
    };
    let outdated: Vec<_> = accounts(|meter| meter.outdated).into_iter().collect();
    if !outdated.is_empty() {
        settlement_accounts::store::lock_alone(tx, call, &outdated).await?;
    }
    let ids: Vec<_> = accounts(|_| true).into_iter().collect();
    let open = points::store::lock_open(tx, call, &ids).await?;
    if open.iter().any(|point| point.outdated && !outdated.contains(&point.settlement_account_id.as_str())) {
        return Err(Refusal::of(Common::Conflict));
    }
    if !outdated.is_empty() {
        points::store::remake(tx, call, &outdated).await?;
    }
    Ok(open)
}

/// Faults after which a stream is refused, if it is entered all or none.
const MOST_FAULTS: usize = 500;
/// Faults after which it is refused in any case.
const MOST_SKIPPED: usize = 10_000;
/// Most readings of one message, as in the contract.
const MOST_OF_A_MESSAGE: usize = 2_000;
/// Most readings of one stream.
const MOST_OF_A_STREAM: usize = 1_000_000;

/// The message for people if a stream breaks.
const BROKEN: &str = "数据流中断，未录入任何表底";

fn rows(message: &ReadMetersRequest) -> usize {
    message.readings.len()
}

/// How a stream is entered.
#[derive(Debug)]
pub struct Terms {
    /// Its place and pace.
    pub upload: Upload,
    /// The day and time of its readings.
    pub at: ReadAt,
}

/// Enters the readings of a stream.
///
/// # Errors
/// Returns all faults of the readings if there are any that are not to be skipped, or too many, and `BOOK_NOT_FOUND`.
pub async fn read_meters(
    pool: &Pool,
    call: &Call,
    mut terms: Terms,
    mut stream: impl Stream<Item = Result<ReadMetersRequest, Status>> + Unpin,
) -> Result<ReadMetersResponse, Refusal> {
    let Some(mut message) = terms.upload.next(&mut stream, rows, BROKEN).await? else { return Err(nothing()) };
    let scope = scope(message.scope.take())?;
    let mut transaction = pool.begin().named("begin").await?;
    announce(&mut transaction, call).await?;
    let book_id = Some(scope.book_id.as_str()).filter(|book_id| !book_id.is_empty());
    if let Some(book_id) = book_id {
        books::store::require(&mut transaction, call, book_id, SCOPE.then(read_meters_scope::BOOK_ID)).await?;
    }
    let most_faults = if scope.skip_faulty { MOST_SKIPPED } else { MOST_FAULTS };
    let (mut parts, mut reading) = (Parts::default(), Reading::default());
    let mut part = parts.read(message)?;
    loop {
        let entered = reading.take(&mut transaction, call, part, terms.at, book_id);
        // The next message arrives and is read while PostgreSQL is at work on this one.
        let next = async {
            let more = terms.upload.next(&mut stream, rows, BROKEN).await?;
            more.map(|more| parts.read(more)).transpose()
        };
        let (entered, next) = join(entered, next).await;
        entered?;
        if reading.refused.len() > most_faults {
            break;
        }
        match next? {
            Some(more) => part = more,
            None => break,
        }
    }
    if parts.rows == 0 {
        return Err(nothing());
    }
    if !reading.refused.is_empty() && (!scope.skip_faulty || reading.refused.len() > most_faults) {
        transaction.rollback().named("rollback").await?;
        return Err(reading.refusal());
    }
    transaction.commit().named("commit").await?;
    Ok(reading.reply(parts.rows))
}

fn nothing() -> Refusal {
    let (description, text) = ("is required".to_owned(), "表底不能为空".to_owned());
    Refusal::for_faults(vec![Fault { field: READINGS.into(), kind: FaultKind::Missing, description, text }])
}

fn scope(given: Option<ReadMetersScope>) -> Result<ReadMetersScope, Refusal> {
    let scope = given.unwrap_or_default();
    let mut checker = Checker::default();
    scope.check(&mut checker);
    let inside = |fault: Fault| Fault { field: SCOPE.then(fault.field), ..fault };
    let faults: Vec<_> = checker.into_faults().into_iter().map(inside).collect();
    if faults.is_empty() { Ok(scope) } else { Err(Refusal::for_faults(faults)) }
}

fn bounded(rows: usize, before: usize) -> Result<(), Refusal> {
    let (most, of) = match rows {
        rows if rows > MOST_OF_A_MESSAGE => (MOST_OF_A_MESSAGE, "每条消息"),
        rows if before + rows > MOST_OF_A_STREAM => (MOST_OF_A_STREAM, "每次录入"),
        _ => return Ok(()),
    };
    let (description, text) = (format!("has more than {most} rows"), format!("{of}的表底不能超过{most}行"));
    Err(Refusal::for_faults(vec![Fault { field: READINGS.into(), kind: FaultKind::Rows, description, text }]))
}

/// A message of a stream: its readings, those that can be entered, and the faults of the others.
#[derive(Debug)]
struct Part {
    /// The row of its first reading.
    first: usize,
    given: Vec<RegisterReading>,
    entered: Vec<(usize, Entered)>,
    refused: Vec<Refused>,
}

/// Reads the messages of a stream one after another.
#[derive(Debug, Default)]
struct Parts {
    reader: Reader,
    rows: usize,
}

impl Parts {
    fn read(&mut self, message: ReadMetersRequest) -> Result<Part, Refusal> {
        let ReadMetersRequest { scope, readings: given } = message;
        if scope.is_some() {
            let fault = Fault::rule(SCOPE, "is in the first message only", "范围只能出现在第一条消息中");
            return Err(Refusal::for_faults(vec![fault]));
        }
        bounded(given.len(), self.rows)?;
        let first = self.rows;
        self.rows += given.len();
        let (mut entered, mut refused) = (Vec::with_capacity(given.len()), Vec::new());
        for (row, given) in (first..).zip(&given) {
            let mut checker = Checker::default();
            given.check(&mut checker);
            let mut faults = checker.into_faults();
            if faults.is_empty() {
                match self.reader.read(given) {
                    Ok(reading) => entered.push((row, reading)),
                    Err(fault) => faults.push(fault),
                }
            }
            refused.extend(faults.into_iter().map(|fault| Refused { row, reason: None, fault }));
        }
        Ok(Part { first, given, entered, refused })
    }
}

/// What became of the readings of a stream.
#[derive(Debug, Default)]
struct Reading {
    refused: Vec<(RegisterReading, Refused)>,
}

impl Reading {
    async fn take(
        &mut self,
        tx: &mut PgConnection,
        call: &Call,
        part: Part,
        at: ReadAt,
        book_id: Option<&str>,
    ) -> Result<(), Refusal> {
        let Part { first, given, entered, refused } = part;
        let also = enter(tx, call, &entered, at, book_id).await?;
        for refused in refused.into_iter().chain(also) {
            let of_row = refused.row.checked_sub(first).and_then(|place| given.get(place));
            self.refused.push((of_row.cloned().unwrap_or_default(), refused));
        }
        Ok(())
    }

    fn refusal(mut self) -> Refusal {
        self.refused.sort_by_key(|(_, refused)| refused.row);
        let mut objections = Objections::default();
        for (_, Refused { row, reason, fault }) in self.refused.into_iter().take(MOST_FAULTS) {
            objections.extend([objection(reason, fault).inside(READINGS.at(row))]);
        }
        objections.into_result().err().unwrap_or_else(|| Refusal::internal("readings without a fault were refused"))
    }

    fn reply(mut self, given: usize) -> ReadMetersResponse {
        self.refused.sort_by_key(|(_, refused)| refused.row);
        let rows: HashSet<_> = self.refused.iter().map(|(_, refused)| refused.row).collect();
        let faults = self.refused.into_iter().map(|(given, Refused { row, reason, fault })| FaultyReading {
            row: i64::try_from(row).unwrap_or(i64::MAX),
            meter_id: given.meter_id,
            energy_flow: given.energy_flow,
            register: given.register,
            field: fault.field.to_string(),
            reason: reason.map_or_else(|| reason_of(fault.kind).name(), Reason::name).to_owned(),
            message: fault.text,
        });
        let readings = i64::try_from(given - rows.len()).unwrap_or(i64::MAX);
        ReadMetersResponse { readings, faults: faults.collect() }
    }
}
