//! The rules of fees: what a request for them must look like, and which rows a fee item admits.
//! Bill rules admit rows by the same rules.

use std::num::NonZeroU32;

use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::{create_fees_request, new_fee};
use communal_proto::community::v1::{
    CreateFeesRequest, Formula, ListFeeObjRequest, ListFeeRequest, ListOweFeesRequest, QueryReportOweFeeRequest, Reason,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault, FieldName, parse_decimal};

use super::{AdmittedRows, FeeFilter, FeeTerms};
use crate::amounts::unit::applies;
use crate::amounts::{AmountError, Escalation, Months, PaymentScope, QuoteError};
use crate::fee_items::{self, StoredItem};
use crate::payer_objects;
use crate::payer_objects::store::Known;
use crate::vocabulary::codes::given;
use crate::vocabulary::spans::{self, ChargedSpan, RequestedSpan, RowFields};
use crate::vocabulary::times;

/// The fields of a fee in a request.
pub const FIELDS: RowFields = RowFields {
    rows: Some(create_fees_request::FEES),
    payer_obj_id: new_fee::PAYER_OBJ_ID,
    start: new_fee::START_TIME,
    end: new_fee::DEADLINE_TIME,
};
/// `cycle` of a quote until a day.
const UNTIL: &str = "103";
/// `cycle` of a quote between two days.
const BETWEEN: &str = "105";

/// What a request gives for the formula; each may be empty. Malformed values are reported by the field
/// rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct GivenTerms<'a> {
    /// The amount.
    pub amount: &'a str,
    /// Months between two rises of a rent.
    pub rate_cycle: &'a str,
    /// The rise.
    pub rate: &'a str,
    /// A day in the month of the first rise.
    pub rate_start_time: &'a str,
}

/// Reads a request for fees; `None` if anything in it is at fault.
pub fn of_create(request: &CreateFeesRequest, checker: &mut Checker) -> Option<Vec<ChargedSpan>> {
    let rows = request.fees.iter().map(|fee| RequestedSpan {
        payer_obj_id: &fee.payer_obj_id,
        start: &fee.start_time,
        end: &fee.deadline_time,
    });
    spans::read(rows, FIELDS, checker)
}

/// Returns what a formula keeps on a fee. What it does not need is ignored.
///
/// # Errors
/// Returns the fault of a value that the formula needs and the request does not give.
pub fn terms(formula: Formula, asked: GivenTerms<'_>) -> Result<FeeTerms, Refusal> {
    match formula {
        Formula::Dynamic | Formula::Usage | Formula::ManualDynamic => {
            let amount =
                parse_decimal(asked.amount).ok_or_else(|| missing(create_fees_request::AMOUNT, "未包含金额"))?;
            Ok(FeeTerms { amount: Some(amount), escalation: None })
        }
        Formula::EscalatingRent => {
            let every = asked.rate_cycle.parse().ok().and_then(NonZeroU32::new);
            let every = every.ok_or_else(|| missing(create_fees_request::RATE_CYCLE, "未包含递增周期"))?;
            let rate = parse_decimal(asked.rate);
            let rate = rate.ok_or_else(|| missing(create_fees_request::RATE, "未包含递增率"))?;
            let from = times::start(asked.rate_start_time).map(|time| time.date());
            let from = from.ok_or_else(|| missing(create_fees_request::RATE_START_TIME, "未包含递增开始时间"))?;
            Ok(FeeTerms { amount: None, escalation: Some(Escalation { from, every, rate }) })
        }
        _ => Ok(FeeTerms::default()),
    }
}

fn missing(field: FieldName, text: &str) -> Refusal {
    Refusal::for_faults(vec![Fault {
        field: field.into(),
        kind: FaultKind::Missing,
        description: "is required by the formula".to_owned(),
        text: text.to_owned(),
    }])
}

/// Judges whether the rows of a request may be stored. `objects` are the payer objects of the rows,
/// `None` for one that the community does not have.
///
/// # Errors
/// Returns `FEE_ITEM_NOT_FOUND` if there is no such item, `FEE_ITEM_STOPPED` if it is stopped, the
/// faults of rows that lie outside its validity, `PAYER_OBJECT_NOT_FOUND` if the community does not
/// have one of the payer objects, `FORMULA_NOT_APPLICABLE` if the formula does not apply to one, and
/// the fault of a value that the formula needs.
pub fn admit(
    item: Option<StoredItem>,
    objects: Vec<Option<Known>>,
    spans: &[ChargedSpan],
    fields: RowFields,
    asked: GivenTerms<'_>,
    repeatable: bool,
) -> Result<AdmittedRows, Refusal> {
    let item = fee_items::rules::chargeable(item, spans, fields)?;
    let objects = payer_objects::rules::known(objects, spans, fields)?;
    if let Err(error) = objects.iter().try_for_each(|object| applies(item.formula.0, object.payer_obj_type.0)) {
        return Err(Refusal::new(Reason::FormulaNotApplicable, error.text()));
    }
    Ok(AdmittedRows {
        epoch: item.closures,
        terms: terms(item.formula.0, asked)?,
        reading_id: None,
        repeatable,
        payer_obj_ids: spans.iter().map(|span| span.payer_obj_id.clone()).collect(),
        types: objects.into_iter().map(|object| object.payer_obj_type).collect(),
        starts: spans.iter().map(|span| span.start).collect(),
        ends: spans.iter().map(|span| span.end).collect(),
    })
}

/// Judges whether the same charges stand already: `taken` are the places of rows that do.
///
/// # Errors
/// Returns `DUPLICATE_FEE` with each such row.
pub fn none_taken(taken: &[usize], spans: &[ChargedSpan], fields: RowFields) -> Result<(), Refusal> {
    let duplicate = |row: usize| spans.get(row).map(|span| (row, duplicate_text(&span.payer_obj_id)));
    let faults = taken.iter().copied().filter_map(duplicate).map(|(row, text)| {
        Fault::rule(fields.at(row, fields.payer_obj_id), "is charged by the item from the same time on already", text)
    });
    let faults: Vec<_> = faults.collect();
    match faults.first() {
        None => Ok(()),
        Some(first) => Err(Refusal::new(Reason::DuplicateFee, first.text.clone()).faults(faults)),
    }
}

fn duplicate_text(payer_obj_id: &str) -> String {
    format!("付费对象{payer_obj_id}已有相同费用项和起始时间的费用")
}

/// The filter of a list; `None` if anything is at fault. `room_num` is looked up by the caller.
pub fn of_list(request: &ListFeeRequest) -> FeeFilter {
    FeeFilter {
        fee_id: text(&request.fee_id),
        config_ids: text(&request.config_id).into_iter().collect(),
        payer_obj_ids: text(&request.payer_obj_id).into_iter().chain(ids(&request.payer_obj_ids)).collect(),
        payer_obj_type: given(request.payer_obj_type()),
        state: given(request.state()),
        fee_type: given(request.fee_type_cd()),
        fee_flag: given(request.fee_flag()),
        owner_id: text(&request.owner_id),
        owner_part: text(&request.owner_name),
        batch_id: text(&request.batch_id),
        ..FeeFilter::default()
    }
}

/// The filter of the arrears of objects or an owner.
///
/// # Errors
/// Returns `OBJECT_OR_OWNER_MISSING` if neither is given.
pub fn of_arrears(request: &ListOweFeesRequest) -> Result<FeeFilter, Refusal> {
    let (payer_obj_ids, owner_id) = (ids(&request.pay_obj_id).collect::<Vec<_>>(), text(&request.owner_id));
    if payer_obj_ids.is_empty() && owner_id.is_none() {
        return Err(Refusal::of(Reason::ObjectOrOwnerMissing));
    }
    Ok(FeeFilter { payer_obj_ids, owner_id, payer_obj_type: given(request.pay_obj_type()), ..FeeFilter::default() })
}

/// The filter of the arrears of a community.
#[must_use]
pub fn of_report(request: &QueryReportOweFeeRequest) -> FeeFilter {
    FeeFilter {
        config_ids: ids(&request.config_ids).collect(),
        payer_obj_ids: text(&request.payer_obj_id).into_iter().collect(),
        payer_obj_type: given(request.pay_obj_type()),
        owner_id: text(&request.owner_id),
        owner_part: text(&request.owner_name),
        payer_part: text(&request.num),
        floor_id: text(&request.floor_id),
        unit_id: text(&request.unit_id),
        room_sub_type: text(&request.room_sub_type),
        room_part: text(&request.room_num),
        ..FeeFilter::default()
    }
}

/// Judges the number of a room in a list: three parts joined by hyphens.
///
/// # Errors
/// Returns `ROOM_NUMBER` if it has not.
pub fn room_number(room_num: &str) -> Result<(), Refusal> {
    let parts: Vec<_> = room_num.split('-').collect();
    let fits = parts.len() == 3 && parts.iter().all(|part| !part.is_empty());
    if fits { Ok(()) } else { Err(Refusal::of(Reason::RoomNumber)) }
}

/// Reads the scope of a quote; `None` if anything is at fault. End times are the day after the last one.
pub fn of_quote(request: &ListFeeObjRequest, checker: &mut Checker) -> Option<PaymentScope> {
    use communal_proto::community::v1::fields::list_fee_obj_request as fields;
    let day = |text: &str| times::start(text).map(|time| time.date());
    let required = |field: FieldName, text: &str, title: &str, checker: &mut Checker| {
        if text.is_empty() {
            checker.push(Fault {
                field: field.into(),
                kind: FaultKind::Missing,
                description: "is required by cycle".to_owned(),
                text: format!("{title}不能为空"),
            });
        }
        day(text)
    };
    match request.cycle.as_str() {
        "" => Some(PaymentScope::Owed(None)),
        UNTIL => {
            let end = required(fields::CUST_END_TIME, &request.cust_end_time, "自定义结束时间", checker)?;
            end.pred_opt().map(PaymentScope::Until)
        }
        BETWEEN => {
            let start = required(fields::CUSTOM_START_TIME, &request.custom_start_time, "自定义开始时间", checker);
            let end = required(fields::CUSTOM_END_TIME, &request.custom_end_time, "自定义结束时间", checker);
            Some(PaymentScope::Between(start?, end?.pred_opt()?))
        }
        months => parse_decimal(months).and_then(Months::from_decimal).map(PaymentScope::Months),
    }
}

/// Returns the refusal of a quote. `end` and `amount` are the fields that a request asks by.
#[must_use]
pub fn quote_refusal(error: &QuoteError, end: FieldName, amount: FieldName) -> Refusal {
    let at_fault = |field: FieldName| Refusal::for_faults(vec![Fault::rule(field, error.to_string(), error.text())]);
    let reason = match error {
        QuoteError::Amount(_) => Reason::AmountUnknown,
        QuoteError::Ended => Reason::FeeEnded,
        QuoteError::PastLimit(_) => Reason::PastFeeEnd,
        QuoteError::PaidAlready => Reason::PaidAlready,
        QuoteError::CoversNoDay { .. } => Reason::CoversNoDay,
        QuoteError::CostsNothing => Reason::FeeCostsNothing,
        QuoteError::PaidWhole => Reason::PaidWhole,
        QuoteError::Backwards => return at_fault(end),
        QuoteError::NotPayable => return at_fault(amount),
    };
    Refusal::new(reason, error.text())
}

/// Returns the refusal of an amount that cannot be computed.
#[must_use]
pub fn amount_refusal(error: &super::facts::NoAmount) -> Refusal {
    Refusal::new(Reason::AmountUnknown, error.text())
}

/// As [`amount_refusal`].
#[must_use]
pub fn unit_refusal(error: &AmountError) -> Refusal {
    Refusal::new(Reason::AmountUnknown, error.text())
}

/// A text that was given.
fn text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Identifiers, separated by commas.
fn ids(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(',').map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned)
}
