//! The rules of quotes: how a request is read, and the refusal of a payment that cannot be made. Pure.

use std::num::NonZeroU32;

use chrono::NaiveDate;
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::{
    quote_fee_request as fields, quoted_fee, quoted_item, quoted_payer, quoted_span,
};
use communal_proto::community::v1::{
    FeeFlag, Formula, PayerObjectType, PaymentTiming, QuoteFeeRequest, QuotedEscalation, QuotedFee, QuotedItem,
    QuotedPayer, QuotedReading, QuotedRoom, QuotedSpan,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault, FieldName, FieldPath, parse_decimal};
use rust_decimal::Decimal;

use super::{Asked, Given, Of};
use crate::amounts::fee::CourseError;
use crate::amounts::formula::Expression;
use crate::amounts::{
    AmountRounding, Bill, Car, Contract, Course, Escalation, Fee, ItemTerms, Months, OneOff, Payer, PaymentScope,
    QuoteError, Reading, Room, Running, Span,
};
use crate::fees;
use crate::vocabulary::times;

/// Reads a request; `None` if anything is at fault. Faults go to the checker, which has those of the
/// field rules already.
pub fn of_quote(request: &QuoteFeeRequest, checker: &mut Checker) -> Option<Asked> {
    let at = times::start(&request.quote_time);
    if !request.fee_id.is_empty() {
        let given = [
            (fields::ITEM, request.item.is_some()),
            (fields::PAYER, request.payer.is_some()),
            (fields::FEE, request.fee.is_some()),
        ];
        for (field, _) in given.into_iter().filter(|(_, given)| *given) {
            checker.push(Fault::rule(field, "stands beside fee_id", "指定费用ID时不能再给出费用项、付费对象和费用"));
        }
        let of = Of::Stored(request.fee_id.clone());
        return Some(Asked { of, scope: scope(request, checker)?, at }).filter(|_| checker.is_clean());
    }
    let required = [
        (fields::ITEM, "费用项", request.item.is_none()),
        (fields::PAYER, "付费对象", request.payer.is_none()),
        (fields::FEE, "费用", request.fee.is_none()),
    ];
    for (field, title, _) in required.into_iter().filter(|(.., is_missing)| *is_missing) {
        checker.push(missing(field.into(), title));
    }
    let item = request.item.as_ref().and_then(|item| terms(item, checker));
    let payer = request.payer.as_ref().and_then(|payer| of_payer(payer, checker));
    let fee = request.item.as_ref().zip(request.fee.as_ref()).and_then(|(item, fee)| of_fee(item, fee, checker));
    let scope = scope(request, checker);
    let of = Of::Given(Box::new(Given { item: item?, payer: payer?, fee: fee? }));
    Some(Asked { of, scope: scope?, at }).filter(|_| checker.is_clean())
}

/// Returns the refusal of a quote.
#[must_use]
pub fn refusal(error: &QuoteError) -> Refusal {
    fees::rules::quote_refusal(error, fields::END_TIME, fields::AMOUNT)
}

/// The path of a field inside one of the request's messages.
fn inside(message: FieldName, field: FieldName) -> FieldPath {
    message.then(field)
}

fn missing(field: FieldPath, title: &str) -> Fault {
    Fault {
        field,
        kind: FaultKind::Missing,
        description: "is required here".to_owned(),
        text: format!("{title}不能为空"),
    }
}

/// A decimal that was given. A malformed one is reported by the field rules.
fn given(text: &str) -> Option<Decimal> {
    parse_decimal(text)
}

fn day(text: &str) -> Option<NaiveDate> {
    times::start(text).map(|time| time.date())
}

fn terms(item: &QuotedItem, checker: &mut Checker) -> Option<ItemTerms> {
    let text = &item.computing_formula_text;
    let expression = match (item.computing_formula(), text.is_empty()) {
        (Formula::Custom, true) => {
            checker.push(missing(inside(fields::ITEM, quoted_item::COMPUTING_FORMULA_TEXT), "自定义公式文本"));
            return None;
        }
        (Formula::Custom, false) => match text.parse::<Expression>() {
            Ok(expression) => Some(expression),
            Err(error) => {
                let field = inside(fields::ITEM, quoted_item::COMPUTING_FORMULA_TEXT);
                checker.push(Fault::rule(field, error.to_string(), error.text()));
                return None;
            }
        },
        // The text of another formula is not used.
        _ => None,
    };
    Some(ItemTerms {
        formula: item.computing_formula(),
        expression,
        price: given(&item.square_price)?,
        additional_amount: given(&item.additional_amount)?,
        timing: item.payment_cd(),
        cycle: NonZeroU32::new(u32::try_from(item.payment_cycle).ok()?)?,
        window_days: u32::try_from(item.prepayment_period).ok()?,
        rounding: AmountRounding { mode: item.scale(), places: fees::facts::places(item.decimal_place()) },
    })
    .filter(|terms| terms.timing != PaymentTiming::Unspecified)
}

fn of_payer(payer: &QuotedPayer, checker: &mut Checker) -> Option<Payer> {
    let community_area = given(&payer.community_area);
    let mut at_rooms = |description: &str, text: &str| {
        checker.push(Fault::rule(inside(fields::PAYER, quoted_payer::ROOMS), description, text));
    };
    let rooms = || payer.rooms.iter().map(|room| of_room(room, community_area)).collect::<Vec<_>>();
    match payer.payer_obj_type() {
        PayerObjectType::Room => {
            if payer.rooms.len() != 1 {
                at_rooms("is not one room", "房屋付费对象必须有且只有一间房屋");
            }
            rooms().pop().map(Payer::Room)
        }
        PayerObjectType::Car => {
            if !payer.rooms.is_empty() {
                at_rooms("has rooms for a car", "车辆付费对象不能有房屋");
            }
            Some(Payer::Car(Car { space_area: given(&payer.space_area), community_area }))
        }
        PayerObjectType::Contract => Some(Payer::Contract(Contract { rooms: rooms() })),
        PayerObjectType::Listing => {
            let field = inside(fields::PAYER, quoted_payer::PAYER_OBJ_TYPE);
            checker.push(Fault::rule(field, "has no fees", "房源不能收费"));
            None
        }
        // Reported by the field rules.
        PayerObjectType::Unspecified => None,
    }
}

fn of_room(room: &QuotedRoom, community_area: Option<Decimal>) -> Room {
    let attributes = room.attributes.iter();
    Room {
        built_up_area: given(&room.built_up_area),
        indoor_area: given(&room.room_area),
        coefficient: given(&room.fee_coefficient),
        storey: given(&room.layer),
        rent: given(&room.room_rent),
        community_area,
        building_area: given(&room.building_area),
        unit_area: given(&room.unit_area),
        attributes: attributes.filter_map(|a| Some((a.number.clone(), given(&a.value)?))).collect(),
    }
}

fn of_fee(item: &QuotedItem, fee: &QuotedFee, checker: &mut Checker) -> Option<Fee> {
    let course = course(item, fee, checker)?;
    Some(Fee {
        course,
        ended: fee.ended,
        credit: given(&fee.credit_amount).unwrap_or_default(),
        amount: given(&fee.amount),
        reading: fee.reading.as_ref().and_then(reading),
        escalation: fee.escalation.as_ref().and_then(escalation),
    })
}

fn reading(reading: &QuotedReading) -> Option<Reading> {
    Some(Reading {
        previous: given(&reading.pre_degrees)?,
        current: given(&reading.cur_degrees)?,
        price: given(&reading.price),
    })
}

fn escalation(escalation: &QuotedEscalation) -> Option<Escalation> {
    Some(Escalation {
        from: day(&escalation.rate_start_time)?,
        every: NonZeroU32::new(u32::try_from(escalation.rate_cycle).ok()?)?,
        rate: given(&escalation.rate)?,
    })
}

fn span(span: &QuotedSpan) -> Option<Span> {
    Some(Span { from: day(&span.start_time)?, until: day(&span.end_time)?.succ_opt()? })
}

fn course(item: &QuotedItem, fee: &QuotedFee, checker: &mut Checker) -> Option<Course> {
    let start = times::start(&fee.start_time)?;
    let item_end = times::end(&item.end_time)?;
    let deadline = times::end(&fee.deadline_time);
    let at = |field: FieldName| inside(fields::FEE, field);
    if let Some(bill) = &fee.bill_span {
        let span = span(bill)?;
        let until = at(quoted_fee::BILL_SPAN).then(quoted_span::END_TIME);
        if span.until <= span.from {
            checker.push(Fault::rule(until, "is before startTime", "结束时间不能早于开始时间"));
            return None;
        }
        if span.from < start.date() {
            let from = at(quoted_fee::BILL_SPAN).then(quoted_span::START_TIME);
            checker.push(Fault::rule(from, "is before the start of the rule", "账单不能早于计费起始时间"));
            return None;
        }
        return Some(Course::Bill(Bill { rule_start: start.date(), span }));
    }
    match item.fee_flag() {
        FeeFlag::Periodic | FeeFlag::Indirect => {
            let paid_through = times::start(&fee.end_time).unwrap_or(start);
            let paid = fee.paid_spans.iter().map(span).collect::<Option<Vec<_>>>()?;
            match Running::new(start, paid_through, deadline, item_end, paid) {
                Ok(running) => Some(Course::Running(running)),
                Err(error) => {
                    let (field, text) = match error {
                        CourseError::PaidBeforeStart => (quoted_fee::END_TIME, "缴费到期时间不能早于计费起始时间"),
                        CourseError::PaidSpans => {
                            (quoted_fee::PAID_SPANS, "已缴时间段不能为空、重叠或早于缴费到期时间")
                        }
                        CourseError::OutOfRange => (quoted_fee::DEADLINE_TIME, "计费截止时间超出范围"),
                    };
                    checker.push(Fault::rule(at(field), error.to_string(), text));
                    None
                }
            }
        }
        FeeFlag::OneOff => Some(Course::OneOff(OneOff { start, deadline: deadline.unwrap_or(item_end) })),
        // Reported by the field rules.
        FeeFlag::Unspecified => None,
    }
}

fn scope(request: &QuoteFeeRequest, checker: &mut Checker) -> Option<PaymentScope> {
    let QuoteFeeRequest { cycles, amount, end_time, start_time, target_end_time, .. } = request;
    let asked = [
        (fields::CYCLES, cycles),
        (fields::AMOUNT, amount),
        (fields::END_TIME, end_time),
        (fields::TARGET_END_TIME, target_end_time),
    ];
    let mut asked = asked.into_iter().filter(|(_, value)| !value.is_empty());
    let (first, second) = (asked.next(), asked.next());
    if let Some((field, _)) = second {
        let text = "缴费周期、缴费金额、缴费结束时间、欠费截止时间只能填一项";
        checker.push(Fault::rule(field, "stands beside another scope of the payment", text));
        return None;
    }
    if !start_time.is_empty() && end_time.is_empty() {
        checker.push(missing(fields::END_TIME.into(), "缴费结束时间"));
        return None;
    }
    let Some((field, value)) = first else { return Some(PaymentScope::Owed(None)) };
    if field == fields::CYCLES {
        given(value).and_then(Months::from_decimal).map(PaymentScope::Months)
    } else if field == fields::AMOUNT {
        given(value).map(PaymentScope::Amount)
    } else if field == fields::TARGET_END_TIME {
        day(value).map(|target| PaymentScope::Owed(Some(target)))
    } else if start_time.is_empty() {
        day(value).map(PaymentScope::Until)
    } else {
        Some(PaymentScope::Between(day(start_time)?, day(value)?))
    }
}
