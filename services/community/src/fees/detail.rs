//! Fees as the documents list them. Pure.

use chrono::NaiveDateTime;
use communal_kit::money::{at_scale, round};
use communal_proto::Coded as _;
use communal_proto::community::v1::{ConfigFeeObj, FeeAttribute, FeeDetail, PayerObjectType};
use rust_decimal::Decimal;

use super::facts::{Facts, NoAmount, Reckoned};
use super::store::FeeRow;
use crate::vocabulary::decimals::as_double_prints;
use crate::vocabulary::times;

/// Places of unit amounts, and of amounts that are printed as numbers.
const PLACES: u32 = 4;
/// The amount that the documents show for a fee without one.
const NO_AMOUNT: &str = "-1.00";

/// A fee with what it owes. One without an amount has 0 and the reason.
#[must_use]
pub fn detail(row: &FeeRow, facts: &Facts, community_id: &str, reckoned: &Result<Reckoned, NoAmount>) -> FeeDetail {
    let places = facts.places(&row.config_id);
    let (item, object) = (facts.items.get(&row.config_id), facts.object(row));
    let reading = facts.readings.get(&row.fee_id);
    let known = reckoned.as_ref().ok();
    let owed = known.map_or(Decimal::ZERO, |reckoned| reckoned.owed.net);
    let unit = known.map_or(Decimal::ZERO, |reckoned| reckoned.unit);
    let time = |time: NaiveDateTime| times::print(time);
    let rate_start = row.rate_start_time.map(|day| time(day.and_time(chrono::NaiveTime::MIN)));
    FeeDetail {
        fee_id: row.fee_id.clone(),
        fee_name: item.map(|item| item.fee_name.clone()).unwrap_or_default(),
        fee_type_cd: row.fee_type_cd.0.into(),
        fee_type_cd_name: row.fee_type_cd.0.title().into(),
        fee_flag: row.fee_flag.0.into(),
        fee_flag_name: row.fee_flag.0.title().into(),
        config_id: row.config_id.clone(),
        community_id: community_id.to_owned(),
        payer_obj_id: row.payer_obj_id.clone(),
        payer_obj_type: row.payer_obj_type.0.into(),
        payer_obj_name: row.payer_name.clone(),
        room_name: match row.payer_obj_type.0 {
            PayerObjectType::Room => row.payer_name.clone(),
            _ => String::new(),
        },
        owner_id: row.owner_id.clone().unwrap_or_default(),
        owner_name: row.owner_name.clone(),
        owner_tel: row.owner_tel.clone(),
        state: row.state.0.into(),
        state_name: row.state.0.title().into(),
        start_time: time(row.start_time),
        end_time: time(known.map_or(row.end_time, |reckoned| reckoned.paid_through)),
        deadline_time: time(known.map_or(row.end_time, |reckoned| reckoned.owed.deadline)),
        max_end_time: time(row.deadline_time),
        config_end_time: item.map(|item| time(item.end_time)).unwrap_or_default(),
        amount: row.amount.map_or_else(|| NO_AMOUNT.to_owned(), |amount| at_scale(amount, 2)),
        fee_price: at_scale(round(unit, PLACES), PLACES),
        fee_total_price: at_scale(owed, PLACES),
        amount_owed: at_scale(owed, places),
        owe_fee: at_scale(owed, PLACES),
        credit_amount: at_scale(row.credit, places),
        fee_price_error: reckoned.as_ref().err().map(NoAmount::text).unwrap_or_default(),
        square_price: item.map(|item| as_double_prints(item.square_price)).unwrap_or_default(),
        additional_amount: item.map(|item| as_double_prints(item.additional_amount)).unwrap_or_default(),
        computing_formula: item.map(|item| item.computing_formula.0).unwrap_or_default().into(),
        computing_formula_text: item.and_then(|item| item.computing_formula_text.clone()).unwrap_or_default(),
        built_up_area: object.and_then(|o| o.built_up_area).map(|area| at_scale(area, 2)).unwrap_or_default(),
        payment_cd: item.map(|item| item.payment_cd.0).unwrap_or_default().into(),
        payment_cycle: item.map(|item| item.payment_cycle.to_string()).unwrap_or_default(),
        scale: item.map(|item| item.scale.0).unwrap_or_default().into(),
        decimal_place: item.map(|item| item.decimal_place.0).unwrap_or_default().into(),
        units: item.map(|item| item.units.clone()).unwrap_or_default(),
        pay_online: item.map(|item| item.pay_online.0).unwrap_or_default().into(),
        deduct_from: item.map(|item| item.deduct_from.0).unwrap_or_default().into(),
        pre_degrees: reading.map(|reading| at_scale(reading.pre_degrees, 2)).unwrap_or_default(),
        cur_degrees: reading.map(|reading| at_scale(reading.cur_degrees, 2)).unwrap_or_default(),
        pre_reading_time: reading.map(|reading| time(reading.pre_reading_time)).unwrap_or_default(),
        cur_reading_time: reading.map(|reading| time(reading.cur_reading_time)).unwrap_or_default(),
        rate_cycle: row.rate_cycle.map(|months| months.to_string()).unwrap_or_default(),
        rate: row.rate.map(|rate| rate.normalize().to_string()).unwrap_or_default(),
        rate_start_time: rate_start.unwrap_or_default(),
        batch_id: row.batch_id.clone().unwrap_or_default(),
        fee_attrs: attributes(row),
    }
}

/// A fee of an item.
#[must_use]
pub fn of_item(detail: FeeDetail) -> ConfigFeeObj {
    ConfigFeeObj {
        fee_id: detail.fee_id,
        payer_obj_id: detail.payer_obj_id,
        payer_obj_name: detail.payer_obj_name,
        payer_obj_type: detail.payer_obj_type,
        start_time: detail.start_time,
        end_time: detail.end_time,
        deadline_time: detail.deadline_time,
        owner_name: detail.owner_name,
        state: detail.state,
    }
}

/// The attributes of a fee, by their documented codes.
fn attributes(row: &FeeRow) -> Vec<FeeAttribute> {
    let attributes = [
        ("390010", Some(times::print(row.deadline_time))),
        ("390007", row.owner_id.clone()),
        ("390008", Some(row.owner_name.clone())),
        ("390009", Some(row.owner_tel.clone())),
        ("390012", Some(row.payer_name.clone())),
        ("390014", row.rate_cycle.map(|months| months.to_string())),
        ("390015", row.rate.map(|rate| rate.normalize().to_string())),
        ("390016", row.rate_start_time.map(times::print_date)),
    ];
    let given = attributes.into_iter().filter_map(|(code, value)| Some((code, value.filter(|v| !v.is_empty())?)));
    given.map(|(code, value)| FeeAttribute { spec_cd: code.to_owned(), value }).collect()
}
