//! What billing takes of settlement accounts: their classification, the parameters of their meter points, their meters and
//! registers, as they stand when a billing point is made.

use chrono::NaiveDate;
use communal_kit::database::stored::Stored;
use communal_proto::billing::v1::{
    BusCategType, DeviceType, EnergyFlowType, ForRateValidType, IndustryType, MeterReadChanType, ReadingsType,
};
use rust_decimal::Decimal;

use crate::archive::settlement_accounts::lifecycle::AccountState;
use crate::reference::month_controls::{Kind, Series};
use crate::vocabulary::tariff::{Utility, YesNo};

pub mod store;

/// A settlement account with its meter point and meter.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the columns of the tables, documented there
pub struct BillableAccount {
    pub settlement_account_id: String,
    pub user_account_id: String,
    pub customer_id: String,
    pub using_customer_id: String,
    pub utility: Stored<Utility>,
    pub state: Stored<AccountState>,
    pub business_kind: Stored<BusCategType>,
    pub industry_code: String,
    pub industry_sector: Option<Stored<IndustryType>>,
    pub resident: Option<Stored<YesNo>>,
    pub urban: Option<Stored<YesNo>>,
    pub military: Option<Stored<YesNo>>,
    pub temporary: Option<Stored<YesNo>>,
    pub public_use: Option<Stored<YesNo>>,
    pub archived_on: Option<NaiveDate>,
    pub closed_on: Option<NaiveDate>,
    pub book_id: String,
    pub node_id: String,
    pub metered: Stored<YesNo>,
    pub network_company_id: String,
    pub network_store_id: String,
    pub retail_company_id: String,
    pub main_package_id: String,
    pub temporary_company_id: Option<String>,
    pub temporary_package_id: Option<String>,
    pub temporary_months: i32,
    pub temporary_months_used: i32,
    pub assessed: Stored<YesNo>,
    pub stopped_or_vacant: Stored<YesNo>,
    pub stopped_on: Option<NaiveDate>,
    pub resumed_on: Option<NaiveDate>,
    pub energy_load: Decimal,
    pub capacity: Decimal,
    pub demand_multiplier: Decimal,
    pub approved_demand: Decimal,
    pub power_factor_standard: Option<Stored<ForRateValidType>>,
    pub fixed_quantity: Decimal,
    pub fixed_fee: Decimal,
    pub apportioned_total: Decimal,
    pub apportioned_fee: Decimal,
    pub apportion_ratio: Decimal,
    pub division_ratio: Decimal,
    pub divided_quantity: Decimal,
    pub divided_fee: Decimal,
    pub area_factor: Decimal,
    pub area: Decimal,
    pub population: i32,
    pub households: i32,
    pub meter_id: Option<String>,
    pub meter_kind: Option<Stored<DeviceType>>,
    pub digits: Option<i32>,
    pub multiplier: Option<Decimal>,
    pub reading_channel: Option<Stored<MeterReadChanType>>,
    pub reading_order: Option<i32>,
}

impl BillableAccount {
    /// The account months to which its bills belong.
    #[must_use]
    pub fn series(&self) -> Series {
        Series::of(Kind::Account, &self.network_company_id, &self.network_store_id, self.utility.0)
    }
}

/// A register of an account's meter, or of the one that its close took off.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the columns of the table, documented there
pub struct BillableRegister {
    pub settlement_account_id: String,
    pub flow: Stored<EnergyFlowType>,
    pub register: Stored<ReadingsType>,
    pub last_reading: Decimal,
    pub last_read_on: NaiveDate,
    pub last_read_time: i32,
    pub old_quantity: Decimal,
    pub billed_days: i32,
    pub metered_total: Decimal,
    pub billed_total: Decimal,
}

/// The temporary package of an account as its meter point has it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TemporaryPackage {
    /// Its retail company; `None` without a temporary package.
    pub company_id: Option<String>,
    /// Its identifier.
    pub package_id: Option<String>,
    /// The charge-offs that it prices.
    pub months: i32,
    /// Those that it has priced.
    pub months_used: i32,
}

/// The address of a meter point, which is personal: no snapshot holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MeterPointAddress(pub String);
