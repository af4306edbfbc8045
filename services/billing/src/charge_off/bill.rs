//! The receivable lines of a calculated bill, and the bounds that it must keep. Pure.

use chrono::{Days, NaiveDate};
use communal_kit::dates::to_number;
use communal_kit::money::{CENTS, at_scale};
use communal_proto::Coded as _;
use communal_proto::billing::v1::{CalcFeeType, NormalRetroType, ReceivableLine};
use rust_decimal::Decimal;

use crate::calculation::facts::package_of;
use crate::calculation::stored::{CalculatedLine, Calculation};
use crate::metering::points::PointKey;
use crate::metering::points::snapshot::{BilledPackage, PointMeter, PointRegister, Snapshot};
use crate::metering::readings::rules::is_beyond_first;
use crate::metering::readings::stored::Readings;
use crate::vocabulary::dates::day;
use crate::vocabulary::quantity::{QUANTITY_SCALE, UNIT_PRICE_SCALE};

/// A calculated billing point that is not charged off.
#[derive(Clone, Debug)]
pub struct Point {
    /// Its key.
    pub key: PointKey,
    /// What it holds.
    pub snapshot: Snapshot,
    /// Its readings.
    pub readings: Readings,
    /// Its calculation.
    pub calculation: Calculation,
}

/// Why a calculated bill is not charged off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsafe {
    /// The package that priced it is not in the point.
    #[error("the package that priced the bill is not in its billing point")]
    NoPackage,
    /// The lines of the customer's kind do not add up to the bill.
    #[error("the lines add up to {lines}, the bill to {total}")]
    Sum {
        /// The sum of the lines.
        lines: Decimal,
        /// The total of the calculation.
        total: Decimal,
    },
    /// The bill has no line.
    #[error("the bill has no line")]
    NoLine,
    /// The bill is below zero, and nothing in it may be.
    #[error("the bill is {total}, and nothing in it may be below zero")]
    Negative {
        /// The total.
        total: Decimal,
    },
    /// A register measured far more than in the bills before.
    #[error("register {register} measured {quantity}, more than {factor} times its daily average")]
    Quantity {
        /// The documented code of the register.
        register: &'static str,
        /// What it measured.
        quantity: Decimal,
        /// The bound.
        factor: Decimal,
    },
    /// A retro point corrects a register by far more than it measures.
    #[error(
        "register {register} is corrected by {quantity}, more than {factor} times what it measures in {CORRECTED_DAYS} days: \
         discard it (DiscardBillingPoint)"
    )]
    Correction {
        /// The documented code of the register.
        register: &'static str,
        /// The correction.
        quantity: Decimal,
        /// The bound.
        factor: Decimal,
    },
    /// A retro point takes off more than the register ever measured and the account used this year.
    #[error(
        "the retro point takes {quantity} off register {register}, which measured {measured} in all: discard it \
         (DiscardBillingPoint)"
    )]
    TakenOff {
        /// The documented code of the register.
        register: &'static str,
        /// What it takes off, below 0.
        quantity: Decimal,
        /// What the register measured in all bills.
        measured: Decimal,
    },
    /// A register without an average moved further than it may.
    #[error(
        "register {register} measured {quantity} and has no daily average: it moved by more than {most}, multiplier aside"
    )]
    First {
        /// The documented code of the register.
        register: &'static str,
        /// What it measured, or what a retro point corrects of it.
        quantity: Decimal,
        /// The bound.
        most: Decimal,
    },
    /// A sum or a day is out of range.
    #[error("a sum or a day is out of range")]
    OutOfRange,
}

impl Unsafe {
    /// The words for people.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::NoPackage => "计费信息中没有计价所用的套餐".to_owned(),
            Self::Sum { lines, total } => format!("明细合计{lines}与账单合计{total}不符"),
            Self::NoLine => "账单没有明细".to_owned(),
            Self::Negative { total } => format!("账单为负（{total}），但没有可为负的用量或费用"),
            Self::Quantity { register, quantity, factor } => {
                format!("示数类型{register}的用量{quantity}超过日均用量的{factor}倍")
            }
            Self::Correction { register, quantity, factor } => {
                format!("示数类型{register}的追补电量{quantity}超过{CORRECTED_DAYS}天用量的{factor}倍，请废弃该追补")
            }
            Self::TakenOff { register, quantity, measured } => {
                format!("示数类型{register}的追补电量{quantity}多于该示数的累计用量{measured}，请废弃该追补")
            }
            Self::First { register, quantity, most } => {
                format!("示数类型{register}的用量{quantity}没有日均用量可比，且走字（不计倍率）超过{most}")
            }
            Self::OutOfRange => "金额或日期超出范围".to_owned(),
        }
    }
}

/// The bounds of bills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many times its daily average a register may measure.
    pub quantity_factor: Decimal,
    /// The quantity up to which the factor does not count.
    pub small_quantity: Decimal,
    /// How far a register may move that has no average.
    pub first_movement: Decimal,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            quantity_factor: Decimal::from(50),
            small_quantity: Decimal::from(1_000),
            first_movement: Decimal::from(10_000),
        }
    }
}

/// The days of billed use from which on a daily average means something.
const KNOWN_DAYS: i32 = 28;
/// The days whose use is compared with a correction, which is of no time of its own.
const CORRECTED_DAYS: i64 = 30;

impl Point {
    /// Returns true if it is of a normal run.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        self.key.kind == NormalRetroType::Normal
    }

    /// The package that priced the bill.
    ///
    /// # Errors
    /// Returns an error if it is not in the point.
    pub fn package(&self) -> Result<&BilledPackage, Unsafe> {
        package_of(&self.snapshot, self.calculation.temporary).ok_or(Unsafe::NoPackage)
    }

    /// The lines that the customer owes.
    fn own_lines(&self) -> impl Iterator<Item = &CalculatedLine> {
        let kind = self.calculation.kind();
        self.calculation.lines.iter().filter(move |line| line.kind() == kind && kind != CalcFeeType::Unspecified)
    }

    /// Holds the bill against the bounds.
    ///
    /// # Errors
    /// Returns the bound that it does not keep.
    pub fn hold(&self, bounds: &Bounds) -> Result<(), Unsafe> {
        let total = self.calculation.total();
        let mut own = self.own_lines().peekable();
        if own.peek().is_none() {
            return Err(Unsafe::NoLine);
        }
        let lines = own.try_fold(Decimal::ZERO, |sum, line| sum.checked_add(line.fee())).ok_or(Unsafe::OutOfRange)?;
        if lines != total {
            return Err(Unsafe::Sum { lines, total });
        }
        if !self.is_normal() {
            return self.snapshot.registers.iter().try_for_each(|corrected| {
                let quantity = corrected.added_quantity();
                let register = corrected.register().code();
                if !self.is_usual(corrected, quantity, CORRECTED_DAYS, bounds)? {
                    return Err(Unsafe::Correction { register, quantity, factor: bounds.quantity_factor });
                }
                // The year may hold a retro point before, which no register measured.
                let measured = corrected.metered_total();
                let of_year = self.calculation.after.as_ref().map(|after| after.of_year()).unwrap_or_default();
                let is_known = corrected.billed_days >= KNOWN_DAYS && quantity < -bounds.small_quantity;
                if is_known && of_year.checked_add(measured).is_none_or(|left| left < Decimal::ZERO) {
                    return Err(Unsafe::TakenOff { register, quantity, measured });
                }
                Ok(())
            });
        }
        if total.is_sign_negative() && !total.is_zero() && !self.may_be_negative() {
            return Err(Unsafe::Negative { total });
        }
        self.readings.registers.iter().try_for_each(|read| {
            let known = self.snapshot.registers.iter().find(|r| (r.flow(), r.register()) == read.key());
            let Some(known) = known else { return Ok(()) };
            let days = match (day(known.last_read_on), day(read.read_on)) {
                (Some(from), Some(to)) => (to - from).num_days().max(1),
                _ => 1,
            };
            if !self.is_usual(known, read.metered(), days, bounds)? {
                let register = read.register().code();
                return Err(Unsafe::Quantity { register, quantity: read.metered(), factor: bounds.quantity_factor });
            }
            Ok(())
        })
    }

    /// Returns true if something in a normal bill may be below zero: a register that ran backwards, a quantity or fee that is
    /// divided off.
    fn may_be_negative(&self) -> bool {
        let point = &self.snapshot;
        let given = [
            point.fixed_quantity,
            point.fixed_fee,
            point.apportioned_total,
            point.apportioned_fee,
            point.divided_quantity,
            point.divided_fee,
        ];
        given.iter().any(|value| *value < 0)
            || self.readings.registers.iter().any(|read| read.quantity < 0)
            || point.registers.iter().any(|register| register.old_quantity < 0)
    }

    /// Returns false for a quantity, of either sign, beyond the bounds of what a register measures in a number of days. A small one
    /// is usual.
    ///
    /// # Errors
    /// Returns the bound that a register without an average does not keep.
    fn is_usual(
        &self,
        register: &PointRegister,
        quantity: Decimal,
        days: i64,
        bounds: &Bounds,
    ) -> Result<bool, Unsafe> {
        if quantity.abs() <= bounds.small_quantity {
            return Ok(true);
        }
        if register.billed_days < KNOWN_DAYS {
            let multiplier = self.snapshot.meter.as_ref().map_or(Decimal::ONE, PointMeter::multiplier);
            let most = bounds.first_movement;
            let is_beyond = is_beyond_first(quantity, multiplier, most).map_err(|_| Unsafe::OutOfRange)?;
            let register = register.register().code();
            return if is_beyond { Err(Unsafe::First { register, quantity, most }) } else { Ok(true) };
        }
        let expected = register.metered_total().abs().checked_mul(Decimal::from(days));
        let most = expected
            .and_then(|expected| expected.checked_mul(bounds.quantity_factor))
            .and_then(|most| most.checked_div(Decimal::from(register.billed_days)))
            .ok_or(Unsafe::OutOfRange)?;
        Ok(quantity.abs() <= most)
    }
}

/// A bill as it is issued.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedBill<'p> {
    /// The fields that all its lines share, those of the account and its package. [`IssuedLine::write`] writes the
    /// others.
    pub common: ReceivableLine,
    /// Its lines, numbered from 1 by their places.
    pub lines: Vec<IssuedLine<'p>>,
    /// Their sum.
    pub total: Decimal,
    /// The first day for which the late-payment penalty counts.
    pub levy_date: NaiveDate,
}

/// A line of a bill.
#[derive(Clone, Debug, PartialEq)]
pub struct IssuedLine<'p> {
    calculated: &'p CalculatedLine,
    /// The fee.
    pub fee: Decimal,
    /// True if the bill itself closes it: the fee is zero, or the bill is not above zero.
    pub closed: bool,
}

impl IssuedLine<'_> {
    /// Writes what is the line's own into a line of its bill, in the place of another line's.
    pub fn write(&self, line: &mut ReceivableLine) {
        let own = self.calculated;
        line.season = own.season;
        line.period = own.period;
        line.tier = own.tier;
        line.category_item = own.category_item;
        line.surcharge_item = own.surcharge_item;
        line.start_date = own.start;
        line.quantity = at_scale(own.quantity(), QUANTITY_SCALE);
        line.unit_price = at_scale(own.price(), UNIT_PRICE_SCALE);
        line.fee = at_scale(self.fee, CENTS);
    }
}

/// The serial and the days of a bill.
#[derive(Clone, Copy, Debug)]
pub struct Issue<'i> {
    /// The serial.
    pub charge_off_id: &'i str,
    /// The day of the charge-off.
    pub today: NaiveDate,
    /// Days from it to the levy date.
    pub grace_days: u32,
}

/// Makes the bill of a point.
///
/// # Errors
/// Returns an error if the package is missing, or a day is out of range.
pub fn issued<'p>(point: &'p Point, issue: &Issue<'_>) -> Result<IssuedBill<'p>, Unsafe> {
    let package = point.package()?;
    let total = point.calculation.total();
    let levy_date = issue.today.checked_add_days(Days::new(issue.grace_days.into())).ok_or(Unsafe::OutOfRange)?;
    let closes = total <= Decimal::ZERO;
    let lines = point.own_lines().map(|line| {
        let fee = line.fee();
        IssuedLine { calculated: line, fee, closed: closes || fee.is_zero() }
    });
    Ok(IssuedBill { common: common(point, package, issue), lines: lines.collect(), total, levy_date })
}

/// What the lines of a bill have in common: a bill is of one account and priced by one package.
fn common(point: &Point, package: &BilledPackage, issue: &Issue<'_>) -> ReceivableLine {
    let account = &point.snapshot;
    // A guaranteed package is sold by the network company, in the store of the account.
    let retail_store_id = match package.retail_store_id.as_str() {
        "" => &account.network_store_id,
        _ => &package.retail_store_id,
    };
    ReceivableLine {
        node_id: account.node_id.clone(),
        network_company_id: account.network_company_id.clone(),
        network_store_id: account.network_store_id.clone(),
        retail_company_id: package.retail_company_id.clone(),
        retail_store_id: retail_store_id.clone(),
        package_id: package.package_id.clone(),
        book_id: account.book_id.clone(),
        utility: account.utility,
        settlement_account_id: point.key.settlement_account_id.clone(),
        run_kind: point.key.kind.into(),
        customer_id: account.customer_id.clone(),
        using_customer_id: account.using_customer_id.clone(),
        user_account_id: account.user_account_id.clone(),
        industry_code: account.industry_code.clone(),
        industry_sector: account.industry_sector,
        assessed: account.assessed,
        resident: account.resident,
        public_use: account.public_use,
        temporary: account.temporary,
        urban: account.urban,
        military: account.military,
        supply_kind: package.supply_kind,
        stopped_or_vacant: account.stopped_or_vacant,
        business_kind: account.business_kind,
        basic_fee_kind: package.basic_fee_kind,
        seasonal: package.seasonal,
        time_of_use: package.time_of_use,
        agreement_price: package.agreement_price,
        ladder: package.ladder,
        ladder_tiers: package.tiers,
        power_factor_standard: account.power_factor_standard,
        heat_basis: package.heat_basis,
        property_basis: package.property_basis,
        account_item: package.account_item.clone(),
        account_month: point.key.account_month,
        package_kind: package.kind,
        voltage: package.voltage,
        delivery_level: package.delivery_grade.clone(),
        retail_level: package.retail_voltage_grade.clone(),
        property_grade: package.property_grade.clone(),
        charge_off_date: to_number(issue.today),
        charge_off_id: issue.charge_off_id.to_owned(),
        // Not known of an account, a line's own, and what payments change.
        ..ReceivableLine::default()
    }
}
