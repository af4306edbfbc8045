//! A receivable line: its rules, its identity, and the form in which it is stored.
//!
//! A line is stored as it was billed: an encoded `ReceivableLine` without the fields that payments
//! change. The encodings of two parts, one after the other, are an encoding of the merged message, so
//! a reply is the stored bytes followed by the changed fields, and a line is never decoded on its way
//! out.

use chrono::NaiveDate;
use communal_kit::dates;
use communal_kit::money::{CENTS, at_scale};
use communal_proto::billing::v1::fields::receivable_line as fields;
use communal_proto::billing::v1::{ChargePackType, ReceivableLine};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checked, Checker, Fault, FieldName, parse_decimal};
use prost::Message;
use prost::bytes::BufMut;
use prost::encoding::{int32, string};
use rust_decimal::Decimal;
use sha2::{Digest, Sha256};

use super::references::References;
use crate::vocabulary::dates::{AccountMonth, day};
use crate::vocabulary::quantity::{QUANTITY_SCALE, UNIT_PRICE_SCALE};

/// The key of an imported line: the first 16 bytes of the SHA-256 of its identifying fields.
pub type LineKey = [u8; 16];

/// A line as it is billed.
#[derive(Clone, Copy, Debug)]
pub struct BilledLine<'l> {
    /// Network company.
    pub network_company_id: &'l str,
    /// Retail company.
    pub retail_company_id: &'l str,
    /// Store of the retail company.
    pub retail_store_id: &'l str,
    /// Book.
    pub book_id: &'l str,
    /// Kind of package.
    pub package_kind: ChargePackType,
    /// Settlement account.
    pub settlement_account_id: &'l str,
    /// Account month.
    pub account_month: AccountMonth,
    /// Serial of the bill.
    pub charge_off_id: &'l str,
    /// Number of the line, from 1 within its bill; negative if it is imported.
    pub line_number: i64,
    /// Business day of the charge-off.
    pub charge_off_date: NaiveDate,
    /// Day from which the late-payment penalty counts.
    pub levy_date: Option<NaiveDate>,
    /// Fee.
    pub fee: Decimal,
    /// The line, encoded without the fields that payments change.
    pub issued: &'l [u8],
    /// The settle month in which the line is closed when it is written: its fee is zero, its bill closes it, or
    /// it was paid before its import.
    pub closed: Option<AccountMonth>,
}

/// The fields of an outstanding line that payments change. All are absent in a line that was never paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Payments<'a> {
    /// Day from which the late-payment penalty counts.
    pub levy_date: Option<NaiveDate>,
    /// Business date of the payment before the latest.
    pub previous_paid_date: Option<NaiveDate>,
    /// Serial of the payment before the latest.
    pub previous_payment_id: Option<&'a str>,
    /// Sum of all payments, if it is not zero.
    pub paid_total: Option<Decimal>,
    /// Amount of the latest payment.
    pub latest_paid: Option<Decimal>,
    /// Business date of the latest payment.
    pub latest_paid_date: Option<NaiveDate>,
    /// Serial of the latest payment.
    pub latest_payment_id: Option<&'a str>,
}

impl Payments<'_> {
    /// Appends the fields to the bytes of a line as it was billed.
    pub fn append(&self, line: &mut impl BufMut) {
        let put_number = |line: &mut _, tag, number: Option<i32>| {
            if let Some(number) = number {
                int32::encode(tag, &number, line);
            }
        };
        put_number(line, fields::PENALTY_FROM.number, self.levy_date.map(dates::to_number));
        put_number(line, fields::PREVIOUS_PAID_DATE.number, self.previous_paid_date.map(dates::to_number));
        put_text(line, fields::PREVIOUS_PAYMENT_ID.number, self.previous_payment_id);
        put_amount(line, fields::PAID_TOTAL.number, self.paid_total);
        put_amount(line, fields::LATEST_PAID.number, self.latest_paid);
        put_number(line, fields::LATEST_PAID_DATE.number, self.latest_paid_date.map(dates::to_number));
        put_text(line, fields::LATEST_PAYMENT_ID.number, self.latest_payment_id);
    }
}

fn put_text(line: &mut impl BufMut, tag: u32, text: Option<&str>) {
    if let Some(text) = text {
        string::encode(tag, &text.to_owned(), line);
    }
}

fn put_amount(line: &mut impl BufMut, tag: u32, amount: Option<Decimal>) {
    if let Some(amount) = amount {
        string::encode(tag, &at_scale(amount, CENTS), line);
    }
}

/// A checked line, with the values of its columns.
#[derive(Clone, Debug)]
pub struct CheckedLine {
    /// Its key.
    pub key: LineKey,
    /// As it was billed, encoded.
    pub issued: Vec<u8>,
    /// Fee as it was billed.
    pub fee: Decimal,
    /// Sum of all payments.
    pub paid_total: Decimal,
    /// Amount of the latest payment.
    pub latest_paid: Option<Decimal>,
    /// The whole line; the fields that payments change are still in it.
    pub line: ReceivableLine,
}

impl CheckedLine {
    /// Returns true if nothing is outstanding.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.fee == self.paid_total
    }

    /// The number of the line, made of its key. Account, account month and charge-off are the other part of its
    /// identity, so that 63 bits tell its lines apart. Lines that are billed here count from 1.
    #[must_use]
    pub fn line_number(&self) -> i64 {
        let [a, b, c, d, e, f, g, h, ..] = self.key;
        i64::from_be_bytes([a, b, c, d, e, f, g, h]) | i64::MIN
    }

    /// The line as it was billed; `None` if it has no account month or day of charge-off.
    #[must_use]
    pub fn billed(&self) -> Option<BilledLine<'_>> {
        let line = &self.line;
        Some(BilledLine {
            network_company_id: &line.network_company_id,
            retail_company_id: &line.retail_company_id,
            retail_store_id: &line.retail_store_id,
            book_id: &line.book_id,
            package_kind: line.package_kind(),
            settlement_account_id: &line.settlement_account_id,
            account_month: AccountMonth::read(line.account_month)?,
            charge_off_id: &line.charge_off_id,
            line_number: self.line_number(),
            charge_off_date: day(line.charge_off_date)?,
            levy_date: day(line.penalty_from),
            fee: self.fee,
            issued: &self.issued,
            closed: if self.is_settled() { Some(AccountMonth::read(line.settled_month)?) } else { None },
        })
    }

    /// What was paid on the line.
    #[must_use]
    pub fn payments(&self) -> Payments<'_> {
        fn given(text: &str) -> Option<&str> {
            (!text.is_empty()).then_some(text)
        }
        let line = &self.line;
        Payments {
            levy_date: day(line.penalty_from),
            previous_paid_date: day(line.previous_paid_date),
            previous_payment_id: given(&line.previous_payment_id),
            paid_total: Some(self.paid_total),
            latest_paid: self.latest_paid,
            latest_paid_date: day(line.latest_paid_date),
            latest_payment_id: given(&line.latest_payment_id),
        }
    }
}

/// Checks a line by its field rules and by the rules of the domain.
///
/// The fee is not compared with quantity × price: power-factor lines and fee adjustments have no
/// quantity, and the system that billed a line may round otherwise. The fee is what the customer was
/// billed.
///
/// # Errors
/// Returns all faults of the line.
pub fn check(
    line: ReceivableLine,
    caller: &str,
    today: NaiveDate,
    references: &References,
) -> Result<CheckedLine, Vec<Fault>> {
    let mut checker = Checker::default();
    line.check(&mut checker);
    let amount = |text: &str| parse_decimal(text).unwrap_or_default();
    let (fee, paid_total, latest_paid) = (amount(&line.fee), amount(&line.paid_total), amount(&line.latest_paid));
    if !line.network_company_id.is_empty()
        && !line.retail_company_id.is_empty()
        && line.network_company_id != caller
        && line.retail_company_id != caller
    {
        checker.push(Fault::rule(
            fields::RETAIL_COMPANY_ID,
            "and NETWORK_CO_DID are both other companies than the calling one",
            "管网公司与销售公司均不是当前商户",
        ));
    }
    if !is_within(paid_total, fee) {
        checker.push(Fault::rule(
            fields::PAID_TOTAL,
            "is more than the fee or has the other sign",
            "累计实收费用不能超过计算费用，且正负应一致",
        ));
    }
    references.check(&line, &mut checker);
    if is_within(paid_total, fee) {
        check_payments(&line, paid_total, latest_paid, &mut checker);
    }
    check_times(&line, fee == paid_total, today, &mut checker);
    let faults = checker.into_faults();
    if !faults.is_empty() {
        return Err(faults);
    }
    let latest_paid = (!latest_paid.is_zero()).then_some(latest_paid);
    Ok(CheckedLine { key: key_of(&line), issued: issued(&line), fee, paid_total, latest_paid, line })
}

/// Checks that payments add up: the latest is known if anything was paid, and the one before it if it was not
/// the only one.
fn check_payments(line: &ReceivableLine, paid_total: Decimal, latest_paid: Decimal, checker: &mut Checker) {
    let (paid, again) = (!paid_total.is_zero(), latest_paid != paid_total);
    let mut given = |field, is: bool, wanted: bool, missing: (&str, &str), needless: (&str, &str)| match (is, wanted) {
        (false, true) => {
            let (description, text) = (missing.0.to_owned(), missing.1.to_owned());
            checker.push(Fault { field: FieldName::into(field), kind: FaultKind::Missing, description, text });
        }
        (true, false) => checker.push(Fault::rule(field, needless.0, needless.1)),
        (true, true) | (false, false) => {}
    };
    let missing =
        ("is required for a line on which something was paid", "已有实收的明细应填写本次实收的费用、日期和流水号");
    let needless = ("is given, but nothing was paid", "未实收的明细不应有实收信息");
    given(fields::LATEST_PAID, !latest_paid.is_zero(), paid, missing, needless);
    given(fields::LATEST_PAID_DATE, line.latest_paid_date != 0, paid, missing, needless);
    given(fields::LATEST_PAYMENT_ID, !line.latest_payment_id.is_empty(), paid, missing, needless);
    let before = paid && again;
    let missing = ("is required if more was paid than the latest payment", "累计实收与本次实收不等时应填写上次实收");
    let needless = ("is given, but no payment came before the latest", "没有上次实收的明细不应有上次实收信息");
    given(fields::PREVIOUS_PAID_DATE, line.previous_paid_date != 0, before, missing, needless);
    given(fields::PREVIOUS_PAYMENT_ID, !line.previous_payment_id.is_empty(), before, missing, needless);
    if !is_within(latest_paid, paid_total) {
        let english = "is more than all payments together or has the other sign";
        checker.push(Fault::rule(fields::LATEST_PAID, english, "本次实收不能超过累计实收，且正负应一致"));
    }
}

/// Checks that days and months follow one another. What is not given is 0; the numbers are in the order of the
/// days and months.
fn check_times(line: &ReceivableLine, settled: bool, today: NaiveDate, checker: &mut Checker) {
    let mut rule = |holds: bool, field: FieldName, english: &str, chinese: &str| {
        if !holds {
            checker.push(Fault::rule(field, english, chinese));
        }
    };
    let (today, this_month) = (dates::to_number(today), AccountMonth::of(today));
    let charged_off = line.charge_off_date;
    let or_none = |date: i32, holds: bool| date == 0 || holds;
    rule(charged_off <= today, fields::CHARGE_OFF_DATE, "is after today", "操作日期不能晚于今天");
    let month = day(charged_off).map(|day| AccountMonth::of(day).next());
    rule(
        AccountMonth::read(line.account_month).zip(month).is_none_or(|(month, next)| month <= next),
        fields::ACCOUNT_MONTH,
        "is more than a month after the charge-off",
        "账务月份不能晚于操作日期的次月",
    );
    rule(
        or_none(line.start_date, charged_off == 0 || line.start_date <= charged_off),
        fields::START_DATE,
        "is after the charge-off",
        "启用日期不能晚于操作日期",
    );
    rule(
        or_none(line.penalty_from, line.penalty_from >= charged_off),
        fields::PENALTY_FROM,
        "is before the charge-off",
        "违约金起征日不能早于操作日期",
    );
    for (field, paid) in
        [(fields::PREVIOUS_PAID_DATE, line.previous_paid_date), (fields::LATEST_PAID_DATE, line.latest_paid_date)]
    {
        rule(or_none(paid, paid >= charged_off), field, "is before the charge-off", "实收日期不能早于操作日期");
        rule(paid <= today, field, "is after today", "实收日期不能晚于今天");
    }
    rule(
        or_none(line.latest_paid_date, line.previous_paid_date <= line.latest_paid_date),
        fields::PREVIOUS_PAID_DATE,
        "is after the latest payment",
        "上次实收日期不能晚于本次实收日期",
    );
    let month = line.settled_month;
    match (settled, month) {
        (true, 0) => rule(
            false,
            fields::SETTLED_MONTH,
            "is required for a line that is paid in full",
            "已结清的明细应填写结账月份",
        ),
        (false, 1..) => {
            rule(
                false,
                fields::SETTLED_MONTH,
                "is given, but the line is not paid in full",
                "未结清的明细不应有结账月份",
            );
        }
        _ => {}
    }
    rule(
        or_none(month, month >= line.account_month),
        fields::SETTLED_MONTH,
        "is before the account month",
        "结账月份不能早于账务月份",
    );
    rule(
        month <= this_month.next().number(),
        fields::SETTLED_MONTH,
        "is after the month to come",
        "结账月份不能晚于下月",
    );
}

/// Returns true if a payment has the sign of what is due and is not more.
#[must_use]
pub fn is_within(paid: Decimal, due: Decimal) -> bool {
    if due.is_sign_negative() { paid <= Decimal::ZERO && paid >= due } else { paid >= Decimal::ZERO && paid <= due }
}

/// Encodes the line as it was billed; its decimals have their documented scale.
fn issued(line: &ReceivableLine) -> Vec<u8> {
    let rescaled = |text: &str, scale| parse_decimal(text).map_or_else(String::new, |d| at_scale(d, scale));
    ReceivableLine {
        quantity: rescaled(&line.quantity, QUANTITY_SCALE),
        unit_price: rescaled(&line.unit_price, UNIT_PRICE_SCALE),
        fee: rescaled(&line.fee, CENTS),
        settled_month: 0,
        penalty_from: 0,
        previous_paid_date: 0,
        previous_payment_id: String::new(),
        paid_total: String::new(),
        latest_paid: String::new(),
        latest_paid_date: 0,
        latest_payment_id: String::new(),
        ..line.clone()
    }
    .encode_to_vec()
}

/// Returns the key of a line: its charge-off, its account and month, and the dimensions of its price.
/// Two lines that agree in these are one line. Every text is hashed with its length, so that no two
/// sequences of fields look alike.
#[must_use]
pub fn key_of(line: &ReceivableLine) -> LineKey {
    let texts = [
        &line.network_company_id,
        &line.retail_company_id,
        &line.settlement_account_id,
        &line.charge_off_id,
        &line.package_id,
        &line.account_item,
    ];
    let numbers = [
        line.run_kind,
        line.account_month,
        line.charge_off_date,
        line.agreement_price,
        line.season,
        line.heat_basis,
        line.property_basis,
        line.time_of_use,
        line.period,
        line.ladder,
        line.tier,
        line.start_date,
    ];
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    }
    for number in numbers {
        hash.update(number.to_be_bytes());
    }
    for item in [line.category_item, line.surcharge_item] {
        hash.update(item.to_be_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut key = LineKey::default();
    for (to, from) in key.iter_mut().zip(digest) {
        *to = from;
    }
    key
}
