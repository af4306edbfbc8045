//! The snapshot of a billing point: everything that rating and a bill's lines need of an account but prices, which are
//! looked up by the day of the reading, and accumulators, which live with the account. Pure.
//!
//! It is stored encoded, as a message of its own that no method sends. A tag keeps its meaning for good; a field that is
//! added later is read as its default from older points. Decimals are whole numbers of their last digit.

use chrono::NaiveDate;
use communal_kit::database::stored::Stored;
use communal_proto::billing::v1::{
    BasicFeesType, BusCategType, ChargePackType, DeliveryPriceType, DeviceType, EnergyFlowType, ForRateValidType,
    IndustryType, LadderNumType, MeterReadChanType, PurchaseSaleType, ReadingsType, TransVoltageType,
};
use rust_decimal::Decimal;

use crate::archive::billable::{BillableAccount, BillableRegister};
use crate::packages::store::PackageRow;
use crate::reference::month_controls::{Kind, Series};
use crate::vocabulary::dates::day_number;
use crate::vocabulary::quantity::{MULTIPLIER_SCALE, QUANTITY_SCALE, RATIO_SCALE, READING_SCALE};
use crate::vocabulary::tariff::{HeatBasis, Ladder, PropertyBasis, TimeOfUse, Utility, YesNo};

/// A decimal of a snapshot has too many digits. The columns that it comes from keep it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a decimal is beyond 18 digits")]
pub struct BeyondDigits;

/// Returns a decimal as a whole number of its last digit.
///
/// # Errors
/// Returns an error if it has more than 18 digits.
pub fn last_digits(value: Decimal, scale: u32) -> Result<i64, BeyondDigits> {
    let mut value = communal_kit::money::round(value, scale);
    value.rescale(scale);
    if value.scale() != scale {
        return Err(BeyondDigits);
    }
    i64::try_from(value.mantissa()).map_err(|_| BeyondDigits)
}

/// Reads fields that hold whole numbers of their last digit as decimals.
macro_rules! decimals {
    ($message:ident { $($(#[$doc:meta])* $name:ident: $scale:ident),* $(,)? }) => {
        impl $message {$(
            $(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> Decimal {
                Decimal::new(self.$name, $scale)
            }
        )*}
    };
}

/// What a billing point holds. Days are numbers yyyyMMdd, 0 for none; texts and codes are those of the archive, empty or
/// unspecified if they were not given.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // the columns of the archive, documented there
pub struct Snapshot {
    #[prost(string, tag = "1")]
    pub user_account_id: String,
    #[prost(string, tag = "2")]
    pub customer_id: String,
    #[prost(string, tag = "3")]
    pub using_customer_id: String,
    #[prost(enumeration = "Utility", tag = "4")]
    pub utility: i32,
    #[prost(enumeration = "BusCategType", tag = "5")]
    pub business_kind: i32,
    #[prost(string, tag = "6")]
    pub industry_code: String,
    #[prost(enumeration = "IndustryType", tag = "7")]
    pub industry_sector: i32,
    #[prost(enumeration = "YesNo", tag = "8")]
    pub resident: i32,
    #[prost(enumeration = "YesNo", tag = "9")]
    pub urban: i32,
    #[prost(enumeration = "YesNo", tag = "10")]
    pub military: i32,
    #[prost(enumeration = "YesNo", tag = "11")]
    pub temporary: i32,
    #[prost(enumeration = "YesNo", tag = "12")]
    pub public_use: i32,
    #[prost(int32, tag = "13")]
    pub archived_on: i32,
    #[prost(int32, tag = "14")]
    pub closed_on: i32,
    #[prost(string, tag = "15")]
    pub book_id: String,
    #[prost(string, tag = "16")]
    pub node_id: String,
    #[prost(enumeration = "YesNo", tag = "17")]
    pub metered: i32,
    #[prost(string, tag = "18")]
    pub network_company_id: String,
    #[prost(string, tag = "19")]
    pub network_store_id: String,
    #[prost(enumeration = "YesNo", tag = "20")]
    pub assessed: i32,
    #[prost(enumeration = "YesNo", tag = "21")]
    pub stopped_or_vacant: i32,
    #[prost(int32, tag = "22")]
    pub stopped_on: i32,
    #[prost(int32, tag = "23")]
    pub resumed_on: i32,
    #[prost(sint64, tag = "24")]
    pub energy_load: i64,
    #[prost(sint64, tag = "25")]
    pub capacity: i64,
    #[prost(sint64, tag = "26")]
    pub demand_multiplier: i64,
    #[prost(sint64, tag = "27")]
    pub approved_demand: i64,
    #[prost(enumeration = "ForRateValidType", tag = "28")]
    pub power_factor_standard: i32,
    #[prost(sint64, tag = "29")]
    pub fixed_quantity: i64,
    #[prost(sint64, tag = "30")]
    pub fixed_fee: i64,
    #[prost(sint64, tag = "31")]
    pub apportioned_total: i64,
    #[prost(sint64, tag = "32")]
    pub apportioned_fee: i64,
    #[prost(sint64, tag = "33")]
    pub apportion_ratio: i64,
    #[prost(sint64, tag = "34")]
    pub division_ratio: i64,
    #[prost(sint64, tag = "35")]
    pub divided_quantity: i64,
    #[prost(sint64, tag = "36")]
    pub divided_fee: i64,
    #[prost(sint64, tag = "37")]
    pub area_factor: i64,
    #[prost(sint64, tag = "38")]
    pub area: i64,
    /// 0: the package's.
    #[prost(int32, tag = "39")]
    pub population: i32,
    #[prost(int32, tag = "40")]
    pub households: i32,
    #[prost(message, optional, tag = "41")]
    pub main_package: Option<BilledPackage>,
    /// Replaces the main package in the charge-offs of that many months, of which some are over.
    #[prost(message, optional, tag = "42")]
    pub temporary_package: Option<BilledPackage>,
    #[prost(int32, tag = "43")]
    pub temporary_months: i32,
    #[prost(int32, tag = "44")]
    pub temporary_months_used: i32,
    /// None without a meter, and after the close.
    #[prost(message, optional, tag = "45")]
    pub meter: Option<PointMeter>,
    /// The registers of the meter; after the close those that it left, with what is not billed.
    #[prost(message, repeated, tag = "46")]
    pub registers: Vec<PointRegister>,
    /// The fee that a retro point adds.
    #[prost(sint64, tag = "47")]
    pub retro_fee: i64,
}

pub(crate) use decimals;

decimals!(Snapshot {
    /// Load (ENERGY_LOAD).
    energy_load: QUANTITY_SCALE,
    /// Capacity (LOAD_CAPACITY).
    capacity: QUANTITY_SCALE,
    /// Multiplier of the demand register (METER_DEMAND_RATE); 0: the meter's.
    demand_multiplier: QUANTITY_SCALE,
    /// Approved demand (MAX_DEMAND_APPR).
    approved_demand: QUANTITY_SCALE,
    /// Fixed quantity (FIXED_CHARGE).
    fixed_quantity: QUANTITY_SCALE,
    /// Fixed fee (FIXED_FEE).
    fixed_fee: QUANTITY_SCALE,
    /// Quantity of the common meter (TOTAL_APPORTION_DOSE).
    apportioned_total: QUANTITY_SCALE,
    /// Fee of the common meter (TOTAL_APPORTION_FEE).
    apportioned_fee: QUANTITY_SCALE,
    /// Share of that quantity (MET_DIVID_RATIO).
    apportion_ratio: RATIO_SCALE,
    /// Share of that fee (AREA_DIVID_RATIO).
    division_ratio: RATIO_SCALE,
    /// Divided quantity (DIVI_FIXED_CHARGE).
    divided_quantity: QUANTITY_SCALE,
    /// Divided fee (DIVI_FIXED_FEE).
    divided_fee: QUANTITY_SCALE,
    /// Factor on the area (CHARGE_AREA_FACTOR).
    area_factor: RATIO_SCALE,
    /// Area (ACTUAL_AREA).
    area: QUANTITY_SCALE,
    /// Fee that a retro point adds.
    retro_fee: QUANTITY_SCALE,
});

/// A package as far as it decides lines. Its state and lifetime are looked up when the point is rated.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // the columns of the package, documented there
pub struct BilledPackage {
    #[prost(string, tag = "1")]
    pub retail_company_id: String,
    #[prost(string, tag = "2")]
    pub package_id: String,
    /// Empty of a guaranteed package.
    #[prost(string, tag = "3")]
    pub retail_store_id: String,
    #[prost(enumeration = "ChargePackType", tag = "4")]
    pub kind: i32,
    #[prost(enumeration = "PurchaseSaleType", tag = "5")]
    pub supply_kind: i32,
    #[prost(string, tag = "6")]
    pub account_item: String,
    #[prost(enumeration = "YesNo", tag = "7")]
    pub resident: i32,
    #[prost(enumeration = "YesNo", tag = "8")]
    pub deviation: i32,
    #[prost(enumeration = "YesNo", tag = "9")]
    pub seasonal: i32,
    #[prost(enumeration = "YesNo", tag = "10")]
    pub agreement_price: i32,
    #[prost(enumeration = "HeatBasis", tag = "11")]
    pub heat_basis: i32,
    #[prost(enumeration = "PropertyBasis", tag = "12")]
    pub property_basis: i32,
    #[prost(enumeration = "BasicFeesType", tag = "13")]
    pub basic_fee_kind: i32,
    #[prost(enumeration = "TimeOfUse", tag = "14")]
    pub time_of_use: i32,
    #[prost(enumeration = "Ladder", tag = "15")]
    pub ladder: i32,
    #[prost(enumeration = "LadderNumType", tag = "16")]
    pub tiers: i32,
    #[prost(int32, tag = "17")]
    pub population: i32,
    #[prost(string, tag = "18")]
    pub property_grade: String,
    #[prost(string, tag = "19")]
    pub retail_voltage_grade: String,
    #[prost(enumeration = "DeliveryPriceType", tag = "20")]
    pub delivery_price_kind: i32,
    #[prost(enumeration = "YesNo", tag = "21")]
    pub by_power: i32,
    #[prost(string, tag = "22")]
    pub power_range: String,
    #[prost(string, tag = "23")]
    pub delivery_grade: String,
    #[prost(enumeration = "TransVoltageType", tag = "24")]
    pub voltage: i32,
}

/// The meter of a point.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // the columns of the meter, documented there
pub struct PointMeter {
    #[prost(string, tag = "1")]
    pub meter_id: String,
    #[prost(enumeration = "DeviceType", tag = "2")]
    pub kind: i32,
    #[prost(int32, tag = "3")]
    pub digits: i32,
    #[prost(sint64, tag = "4")]
    pub multiplier: i64,
    #[prost(enumeration = "MeterReadChanType", tag = "5")]
    pub reading_channel: i32,
    #[prost(int32, tag = "6")]
    pub reading_order: i32,
}

decimals!(PointMeter {
    /// Factor from a difference of readings to a quantity.
    multiplier: MULTIPLIER_SCALE,
});

/// A register of a point.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // the columns of the register, documented there
pub struct PointRegister {
    #[prost(enumeration = "EnergyFlowType", tag = "1")]
    pub flow: i32,
    #[prost(enumeration = "ReadingsType", tag = "2")]
    pub register: i32,
    #[prost(sint64, tag = "3")]
    pub last_reading: i64,
    #[prost(int32, tag = "4")]
    pub last_read_on: i32,
    #[prost(int32, tag = "5")]
    pub last_read_time: i32,
    #[prost(sint64, tag = "6")]
    pub old_quantity: i64,
    /// The quantity that a retro point adds.
    #[prost(sint64, tag = "7")]
    pub added_quantity: i64,
    #[prost(int32, tag = "8")]
    pub billed_days: i32,
    #[prost(sint64, tag = "9")]
    pub metered_total: i64,
    #[prost(sint64, tag = "10")]
    pub billed_total: i64,
}

decimals!(PointRegister {
    /// The latest reading that is billed, or the opening one.
    last_reading: READING_SCALE,
    /// What meters that were taken off measured since.
    old_quantity: QUANTITY_SCALE,
    /// The quantity that a retro point adds.
    added_quantity: QUANTITY_SCALE,
    /// What it measured in the bills before.
    metered_total: QUANTITY_SCALE,
    /// What was billed of it.
    billed_total: QUANTITY_SCALE,
});

impl Snapshot {
    /// The series of account months to which the bills of the point belong.
    #[must_use]
    pub fn series(&self) -> Series {
        Series::of(Kind::Account, &self.network_company_id, &self.network_store_id, self.utility())
    }

    /// Takes the snapshot of an account.
    ///
    /// # Errors
    /// Returns an error if a decimal has more digits than its column may hold.
    pub fn take(
        account: &BillableAccount,
        registers: &[BillableRegister],
        main: &PackageRow,
        temporary: Option<&PackageRow>,
    ) -> Result<Self, BeyondDigits> {
        let quantity = |value: Decimal| last_digits(value, QUANTITY_SCALE);
        let ratio = |value: Decimal| last_digits(value, RATIO_SCALE);
        let code = |code: Option<Stored<YesNo>>| Stored::given(code).into();
        let number = |day: Option<NaiveDate>| day_number(day);
        let meter = match &account.meter_id {
            None => None,
            Some(meter_id) => Some(PointMeter {
                meter_id: meter_id.clone(),
                kind: Stored::given(account.meter_kind).into(),
                digits: account.digits.unwrap_or_default(),
                multiplier: last_digits(account.multiplier.unwrap_or_default(), MULTIPLIER_SCALE)?,
                reading_channel: Stored::given(account.reading_channel).into(),
                reading_order: account.reading_order.unwrap_or_default(),
            }),
        };
        Ok(Self {
            user_account_id: account.user_account_id.clone(),
            customer_id: account.customer_id.clone(),
            using_customer_id: account.using_customer_id.clone(),
            utility: account.utility.0.into(),
            business_kind: account.business_kind.0.into(),
            industry_code: account.industry_code.clone(),
            industry_sector: Stored::given(account.industry_sector).into(),
            resident: code(account.resident),
            urban: code(account.urban),
            military: code(account.military),
            temporary: code(account.temporary),
            public_use: code(account.public_use),
            archived_on: number(account.archived_on),
            closed_on: number(account.closed_on),
            book_id: account.book_id.clone(),
            node_id: account.node_id.clone(),
            metered: account.metered.0.into(),
            network_company_id: account.network_company_id.clone(),
            network_store_id: account.network_store_id.clone(),
            assessed: account.assessed.0.into(),
            stopped_or_vacant: account.stopped_or_vacant.0.into(),
            stopped_on: number(account.stopped_on),
            resumed_on: number(account.resumed_on),
            energy_load: quantity(account.energy_load)?,
            capacity: quantity(account.capacity)?,
            demand_multiplier: quantity(account.demand_multiplier)?,
            approved_demand: quantity(account.approved_demand)?,
            power_factor_standard: Stored::given(account.power_factor_standard).into(),
            fixed_quantity: quantity(account.fixed_quantity)?,
            fixed_fee: quantity(account.fixed_fee)?,
            apportioned_total: quantity(account.apportioned_total)?,
            apportioned_fee: quantity(account.apportioned_fee)?,
            apportion_ratio: ratio(account.apportion_ratio)?,
            division_ratio: ratio(account.division_ratio)?,
            divided_quantity: quantity(account.divided_quantity)?,
            divided_fee: quantity(account.divided_fee)?,
            area_factor: ratio(account.area_factor)?,
            area: quantity(account.area)?,
            population: account.population,
            households: account.households,
            main_package: Some(BilledPackage::of(main)),
            temporary_package: temporary.map(BilledPackage::of),
            temporary_months: account.temporary_months,
            temporary_months_used: account.temporary_months_used,
            meter,
            registers: registers.iter().map(PointRegister::of).collect::<Result<_, _>>()?,
            retro_fee: 0,
        })
    }

    /// The identifier of the meter, empty without one.
    #[must_use]
    pub fn meter_id(&self) -> &str {
        self.meter.as_ref().map_or("", |meter| meter.meter_id.as_str())
    }

    /// The number of registers that are read: none without a meter.
    #[must_use]
    pub fn registers_to_read(&self) -> i32 {
        if self.meter.is_none() { 0 } else { i32::try_from(self.registers.len()).unwrap_or(i32::MAX) }
    }
}

impl BilledPackage {
    fn of(package: &PackageRow) -> Self {
        Self {
            retail_company_id: package.retail_company_id.clone(),
            package_id: package.package_id.clone(),
            retail_store_id: package.retail_store_id.clone().unwrap_or_default(),
            kind: package.kind.0.into(),
            supply_kind: package.supply_kind.0.into(),
            account_item: package.account_item.clone(),
            resident: package.resident.0.into(),
            deviation: Stored::given(package.deviation).into(),
            seasonal: Stored::given(package.seasonal).into(),
            agreement_price: package.agreement_price.0.into(),
            heat_basis: Stored::given(package.heat_basis).into(),
            property_basis: Stored::given(package.property_basis).into(),
            basic_fee_kind: Stored::given(package.basic_fee_kind).into(),
            time_of_use: package.time_of_use.0.into(),
            ladder: package.ladder.0.into(),
            tiers: Stored::given(package.tiers).into(),
            population: package.population,
            property_grade: package.property_grade.clone(),
            retail_voltage_grade: package.retail_voltage_grade.clone(),
            delivery_price_kind: Stored::given(package.delivery_price_kind).into(),
            by_power: Stored::given(package.by_power).into(),
            power_range: package.power_range.clone(),
            delivery_grade: package.delivery_grade.clone(),
            voltage: Stored::given(package.voltage).into(),
        }
    }
}

impl PointRegister {
    fn of(register: &BillableRegister) -> Result<Self, BeyondDigits> {
        Ok(Self {
            flow: register.flow.0.into(),
            register: register.register.0.into(),
            last_reading: last_digits(register.last_reading, READING_SCALE)?,
            last_read_on: day_number(Some(register.last_read_on)),
            last_read_time: register.last_read_time,
            old_quantity: last_digits(register.old_quantity, QUANTITY_SCALE)?,
            added_quantity: 0,
            billed_days: register.billed_days,
            metered_total: last_digits(register.metered_total, QUANTITY_SCALE)?,
            billed_total: last_digits(register.billed_total, QUANTITY_SCALE)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_decimal_is_kept_to_its_last_digit_and_not_cut() {
        let decimal = |text: &str| text.parse::<Decimal>().unwrap();
        assert_eq!(last_digits(decimal("-12.5"), 2), Ok(-1_250));
        assert_eq!(last_digits(Decimal::ZERO, 6), Ok(0));
        assert_eq!(last_digits(decimal("9999999999.999999"), 6), Ok(9_999_999_999_999_999));
        assert_eq!(last_digits(decimal("99999999999999999999"), 2), Err(BeyondDigits));
        assert_eq!(last_digits(Decimal::MAX, 6), Err(BeyondDigits));
        let snapshot = Snapshot { fixed_quantity: -150, apportion_ratio: 250, ..Snapshot::default() };
        assert_eq!((snapshot.fixed_quantity(), snapshot.apportion_ratio()), (decimal("-1.50"), decimal("0.0250")));
    }
}
