//! Bills from the reading to the receivable line: the examples of the domain, guaranteed and temporary packages, and the last
//! bill of a closed account.

use communal_proto::billing::v1::NormalRetroType::{Normal, Retro};
use communal_proto::billing::v1::*;
use rust_decimal::Decimal;

use crate::calculations::{
    approve_demand, assess_power_factor, electricity, in_spring, industry, plain, plain_row, read_point, sell,
    shanghai, water, world,
};
use crate::harness::*;

/// Reads, calculates and charges off an account's normal point.
async fn bill(world: &World, tenant: &'static str, account: &str, meter: &str, of: &[(ReadingsType, &str)]) {
    read_point(world, tenant, account, meter, of).await;
    world.calculate_normal(caller(tenant), &[account]).await.unwrap();
    world.charge_off(caller(tenant), &[(account, Normal)]).await.unwrap();
}

/// What an account owes of a month, as "item/surcharge tier/period quantity × price = fee", and the sum.
async fn owed(world: &World, tenant: &'static str, account: &str, month: i32) -> (Vec<String>, String) {
    let lines = world.arrears(tenant, ArrearsFilter::default()).await.unwrap();
    let own: Vec<_> = lines.iter().filter(|l| l.settlement_account_id == account && l.account_month == month).collect();
    let line = |line: &&ReceivableLine| {
        let ReceivableLine { category_item, surcharge_item, tier, quantity, unit_price, fee, .. } = line;
        format!("{category_item}/{surcharge_item} {tier}/{:?} {quantity} × {unit_price} = {fee}", line.period())
    };
    let sum: Decimal = own.iter().map(|line| line.fee.parse::<Decimal>().unwrap()).sum();
    (own.iter().map(line).collect(), sum.to_string())
}

/// The accumulators of an account: month, quantity of the year, quantity of the month.
async fn accumulated(world: &World, account: &str) -> String {
    let statement = "SELECT concat_ws(' ', account_month, year_quantity, month_quantity) FROM account_accumulator
         WHERE settlement_account_id = $1";
    sqlx::query_scalar(statement).bind(account).fetch_one(world.pool()).await.unwrap()
}

fn owes(lines: &[&str], sum: &str) -> (Vec<String>, String) {
    (lines.iter().map(|line| (*line).to_owned()).collect(), sum.to_owned())
}

#[tokio::test]
async fn a_year_ladder_that_crosses_a_step_is_owed_to_the_cent() {
    let (world, network) = world().await;
    let supply = Supply { year_quantity: "2800", month_quantity: "150", ..electricity(&network) };
    let (account, meter) = world.bring_account(1, &supply).await;
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "400")]).await;
    let lines = ["1001/0 1/Whole 80.00 × 0.488300 = 39.06", "1001/0 2/Whole 220.00 × 0.538300 = 118.43"];
    assert_eq!(owed(&world, RETAIL, &account, 202_403).await, owes(&lines, "157.49"));
    assert_eq!(accumulated(&world, &account).await, "202403 3100.00 300.00");
    // The next month goes on from there.
    world.days_pass(20);
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "500")]).await;
    let lines = ["1001/0 2/Whole 100.00 × 0.538300 = 53.83"];
    assert_eq!(owed(&world, RETAIL, &account, 202_404).await, owes(&lines, "53.83"));
    assert_eq!(accumulated(&world, &account).await, "202404 3200.00 100.00");
}

#[tokio::test]
async fn time_of_use_under_a_ladder_is_owed_to_the_cent() {
    let (world, network) = world().await;
    let (account, meter) = world.bring_account(1, &shanghai(&world, &network).await).await;
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Peak, "1180"), (ReadingsType::Valley, "2120")]).await;
    let lines = [
        "1001/0 1/Peak 72.00 × 0.617000 = 44.42",
        "1001/0 1/Valley 48.00 × 0.307000 = 14.74",
        "1001/0 2/Peak 108.00 × 0.677000 = 73.12",
        "1001/0 2/Valley 72.00 × 0.337000 = 24.26",
    ];
    assert_eq!(owed(&world, RETAIL, &account, 202_403).await, owes(&lines, "156.54"));
    assert_eq!(accumulated(&world, &account).await, "202403 3300.00 300.00");
}

#[tokio::test]
async fn demand_and_power_factor_are_owed_to_the_cent() {
    // The meter has no multiplier, and moves by all that a factory uses.
    let (world, network) =
        in_spring(World::start_with(&[("billing_verify_codes", "off"), ("billing_first_movement", "120000")]).await)
            .await;
    let supply = industry(&world, &network).await;
    approve_demand(&world).await;
    assess_power_factor(&world).await;
    let (account, meter) = world.bring_account(1, &supply).await;
    let readings = [(ReadingsType::Total, "120000"), (ReadingsType::Reactive, "72000"), (ReadingsType::Demand, "1200")];
    bill(&world, RETAIL, &account, &meter, &readings).await;
    let lines = [
        "1001/0 1/Whole 120000.00 × 0.650000 = 78000.00",
        "1003/0 1/Whole 1350.00 × 48.000000 = 64800.00",
        "1001/0 1/Whole 0.00 × 0.020000 = 2856.00",
    ];
    assert_eq!(owed(&world, RETAIL, &account, 202_403).await, owes(&lines, "145656.00"));
    assert_eq!(
        accumulated(&world, &account).await,
        "202403 120000.00 120000.00",
        "demand and reactive energy are none"
    );
}

#[tokio::test]
async fn a_refund_of_a_quantity_is_credited_to_the_cent() {
    let (world, network) = world().await;
    let (account, meter) = world.bring_account(1, &Supply { year_quantity: "3000", ..electricity(&network) }).await;
    let register = AdjustedRegister {
        meter_id: meter,
        run_kind: Retro.into(),
        energy_flow: EnergyFlowType::Forward.into(),
        register: ReadingsType::Total.into(),
        added_quantity: "-150".into(),
    };
    let adjusted = AdjustedAccount { settlement_account_id: account.clone(), run_kind: Retro.into() };
    let request = RepairDosageBackRequest { account: Some(adjusted), registers: vec![register] };
    world.adjustments(caller(RETAIL)).repair_dosage_back(request).await.unwrap();
    world.calculate(caller(RETAIL), &[(&account, Retro)]).await.unwrap();
    world.charge_off(caller(RETAIL), &[(&account, Retro)]).await.unwrap();
    assert_eq!(owed(&world, RETAIL, &account, 202_403).await, owes(&[], "0"));
    assert_eq!(
        world.entries().await,
        ["1 1 4 0.00 0.00 79.25 79.25", "2 1 1 0.00 -79.25 0.00 -79.25", "2 2 4 -79.25 0.00 -79.25 0.00"]
    );
    assert_eq!(accumulated(&world, &account).await, "202403 2850.00 -150.00");
}

#[tokio::test]
async fn a_network_company_draws_for_no_line_that_another_company_sells_in_its_area() {
    let (world, _) = world().await;
    let supply = Supply { population: 6, year_quantity: "200", month_quantity: "0", ..water(&world).await };
    let (account, meter) = world.bring_account(1, &supply).await;
    let customer: String =
        sqlx::query_scalar("SELECT customer_id FROM customer").fetch_one(world.pool()).await.unwrap();
    // The archives of two companies may have the same identifiers.
    let of_another = ReceivableLine {
        settlement_account_id: account.clone(),
        customer_id: customer.clone(),
        fee: "8.00".into(),
        ..line(1, 202_401)
    };
    world.import_as(RETAIL, "old", &[of_another]).await.unwrap();
    world.deposit(&customer, "50.00").await;
    read_point(&world, NETWORK, &account, &meter, &[(ReadingsType::Total, "120")]).await;
    world.calculate_normal(caller(NETWORK), &[&account]).await.unwrap();
    world.charge_off(caller(NETWORK), &[(&account, Normal)]).await.unwrap();
    let paid = "SELECT concat_ws(' ', retail_company_id, account_month, sum(paid_total)) FROM receivable_open
         GROUP BY retail_company_id, account_month ORDER BY account_month";
    let paid: Vec<String> = sqlx::query_scalar(paid).fetch_all(world.pool()).await.unwrap();
    let parts: String =
        sqlx::query_scalar("SELECT sum(amount)::text FROM payment_part").fetch_one(world.pool()).await.unwrap();
    assert_eq!(paid[0], format!("{RETAIL} 202401 0.00"));
    assert_eq!(parts, "50.00", "all of it for its own bill");
}

/// The main and attached prices of the catalogue, as "price billed".
async fn billed_prices(world: &World) -> Vec<String> {
    let statement =
        "SELECT concat_ws(' ', trim_scale(price), billed) FROM catalogue_price ORDER BY part DESC, price_id";
    sqlx::query_scalar(statement).fetch_all(world.pool()).await.unwrap()
}

#[tokio::test]
async fn what_a_guaranteed_package_bills_marks_the_prices_that_it_used_and_they_stay() {
    let (world, _) = world().await;
    let supply = Supply { population: 6, year_quantity: "200", month_quantity: "0", ..water(&world).await };
    let (account, meter) = world.bring_account(1, &supply).await;
    read_point(&world, NETWORK, &account, &meter, &[(ReadingsType::Total, "120")]).await;
    world.calculate_normal(caller(NETWORK), &[&account]).await.unwrap();
    let unused = ["2.07 f", "4.07 f", "6.07 f", "1.57 f", "1.36 f"];
    assert_eq!(billed_prices(&world).await, unused, "a calculation uses none");
    world.charge_off(caller(NETWORK), &[(&account, Normal)]).await.unwrap();
    let lines = [
        "2002/0 1/Whole 10.00 × 2.070000 = 20.70",
        "2002/0 2/Whole 10.00 × 4.070000 = 40.70",
        "2002/2101 1/Whole 20.00 × 1.570000 = 31.40",
        "2002/2102 1/Whole 20.00 × 1.360000 = 27.20",
    ];
    assert_eq!(owed(&world, NETWORK, &account, 202_403).await, owes(&lines, "120.00"));
    // The third tier was not reached.
    assert_eq!(billed_prices(&world).await, ["2.07 t", "4.07 t", "6.07 f", "1.57 t", "1.36 t"]);
    let correction = |surcharge_item, price: &str| AttachedPriceChange {
        account_item: "201001".into(),
        main_category_item: 2002,
        surcharge_item,
        price: price.into(),
        price_unit: "元/立方米".into(),
        utility: NetworkType::Water.into(),
        supply_kind: PurchaseSaleType::Direct.into(),
        operation: OperationType::Change.into(),
        ..AttachedPriceChange::default()
    };
    let request = MaintainAttachPriceRequest { prices: vec![correction(2101, "1.60")] };
    let refusal = world.catalogue_prices(caller(NETWORK)).maintain_attach_price(request).await;
    assert_eq!(reason(refusal), "PRICE_BILLED");
}

#[tokio::test]
async fn a_temporary_package_prices_so_many_normal_bills_and_retro_bills_beside_them() {
    let (world, network) = world().await;
    let temporary = sell(&world, plain("迎新"), |id| vec![plain_row(id, "0.3")]).await;
    let parameters = VerifiedMeterPoint {
        temporary_package_id: temporary.clone(),
        temporary_months: 2,
        ..VerifiedMeterPoint::default()
    };
    let (account, meter) = world.bring_account(1, &Supply { parameters, ..electricity(&network) }).await;
    let retro = async |fee: &str| {
        let fee = AdjustedFee { settlement_account_id: account.clone(), run_kind: Retro.into(), fixed_fee: fee.into() };
        world.adjustments(caller(RETAIL)).repair_fees_back(RepairFeesBackRequest { fees: vec![fee] }).await.unwrap();
        world.calculate(caller(RETAIL), &[(&account, Retro)]).await.unwrap();
        world.charge_off(caller(RETAIL), &[(&account, Retro)]).await.unwrap();
    };
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "200")]).await;
    retro("5").await;
    world.days_pass(20);
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "300")]).await;
    world.open_month(RETAIL, account_month(202_405, 20_240_501, 20_240_601)).await;
    world.days_pass(30);
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "400")]).await;

    let of_month = async |month| owed(&world, RETAIL, &account, month).await.0;
    let temporary_line = "1001/0 1/Whole 100.00 × 0.300000 = 30.00";
    assert_eq!(of_month(202_403).await, [temporary_line, "1001/0 1/Whole 0.00 × 0.000000 = 5.00"]);
    assert_eq!(of_month(202_404).await, [temporary_line], "the retro bill was none of the two months");
    assert_eq!(of_month(202_405).await, ["1001/0 1/Whole 100.00 × 0.488300 = 48.83"]);
    let packages: Vec<_> = world
        .arrears(RETAIL, ArrearsFilter::default())
        .await
        .unwrap()
        .into_iter()
        .map(|line| (line.account_month, line.run_kind(), line.package_id))
        .collect();
    let expected = [
        (202_403, Normal, temporary.clone()),
        (202_403, Retro, temporary.clone()),
        (202_404, Normal, temporary),
        (202_405, Normal, network.package_id.clone()),
    ];
    assert_eq!(packages, expected);
    let used = "SELECT concat_ws(' ', temporary_months_used, temporary_months) FROM meter_point";
    let used: String = sqlx::query_scalar(used).fetch_one(world.pool()).await.unwrap();
    assert_eq!(used, "2 2");
}

#[tokio::test]
async fn the_last_bill_of_a_closed_account_needs_no_reading_and_is_the_last() {
    let (world, network) = world().await;
    let (account, meter) = world.archived(&network, 1).await;
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "160")]).await;
    world.days_pass(20);
    world.process(&account, BusCategType::Close).await.unwrap();
    let closing = vec![reading(&meter, ReadingsType::Total, "201.5")];
    world.serve_meter(served(&account, BusCategType::Close), vec![], closing).await.unwrap();
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();
    world.charge_off(caller(RETAIL), &[(&account, Normal)]).await.unwrap();
    // 41.5 since the last bill, and the fixed quantity of −1.5.
    let lines = ["1001/0 1/Whole 40.00 × 0.488300 = 19.53"];
    assert_eq!(owed(&world, RETAIL, &account, 202_404).await, owes(&lines, "19.53"));
    let left: String = sqlx::query_scalar(
        "SELECT concat_ws(' ', last_reading, old_quantity) FROM account_register WHERE settlement_account_id = $1",
    )
    .bind(&account)
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(left, "201.500000 0.00", "nothing is left to bill");
    world.open_month(RETAIL, account_month(202_405, 20_240_501, 20_240_601)).await;
    world.days_pass(30);
    assert_eq!(reason(world.create_points(caller(RETAIL), &[&account]).await), "ACCOUNT_STATE");
}

/// The demand that the meter showed when it was taken off is billed: by the days of the month up to the close.
#[tokio::test]
async fn the_last_bill_of_a_closed_account_has_the_demand_that_its_meter_showed() {
    let (world, network) = world().await;
    let mut supply = industry(&world, &network).await;
    supply.parameters.approved_demand = String::new();
    supply.parameters.power_factor_standard = ForRateValidType::None.into();
    supply.registers = vec![(ReadingsType::Total, "0"), (ReadingsType::Demand, "0")];
    let (account, meter) = world.bring_account(1, &supply).await;
    bill(&world, RETAIL, &account, &meter, &[(ReadingsType::Total, "1000"), (ReadingsType::Demand, "310")]).await;
    world.days_pass(26);
    world.process(&account, BusCategType::Close).await.unwrap();
    let closing = vec![reading(&meter, ReadingsType::Total, "1200"), reading(&meter, ReadingsType::Demand, "240")];
    world.serve_meter(served(&account, BusCategType::Close), vec![], closing).await.unwrap();
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.calculate_normal(caller(RETAIL), &[&account]).await.unwrap();
    world.charge_off(caller(RETAIL), &[(&account, Normal)]).await.unwrap();
    // Closed on 10 April: 240 kW for nine of thirty days.
    let lines = ["1001/0 1/Whole 200.00 × 0.650000 = 130.00", "1003/0 1/Whole 72.00 × 48.000000 = 3456.00"];
    assert_eq!(owed(&world, RETAIL, &account, 202_404).await, owes(&lines, "3586.00"));
}
