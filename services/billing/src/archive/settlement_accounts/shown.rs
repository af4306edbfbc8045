//! How user accounts, settlement accounts and meter points are shown. Pure.

use std::collections::HashMap;

use communal_kit::database::stored::Stored;
use communal_kit::money::{CENTS, at_scale};
use communal_proto::billing::v1::{
    MeterPoint, SettlementAccount, UnverifiedMeterPoint, UnverifiedSettlementAccount, UnverifiedUserAccount,
    UserAccount,
};
use rust_decimal::Decimal;

use super::store::{AccountRow, MeterPointRow, UserAccountRow};
use crate::vocabulary::dates::day_number;
use crate::vocabulary::quantity::{COORDINATE_SCALE, QUANTITY_SCALE, RATIO_SCALE};

/// Adds up what the settlement accounts of each user account owe.
#[must_use]
pub fn outstanding_by_user(accounts: &[AccountRow]) -> HashMap<String, Decimal> {
    let mut owed = HashMap::<String, Decimal>::new();
    for account in accounts {
        *owed.entry(account.user_account_id.clone()).or_default() += account.outstanding;
    }
    owed
}

/// Shows a user account with what it owes.
#[must_use]
pub fn user_account(row: UserAccountRow, owed: &HashMap<String, Decimal>) -> UserAccount {
    let UserAccountRow {
        customer_id,
        using_customer_id,
        user_account_id,
        name: user_name,
        region: region_code,
        address,
        attestation: Stored(attestation),
        resident: Stored(resident),
        map_name,
        longitude,
        latitude,
        risk_balance,
        margin_balance,
        advance_limit,
    } = row;
    let outstanding = owed.get(&user_account_id).copied().unwrap_or_default();
    UserAccount {
        customer_id,
        using_customer_id,
        user_account_id,
        user_name,
        region_code,
        address,
        user_attestation: attestation.into(),
        // No documented call gives one.
        real_estate_id: String::new(),
        resident: resident.into(),
        map_name,
        longitude: at_scale(longitude, COORDINATE_SCALE),
        latitude: at_scale(latitude, COORDINATE_SCALE),
        outstanding_balance: at_scale(outstanding, CENTS),
        risk_balance: at_scale(risk_balance, CENTS),
        margin_balance: at_scale(margin_balance, CENTS),
        advance_limit: at_scale(advance_limit, CENTS),
    }
}

/// Shows a user account with the fields that the documented view of unverified ones has.
#[must_use]
pub fn unverified_user_account(row: UserAccountRow) -> UnverifiedUserAccount {
    UnverifiedUserAccount {
        customer_id: row.customer_id,
        using_customer_id: row.using_customer_id,
        user_account_id: row.user_account_id,
        user_name: row.name,
        region_code: row.region,
        address: row.address,
        user_attestation: row.attestation.0.into(),
    }
}

/// Shows a settlement account with the fields that the documented view of unverified ones has.
#[must_use]
pub fn unverified_account(row: AccountRow) -> UnverifiedSettlementAccount {
    UnverifiedSettlementAccount {
        customer_id: row.customer_id,
        customer_id_name: row.customer_name,
        using_customer_id: row.using_customer_id,
        using_customer_name: row.using_customer_name,
        user_account_id: row.user_account_id,
        settlement_account_id: row.settlement_account_id,
        settlement_account_name: row.name,
        utility: row.utility.0.into(),
        address: row.address,
        outstanding_balance: at_scale(row.outstanding, CENTS),
        settlement_attestation: row.attestation.0.into(),
    }
}

/// Shows the open process of a settlement account.
#[must_use]
pub fn unverified_meter_point(row: &AccountRow) -> UnverifiedMeterPoint {
    UnverifiedMeterPoint {
        settlement_account_id: row.settlement_account_id.clone(),
        process_id: row.process_id.clone().unwrap_or_default(),
        business_kind: row.business_kind.0.into(),
        process_state: Stored::given(row.process_state).into(),
        area_factor: at_scale(row.area_factor.unwrap_or_default(), RATIO_SCALE),
        area: at_scale(row.area.unwrap_or_default(), QUANTITY_SCALE),
    }
}

/// Shows a settlement account.
#[must_use]
pub fn account(row: AccountRow) -> SettlementAccount {
    let AccountRow {
        customer_id,
        customer_name,
        using_customer_id,
        using_customer_name,
        user_account_id,
        settlement_account_id,
        name,
        utility: Stored(utility),
        address,
        outstanding,
        attestation: Stored(attestation),
        control_kind,
        industry_code,
        industry_sector,
        resident,
        urban,
        military,
        temporary,
        public_use,
        connection_kind,
        inspection_cycle,
        last_inspection_date,
        process_id,
        business_kind: Stored(business_kind),
        process_state: _,
        remark,
        contract_signed,
        contract_number,
        contract_end_date,
        area_factor: _,
        area: _,
    } = row;
    SettlementAccount {
        customer_id,
        customer_id_name: customer_name,
        using_customer_id,
        using_customer_name,
        user_account_id,
        settlement_account_id,
        settlement_account_name: name,
        utility: utility.into(),
        address,
        outstanding_balance: at_scale(outstanding, CENTS),
        settlement_attestation: attestation.into(),
        control_kind: Stored::given(control_kind).into(),
        // The dimensions of statistics are given by no documented call.
        retail_dimension: String::new(),
        industry_code,
        industry_sector: Stored::given(industry_sector).into(),
        network_dimension: String::new(),
        resident: Stored::given(resident).into(),
        urban: Stored::given(urban).into(),
        military: Stored::given(military).into(),
        temporary: Stored::given(temporary).into(),
        public_use: Stored::given(public_use).into(),
        connection_kind: Stored::given(connection_kind).into(),
        inspection_cycle,
        last_inspection_date: day_number(last_inspection_date),
        process_id: process_id.unwrap_or_default(),
        business_kind: business_kind.into(),
        remark,
        contract_signed: Stored::given(contract_signed).into(),
        contract_number,
        contract_deadline: day_number(contract_end_date),
    }
}

/// Shows a meter point.
#[must_use]
pub fn meter_point(row: MeterPointRow) -> MeterPoint {
    let MeterPointRow {
        settlement_account_id,
        address,
        book_id,
        node_id,
        utility: Stored(utility),
        metered: Stored(metered),
        meter_id,
        network_company_id,
        network_store_id,
        retail_company_id,
        retail_store_id,
        assessed: Stored(assessed),
        supply_kind: Stored(supply_kind),
        energy_load,
        account_item,
        agreement_price: Stored(agreement_price),
        stopped_or_vacant: Stored(stopped_or_vacant),
        stopped_on,
        resumed_on,
        main_package_id,
        temporary_package_id,
        temporary_months,
        basic_fee_kind,
        capacity,
        demand_multiplier,
        approved_demand,
        deviation,
        power_factor_standard,
        seasonal,
        time_of_use: Stored(time_of_use),
        ladder: Stored(ladder),
        heat_basis,
        property_basis,
        fixed_quantity,
        fixed_fee,
        divided_quantity,
        apportion_ratio,
        area_factor,
        area,
        population,
        households,
    } = row;
    MeterPoint {
        settlement_account_id,
        address,
        book_id,
        node_id,
        utility: utility.into(),
        metered: metered.into(),
        meter_id: meter_id.unwrap_or_default(),
        real_estate_id: String::new(),
        network_company_id,
        network_store_id,
        retail_company_id,
        retail_store_id,
        assessed: assessed.into(),
        supply_kind: supply_kind.into(),
        energy_load: at_scale(energy_load, QUANTITY_SCALE),
        account_item,
        agreement_price: agreement_price.into(),
        stopped_or_vacant: stopped_or_vacant.into(),
        stopped_from: day_number(stopped_on),
        resupplied_from: day_number(resumed_on),
        // No documented call gives a billing day or a floor.
        billing_day: String::new(),
        main_package_id,
        temporary_package_id: temporary_package_id.unwrap_or_default(),
        temporary_months,
        basic_fee_kind: Stored::given(basic_fee_kind).into(),
        capacity: at_scale(capacity, QUANTITY_SCALE),
        demand_multiplier: at_scale(demand_multiplier, QUANTITY_SCALE),
        approved_demand: at_scale(approved_demand, QUANTITY_SCALE),
        deviation: Stored::given(deviation).into(),
        power_factor_standard: Stored::given(power_factor_standard).into(),
        seasonal: Stored::given(seasonal).into(),
        time_of_use: time_of_use.into(),
        ladder: ladder.into(),
        heat_basis: Stored::given(heat_basis).into(),
        property_basis: Stored::given(property_basis).into(),
        fixed_quantity: at_scale(fixed_quantity, QUANTITY_SCALE),
        fixed_fee: at_scale(fixed_fee, CENTS),
        divided_quantity: at_scale(divided_quantity, QUANTITY_SCALE),
        apportion_ratio: at_scale(apportion_ratio, RATIO_SCALE),
        floor: 0,
        floor_height: at_scale(Decimal::ZERO, QUANTITY_SCALE),
        area_factor: at_scale(area_factor, RATIO_SCALE),
        area: at_scale(area, QUANTITY_SCALE),
        population,
        households,
    }
}
