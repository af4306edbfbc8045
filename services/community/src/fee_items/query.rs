//! Fee items in the database: lists of live ones.

use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::database::Statement as _;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::{
    BillType, Choice, DefaultItem, FeeFlag, FeeType, Formula, ItemState, ListFeeConfigsRequest, PaymentTiming,
};
use communal_proto::{Checker, Coded, Fault};
use rust_decimal::Decimal;

use super::rules;
use crate::paging::Page;
use crate::vocabulary::times;

/// An item as it is stored.
#[derive(Debug)]
pub struct ItemRow {
    /// Community.
    pub community_id: String,
    /// Identifier.
    pub config_id: String,
    /// Code.
    pub fee_type_cd: String,
    /// Name.
    pub fee_name: String,
    /// Code.
    pub fee_flag: String,
    /// First second of validity.
    pub start_time: NaiveDateTime,
    /// Last second of validity.
    pub end_time: NaiveDateTime,
    /// Code.
    pub computing_formula: String,
    /// Custom formula.
    pub computing_formula_text: Option<String>,
    /// Unit price.
    pub square_price: Decimal,
    /// Additional amount.
    pub additional_amount: Decimal,
    /// Whether it came with the system.
    pub is_default: bool,
    /// Code.
    pub bill_type: String,
    /// Code.
    pub payment_cd: String,
    /// Months.
    pub payment_cycle: i16,
    /// Whether the owner's account may pay it.
    pub deduct_from: bool,
    /// Whether it may be paid on-line.
    pub pay_online: bool,
    /// Code of the rounding.
    pub scale: String,
    /// Digits after the point.
    pub decimal_place: i16,
    /// Unit of the amount.
    pub units: String,
    /// Days.
    pub prepayment_period: Option<i16>,
    /// Whether it is stopped.
    pub stopped: bool,
    /// Whether it is deleted.
    pub deleted: bool,
}

/// An [`ItemRow`] of a row of a checked query; its type has no name that a function could take.
macro_rules! item_of {
    ($row:ident) => {
        $crate::fee_items::query::ItemRow {
            community_id: $row.community_id,
            config_id: $row.config_id,
            fee_type_cd: $row.fee_type_cd,
            fee_name: $row.fee_name,
            fee_flag: $row.fee_flag,
            start_time: $row.start_time,
            end_time: $row.end_time,
            computing_formula: $row.computing_formula,
            computing_formula_text: $row.computing_formula_text,
            square_price: $row.square_price,
            additional_amount: $row.additional_amount,
            is_default: $row.is_default,
            bill_type: $row.bill_type,
            payment_cd: $row.payment_cd,
            payment_cycle: $row.payment_cycle,
            deduct_from: $row.deduct_from,
            pay_online: $row.pay_online,
            scale: $row.scale,
            decimal_place: $row.decimal_place,
            units: $row.units,
            prepayment_period: $row.prepayment_period,
            stopped: $row.stopped,
            deleted: $row.deleted,
        }
    };
}
pub(super) use item_of;

/// What a list asks for; `None` and empty: anything.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Filter {
    config_id: Option<String>,
    name_part: String,
    name: Option<String>,
    fee_type: Option<&'static str>,
    fee_flag: Option<&'static str>,
    bill_type: Option<&'static str>,
    payment: Option<&'static str>,
    payment_cycle: Option<i16>,
    formula: Option<&'static str>,
    is_default: Option<bool>,
    deduct_from: Option<bool>,
    prepayment_period: Option<i16>,
    stopped: Option<bool>,
    start_time: Option<NaiveDateTime>,
    end_time: Option<NaiveDateTime>,
    ends_after: Option<NaiveDateTime>,
}

impl Filter {
    /// Reads what a list asks for. `now` is the local time.
    pub fn read(request: &ListFeeConfigsRequest, now: NaiveDateTime, checker: &mut Checker) -> Self {
        let payment_cycle = rules::payment_cycle(&request.payment_cycle);
        if payment_cycle.is_none() && !request.payment_cycle.is_empty() {
            checker.push(rules::payment_cycle_fault());
        }
        // The documents know 1 alone; other systems that were written against them may send 0.
        if !matches!(request.valid.as_str(), "" | "0" | "1") {
            checker.push(flag_fault("valid", "有效"));
        }
        if !matches!(request.is_flag.as_str(), "" | "0" | "1") {
            checker.push(flag_fault("isFlag", "不分页标志"));
        }
        Self {
            config_id: given(&request.config_id),
            name_part: request.fee_name.clone(),
            name: given(&request.fee_name_eq),
            fee_type: code(request.fee_type_cd(), FeeType::Unspecified),
            fee_flag: code(request.fee_flag(), FeeFlag::Unspecified),
            bill_type: code(request.bill_type(), BillType::Unspecified),
            payment: code(request.payment_cd(), PaymentTiming::Unspecified),
            payment_cycle,
            formula: code(request.computing_formula(), Formula::Unspecified),
            is_default: is(request.is_default(), DefaultItem::Unspecified, DefaultItem::System),
            deduct_from: is(request.deduct_from(), Choice::Unspecified, Choice::Yes),
            prepayment_period: request.prepayment_period.parse().ok(),
            stopped: is(request.state(), ItemState::Unspecified, ItemState::Stopped),
            start_time: times::start(&request.start_time),
            end_time: times::end(&request.end_time),
            ends_after: (request.valid == "1").then_some(now),
        }
    }
}

fn flag_fault(field: &str, title: &str) -> Fault {
    Fault::rule(field, "is not 0 or 1", format!("{title}只能是0或1"))
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn code<C: Coded + PartialEq>(value: C, unspecified: C) -> Option<&'static str> {
    (value != unspecified).then(|| value.code())
}

fn is<C: PartialEq>(value: C, unspecified: C, yes: C) -> Option<bool> {
    (value != unspecified).then(|| value == yes)
}

/// The live items of a page, newest first, and how many there are in all.
///
/// # Errors
/// Storage faults.
pub async fn list(pool: &Pool, call: &Call, filter: &Filter, page: Page) -> Result<(Vec<ItemRow>, i64), Refusal> {
    // The first row is read as well as the page, because it tells the total also where the
    // page asked for is beyond the last. strpos takes the part literally, % and _ included.
    let rows = sqlx::query!(
        r#"SELECT community_id, config_id, fee_type_cd, fee_name, fee_flag, start_time, end_time, computing_formula,
                  computing_formula_text, square_price, additional_amount, is_default, bill_type, payment_cd,
                  payment_cycle, deduct_from, pay_online, scale, decimal_place, units, prepayment_period, stopped,
                  false AS "deleted!", place AS "place!", total AS "total!"
           FROM (SELECT *, row_number() OVER (ORDER BY created_at DESC, config_id DESC) AS place,
                        count(*) OVER () AS total
                 FROM pay_fee_config
                 WHERE community_id = $1 AND deleted_at IS NULL
                   AND ($2::text IS NULL OR config_id = $2)
                   AND ($3 = '' OR strpos(lower(fee_name), lower($3)) > 0)
                   AND ($4::text IS NULL OR fee_name = $4)
                   AND ($5::text IS NULL OR fee_type_cd = $5)
                   AND ($6::text IS NULL OR fee_flag = $6)
                   AND ($7::text IS NULL OR bill_type = $7)
                   AND ($8::text IS NULL OR payment_cd = $8)
                   AND ($9::smallint IS NULL OR payment_cycle = $9)
                   AND ($10::text IS NULL OR computing_formula = $10)
                   AND ($11::boolean IS NULL OR is_default = $11)
                   AND ($12::boolean IS NULL OR deduct_from = $12)
                   AND ($13::smallint IS NULL OR prepayment_period = $13)
                   AND ($14::boolean IS NULL OR stopped = $14)
                   AND ($15::timestamp IS NULL OR start_time = $15)
                   AND ($16::timestamp IS NULL OR end_time = $16)
                   AND ($17::timestamp IS NULL OR end_time > $17)) found
           WHERE place BETWEEN $18 AND $19 OR place = 1
           ORDER BY place"#,
        call.tenant.id,
        filter.config_id,
        filter.name_part,
        filter.name,
        filter.fee_type,
        filter.fee_flag,
        filter.bill_type,
        filter.payment,
        filter.payment_cycle,
        filter.formula,
        filter.is_default,
        filter.deduct_from,
        filter.prepayment_period,
        filter.stopped,
        filter.start_time,
        filter.end_time,
        filter.ends_after,
        page.first,
        page.last,
    )
    .fetch_all(pool)
    .named("fee_item_list")
    .await?;
    let total = rows.first().map_or(0, |row| row.total);
    let items = rows.into_iter().filter(|row| row.place >= page.first).map(|row| item_of!(row)).collect();
    Ok((items, total))
}
