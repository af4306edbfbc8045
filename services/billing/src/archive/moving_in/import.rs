//! Reads the stream of an archive and writes it, message by message, in one transaction that ends with the stream.
//!
//! A row with a fault is not written, and everything after it is still judged, so that the sender gets all faults at
//! once (up to a limit), each with its row over the whole stream. With a fault the transaction is rolled back at the end.
//! What a stream refers to is read once and remembered: books, packages, stores and nodes.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::database::{Statement as _, look_up_by_keys};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::uploads::Upload;
use communal_kit::write::announce;
use communal_proto::billing::v1::fields::import_archive_request::{
    BATCH, CUSTOMERS, METERS, SETTLEMENT_ACCOUNTS, USER_ACCOUNTS,
};
use communal_proto::billing::v1::fields::{
    archive_batch, brought_customer, brought_meter, brought_settlement_account, brought_user_account, new_meter,
    new_user_account, verified_settlement_account,
};
use communal_proto::billing::v1::{
    BroughtCustomer, BroughtMeter, BroughtSettlementAccount, BroughtUserAccount, ImportArchiveRequest,
    ImportArchiveResponse, Reason, UserSettleVerifyRequest, VerifiedMeterPoint, VerifiedSettlementAccount, YesNo,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked, Checker, Fault, FieldName, FieldPath, Reason as _};
use futures::Stream;
use prost::Message;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tonic::Status;

use super::brought::{Brought, account_faults, own_identifier, registers};
use super::store::{self, Batch};
use crate::archive::meters::rules::{counts, digits_fault};
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
/// Returns all faults of the rows if there are any, `ARCHIVE_ROW_EXISTS` if only that is wrong with some of them, and
/// `BATCH_REUSED` if the batch was imported with other rows.
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
    let mut reading = Reading::new(call, keys, &batch_id, terms.today, known.is_none());
    let mut message = first;
    loop {
        reading.take(&mut transaction, message).await?;
        if reading.faults.len() >= MOST_FAULTS {
            break;
        }
        match terms.upload.next(&mut stream, rows, BROKEN).await? {
            Some(more) => message = more,
            None => break,
        }
        if message.batch.is_some() {
            reading.faults.push(Fault::rule(BATCH, "is in the first message only", "批次只能出现在第一条消息中"));
        }
    }
    reading.judge_whole();
    if let Some(refusal) = reading.refusal() {
        transaction.rollback().named("rollback").await?;
        return Err(refusal);
    }
    let batch = reading.batch();
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

/// The state of reading a stream.
struct Reading<'a> {
    call: &'a Call,
    keys: &'a PersonalKeys,
    batch_id: &'a BatchId,
    today: NaiveDate,
    /// False for a batch that is known: it is only compared.
    writes: bool,
    hash: Sha256,
    rows: HashMap<&'static str, usize>,
    ids: HashSet<String>,
    accounts: HashMap<String, Account>,
    known: Known,
    faults: Vec<Fault>,
    /// True if a row exists already.
    exists: bool,
}

impl<'a> Reading<'a> {
    fn new(call: &'a Call, keys: &'a PersonalKeys, batch_id: &'a BatchId, today: NaiveDate, writes: bool) -> Self {
        Self {
            call,
            keys,
            batch_id,
            today,
            writes,
            hash: Sha256::new(),
            rows: HashMap::new(),
            ids: HashSet::new(),
            accounts: HashMap::new(),
            known: Known::default(),
            faults: Vec::new(),
            exists: false,
        }
    }

    async fn take(&mut self, tx: &mut PgConnection, message: ImportArchiveRequest) -> Result<(), Refusal> {
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
        let users = self.checked(USER_ACCOUNTS, user_accounts, |u: &BroughtUserAccount, faults| {
            faults.extend(own_identifier(&u.user_account_id, brought_user_account::USER_ACCOUNT_ID));
            u.user_account_id.clone()
        });
        let today = self.today;
        let accounts =
            self.checked(SETTLEMENT_ACCOUNTS, settlement_accounts, |a: &BroughtSettlementAccount, faults| {
                let id = a.account.clone().unwrap_or_default().settlement_account_id;
                let field = verified_settlement_account::SETTLEMENT_ACCOUNT_ID;
                faults.extend(own_identifier(&id, brought_settlement_account::ACCOUNT.then(field)));
                faults.extend(account_faults(a, today));
                id
            });
        let meters = self.checked(METERS, meters, |m: &BroughtMeter, faults| {
            faults.extend(own_identifier(&m.meter_id, brought_meter::METER_ID));
            let meter = m.meter.clone().unwrap_or_default();
            let field = brought_meter::METER.then(new_meter::DIGITS);
            faults.extend(digits_fault(meter.meter_kind(), meter.digits, field));
            m.meter_id.clone()
        });
        if self.writes {
            self.write_customers(tx, customers).await?;
            self.write_users(tx, users).await?;
            self.write_accounts(tx, accounts).await?;
            self.write_meters(tx, meters).await?;
        }
        Ok(())
    }

    /// Returns the rows that break no rule of their own, each with its place in the stream.
    fn checked<M: Checked + Message>(
        &mut self,
        block: FieldName,
        rows: Vec<M>,
        judge: impl Fn(&M, &mut Vec<Fault>) -> String,
    ) -> Vec<(usize, M)> {
        let mut good = Vec::with_capacity(rows.len());
        for message in rows {
            let count = self.rows.entry(block.proto).or_default();
            let row = *count;
            *count += 1;
            self.hash.update(block.number.to_be_bytes());
            self.hash.update(message.encode_length_delimited_to_vec());
            let mut checker = Checker::default();
            message.check(&mut checker);
            let mut faults = checker.into_faults();
            let id = judge(&message, &mut faults);
            if faults.is_empty() && !self.ids.insert(format!("{} {id}", block.proto)) {
                self.exists = true;
                faults.push(Fault::rule(FieldPath::default(), "comes twice", "编号重复"));
            }
            if faults.is_empty() {
                good.push((row, message));
            }
            self.faults.extend(faults.into_iter().map(|fault| at(block, row, fault)));
        }
        good
    }

    /// Adds a fault to the rows at these places.
    fn object(
        &mut self,
        block: FieldName,
        rows: &[usize],
        field: impl Fn() -> FieldPath,
        reason: Reason,
        english: &str,
    ) {
        for row in rows {
            self.faults.push(at(block, *row, Fault::rule(field(), english, reason.text())));
        }
    }

    /// Notes that rows were not written because they exist.
    fn not_written(&mut self, block: FieldName, rows: &[usize]) {
        self.exists |= !rows.is_empty();
        let english = "exists already, by its identifier or by what is unique of it";
        self.object(block, rows, FieldPath::default, Reason::ArchiveRowExists, english);
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
        let missing = |(row, c): &(usize, BroughtCustomer)| (!written.contains(&c.customer_id)).then_some(*row);
        self.not_written(CUSTOMERS, &rows.iter().filter_map(missing).collect::<Vec<_>>());
        Ok(())
    }

    async fn write_users(
        &mut self,
        tx: &mut PgConnection,
        rows: Vec<(usize, BroughtUserAccount)>,
    ) -> Result<(), Refusal> {
        if rows.is_empty() {
            return Ok(());
        }
        let customer = |(_, u): &(usize, BroughtUserAccount)| u.account.clone().unwrap_or_default().customer_id;
        let unknown = store::unknown_customers(tx, self.call, &rows.iter().map(customer).collect::<Vec<_>>()).await?;
        let (rows, strangers) = without(rows, &unknown);
        let field = || brought_user_account::ACCOUNT.then(new_user_account::CUSTOMER_ID);
        self.object(USER_ACCOUNTS, &strangers, field, Reason::CustomerNotFound, "is no customer of the company");
        let users: Vec<_> = rows.iter().map(|(_, user)| user).collect();
        let written = store::add_users(tx, self.call, &users).await?;
        let missing = |(row, u): &(usize, BroughtUserAccount)| (!written.contains(&u.user_account_id)).then_some(*row);
        self.not_written(USER_ACCOUNTS, &rows.iter().filter_map(missing).collect::<Vec<_>>());
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
        let users: Vec<_> = rows.iter().map(|(_, account)| account.user_account_id.as_str()).collect();
        let unknown = user_accounts::store::unknown(tx, self.call, &users).await?;
        let (rows, strangers) = without(rows, &unknown);
        let (field, english) =
            (|| brought_settlement_account::USER_ACCOUNT_ID.into(), "is no user account of the company");
        self.object(SETTLEMENT_ACCOUNTS, &strangers, field, Reason::UserAccountNotFound, english);
        let mut fitting = Vec::new();
        for (row, brought) in rows {
            let (account, point) =
                (brought.account.clone().unwrap_or_default(), brought.meter_point.clone().unwrap_or_default());
            if let Some((main, temporary)) = self.packages_of(tx, row, &account, &point).await? {
                let packages = std::iter::once(&main).chain(&temporary);
                let packages = packages.map(|package| (package.time_of_use, package.basic_fee_kind));
                let needs = parameters::needs(point.power_factor_standard(), packages);
                let metered = point.metered() == YesNo::Yes;
                let known = Account { row, utility: point.utility(), metered, needs, has_meter: false };
                self.accounts.insert(account.settlement_account_id.clone(), known);
                fitting.push((row, store::NewAccount { brought, account, point, main, temporary }));
            }
        }
        let accounts: Vec<_> = fitting.iter().map(|(_, account)| account).collect();
        let written = store::add_accounts(tx, self.call, &accounts).await?;
        let missing = |(row, a): &(usize, store::NewAccount)| {
            (!written.contains(&a.account.settlement_account_id)).then_some(*row)
        };
        self.not_written(SETTLEMENT_ACCOUNTS, &fitting.iter().filter_map(missing).collect::<Vec<_>>());
        Ok(())
    }

    /// Judges the parameters of an account as a verification does, and returns its packages if they fit.
    async fn packages_of(
        &mut self,
        tx: &mut PgConnection,
        row: usize,
        account: &VerifiedSettlementAccount,
        point: &VerifiedMeterPoint,
    ) -> Result<Option<(Package, Option<Package>)>, Refusal> {
        let (account, point) = (account.clone(), point.clone());
        let request = UserSettleVerifyRequest { settlement_account: Some(account), meter_point: Some(point.clone()) };
        let mut checker = Checker::default();
        parameters::check(&request, &mut checker);
        let facts = self.known.facts(tx, self.call, &point, self.today).await?;
        let objections = parameters::judge(&point, &facts);
        let faults: Vec<_> =
            checker.into_faults().into_iter().chain(objections.into_iter().map(|o| o.fault().clone())).collect();
        if faults.is_empty() {
            return Ok(facts.main.map(|main| (main, facts.temporary)));
        }
        self.faults.extend(faults.into_iter().map(|fault| at(SETTLEMENT_ACCOUNTS, row, fault)));
        Ok(None)
    }

    async fn write_meters(&mut self, tx: &mut PgConnection, rows: Vec<(usize, BroughtMeter)>) -> Result<(), Refusal> {
        if rows.is_empty() {
            return Ok(());
        }
        let store_of = |(_, m): &(usize, BroughtMeter)| m.meter.clone().unwrap_or_default().store_id;
        let stores: Vec<_> = rows.iter().map(store_of).collect();
        let stores: Vec<_> = stores.iter().map(String::as_str).collect();
        let unknown = suppliers::store::unknown(tx, self.call, &stores).await?;
        let (rows, strangers) = without(rows, &unknown);
        let field = || brought_meter::METER.then(new_meter::STORE_ID);
        self.object(METERS, &strangers, field, Reason::SupplierNotFound, "is no store of the calling company");
        let mut fitting = Vec::new();
        for (row, meter) in rows {
            let mut faults = Vec::new();
            let registers = registers(&meter, self.today, &mut faults);
            faults.extend(self.meter_faults(&meter, &registers));
            if faults.is_empty() {
                fitting.push((row, meter, registers));
            }
            self.faults.extend(faults.into_iter().map(|fault| at(METERS, row, fault)));
        }
        let meters: Vec<_> = fitting.iter().map(|(_, meter, registers)| (meter, registers)).collect();
        let written = store::add_meters(tx, self.call, self.batch_id, &meters).await?;
        let missing = |(row, m, _): &(usize, BroughtMeter, _)| (!written.contains(&m.meter_id)).then_some(*row);
        self.not_written(METERS, &fitting.iter().filter_map(missing).collect::<Vec<_>>());
        Ok(())
    }

    /// Judges whether a meter fits its account.
    fn meter_faults(&mut self, meter: &BroughtMeter, registers: &BTreeMap<Register, Brought>) -> Vec<Fault> {
        let id = &meter.settlement_account_id;
        let refuse = |field: FieldPath, english: &str, chinese: &str| vec![Fault::rule(field, english, chinese)];
        let account_field = || FieldPath::from(brought_meter::SETTLEMENT_ACCOUNT_ID);
        let Some(account) = self.accounts.get_mut(id) else {
            return refuse(account_field(), "is no settlement account of the batch", "结算户不在本批次中");
        };
        if !account.metered || account.has_meter {
            return refuse(account_field(), "has no place for this meter", "结算户无表或已有表");
        }
        account.has_meter = true;
        let given = meter.meter.clone().unwrap_or_default();
        if !counts(given.meter_kind()) || given.utility() != account.utility {
            let field = brought_meter::METER.then(new_meter::METER_KIND);
            return refuse(field, "does not count, or is for another utility", "不是计量表或管网类型与结算户不一致");
        }
        match account.needs.missing(registers.keys().copied()) {
            Some(missing) => {
                let text = format!("缺少示数：{missing}");
                refuse(brought_meter::REGISTERS.into(), &format!("lacks registers {missing}"), &text)
            }
            None => Vec::new(),
        }
    }

    /// Judges what only the whole stream tells.
    fn judge_whole(&mut self) {
        if self.rows.is_empty() {
            self.faults.push(missing(CUSTOMERS, "导入内容"));
        }
        // With other faults, the meter may be one that was refused.
        if !self.faults.is_empty() {
            return;
        }
        let without = self.accounts.values().filter(|account| account.metered && !account.has_meter);
        let without: Vec<_> = without.map(|account| account.row).collect();
        for row in without {
            let field = brought_settlement_account::METER_POINT
                .then(communal_proto::billing::v1::fields::verified_meter_point::METERED);
            let fault = Fault::rule(field, "has a meter, which is not in the batch", "有表结算户的计量表不在本批次中");
            self.faults.push(at(SETTLEMENT_ACCOUNTS, row, fault));
        }
    }

    fn refusal(&mut self) -> Option<Refusal> {
        self.faults.sort_by_key(|fault| fault.field.row().unwrap_or_default());
        self.faults.truncate(MOST_FAULTS);
        let faults = std::mem::take(&mut self.faults);
        let first = faults.first()?;
        let whole = faults.iter().all(|fault| fault.kind == FaultKind::Rule && fault.field.is_whole_row());
        Some(if self.exists && whole {
            Refusal::new(Reason::ArchiveRowExists, first.text.clone()).faults(faults)
        } else {
            Refusal::for_faults(faults)
        })
    }

    fn batch(&self) -> Batch {
        let rows =
            |block: FieldName| self.rows.get(block.proto).and_then(|n| i64::try_from(*n).ok()).unwrap_or_default();
        Batch {
            content_hash: self.hash.clone().finalize().to_vec(),
            customers: rows(CUSTOMERS),
            user_accounts: rows(USER_ACCOUNTS),
            settlement_accounts: rows(SETTLEMENT_ACCOUNTS),
            meters: rows(METERS),
        }
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

/// Splits rows into those at other places, and the numbers of those at these places.
fn without<M>(rows: Vec<(usize, M)>, places: &[i64]) -> (Vec<(usize, M)>, Vec<usize>) {
    let places: HashSet<_> = places.iter().filter_map(|place| usize::try_from(*place).ok()).collect();
    let (mut kept, mut dropped) = (Vec::with_capacity(rows.len()), Vec::new());
    for (place, (row, message)) in rows.into_iter().enumerate() {
        if places.contains(&place) { dropped.push(row) } else { kept.push((row, message)) }
    }
    (kept, dropped)
}

fn at(block: FieldName, row: usize, fault: Fault) -> Fault {
    let field = block.at(row).then(fault.field);
    Fault { text: format!("{field} {}", fault.text), field, ..fault }
}
