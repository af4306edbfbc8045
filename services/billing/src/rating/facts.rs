//! The facts of an account that one bill is computed from, as its billing point holds them.

use chrono::NaiveDate;
use communal_proto::billing::v1::{ChargeRuleType, EnergyFlowType, ForRateValidType, NormalRetroType, ReadingsType};
use rust_decimal::Decimal;

use crate::vocabulary::dates::AccountMonth;
pub use crate::vocabulary::movement::Movement;
use crate::vocabulary::tariff::Season;

/// The facts of one bill. A caller reads them once; rating neither asks for more nor knows what day it is.
#[derive(Clone, Debug)]
pub struct BillFacts<'a> {
    /// The account month. It decides to which year and month the accumulators belong.
    pub account_month: AccountMonth,
    /// The normal run, or a retro run, which bills added quantities or one fee.
    pub run_kind: NormalRetroType,
    /// The season of the account month, as the store of the package has it; flat if the month is not listed.
    pub season: Season,
    /// The quantities billed before.
    pub accumulators: Accumulators,
    /// True if a meter measures the account, so that registers which the package needs must be there.
    pub metered: bool,
    /// The registers that were read or have a quantity.
    pub registers: &'a [RegisterFacts],
    /// The parameters of the meter point.
    pub parameters: Parameters,
}

/// The quantities billed before, with the year and month to which they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accumulators {
    /// The month of the last bill; its year is that of the year's quantity. `None` before the first bill.
    pub last: Option<AccountMonth>,
    /// Quantity billed in that year (ACCU_YEAR_CONS).
    pub year: Decimal,
    /// Quantity billed in that month (ACCU_MONTH_CONS).
    pub month: Decimal,
}

impl Accumulators {
    /// The accumulators of an account that was never billed.
    pub const NONE: Self = Self { last: None, year: Decimal::ZERO, month: Decimal::ZERO };
}

/// One register with what it measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterFacts {
    /// The register.
    pub register: ReadingsType,
    /// Its direction. What flows in reverse is shown and never billed.
    pub flow: EnergyFlowType,
    /// Its readings. `None` in a retro run and after the meter was taken off for good: then only the quantities below count.
    pub movement: Option<Movement>,
    /// Quantity that is measured elsewhere and taken off (THE_REDUCE_CONS).
    pub reduced: Decimal,
    /// Quantity of a meter that was replaced (OLD_METER_CONS); of the demand register, the demand that it measured.
    pub old: Decimal,
    /// Quantity that is added by hand (ADDED_CONS).
    pub added: Decimal,
}

impl RegisterFacts {
    /// A forward register that counts this quantity without readings.
    #[must_use]
    pub fn of_quantity(register: ReadingsType, quantity: Decimal) -> Self {
        Self {
            register,
            flow: EnergyFlowType::Forward,
            movement: None,
            reduced: Decimal::ZERO,
            old: Decimal::ZERO,
            added: quantity,
        }
    }
}

/// The parameters of a meter point that have an effect on amounts. What is not given is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Persons (CHARGE_POPULATION); 0 if they are not known, so that those of the package count.
    pub population: u32,
    /// Fixed quantity (FIXED_CHARGE).
    pub fixed_quantity: Decimal,
    /// Quantity of a common meter (TOTAL_APPORTION_DOSE).
    pub apportioned_quantity: Decimal,
    /// The account's ratio of it (MET_DIVID_RATIO).
    pub apportion_ratio: Decimal,
    /// Quantity that is carved out of a common meter (DIVI_FIXED_CHARGE).
    pub divided_quantity: Decimal,
    /// Fixed fee (FIXED_FEE) of a normal run.
    pub fixed_fee: Decimal,
    /// The fee that a retro run bills (RepairFeesBack).
    pub retro_fee: Decimal,
    /// Fee that is common to several accounts (TOTAL_APPORTION_FEE).
    pub apportioned_fee: Decimal,
    /// The account's ratio of it (AREA_DIVID_RATIO).
    pub division_ratio: Decimal,
    /// Fee that is carved out of a common one (DIVI_FIXED_FEE).
    pub divided_fee: Decimal,
    /// Capacity in kVA (LOAD_CAPACITY).
    pub capacity: Decimal,
    /// Approved demand in kW (MAX_DEMAND_APPR); 0 if there is none.
    pub approved_demand: Decimal,
    /// The multiplier of the demand register (METER_DEMAND_RATE); 0 for that of the meter.
    pub demand_multiplier: Decimal,
    /// The power factor that is required.
    pub power_factor_standard: ForRateValidType,
    /// Area in square metres (ACTUAL_AREA).
    pub area: Decimal,
    /// Factor of the area (CHARGE_AREA_FACTOR); 0 for 1.
    pub area_factor: Decimal,
    /// Days of supply, and how a part of a month is billed.
    pub supply: Supply,
}

/// The days on which an account is supplied, and the rule for a month in which it is not on all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Supply {
    /// The first day (the account was archived or installed); `None` for always.
    pub from: Option<NaiveDate>,
    /// The first day no longer (the account was closed).
    pub until: Option<NaiveDate>,
    /// True if supply is stopped or the premises are vacant (STOP_EMPTY_YESNO).
    pub stopped: bool,
    /// The first day without supply (OUTAGE_VACANCY_DATE).
    pub stopped_from: Option<NaiveDate>,
    /// The first day on which supply is back (RESUPPLY_DATE).
    pub resupplied_from: Option<NaiveDate>,
    /// The part-month rule (CHARGE_RULE_TYPE) of the account month.
    pub rule: ChargeRuleType,
}
