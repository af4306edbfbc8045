//! Adjustments over gRPC: retro points of quantities and fees, priced to the cent, and what each call refuses.

use communal_proto::billing::v1::NormalRetroType::{Normal, Retro};
use communal_proto::billing::v1::*;
use tonic::Status;

use crate::calculations::{in_spring, world};
use crate::harness::*;

const ACCOUNT: &str = "COM_METERAGE.SETTLEMENT_AID";

fn added(meter: &str, register: ReadingsType, quantity: &str) -> AdjustedRegister {
    AdjustedRegister {
        meter_id: meter.into(),
        run_kind: Retro.into(),
        energy_flow: EnergyFlowType::Forward.into(),
        register: register.into(),
        added_quantity: quantity.into(),
    }
}

async fn adjust(world: &World, by: Caller, account: &str, registers: Vec<AdjustedRegister>) -> Result<(), Status> {
    let account = AdjustedAccount { settlement_account_id: account.into(), run_kind: Retro.into() };
    let request = RepairDosageBackRequest { account: Some(account), registers };
    world.adjustments(by).repair_dosage_back(request).await.map(drop)
}

fn fee(account: &str, fixed_fee: &str) -> AdjustedFee {
    AdjustedFee { settlement_account_id: account.into(), run_kind: Retro.into(), fixed_fee: fixed_fee.into() }
}

async fn bill_fees(world: &World, by: Caller, fees: Vec<AdjustedFee>) -> Result<(), Status> {
    world.adjustments(by).repair_fees_back(RepairFeesBackRequest { fees }).await.map(drop)
}

async fn discard(world: &World, account: &str) {
    let request = DiscardBillingPointRequest { settlement_account_id: account.into(), run_kind: Retro.into() };
    world.billing_points(caller(RETAIL)).discard_billing_point(request).await.unwrap();
}

#[tokio::test]
async fn a_correction_far_beyond_what_the_account_uses_is_not_charged_off() {
    let (world, network) = world().await;
    let supply = Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id);
    let (account, meter) = world.bring_account(1, &supply).await;
    // 150 in 30 days, of which a correction may be fifty times; but no more is taken off than was ever measured.
    sqlx::query("UPDATE account_register SET billed_days = 60, metered_total = 300 WHERE settlement_account_id = $1")
        .bind(&account)
        .execute(world.pool())
        .await
        .unwrap();
    for (quantity, fits) in [("-7500.01", false), ("100000", false), ("-2000", false), ("7500", true)] {
        adjust(&world, caller(RETAIL), &account, vec![added(&meter, ReadingsType::Total, quantity)]).await.unwrap();
        world.calculate(caller(RETAIL), &[(&account, Retro)]).await.unwrap();
        let charged = world.charge_off(caller(RETAIL), &[(&account, Retro)]).await;
        if fits {
            charged.unwrap();
        } else {
            assert_eq!(refused(charged).1, "BILL_UNSAFE", "{quantity}");
            discard(&world, &account).await;
        }
    }
    assert_eq!(world.rows("bill").await.len(), 1);
}

/// What a slip of the keyboard adds to a fee nobody notices before the customer has the bill.
#[tokio::test]
async fn a_fee_beyond_the_cap_is_refused_and_nothing_is_written() {
    let settings = [("billing_verify_codes", "off"), ("billing_retro_fee_cap", "500")];
    let (world, network) = in_spring(World::start_with(&settings).await).await;
    let supply = Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id);
    let (first, second) = (world.bring_account(1, &supply).await.0, world.bring_account(2, &supply).await.0);
    for beyond in ["500.01", "-500.01", "999999999999.99"] {
        let refusal = bill_fees(&world, caller(RETAIL), vec![fee(&first, "1"), fee(&second, beyond)]).await;
        assert_eq!(refused(refusal), ("COM_METERAGE[1].FIXED_FEE".into(), "FIELD_MALFORMED".into()), "{beyond}");
    }
    assert!(world.rows("point_open").await.is_empty());
    bill_fees(&world, caller(RETAIL), vec![fee(&first, "500"), fee(&second, "-500")]).await.unwrap();
}

#[tokio::test]
async fn a_refund_walks_the_ladder_down_to_the_cent() {
    let (world, network) = world().await;
    let supply =
        Supply { year_quantity: "3000", ..Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id) };
    let (account, meter) = world.bring_account(1, &supply).await;
    adjust(&world, caller(RETAIL), &account, vec![added(&meter, ReadingsType::Total, "-150")]).await.unwrap();
    let (waiting, total) = world.calculable(RETAIL, &network.book_id).await;
    assert_eq!((total, waiting[0].run_kind(), waiting[0].meter_id.as_str()), (1, Retro, meter.as_str()));
    world.calculate(caller(RETAIL), &[(&account, Retro)]).await.unwrap();
    let lines = ["2 1001/0 2/Whole -120.00 × 0.538300 = -64.60", "2 1001/0 1/Whole -30.00 × 0.488300 = -14.65"];
    assert_eq!(world.shown_lines(RETAIL, &account).await, lines);
    assert_eq!(world.uncharged(RETAIL, "", &account, (1, 10)).await.0[0].retail_total, "-79.25");
    let detail = world.point_detail(RETAIL, &account, Retro).await.points.remove(0);
    assert_eq!([&detail.total_quantity, &detail.year_quantity], ["-150.00", "2850.00"]);

    // Beside it the normal point of the month; either waits for its charge-off.
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, "200")]).await.unwrap();
    world.calculate(caller(RETAIL), &[(&account, Normal), (&account, Retro)]).await.unwrap();
    let kinds: Vec<_> = world.uncharged_lines(RETAIL, &account).await.iter().map(UnchargedLine::run_kind).collect();
    assert_eq!(kinds, [Normal, Retro, Retro]);
    // A fixed fee of the account, or its readings, are none of a retro point.
    assert_eq!(world.points(&account).await.len(), 2);
    discard(&world, &account).await;
    assert_eq!(world.uncharged(RETAIL, "", "", (1, 10)).await.1, 1);
}

#[tokio::test]
async fn fees_are_billed_as_they_are_given_and_numbered_in_their_month() {
    let (world, network) = world().await;
    let supply = Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id);
    let (first, _) = world.bring_account(1, &supply).await;
    let (second, _) = world.bring_account(2, &Supply { registers: Vec::new(), ..supply }).await;
    bill_fees(&world, caller(RETAIL), vec![fee(&first, "-12.34"), fee(&second, "0.01")]).await.unwrap();
    world.calculate(caller(RETAIL), &[(&first, Retro), (&second, Retro)]).await.unwrap();
    assert_eq!(world.shown_lines(RETAIL, &first).await, ["2 1001/0 1/Whole 0.00 × 0.000000 = -12.34"]);
    assert_eq!(world.shown_lines(RETAIL, &second).await, ["2 1001/0 1/Whole 0.00 × 0.000000 = 0.01"]);
    assert_eq!(world.uncharged_lines(RETAIL, &first).await[0].start_date, 0);
    // While one is open there is no other; charged off, it is followed by the next number.
    let refusal = bill_fees(&world, caller(RETAIL), vec![fee(&first, "1")]).await;
    assert_eq!(refused(refusal), ("COM_METERAGE[0].SETTLEMENT_AID".into(), "RETRO_POINT_OPEN".into()));
    world.take_for_charged_off(&first).await;
    bill_fees(&world, caller(RETAIL), vec![fee(&first, "1")]).await.unwrap();
    let numbers: Vec<(i32, String)> =
        sqlx::query_as("SELECT number, kind FROM billing_point WHERE settlement_account_id = $1 ORDER BY 1")
            .bind(&first)
            .fetch_all(world.pool())
            .await
            .unwrap();
    assert_eq!(numbers, [(1, "2".into()), (2, "2".into())]);
}

#[tokio::test]
async fn what_cannot_be_adjusted_is_refused_by_its_field() {
    let (world, network) = world().await;
    let supply = Supply {
        registers: vec![(ReadingsType::Total, "0"), (ReadingsType::Peak, "0"), (ReadingsType::Reactive, "0")],
        ..Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id)
    };
    let (account, meter) = world.bring_account(1, &supply).await;
    let (other, other_meter) = world.bring_account(2, &supply).await;
    let total = || added(&meter, ReadingsType::Total, "5");
    let at = |row: usize, field: &str| format!("COM_METER_INFO_TMP[{row}].{field}");
    let normal = AdjustedRegister { run_kind: Normal.into(), ..total() };
    let reverse = AdjustedRegister { energy_flow: EnergyFlowType::Reverse.into(), ..total() };
    for (registers, field, reason) in [
        (vec![normal], at(0, "NORMAL_RETRO_TYPE"), "FIELD_CODE_UNKNOWN"),
        (vec![reverse], at(0, "ENERGY_FLOW_TYPE"), "FIELD_MALFORMED"),
        (vec![added(&meter, ReadingsType::Reactive, "5")], at(0, "READINGS_TYPE"), "FIELD_MALFORMED"),
        (vec![added(&meter, ReadingsType::Demand, "5")], at(0, "READINGS_TYPE"), "FIELD_MALFORMED"),
        (vec![total(), total()], at(1, "READINGS_TYPE"), "FIELD_MALFORMED"),
        (vec![added(&meter, ReadingsType::Total, "0")], at(0, "ADDED_CONS"), "FIELD_MALFORMED"),
        (vec![total(), added(&other_meter, ReadingsType::Peak, "1")], at(1, "DEVICE_DID"), "FIELD_MALFORMED"),
        // The package has no periods of the day.
        (vec![added(&meter, ReadingsType::Peak, "1")], at(0, "READINGS_TYPE"), "METER_UNFIT"),
        (vec![added(&other_meter, ReadingsType::Total, "1")], at(0, "DEVICE_DID"), "METER_UNFIT"),
        (vec![added("M1", ReadingsType::Total, "1")], at(0, "DEVICE_DID"), "METER_NOT_FOUND"),
        (vec![], "COM_METER_INFO_TMP".into(), "FIELD_MISSING"),
    ] {
        let refusal = adjust(&world, caller(RETAIL), &account, registers).await;
        assert_eq!(refused(refusal), (field, reason.into()));
    }
    for (by, asked, reason) in [
        (RETAIL, "A1", "SETTLEMENT_ACCOUNT_NOT_FOUND"),
        (OTHER_RETAIL, account.as_str(), "SETTLEMENT_ACCOUNT_NOT_FOUND"),
    ] {
        assert_eq!(refused(adjust(&world, caller(by), asked, vec![total()]).await), (ACCOUNT.into(), reason.into()));
    }
    let fees = |rows: Vec<AdjustedFee>| bill_fees(&world, caller(RETAIL), rows);
    let fee_at = |row: usize, field: &str| format!("COM_METERAGE[{row}].{field}");
    let normal = AdjustedFee { run_kind: Normal.into(), ..fee(&account, "1") };
    let refusal = fees(vec![fee(&other, "1"), normal]).await;
    assert_eq!(refused(refusal), (fee_at(1, "NORMAL_RETRO_TYPE"), "FIELD_CODE_UNKNOWN".into()));
    let refusal = fees(vec![fee(&other, "1"), fee(&account, "0")]).await;
    assert_eq!(refused(refusal), (fee_at(1, "FIXED_FEE"), "FIELD_MALFORMED".into()));
    let refusal = fees(vec![fee(&other, "1"), fee("A1", "1")]).await;
    assert_eq!(refused(refusal), (fee_at(1, "SETTLEMENT_AID"), "SETTLEMENT_ACCOUNT_NOT_FOUND".into()));
    assert_eq!(world.rows("billing_point").await, Vec::<String>::new(), "nothing was written");
    world.days_pass(60);
    let refusal = fees(vec![fee(&account, "1")]).await;
    assert_eq!(refused(refusal), (fee_at(0, "SETTLEMENT_AID"), "ACCOUNT_MONTH_NOT_OPEN".into()));
    assert_eq!(refused(adjust(&world, caller(RETAIL), &account, vec![total()]).await).1, "ACCOUNT_MONTH_NOT_OPEN");
}

#[tokio::test]
async fn of_32_that_adjust_an_account_one_does() {
    let (world, network) = world().await;
    let supply = Supply::electricity(RETAIL, &network.book_id, NODE, &network.package_id);
    let (account, _) = world.bring_account(1, &supply).await;
    one_of_32(|_| bill_fees(&world, caller(RETAIL), vec![fee(&account, "1")]), "RETRO_POINT_OPEN").await;
    assert_eq!(world.rows("billing_point").await.len(), 1);
}
