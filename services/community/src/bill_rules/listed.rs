//! Rules and bills as the documents list them. Pure.

use communal_kit::money::at_scale;
use communal_proto::Coded as _;
use communal_proto::community::v1::{FeeDetail, PayFeeRule, PayFeeRuleBill};

use super::bills::months_touched;
use super::store::RuleRow;
use crate::amounts::Span;
use crate::fee_items::store::ItemRow;
use crate::fees::store::FeeRow;
use crate::vocabulary::decimals::as_double_prints;
use crate::vocabulary::times;

/// A rule with the terms of its item.
#[must_use]
pub fn rule(row: RuleRow, item: Option<&ItemRow>) -> PayFeeRule {
    PayFeeRule {
        rule_id: row.rule_id,
        config_id: row.config_id,
        fee_name: item.map(|item| item.fee_name.clone()).unwrap_or_default(),
        fee_type_cd: item.map(|item| item.fee_type_cd.0).unwrap_or_default().into(),
        fee_type_cd_name: item.map(|item| item.fee_type_cd.0.title().to_owned()).unwrap_or_default(),
        fee_flag: row.fee_flag.0.into(),
        fee_flag_name: row.fee_flag.0.title().into(),
        payer_obj_id: row.payer_obj_id,
        payer_obj_type: row.payer_obj_type.0.into(),
        start_time: times::print(row.start_time),
        end_time: times::print(row.start_time),
        max_time: times::print(row.max_time),
        cur_year_month: times::print_date(row.cur_year_month),
        amount: row.amount.map_or_else(|| "-1.00".to_owned(), |amount| at_scale(amount, 2)),
        state: row.state.0.into(),
        state_name: row.state.0.title().into(),
        square_price: item.map(|item| as_double_prints(item.square_price)).unwrap_or_default(),
        additional_amount: item.map(|item| as_double_prints(item.additional_amount)).unwrap_or_default(),
        computing_formula: item.map(|item| item.computing_formula.0).unwrap_or_default().into(),
        computing_formula_name: item.map(|item| item.computing_formula.0.title().to_owned()).unwrap_or_default(),
        batch_id: row.batch_id.unwrap_or_default(),
    }
}

/// A bill: a fee that charges one span of a rule. Its name is that of the item and its month.
#[must_use]
pub fn bill(row: &FeeRow, fee: FeeDetail) -> PayFeeRuleBill {
    let from = row.start_time.date();
    let span = Span { from, until: row.bill_until.unwrap_or(from) };
    PayFeeRuleBill {
        bill_id: row.fee_id.clone(),
        bill_name: format!("{}{}", fee.fee_name, from.format("%Y年%m月")),
        rule_id: row.rule_id.clone().unwrap_or_default(),
        fee_id: row.fee_id.clone(),
        cur_year_month: times::print_date(from),
        month_cycle: months_touched(span).to_string(),
        remark: String::new(),
        config_id: fee.config_id,
        fee_name: fee.fee_name,
        start_time: fee.start_time,
        end_time: fee.end_time,
        deadline_time: fee.deadline_time,
        fee_price: fee.fee_price,
        fee_total_price: fee.fee_total_price,
        amount_owed: fee.amount_owed,
        fee_price_error: fee.fee_price_error,
        state: fee.state,
        payer_obj_id: fee.payer_obj_id,
        payer_obj_type: fee.payer_obj_type,
        owner_name: fee.owner_name,
    }
}
