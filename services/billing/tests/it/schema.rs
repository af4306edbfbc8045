//! The schema against the contract: a coded column allows the documented codes and no other.

use std::collections::BTreeSet;

use communal_billing::MIGRATOR;
use communal_fixtures::TestDatabase;
use communal_proto::Coded;
use communal_proto::billing::v1::*;

/// The documented codes of an enum.
fn codes<E: Coded + TryFrom<i32>>() -> BTreeSet<String> {
    (1..).map_while(|number| E::try_from(number).ok()).map(|code| code.code().to_owned()).collect()
}

#[tokio::test]
async fn coded_columns_allow_the_documented_codes() {
    let of_packages = [
        ("kind", codes::<ChargePackType>()),
        ("supply_kind", codes::<PurchaseSaleType>()),
        ("utility", codes::<NetworkType>()),
        ("resident", codes::<YesNo>()),
        ("deviation", codes::<YesNo>()),
        ("seasonal", codes::<YesNo>()),
        ("agreement_price", codes::<YesNo>()),
        ("heat_basis", codes::<HeatChargeType>()),
        ("property_basis", codes::<GarbChargeType>()),
        ("basic_fee_kind", codes::<BasicFeesType>()),
        ("time_of_use", codes::<TimeFeesType>()),
        ("ladder", codes::<LadderType>()),
        ("tiers", codes::<LadderNumType>()),
        ("may_cancel", codes::<YesNo>()),
        ("delivery_price_kind", codes::<DeliveryPriceType>()),
        ("by_power", codes::<YesNo>()),
        ("voltage", codes::<TransVoltageType>()),
        // No documented call leads to "approved" or "rejected".
        ("state", ["1", "2", "5", "6"].map(str::to_owned).into()),
    ];
    let of_prices = [
        ("agreement_price", codes::<YesNo>()),
        ("season", codes::<AbundanceType>()),
        ("heat_basis", codes::<HeatChargeType>()),
        ("property_basis", codes::<GarbChargeType>()),
        ("time_of_use", codes::<TimeFeesType>()),
        ("period", codes::<TimeSharingType>()),
        ("ladder", codes::<LadderType>()),
        ("tier", codes::<LadderLevelType>()),
    ];
    let of_catalogue = [
        ("utility", codes::<NetworkType>()),
        ("supply_kind", codes::<PurchaseSaleType>()),
        // By area and by metered heat are two prices.
        ("heat_basis", ["1", "2", "3"].map(str::to_owned).into()),
        ("property_basis", codes::<GarbChargeType>()),
        ("basic_fee_kind", codes::<BasicFeesType>()),
        ("seasonal", codes::<YesNo>()),
        ("time_of_use", codes::<TimeFeesType>()),
        ("ladder", codes::<LadderType>()),
        ("tiers", codes::<LadderNumType>()),
        ("season", codes::<AbundanceType>()),
        ("period", codes::<TimeSharingType>()),
        ("tier", codes::<LadderLevelType>()),
    ];
    let expected = of_packages.into_iter().map(|(column, codes)| ("package", column, codes));
    let expected = expected.chain(of_prices.into_iter().map(|(column, codes)| ("package_price", column, codes)));
    let expected = expected.chain(of_catalogue.into_iter().map(|(column, codes)| ("catalogue_price", column, codes)));
    let expected = expected.chain([
        ("receivable_line", "package_kind", codes::<ChargePackType>()),
        ("receivable_open", "package_kind", codes::<ChargePackType>()),
        ("bill", "kind", codes::<NormalRetroType>()),
        ("balance", "fund", codes::<FundType>()),
        ("ledger", "fund", codes::<FundType>()),
        ("ledger", "business_kind", codes::<BusinessType>()),
        ("category_item", "utility", codes::<NetworkType>()),
        ("category_item", "surcharge", codes::<YesNo>()),
        ("account_item", "utility", codes::<NetworkType>()),
        ("node", "utility", codes::<NetworkType>()),
        ("month_control", "utility", codes::<NetworkType>()),
        ("month_control", "part_month_rule", codes::<ChargeRuleType>()),
        // Data that the documents have for some utilities alone.
        ("ladder_population", "utility", ["1", "2", "3", "5"].map(str::to_owned).into()),
        ("season_month", "utility", ["1", "2"].map(str::to_owned).into()),
        ("approval_ratio", "utility", ["2"].map(str::to_owned).into()),
        ("season_month", "season", codes::<AbundanceType>()),
        ("delivery_price", "utility", codes::<NetworkType>()),
        ("delivery_price", "kind", codes::<DeliveryPriceType>()),
        ("delivery_price", "fee_kind", codes::<DeliveryFeeType>()),
        ("delivery_price", "time_of_use", codes::<TimeFeesType>()),
        ("delivery_price", "period", codes::<TimeSharingType>()),
        ("delivery_price", "ladder", codes::<LadderType>()),
        ("delivery_price", "tiers", codes::<LadderNumType>()),
        ("delivery_price", "tier", codes::<LadderLevelType>()),
        ("delivery_price", "season", codes::<AbundanceType>()),
        ("delivery_price", "agreement_price", codes::<YesNo>()),
        ("adjust_ratio", "standard", codes::<ForRateValidType>()),
        ("adjust_ratio", "direction", codes::<RewardPunishType>()),
    ]);
    let of_archive = [
        ("book", "utility", codes::<NetworkType>()),
        ("book", "read", codes::<YesNo>()),
        ("book", "read_period", codes::<ReadPeriodType>()),
        ("customer", "kind", codes::<CustomerType>()),
        ("customer", "certificate_kind", codes::<AccCertType>()),
        ("customer", "attestation", codes::<AttestationType>()),
        ("user_account", "resident", codes::<YesNo>()),
        ("user_account", "attestation", codes::<AttestationType>()),
        ("meter", "utility", codes::<NetworkType>()),
        ("meter", "kind", codes::<DeviceType>()),
        ("meter", "read_channel", codes::<MeterReadChanType>()),
        ("meter", "remote", codes::<YesNo>()),
        ("settlement_account", "utility", codes::<NetworkType>()),
        ("settlement_account", "business_kind", codes::<BusCategType>()),
        ("settlement_account", "attestation", codes::<AttestationType>()),
        ("settlement_account", "control_kind", codes::<ControlType>()),
        ("settlement_account", "industry_sector", codes::<IndustryType>()),
        ("settlement_account", "resident", codes::<YesNo>()),
        ("settlement_account", "urban", codes::<YesNo>()),
        ("settlement_account", "military", codes::<YesNo>()),
        ("settlement_account", "temporary", codes::<YesNo>()),
        ("settlement_account", "public_use", codes::<YesNo>()),
        ("settlement_account", "connection_kind", codes::<ConnectModeType>()),
        ("settlement_account", "contract_signed", codes::<YesNo>()),
        // A retro bill is no process.
        ("business_process", "kind", ["1", "2", "11", "12", "50"].map(str::to_owned).into()),
        // The documents list no state 2.
        ("business_process", "state", ["1", "3", "4"].map(str::to_owned).into()),
        ("meter_point", "metered", codes::<YesNo>()),
        ("meter_point", "assessed", codes::<YesNo>()),
        ("meter_point", "stopped_or_vacant", codes::<YesNo>()),
        ("meter_point", "power_factor_standard", codes::<ForRateValidType>()),
        ("account_register", "flow", codes::<EnergyFlowType>()),
        ("account_register", "register", codes::<ReadingsType>()),
        ("boundary_reading", "flow", codes::<EnergyFlowType>()),
        ("boundary_reading", "register", codes::<ReadingsType>()),
        ("boundary_reading", "turn", codes::<TurnUpsideType>()),
        ("billing_point", "kind", codes::<NormalRetroType>()),
        ("point_open", "kind", codes::<NormalRetroType>()),
        ("point_calculation", "kind", codes::<NormalRetroType>()),
        // A retro point has no readings.
        ("point_reading", "kind", ["1"].map(str::to_owned).into()),
    ];
    let expected = expected.chain(of_archive);

    let database = TestDatabase::create("billing", &MIGRATOR).await;
    for (table, column, codes) in expected {
        let check: String = sqlx::query_scalar(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1::regclass AND conname = $2",
        )
        .bind(table)
        .bind(format!("{table}_{column}_check"))
        .fetch_one(&database.pool)
        .await
        .unwrap_or_else(|error| panic!("{table}.{column}: {error}"));
        let allowed: BTreeSet<_> = check.split('\'').skip(1).step_by(2).map(str::to_owned).collect();
        assert_eq!(allowed, codes, "{table}.{column}: {check}");
    }
}
