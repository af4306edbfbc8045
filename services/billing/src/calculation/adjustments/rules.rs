//! Which quantities and fees may be adjusted, and what the retro point of an account holds. Pure.

use std::collections::BTreeMap;

use communal_proto::billing::v1::fields::{
    adjusted_account, adjusted_fee, adjusted_register as register_fields, repair_dosage_back_request,
    repair_fees_back_request,
};
use communal_proto::billing::v1::{
    AdjustedFee, EnergyFlowType, NormalRetroType, ReadingsType, Reason, RepairDosageBackRequest,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Coded as _, Fault, FieldPath, Reason as _};
use rust_decimal::Decimal;

use crate::calculation::facts::package_of;
use crate::metering::points::rules::Standing;
use crate::metering::points::snapshot::{BeyondDigits, PointRegister, Snapshot, last_digits};
use crate::rating::temporary::{PackageInForce, package_in_force};
use crate::vocabulary::movement::register_of;
use crate::vocabulary::quantity::{QUANTITY_SCALE, checked_decimal};
use crate::vocabulary::tariff::periods;

/// The place of the account in a request that adjusts quantities.
#[must_use]
pub fn account_place() -> FieldPath {
    repair_dosage_back_request::ACCOUNT.then(adjusted_account::SETTLEMENT_ACCOUNT_ID)
}

/// The place of an account in a request that adjusts fees.
#[must_use]
pub fn fee_place(row: usize) -> FieldPath {
    repair_fees_back_request::FEES.at(row).then(adjusted_fee::SETTLEMENT_ACCOUNT_ID)
}

/// Objects to a kind of run that is not retro.
fn require_retro(kind: NormalRetroType, field: impl Into<FieldPath>, checker: &mut Checker) {
    if kind == NormalRetroType::Normal {
        let (description, text) = ("is 1, and an adjustment is 2".to_owned(), "退补的正常追补类型应为2".to_owned());
        checker.push(Fault { field: field.into(), kind: FaultKind::Code, description, text });
    }
}

/// The quantities that a request adds to the registers of a meter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantities {
    /// The account.
    pub settlement_account_id: String,
    /// The meter, with the row that names it.
    pub meter_id: String,
    /// The quantity of each register, with its row.
    pub added: BTreeMap<ReadingsType, (usize, Decimal)>,
}

/// Reads quantities; what is at fault goes to the checker: another kind than retro, a second meter, a register that comes twice,
/// flows in reverse or is not billed in a retro run, and quantities that are all 0.
pub fn quantities(request: &RepairDosageBackRequest, checker: &mut Checker) -> Option<Quantities> {
    let account = request.account.as_ref()?;
    require_retro(account.run_kind(), repair_dosage_back_request::ACCOUNT.then(adjusted_account::RUN_KIND), checker);
    let mut added = BTreeMap::new();
    let first = request.registers.first()?;
    for (row, given) in request.registers.iter().enumerate() {
        let at = |field| repair_dosage_back_request::REGISTERS.at(row).then(field);
        require_retro(given.run_kind(), at(register_fields::RUN_KIND), checker);
        let register = given.register();
        if given.meter_id != first.meter_id {
            let english = "is not the meter of the first row";
            checker.push(Fault::rule(at(register_fields::METER_ID), english, "一次退补只能是同一装置"));
        }
        if given.energy_flow() == EnergyFlowType::Reverse {
            let english = "is 2: what flows in reverse is not billed";
            checker.push(Fault::rule(at(register_fields::ENERGY_FLOW), english, "反向电量不计费，不能退补"));
        }
        if matches!(register, ReadingsType::Reactive | ReadingsType::Demand) {
            let chinese = format!("{}示数不能退补", register.title());
            checker.push(Fault::rule(at(register_fields::REGISTER), "is not billed in a retro run", chinese));
        }
        if added.insert(register, (row, checked_decimal(&given.added_quantity))).is_some() {
            checker.push(Fault::rule(at(register_fields::REGISTER), "is a register that came before", "同一示数重复"));
        }
    }
    if added.values().all(|(_, quantity)| quantity.is_zero()) {
        let field = repair_dosage_back_request::REGISTERS.at(0).then(register_fields::ADDED_QUANTITY);
        checker.push(Fault::rule(field, "is 0, like all others", "追补用量不能全部为0"));
    }
    Some(Quantities {
        settlement_account_id: account.settlement_account_id.clone(),
        meter_id: first.meter_id.clone(),
        added,
    })
}

/// Reads fees; a kind other than retro, a fee of 0 and one beyond the cap, of either sign, go to the checker.
pub fn fees(given: &[AdjustedFee], cap: Decimal, checker: &mut Checker) -> Vec<(String, Decimal)> {
    let mut fees = Vec::with_capacity(given.len());
    for (row, fee) in given.iter().enumerate() {
        let at = |field| repair_fees_back_request::FEES.at(row).then(field);
        require_retro(fee.run_kind(), at(adjusted_fee::RUN_KIND), checker);
        let amount = checked_decimal(&fee.fixed_fee);
        if amount.is_zero() && !fee.fixed_fee.is_empty() {
            checker.push(Fault::rule(at(adjusted_fee::FIXED_FEE), "is 0", "退补费用不能为0"));
        }
        if amount.abs() > cap {
            let (english, chinese) = (format!("is beyond {cap} or -{cap}"), format!("退补费用的绝对值不能超过{cap}"));
            checker.push(Fault::rule(at(adjusted_fee::FIXED_FEE), english, chinese));
        }
        fees.push((fee.settlement_account_id.clone(), amount));
    }
    fees
}

/// Returns the account month of an account's retro point.
///
/// # Errors
/// Returns the reason and fault of an account that cannot have one: `ACCOUNT_STATE` before it is connected,
/// `ACCOUNT_MONTH_NOT_OPEN`, and `RETRO_POINT_OPEN` while another is not charged off.
pub fn month(standing: &Standing, has_open: bool, field: FieldPath) -> Result<i32, (Reason, Fault)> {
    if !standing.state.was_archived() {
        let text = format!("结算户{}，不能退补", standing.state.title());
        let english = format!("is in state {} and was never billed", standing.state.code());
        return Err((Reason::AccountState, Fault::rule(field, english, text)));
    }
    let Some(month) = standing.open_month else {
        let reason = Reason::AccountMonthNotOpen;
        return Err((reason, Fault::rule(field, "has no account month that is open today", reason.text())));
    };
    if has_open {
        let reason = Reason::RetroPointOpen;
        return Err((reason, Fault::rule(field, "has a retro point that is not charged off", reason.text())));
    }
    Ok(month)
}

/// What a retro point of an account holds that bills a fee.
///
/// # Errors
/// Returns an error if the fee has too many digits.
pub fn with_fee(account: &Snapshot, fee: Decimal) -> Result<Snapshot, BeyondDigits> {
    let retro_fee = last_digits(fee, QUANTITY_SCALE)?;
    Ok(Snapshot { registers: Vec::new(), retro_fee, ..account.clone() })
}

/// What a retro point of an account holds that adds quantities: the registers that it adds to, of the meter that is there now.
///
/// # Errors
/// Returns the reason and fault of a meter that is not on the account, or of a register that its package does not price.
pub fn with_quantities(account: &Snapshot, given: &Quantities) -> Result<Snapshot, (Reason, Fault)> {
    let at = |row: usize, field| repair_dosage_back_request::REGISTERS.at(row).then(field);
    if account.meter_id() != given.meter_id {
        let fault =
            Fault::rule(at(0, register_fields::METER_ID), "is not on the account now", "装置当前不在该结算户上");
        return Err((Reason::MeterUnfit, fault));
    }
    let months = |number: i32| u32::try_from(number).unwrap_or_default();
    let in_force = package_in_force(months(account.temporary_months), months(account.temporary_months_used));
    let package = package_of(account, in_force == PackageInForce::Temporary).or(account.main_package.as_ref());
    let priced = package.map_or(&[] as &[_], |package| periods(package.time_of_use()));
    let mut registers = Vec::with_capacity(given.added.len());
    for (register, (row, quantity)) in &given.added {
        let field = || at(*row, register_fields::REGISTER);
        if !priced.iter().any(|period| register_of(*period) == *register) {
            let chinese = format!("套餐不按{}示数计费", register.title());
            return Err((Reason::MeterUnfit, Fault::rule(field(), "is not priced by the package", chinese)));
        }
        let is_it = |r: &&PointRegister| (r.flow(), r.register()) == (EnergyFlowType::Forward, *register);
        let Some(installed) = account.registers.iter().find(is_it) else {
            let reason = Reason::RegisterNotFound;
            return Err((reason, Fault::rule(field(), "is not installed", reason.text())));
        };
        let added_quantity = last_digits(*quantity, QUANTITY_SCALE).map_err(|_| {
            let field = at(*row, register_fields::ADDED_QUANTITY);
            (Reason::BillOutOfRange, Fault::rule(field, "has too many digits", "追补用量超出范围"))
        })?;
        registers.push(PointRegister { old_quantity: 0, added_quantity, ..installed.clone() });
    }
    Ok(Snapshot { registers, retro_fee: 0, ..account.clone() })
}
