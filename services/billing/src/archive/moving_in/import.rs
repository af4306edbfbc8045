//! Reads the stream of an archive and writes it, message by message, in one transaction that ends with the stream. While
//! a message is written, the next one is read and judged by itself.
//!
//! A row with a fault is not written, and everything after it is still judged, so that the sender gets all faults at
//! once (up to a limit), each with its row over the whole stream. A row that refers to one that is not written has no fault of
//! its own: such rows are only counted. With a fault the transaction is rolled back at the end.
//! What a stream refers to is read once and remembered: books, packages, stores and nodes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_kit::objections::{Objection, Objections};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::uploads::Upload;
use communal_kit::write::announce;
use communal_proto::billing::v1::fields::import_archive_request::{
    BATCH, CUSTOMERS, METERS, SETTLEMENT_ACCOUNTS, USER_ACCOUNTS,
};
use communal_proto::billing::v1::fields::{
    archive_batch, brought_customer, brought_meter, brought_settlement_account, brought_user_account, new_meter,
    new_user_account, verified_meter_point, verified_settlement_account,
};
use communal_proto::billing::v1::{
    BroughtCustomer, BroughtMeter, BroughtSettlementAccount, BroughtUserAccount, ImportArchiveRequest,
    ImportArchiveResponse, Reason, UserSettleVerifyRequest, VerifiedMeterPoint, YesNo,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked, Checker, Fault, FieldName, FieldPath, Reason as _};
use futures::Stream;
use futures::future::join;
use prost::Message;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tokio::sync::mpsc;
use tonic::Status;

use super::brought::{Brought, account_faults, own_identifier, registers};
use super::store::{self, Batch};
use crate::archive::meters;
use crate::archive::meters::rules::counts;
use crate::archive::user_accounts;
use crate::archive::verification::parameters::{self, Book, Facts, Package};
use crate::archive::verification::registers::{Needs, Register};
use crate::archive::verification::store as verification;
use crate::suppliers;
use crate::vocabulary::identifiers::BatchId;
use crate::vocabulary::personal::PersonalKeys;
use crate::vocabulary::tariff::Utility;

/// Faults after which reading stops.
const MOST_FAULTS: usize = 500;
/// Most rows of a kind in one message, as in the contract.
const MOST_ROWS: usize = 2_000;

/// The message for people if a stream breaks.
const BROKEN: &str = "数据流中断，未导入任何内容";

fn rows(message: &ImportArchiveRequest) -> usize {
    let ImportArchiveRequest { batch: _, customers, user_accounts, settlement_accounts, meters } = message;
    customers.len() + user_accounts.len() + settlement_accounts.len() + meters.len()
}

/// How an import is carried out.
#[derive(Debug)]
pub struct Terms {
    /// Its place and pace.
    pub upload: Upload,
    /// No account was archived and no register read after it.
    pub today: NaiveDate,
}

/// Imports a batch.
///
/// # Errors
/// Returns all faults of the rows if there are any, each with its reason, the first one's for all: `ARCHIVE_ROW_EXISTS`, that of
/// what a row refers to, like `CUSTOMER_NOT_FOUND`, or that of a field. Returns `BATCH_REUSED` if the batch was imported with
/// other rows.
pub async fn import(
    pool: &Pool,
    call: &Call,
    keys: &PersonalKeys,
    mut terms: Terms,
    mut stream: impl Stream<Item = Result<ImportArchiveRequest, Status>> + Unpin,
) -> Result<ImportArchiveResponse, Refusal> {
    let Some(first) = terms.upload.next(&mut stream, rows, BROKEN).await? else {
        return Err(Refusal::for_faults(vec![missing(BATCH, "批次")]));
    };
    let batch_id = batch_id(&first)?;
    let mut transaction = pool.begin().named("begin").await?;
    announce(&mut transaction, call).await?;
    look_up_by_keys(&mut transaction).await?;
    if !store::reserve(&mut transaction, call, &batch_id).await? {
        return Err(Refusal::new(Common::Conflict, "该批次正在导入，请稍后重试"));
    }
    let known = store::batch(&mut transaction, call, &batch_id).await?;
    let mut reading = Reading::new(terms.today);
    let mut writing = Writing::new(call, keys, &batch_id, terms.today);
    let (portions, mut ready) = mpsc::channel(1);
    let writes = known.is_none();
    let read = async {
        let portions = portions;
        reading.read(first, &mut terms.upload, &mut stream, &portions).await
    };
    let written = async {
        // A batch that is known is only compared.
        while let Some(portion) = ready.recv().await {
            if writes {
                writing.write(&mut transaction, portion).await?;
            }
            if writing.objections.len() >= MOST_FAULTS {
                break;
            }
        }
        ready.close();
        Ok::<_, Refusal>(())
    };
    let (read, written) = join(read, written).await;
    if let Err(refusal) = written.and(read) {
        transaction.rollback().named("rollback").await?;
        return Err(refusal);
    }
    let Reading { hash, rows, .. } = &reading;
    let batch = batch(hash, rows);
    if let Some(refusal) = refusal(reading, writing) {
        transaction.rollback().named("rollback").await?;
        return Err(refusal);
    }
    match known {
        None => {
            store::record(&mut transaction, call, &batch_id, &batch).await?;
            transaction.commit().named("commit").await?;
            Ok(reply(&batch, false))
        }
        Some(known) if known.content_hash == batch.content_hash => {
            transaction.rollback().named("rollback").await?;
            metrics::counter!("communal_idempotent_replays_total", "method" => call.method.clone()).increment(1);
            Ok(reply(&known, true))
        }
        Some(_) => {
            let text = format!("批次{batch_id}已导入过其他内容");
            let fault = Fault::rule(BATCH.then(archive_batch::BATCH_ID), "was imported with other rows", text.clone());
            Err(Refusal::new(Reason::BatchReused, text).fault(fault))
        }
    }
}

fn missing(field: FieldName, title: &str) -> Fault {
    let (description, text) = ("is required".to_owned(), format!("{title}不能为空"));
    Fault { field: field.into(), kind: FaultKind::Missing, description, text }
}

fn batch_id(first: &ImportArchiveRequest) -> Result<BatchId, Refusal> {
    let Some(batch) = &first.batch else { return Err(Refusal::for_faults(vec![missing(BATCH, "批次")])) };
    let mut checker = Checker::default();
    batch.check(&mut checker);
    let inside = |fault: Fault| Fault { field: BATCH.then(fault.field), ..fault };
    let faults: Vec<_> = checker.into_faults().into_iter().map(inside).collect();
    if faults.is_empty() { Ok(batch.batch_id.as_str().into()) } else { Err(Refusal::for_faults(faults)) }
}

fn reply(batch: &Batch, replayed: bool) -> ImportArchiveResponse {
    ImportArchiveResponse {
        customers: batch.customers,
        user_accounts: batch.user_accounts,
        settlement_accounts: batch.settlement_accounts,
        meters: batch.meters,
        replayed,
    }
}

/// An account of the batch, as far as its meter must fit it.
#[derive(Clone, Debug)]
struct Account {
    row: usize,
    utility: Utility,
    metered: bool,
    needs: Needs,
    has_meter: bool,
}

/// What accounts refer to, as far as it was read.
#[derive(Debug, Default)]
struct Known {
    books: HashMap<String, Option<Book>>,
    /// By package and network store.
    packages: HashMap<(String, String), Option<Package>>,
    stores: HashMap<(String, String), bool>,
    nodes: HashMap<(String, String), bool>,
}

/// The rows of a message that break no rule of their own, each with its place in the stream.
#[derive(Debug)]
struct Portion {
    customers: Vec<(usize, BroughtCustomer)>,
    user_accounts: Vec<(usize, BroughtUserAccount)>,
    settlement_accounts: Vec<(usize, BroughtSettlementAccount)>,
    meters: Vec<(usize, BroughtMeter)>,
    /// The rows that do.
    refused: Vec<RowKey>,
}

/// A row by its kind and its identifier.
type RowKey = (&'static str, String);

/// The state of reading a stream: rows are counted, and judged by themselves.
struct Reading {
    today: NaiveDate,
    hash: Sha256,
    rows: HashMap<&'static str, usize>,
    ids: HashSet<String>,
    objections: Vec<Objection>,
    /// The rows at fault since the last portion.
    refused: Vec<RowKey>,
}

impl Reading {
    fn new(today: NaiveDate) -> Self {
        let (rows, ids) = (HashMap::new(), HashSet::new());
        Self { today, hash: Sha256::new(), rows, ids, objections: Vec::new(), refused: Vec::new() }
    }

    /// Reads the stream to its end, or until there are too many faults, its own or those of the receiver.
    async fn read(
        &mut self,
        first: ImportArchiveRequest,
        upload: &mut Upload,
        stream: &mut (impl Stream<Item = Result<ImportArchiveRequest, Status>> + Unpin),
        portions: &mpsc::Sender<Portion>,
    ) -> Result<(), Refusal> {
        let mut message = first;
        loop {
            let portion = self.judge(message)?;
            if portions.send(portion).await.is_err() || self.objections.len() >= MOST_FAULTS {
                return Ok(());
            }
            match upload.next(stream, rows, BROKEN).await? {
                Some(more) => message = more,
                None => return Ok(()),
            }
            if message.batch.is_some() {
                let fault = Fault::rule(BATCH, "is in the first message only", "批次只能出现在第一条消息中");
                self.objections.push(fault.into());
            }
        }
    }

    /// Counts the rows of a message and returns those that break no rule of their own.
    fn judge(&mut self, message: ImportArchiveRequest) -> Result<Portion, Refusal> {
        let ImportArchiveRequest { batch: _, customers, user_accounts, settlement_accounts, meters } = message;
        for (block, rows) in [
            (CUSTOMERS, customers.len()),
            (USER_ACCOUNTS, user_accounts.len()),
            (SETTLEMENT_ACCOUNTS, settlement_accounts.len()),
            (METERS, meters.len()),
        ] {
            if rows > MOST_ROWS {
                let (description, text) =
                    (format!("has more than {MOST_ROWS} rows"), format!("每条消息不能超过{MOST_ROWS}行"));
                let fault = Fault { field: block.into(), kind: FaultKind::Rows, description, text };
                return Err(Refusal::for_faults(vec![fault]));
            }
        }
        let customers = self.checked(CUSTOMERS, customers, |c: &BroughtCustomer, faults| {
            faults.extend(own_identifier(&c.customer_id, brought_customer::CUSTOMER_ID));
            c.customer_id.clone()
        });
        let user_accounts = self.checked(USER_ACCOUNTS, user_accounts, |u: &BroughtUserAccount, faults| {
            faults.extend(own_identifier(&u.user_account_id, brought_user_account::USER_ACCOUNT_ID));
            u.user_account_id.clone()
        });
        let today = self.today;
        let settlement_accounts =
            self.checked(SETTLEMENT_ACCOUNTS, settlement_accounts, |a: &BroughtSettlementAccount, faults| {
                let id = settlement_account_id(a);
                let field = verified_settlement_account::SETTLEMENT_ACCOUNT_ID;
                faults.extend(own_identifier(&id, brought_settlement_account::ACCOUNT.then(field)));
                faults.extend(account_faults(a, today));
                id
            });
        let meters = self.checked(METERS, meters, |m: &BroughtMeter, faults| {
            faults.extend(own_identifier(&m.meter_id, brought_meter::METER_ID));
            if let Some(meter) = &m.meter {
                faults.extend(meters::rules::faults(meter, |field| brought_meter::METER.then(field)));
            }
            m.meter_id.clone()
        });
        let refused = std::mem::take(&mut self.refused);
        Ok(Portion { customers, user_accounts, settlement_accounts, meters, refused })
    }

    /// Returns the rows that break no rule of their own, each with its place in the stream.
    fn checked<M: Checked + Message>(
        &mut self,
        block: FieldName,
        rows: Vec<M>,
        judge: impl Fn(&M, &mut Vec<Fault>) -> String,
    ) -> Vec<(usize, M)> {
        let mut good = Vec::with_capacity(rows.len());
        for mut message in rows {
            let count = self.rows.entry(block.proto).or_default();
            let row = *count;
            *count += 1;
            self.hash.update(block.number.to_be_bytes());
            self.hash.update(message.encode_length_delimited_to_vec());
            let mut checker = Checker::default();
            message.tidy_names();
            message.check(&mut checker);
            let mut faults = checker.into_faults();
            let id = judge(&message, &mut faults);
            if !faults.is_empty() {
                self.refused.push((block.proto, id));
            } else if self.ids.insert(format!("{} {id}", block.proto)) {
                good.push((row, message));
            } else {
                let fault = Fault::rule(block.at(row), "comes twice", "编号重复");
                self.objections.push(Objection::new(Reason::ArchiveRowExists, fault));
            }
            self.objections.extend(faults.into_iter().map(|fault| at(block, row, fault)));
        }
        good
    }
}

/// The state of writing rows: they are judged by what they refer to.
struct Writing<'a> {
    call: &'a Call,
    keys: &'a PersonalKeys,
    batch_id: &'a BatchId,
    today: NaiveDate,
    /// The customers and user accounts that were written, and the user accounts that are connected.
    customers: HashSet<String>,
    users: HashSet<String>,
    connected: HashSet<String>,
    accounts: HashMap<String, Account>,
    known: Known,
    objections: Vec<Objection>,
    /// The rows that are not written, by a fault of their own or of a row that they refer to.
    refused: HashSet<RowKey>,
    /// How many are not written by a fault of another row alone.
    dependent: usize,
}

impl<'a> Writing<'a> {
    fn new(call: &'a Call, keys: &'a PersonalKeys, batch_id: &'a BatchId, today: NaiveDate) -> Self {
        Self {
            call,
            keys,
            batch_id,
            today,
            customers: HashSet::new(),
            users: HashSet::new(),
            connected: HashSet::new(),
            accounts: HashMap::new(),
            known: Known::default(),
            objections: Vec::new(),
            refused: HashSet::new(),
            dependent: 0,
        }
    }

    async fn write(&mut self, tx: &mut PgConnection, portion: Portion) -> Result<(), Refusal> {
        let Portion { customers, user_accounts, settlement_accounts, meters, refused } = portion;
        self.refused.extend(refused);
        let connected = settlement_accounts.iter().map(|(_, account)| account.user_account_id.clone()).collect();
        self.write_customers(tx, customers).await?;
        self.write_users(tx, user_accounts, &connected).await?;
        self.write_accounts(tx, settlement_accounts).await?;
        self.write_meters(tx, meters).await?;
        store::count_rows(tx).await?;
        Ok(())
    }

    /// Objects to the rows at these places.
    fn object(
        &mut self,
        block: FieldName,
        rows: &[usize],
        field: impl Fn() -> FieldPath,
        reason: Reason,
        english: &str,
    ) {
        for row in rows {
            let objection = Objection::new(reason, Fault::rule(field(), english, reason.text()));
            self.objections.push(objection.inside(block.at(*row)));
        }
    }

    /// Notes that rows were not written because they exist.
    fn not_written(&mut self, block: FieldName, rows: Vec<(usize, String)>) {
        let english = "exists already, by its identifier or by what is unique of it";
        let (rows, ids): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        self.object(block, &rows, FieldPath::default, Reason::ArchiveRowExists, english);
        self.refused.extend(ids.into_iter().map(|id| (block.proto, id)));
    }

    /// Takes the rows out that refer to what is not there. They are refused; but one that refers to a row of the batch that is
    /// refused itself has no fault of its own, and is counted. Returns the rows that are left, and the numbers of those at fault.
    fn without_strangers<M>(
        &mut self,
        block: FieldName,
        of: FieldName,
        rows: Vec<(usize, M)>,
        unknown: &HashSet<String>,
        (id, refers_to): (impl Fn(&M) -> String, impl Fn(&M) -> String),
    ) -> (Vec<(usize, M)>, Vec<usize>) {
        let (mut kept, mut strangers) = (Vec::with_capacity(rows.len()), Vec::new());
        for (row, message) in rows {
            let other = refers_to(&message);
            if !unknown.contains(&other) {
                kept.push((row, message));
                continue;
            }
            if self.refused.contains(&(of.proto, other)) {
                self.dependent += 1;
            } else {
                strangers.push(row);
            }
            self.refused.insert((block.proto, id(&message)));
        }
        (kept, strangers)
    }

    async fn write_customers(
        &mut self,
        tx: &mut PgConnection,
        rows: Vec<(usize, BroughtCustomer)>,
    ) -> Result<(), Refusal> {
        if rows.is_empty() {
            return Ok(());
        }
        let customers: Vec<_> = rows.iter().map(|(_, customer)| customer).collect();
        let written = store::add_customers(tx, self.call, self.keys, &customers).await?;
        let missing = rows.iter().filter(|(_, c)| !written.contains(&c.customer_id));
        self.not_written(CUSTOMERS, missing.map(|(row, c)| (*row, c.customer_id.clone())).collect());
        self.customers.extend(written);
        Ok(())
    }

    async fn write_users(
        &mut self,
        tx: &mut PgConnection,
        rows: Vec<(usize, BroughtUserAccount)>,
        connected: &HashSet<String>,
    ) -> Result<(), Refusal> {
        if rows.is_empty() {
            return Ok(());
        }
        let customer =
            |u: &BroughtUserAccount| u.account.as_ref().map(|account| account.customer_id.clone()).unwrap_or_default();
        let asked = rows.iter().map(|(_, user)| customer(user)).filter(|id| !self.customers.contains(id));
        let asked: BTreeSet<_> = asked.collect();
        let unknown = store::unknown_customers(tx, self.call, &texts(&asked)).await?;
        let unknown = at_places(asked, &unknown);
        let ids = (|user: &BroughtUserAccount| user.user_account_id.clone(), customer);
        let (rows, strangers) = self.without_strangers(USER_ACCOUNTS, CUSTOMERS, rows, &unknown, ids);
        let field = || brought_user_account::ACCOUNT.then(new_user_account::CUSTOMER_ID);
        self.object(USER_ACCOUNTS, &strangers, field, Reason::CustomerNotFound, "is no customer of the company");
        let users: Vec<_> = rows.iter().map(|(_, user)| user).collect();
        let written = store::add_users(tx, self.call, &users, connected).await?;
        let missing = rows.iter().filter(|(_, u)| !written.contains(&u.user_account_id));
        self.not_written(USER_ACCOUNTS, missing.map(|(row, u)| (*row, u.user_account_id.clone())).collect());
        self.connected.extend(connected.intersection(&written).cloned());
        self.users.extend(written);
        Ok(())
    }

    async fn write_accounts(
        &mut self,
        tx: &mut PgConnection,
        rows: Vec<(usize, BroughtSettlementAccount)>,
    ) -> Result<(), Refusal> {
        if rows.is_empty() {
            return Ok(());
        }
        let user = |account: &BroughtSettlementAccount| account.user_account_id.clone();
        let asked = rows.iter().map(|(_, account)| user(account)).filter(|id| !self.users.contains(id));
        let asked: BTreeSet<_> = asked.collect();
        let unknown = user_accounts::store::unknown(tx, self.call, &texts(&asked)).await?;
        let unknown = at_places(asked, &unknown);
        let (rows, strangers) =
            self.without_strangers(SETTLEMENT_ACCOUNTS, USER_ACCOUNTS, rows, &unknown, (settlement_account_id, user));
        let (field, english) =
            (|| brought_settlement_account::USER_ACCOUNT_ID.into(), "is no user account of the company");
        self.object(SETTLEMENT_ACCOUNTS, &strangers, field, Reason::UserAccountNotFound, english);
        let mut fitting = Vec::new();
        for (row, mut brought) in rows {
            let id = settlement_account_id(&brought);
            let request = UserSettleVerifyRequest {
                settlement_account: brought.account.take(),
                meter_point: brought.meter_point.take(),
            };
            if let Some((main, temporary)) = self.packages_of(tx, row, &request).await? {
                let (account, point) =
                    (request.settlement_account.unwrap_or_default(), request.meter_point.unwrap_or_default());
                let packages = std::iter::once(&main).chain(&temporary);
                let packages = packages.map(|package| (package.time_of_use, package.basic_fee_kind));
                let needs = parameters::needs(point.power_factor_standard(), packages);
                let metered = point.metered() == YesNo::Yes;
                let known = Account { row, utility: point.utility(), metered, needs, has_meter: false };
                self.accounts.insert(account.settlement_account_id.clone(), known);
                fitting.push((row, store::NewAccount { brought, account, point, main, temporary }));
            } else {
                self.refused.insert((SETTLEMENT_ACCOUNTS.proto, id));
            }
        }
        let accounts: Vec<_> = fitting.iter().map(|(_, account)| account).collect();
        let written = store::add_accounts(tx, self.call, &accounts, &self.connected).await?;
        let missing = fitting.iter().map(|(row, new)| (*row, &new.account.settlement_account_id));
        let missing = missing.filter(|(_, id)| !written.contains(*id)).map(|(row, id)| (row, id.clone()));
        let missing: Vec<_> = missing.collect();
        for (_, id) in &missing {
            self.accounts.remove(id);
        }
        self.not_written(SETTLEMENT_ACCOUNTS, missing);
        Ok(())
    }

    /// Judges the parameters of an account as a verification does, and returns its packages if they fit.
    async fn packages_of(
        &mut self,
        tx: &mut PgConnection,
        row: usize,
        request: &UserSettleVerifyRequest,
    ) -> Result<Option<(Package, Option<Package>)>, Refusal> {
        let Some(point) = &request.meter_point else {
            return Err(Refusal::internal("an account without a meter point was accepted"));
        };
        let mut checker = Checker::default();
        parameters::check(request, &mut checker);
        let facts = self.known.facts(tx, self.call, point, self.today).await?;
        let objections = parameters::judge(point, &facts);
        let own = checker.into_faults().into_iter().map(Objection::from);
        let objections: Vec<_> = own.chain(objections).collect();
        if objections.is_empty() {
            return Ok(facts.main.map(|main| (main, facts.temporary)));
        }
        self.objections.extend(objections.into_iter().map(|objection| objection.inside(SETTLEMENT_ACCOUNTS.at(row))));
        Ok(None)
    }

    async fn write_meters(&mut self, tx: &mut PgConnection, rows: Vec<(usize, BroughtMeter)>) -> Result<(), Refusal> {
        if rows.is_empty() {
            return Ok(());
        }
        let store_of =
            |(_, m): &'_ (usize, BroughtMeter)| m.meter.as_ref().map(|m| m.store_id.clone()).unwrap_or_default();
        let asked: BTreeSet<_> = rows.iter().map(store_of).collect();
        let unknown = suppliers::store::unknown(tx, self.call, &texts(&asked)).await?;
        let unknown = at_places(asked, &unknown);
        let (rows, strangers) = without(rows, |meter| unknown.contains(&store_of(meter)));
        let field = || brought_meter::METER.then(new_meter::STORE_ID);
        self.object(METERS, &strangers, field, Reason::SupplierNotFound, "is no store of the calling company");
        let mut fitting = Vec::new();
        for (row, meter) in rows {
            let mut faults = Vec::new();
            let registers = registers(&meter, self.today, &mut faults);
            let account = (SETTLEMENT_ACCOUNTS.proto, meter.settlement_account_id.clone());
            if !self.accounts.contains_key(&account.1) && self.refused.contains(&account) {
                self.dependent += usize::from(faults.is_empty());
            } else {
                match self.unfit(&meter, &registers) {
                    Some(objection) => self.objections.push(objection.inside(METERS.at(row))),
                    None if faults.is_empty() => fitting.push((row, meter, registers)),
                    None => {}
                }
            }
            self.objections.extend(faults.into_iter().map(|fault| at(METERS, row, fault)));
        }
        let meters: Vec<_> = fitting.iter().map(|(_, meter, registers)| (meter, registers)).collect();
        let written = store::add_meters(tx, self.call, self.batch_id, &meters).await?;
        let missing = fitting.iter().filter(|(_, meter, _)| !written.contains(&meter.meter_id));
        self.not_written(METERS, missing.map(|(row, meter, _)| (*row, meter.meter_id.clone())).collect());
        Ok(())
    }

    /// Returns the objection to a meter that does not fit its account.
    fn unfit(&mut self, meter: &BroughtMeter, registers: &BTreeMap<Register, Brought>) -> Option<Objection> {
        let refuse = |reason: Reason, field: FieldPath, english: &str, chinese: &str| {
            Some(Objection::new(reason, Fault::rule(field, english, chinese)))
        };
        let account_field = || FieldPath::from(brought_meter::SETTLEMENT_ACCOUNT_ID);
        let Some(account) = self.accounts.get_mut(&meter.settlement_account_id) else {
            let english = "is no settlement account of the batch";
            return refuse(Reason::SettlementAccountNotFound, account_field(), english, "结算户不在本批次中");
        };
        if !account.metered || account.has_meter {
            let english = "has no place for this meter";
            return refuse(Reason::MeterUnfit, account_field(), english, "结算户无表或已有表");
        }
        account.has_meter = true;
        let given = meter.meter.clone().unwrap_or_default();
        if !counts(given.meter_kind()) || given.utility() != account.utility {
            let (field, english) =
                (brought_meter::METER.then(new_meter::METER_KIND), "does not count, or is for another utility");
            return refuse(Reason::MeterUnfit, field, english, "不是计量表或管网类型与结算户不一致");
        }
        let missing = account.needs.missing(registers.keys().copied())?;
        let (english, chinese) = (format!("lacks registers {missing}"), format!("缺少示数：{missing}"));
        refuse(Reason::MeterUnfit, brought_meter::REGISTERS.into(), &english, &chinese)
    }

    /// The accounts with a meter that is not in the batch, by their rows.
    fn without_meter(&self) -> Vec<usize> {
        self.accounts.values().filter(|a| a.metered && !a.has_meter).map(|a| a.row).collect()
    }
}

/// Returns the refusal of a stream, if there is a fault in it.
fn refusal(reading: Reading, writing: Writing<'_>) -> Option<Refusal> {
    let without_meter = writing.without_meter();
    let Reading { rows, objections: mut found, .. } = reading;
    found.extend(writing.objections);
    if rows.is_empty() {
        found.push(missing(CUSTOMERS, "导入内容").into());
    }
    // With other faults, the meter may be one that was refused.
    if found.is_empty() {
        for row in without_meter {
            let field = brought_settlement_account::METER_POINT.then(verified_meter_point::METERED);
            let fault = Fault::rule(field, "has a meter, which is not in the batch", "有表结算户的计量表不在本批次中");
            found.push(at(SETTLEMENT_ACCOUNTS, row, fault));
        }
    }
    let mut objections = Objections::default();
    objections.extend(found);
    objections.sort_by_row();
    objections.truncate(MOST_FAULTS);
    objections.into_result().err().map(|refusal| refusal.naming_rows().dependent_rows(writing.dependent))
}

/// Returns what a stream has, as it is recorded.
fn batch(hash: &Sha256, rows: &HashMap<&'static str, usize>) -> Batch {
    let rows = |block: FieldName| rows.get(block.proto).and_then(|n| i64::try_from(*n).ok()).unwrap_or_default();
    Batch {
        content_hash: hash.clone().finalize().to_vec(),
        customers: rows(CUSTOMERS),
        user_accounts: rows(USER_ACCOUNTS),
        settlement_accounts: rows(SETTLEMENT_ACCOUNTS),
        meters: rows(METERS),
    }
}

impl Known {
    /// Reads what a meter point refers to, if it was not read before.
    async fn facts(
        &mut self,
        tx: &mut PgConnection,
        call: &Call,
        point: &VerifiedMeterPoint,
        today: NaiveDate,
    ) -> Result<Facts, sqlx::Error> {
        if !self.books.contains_key(&point.book_id) {
            self.books.insert(point.book_id.clone(), verification::book(tx, call, &point.book_id).await?);
        }
        let store_id = &point.network_store_id;
        for id in [&point.main_package_id, &point.temporary_package_id] {
            let key = (id.clone(), store_id.clone());
            if !id.is_empty() && !self.packages.contains_key(&key) {
                self.packages.insert(key, verification::package(tx, call, id, store_id).await?);
            }
        }
        let package = |id: &String| self.packages.get(&(id.clone(), store_id.clone())).cloned().flatten();
        let (main, temporary) = (package(&point.main_package_id), package(&point.temporary_package_id));
        let network = main.as_ref().map(|main| main.network_company_id.clone()).unwrap_or_default();
        let store_key = (network.clone(), point.network_store_id.clone());
        if !self.stores.contains_key(&store_key) {
            let (company, store) = (network.as_str().into(), point.network_store_id.as_str().into());
            let known = suppliers::store::has_network_store(tx, &company, &store).await?;
            self.stores.insert(store_key.clone(), known);
        }
        let node_key = (network.clone(), point.node_id.clone());
        if !self.nodes.contains_key(&node_key) {
            let known = suppliers::store::has_node(tx, &network, &point.node_id).await?;
            self.nodes.insert(node_key.clone(), known);
        }
        Ok(Facts {
            utility: point.utility(),
            book: self.books.get(&point.book_id).copied().flatten(),
            store: self.stores.get(&store_key).copied().unwrap_or_default(),
            node: self.nodes.get(&node_key).copied().unwrap_or_default(),
            main,
            temporary,
            today,
        })
    }
}

fn settlement_account_id(brought: &BroughtSettlementAccount) -> String {
    brought.account.as_ref().map(|account| account.settlement_account_id.clone()).unwrap_or_default()
}

fn texts(ids: &BTreeSet<String>) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// Returns the identifiers at these places.
fn at_places(ids: BTreeSet<String>, places: &[i64]) -> HashSet<String> {
    let places: HashSet<_> = places.iter().filter_map(|place| usize::try_from(*place).ok()).collect();
    ids.into_iter().enumerate().filter(|(place, _)| places.contains(place)).map(|(_, id)| id).collect()
}

/// Splits rows into those to keep and the numbers of those that are strangers.
fn without<M>(rows: Vec<(usize, M)>, is_stranger: impl Fn(&(usize, M)) -> bool) -> (Vec<(usize, M)>, Vec<usize>) {
    let (mut kept, mut dropped) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        if is_stranger(&row) { dropped.push(row.0) } else { kept.push(row) }
    }
    (kept, dropped)
}

fn at(block: FieldName, row: usize, fault: Fault) -> Objection {
    Objection::from(fault).inside(block.at(row))
}
