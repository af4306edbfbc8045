//! The rules of the documented charging commands: how a request is read, and what makes bill rules. Pure.

use chrono::NaiveDateTime;
use communal_kit::refusal::Refusal;
use communal_proto::community::v1::fields::{
    room_create_pay_fee_request, save_contract_create_fee_request, save_meter_water_request,
    save_parking_space_create_fee_request, save_room_create_fee_request,
};
use communal_proto::community::v1::{
    FeeFlag, Formula, LocationType, PayerObjectType, Reason, RoomCreatePayFeeRequest, SaveContractCreateFeeRequest,
    SaveMeterWaterRequest, SaveParkingSpaceCreateFeeRequest, SaveRoomCreateFeeRequest,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Coded, Fault, parse_decimal};

use crate::fee_items::StoredItem;
use crate::fees::rules::GivenTerms;
use crate::payer_objects::readings::NewReading;
use crate::payer_objects::settings::Settings;
use crate::payer_objects::store::Known;
use crate::vocabulary::spans::{self, ChargedSpan, RequestedSpan, RowFields};
use crate::vocabulary::times;

/// A charge of one item on some objects.
#[derive(Clone, Debug)]
pub struct Charge<'a> {
    /// Fee item.
    pub config_id: &'a str,
    /// The objects.
    pub objects: Objects<'a>,
    /// Start, which the field rules have checked.
    pub start_time: &'a str,
    /// Last day; empty for the end of the item.
    pub end_time: &'a str,
    /// What the formula may need.
    pub terms: GivenTerms<'a>,
    /// Remark on the batch.
    pub remark: &'a str,
    /// The fields that faults name.
    pub fields: RowFields,
}

/// The objects of a charge.
#[derive(Clone, Debug)]
pub enum Objects<'a> {
    /// Rooms, each with an owner.
    Rooms(Vec<&'a str>),
    /// A car.
    Car(&'a str),
    /// All cars, or those of a car park in these states.
    Cars(Option<(&'a str, &'a [String])>),
    /// A contract.
    Contract(&'a str),
}

/// The terms of a request: three kinds of request have the same fields.
macro_rules! given_terms {
    ($request:ident) => {
        GivenTerms {
            amount: &$request.amount,
            rate_cycle: &$request.rate_cycle,
            rate: &$request.rate,
            rate_start_time: &$request.rate_start_time,
        }
    };
}

/// Reads a charge on a room.
#[must_use]
pub fn of_room(request: &SaveRoomCreateFeeRequest) -> Charge<'_> {
    use save_room_create_fee_request as fields;
    Charge {
        config_id: &request.config_id,
        objects: Objects::Rooms(vec![&request.location_obj_id]),
        start_time: &request.start_time,
        end_time: &request.end_time,
        terms: given_terms!(request),
        remark: "",
        fields: RowFields {
            rows: None,
            payer_obj_id: fields::LOCATION_OBJ_ID,
            start: fields::START_TIME,
            end: fields::END_TIME,
        },
    }
}

/// Reads a charge on many rooms.
#[must_use]
pub fn of_rooms(request: &RoomCreatePayFeeRequest) -> Charge<'_> {
    use room_create_pay_fee_request as fields;
    Charge {
        config_id: &request.config_id,
        objects: Objects::Rooms(request.room_ids.iter().map(String::as_str).collect()),
        start_time: &request.start_time,
        end_time: &request.end_time,
        terms: given_terms!(request),
        remark: &request.remark,
        fields: RowFields {
            rows: None,
            payer_obj_id: fields::ROOM_IDS,
            start: fields::START_TIME,
            end: fields::END_TIME,
        },
    }
}

/// Reads a charge on a contract.
#[must_use]
pub fn of_contract(request: &SaveContractCreateFeeRequest) -> Charge<'_> {
    use save_contract_create_fee_request as fields;
    Charge {
        config_id: &request.config_id,
        objects: Objects::Contract(&request.contract_id),
        start_time: &request.start_time,
        end_time: &request.end_time,
        terms: given_terms!(request),
        remark: "",
        fields: RowFields {
            rows: None,
            payer_obj_id: fields::CONTRACT_ID,
            start: fields::START_TIME,
            end: fields::END_TIME,
        },
    }
}

/// Reads a charge on cars.
#[must_use]
pub fn of_cars(request: &SaveParkingSpaceCreateFeeRequest) -> Charge<'_> {
    use save_parking_space_create_fee_request as fields;
    Charge {
        config_id: &request.config_id,
        objects: match request.location_type_cd() {
            LocationType::Car => Objects::Car(&request.location_obj_id),
            LocationType::CarPark => Objects::Cars(Some((&request.location_obj_id, &request.car_state))),
            LocationType::Community | LocationType::Unspecified => Objects::Cars(None),
        },
        start_time: &request.start_time,
        end_time: &request.end_time,
        terms: GivenTerms { amount: &request.amount, ..GivenTerms::default() },
        remark: "",
        fields: RowFields {
            rows: None,
            payer_obj_id: fields::LOCATION_OBJ_ID,
            start: fields::START_TIME,
            end: fields::END_TIME,
        },
    }
}

/// Checks the states of a charge on the cars of a car park.
pub fn check_cars(request: &SaveParkingSpaceCreateFeeRequest, checker: &mut Checker) {
    use communal_proto::community::v1::CarState;
    use save_parking_space_create_fee_request::CAR_STATE;
    if request.location_type_cd() != LocationType::CarPark {
        return;
    }
    let mut push = |kind, description: &str, text: &str| {
        checker.push(Fault { field: CAR_STATE.into(), kind, description: description.into(), text: text.into() });
    };
    if request.car_state.is_empty() {
        push(FaultKind::Missing, "is required for a car park", "未选择车位状态");
    } else if request.car_state.iter().any(|state| CarState::from_code(state).is_none()) {
        push(FaultKind::Code, "is not one of the documented codes", "车位状态不在规定的代码范围内");
    }
}

/// Checks the times of a charge.
pub fn check(charge: &Charge<'_>, checker: &mut Checker) -> Option<()> {
    let objects = match &charge.objects {
        Objects::Rooms(rooms) => rooms.clone(),
        Objects::Car(id) | Objects::Contract(id) => vec![*id],
        Objects::Cars(_) => vec![""],
    };
    spans(charge, objects.into_iter(), checker).map(drop)
}

/// The spans of a charge; `None` if anything is at fault.
pub fn spans<'a>(
    charge: &Charge<'a>,
    objects: impl Iterator<Item = &'a str>,
    checker: &mut Checker,
) -> Option<Vec<ChargedSpan>> {
    let rows =
        objects.map(|payer_obj_id| RequestedSpan { payer_obj_id, start: charge.start_time, end: charge.end_time });
    spans::read(rows, charge.fields, checker)
}

/// Judges whether the objects are those that the command charges.
///
/// # Errors
/// Returns `ROOM_WITHOUT_OWNER` if a room does not exist or has no owner, `NO_CAR_TO_CHARGE` if a car
/// does not exist, and `PAYER_OBJECT_NOT_FOUND` if the contract does not.
pub fn of_their_kind(charge: &Charge<'_>, spans: &[ChargedSpan], objects: &[Option<Known>]) -> Result<(), Refusal> {
    let wrong = |fits: fn(&Known) -> bool| {
        let pairs = spans.iter().zip(objects);
        pairs
            .filter(move |(_, object)| !object.as_ref().is_some_and(fits))
            .map(|(span, _)| span.payer_obj_id.as_str())
            .next()
    };
    match &charge.objects {
        Objects::Rooms(rooms) => match wrong(|o| o.payer_obj_type.0 == PayerObjectType::Room && o.has_owner) {
            None => Ok(()),
            Some(_) if rooms.len() == 1 => Err(Refusal::of(Reason::RoomWithoutOwner)),
            Some(id) => Err(Refusal::new(Reason::RoomWithoutOwner, format!("未查到需要付费的房屋或未绑定业主：{id}"))),
        },
        Objects::Car(_) | Objects::Cars(_) => {
            let none = spans.is_empty() || wrong(|o| o.payer_obj_type.0 == PayerObjectType::Car).is_some();
            if none { Err(Refusal::of(Reason::NoCarToCharge)) } else { Ok(()) }
        }
        Objects::Contract(id) => match wrong(|o| o.payer_obj_type.0 == PayerObjectType::Contract) {
            None => Ok(()),
            Some(_) => Err(Refusal::new(Reason::PayerObjectNotFound, format!("合同{id}不存在"))),
        },
    }
}

/// Judges the end of a charge on a contract: that of a one-off item must not pass the item's.
///
/// # Errors
/// Returns `OUTSIDE_FEE_ITEM` if it does.
pub fn ends_with_item(charge: &Charge<'_>, item: &StoredItem, end: Option<NaiveDateTime>) -> Result<(), Refusal> {
    let one_off = item.fee_flag.0 == FeeFlag::OneOff && matches!(charge.objects, Objects::Contract(_));
    if one_off && end.is_some_and(|end| end > item.end_time) {
        return Err(Refusal::of(Reason::OutsideFeeItem));
    }
    Ok(())
}

/// Returns whether charges by an item make bill rules.
#[must_use]
pub fn makes_rules(item: &StoredItem, settings: Settings) -> bool {
    settings.pay_fee_month && item.fee_flag.0 != FeeFlag::OneOff && item.formula.0 != Formula::EscalatingRent
}

/// Reads a meter reading; `None` if anything is at fault.
pub fn of_meter(request: &SaveMeterWaterRequest, checker: &mut Checker) -> Option<NewReading> {
    use save_meter_water_request as fields;
    let reading = NewReading {
        payer_obj_id: request.obj_id.clone(),
        config_id: request.config_id.clone(),
        meter_type: request.meter_type(),
        pre_degrees: parse_decimal(&request.pre_degrees)?,
        cur_degrees: parse_decimal(&request.cur_degrees)?,
        pre_reading_time: times::start(&request.pre_reading_time)?,
        cur_reading_time: times::end(&request.cur_reading_time)?,
        price: parse_decimal(&request.price),
        remark: request.remark.clone(),
    };
    if reading.cur_degrees < reading.pre_degrees {
        checker.push(Fault::rule(fields::CUR_DEGREES, "is below preDegrees", "当前读数小于上期读数"));
    }
    if reading.cur_reading_time < reading.pre_reading_time {
        let text = "本期读表时间不能早于上期读表时间";
        checker.push(Fault::rule(fields::CUR_READING_TIME, "is before preReadingTime", text));
    }
    Some(reading)
}

/// Judges whether a reading may be charged by its item, on its object.
///
/// # Errors
/// Returns `FORMULA_NOT_APPLICABLE` if the item does not charge by readings, and
/// `PAYER_OBJECT_NOT_FOUND` if the object is not of the kind that the request says.
pub fn may_charge_reading(item: &StoredItem, object: Option<&Known>, kind: PayerObjectType) -> Result<(), Refusal> {
    if !matches!(item.formula.0, Formula::Reading | Formula::MeterPrice) {
        return Err(Refusal::new(Reason::FormulaNotApplicable, "费用项不按抄表计费"));
    }
    match object {
        Some(object) if object.payer_obj_type.0 == kind => Ok(()),
        _ if kind == PayerObjectType::Room => Err(Refusal::new(Reason::PayerObjectNotFound, "查询房屋信息错误！")),
        _ => Err(Refusal::of(Reason::PayerObjectNotFound)),
    }
}

/// The fields of a meter reading that faults name.
pub const METER_FIELDS: RowFields = RowFields {
    rows: None,
    payer_obj_id: save_meter_water_request::OBJ_ID,
    start: save_meter_water_request::PRE_READING_TIME,
    end: save_meter_water_request::CUR_READING_TIME,
};
