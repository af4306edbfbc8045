//! Lines that are billed here, and what payments do to them.

use chrono::NaiveDate;
use communal_billing::receivables::line::BilledLine;
use communal_billing::receivables::store::{lock_open_of, pay, write_billed};
use communal_billing::vocabulary::dates::AccountMonth;
use communal_proto::billing::v1::*;
use prost::Message as _;
use sqlx::Row as _;

use crate::harness::*;

/// The serial of a bill that begins behind every imported one.
const BILL: &str = "R000000000000001";

/// Bills lines of an account in January 2024; a line of fee 0 is closed by its bill.
async fn bill(world: &World, account: u32, fees: &[&str]) -> Result<(), sqlx::Error> {
    let lines: Vec<_> = fees
        .iter()
        .map(|fee| ReceivableLine {
            charge_off_id: BILL.into(),
            fee: (*fee).into(),
            penalty_from: 0,
            ..line(account, 202_401)
        })
        .collect();
    let issued: Vec<_> = lines.iter().map(|line| line.encode_to_vec()).collect();
    let month = AccountMonth::read(202_401).unwrap();
    let billed: Vec<_> = lines
        .iter()
        .zip(&issued)
        .zip(1..)
        .map(|((line, issued), line_number)| BilledLine {
            network_company_id: &line.network_company_id,
            retail_company_id: &line.retail_company_id,
            retail_store_id: &line.retail_store_id,
            book_id: &line.book_id,
            package_kind: line.package_kind(),
            settlement_account_id: &line.settlement_account_id,
            account_month: month,
            charge_off_id: &line.charge_off_id,
            line_number,
            charge_off_date: NaiveDate::from_ymd_opt(2024, 1, 28).unwrap(),
            levy_date: NaiveDate::from_ymd_opt(2024, 2, 12),
            fee: line.fee.parse().unwrap(),
            issued,
            closed: (line.fee == "0.00").then(|| month.next()),
        })
        .collect();
    let mut transaction = world.transaction().await;
    write_billed(&mut transaction, &world.network_call(), &billed).await?;
    transaction.commit().await
}

/// A world in which January 2024 is open.
async fn start() -> World {
    let world = World::start().await;
    sqlx::query("SELECT open_line_months('{202401}')").execute(world.pool()).await.unwrap();
    world
}

async fn owed(world: &World) -> Vec<ReceivableLine> {
    world.arrears(RETAIL, ArrearsFilter::default()).await.unwrap()
}

#[tokio::test]
async fn a_billed_line_is_arrears_as_it_was_billed_and_one_that_its_bill_closes_is_none() {
    let world = start().await;
    world.import_as(NETWORK, "before", &[line(1, 202_401)]).await.unwrap();
    bill(&world, 1, &["10.00", "0.00", "-3.00", "5.00"]).await.unwrap();
    let found = owed(&world).await;
    let fees: Vec<_> = found.iter().map(|line| line.fee.as_str()).collect();
    assert_eq!(fees, ["157.49", "10.00", "-3.00", "5.00"], "by charge-off, and in the order of the bill");
    let expected = ReceivableLine {
        charge_off_id: BILL.into(),
        fee: "10.00".into(),
        penalty_from: 20_240_212,
        ..line(1, 202_401)
    };
    assert_eq!(found[1], expected);
    let closing = sqlx::query(
        "SELECT line_number, paid_total::text, settled_month, with_line, latest_payment_id, operator_id FROM receivable_closing",
    );
    let closing = closing.fetch_all(world.pool()).await.unwrap();
    assert_eq!(closing.len(), 1);
    let closing = &closing[0];
    assert_eq!((closing.get::<i64, _>(0), closing.get::<&str, _>(1), closing.get::<i32, _>(2)), (2, "0.00", 202_402));
    assert_eq!((closing.get::<bool, _>(3), closing.get::<Option<&str>, _>(4)), (true, None));
    assert_eq!(closing.get::<&str, _>(5), "test", "and has its actor");
}

#[tokio::test]
async fn a_billed_line_exists_once() {
    let world = start().await;
    bill(&world, 1, &["10.00", "0.00"]).await.unwrap();
    for again in [&["10.00"][..], &["11.00", "1.00"]] {
        let error = bill(&world, 1, again).await.unwrap_err();
        assert!(error.as_database_error().is_some_and(|e| e.is_unique_violation()), "{error}");
    }
    assert_eq!(owed(&world).await.len(), 1);
}

#[tokio::test]
async fn a_payment_in_part_stays_on_the_line_and_one_in_full_closes_it() {
    let world = start().await;
    bill(&world, 1, &["100.00"]).await.unwrap();
    let account = "A000000000000001";
    let state = |line: &ReceivableLine| {
        (
            line.paid_total.clone(),
            line.latest_paid.clone(),
            (line.latest_paid_date, line.latest_payment_id.clone()),
            (line.previous_paid_date, line.previous_payment_id.clone()),
            line.penalty_from,
        )
    };
    let (none, text) = (String::new, str::to_owned);
    // Before the levy date, which stays; after it, which moves.
    world.pay_line(account, "40", "W1", 3).await.unwrap();
    let expected = (text("40.00"), text("40.00"), (20_240_203, text("W1")), (0, none()), 20_240_212);
    assert_eq!(state(&owed(&world).await[0]), expected);
    world.pay_line(account, "25.5", "W2", 20).await.unwrap();
    let expected = (text("65.50"), text("25.50"), (20_240_220, text("W2")), (20_240_203, text("W1")), 20_240_220);
    assert_eq!(state(&owed(&world).await[0]), expected);
    // A payment on other lines of the account moves the levy date of this one alone.
    world.pay_line(account, "0", "W3", 25).await.unwrap();
    let expected = (text("65.50"), text("25.50"), (20_240_220, text("W2")), (20_240_203, text("W1")), 20_240_225);
    assert_eq!(state(&owed(&world).await[0]), expected);

    assert_eq!(world.pay_line(account, "34.50", "W4", 26).await.unwrap(), 1);
    assert_eq!(owed(&world).await, []);
    let closing: String = sqlx::query_scalar(
        "SELECT concat_ws(' ', paid_total, latest_paid, latest_paid_date, latest_payment_id, previous_paid_date,
             previous_payment_id, levy_date, settled_month, with_line) FROM receivable_closing",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(closing, "100.00 34.50 2024-02-26 W4 2024-02-20 W2 2024-02-26 202402 f");
}

#[tokio::test]
async fn nothing_is_ever_overpaid_or_paid_with_the_wrong_sign() {
    let world = start().await;
    bill(&world, 1, &["100.00"]).await.unwrap();
    bill(&world, 2, &["-100.00"]).await.unwrap();
    let (charge, refund) = ("A000000000000001", "A000000000000002");
    for (account, amount) in [(charge, "100.01"), (charge, "-0.01"), (refund, "-100.01"), (refund, "0.01")] {
        let error = world.pay_line(account, amount, "W1", 3).await.unwrap_err();
        let constraint = error.as_database_error().and_then(|e| e.constraint().map(str::to_owned));
        assert_eq!(constraint.as_deref(), Some("receivable_open_never_overpaid"), "{account} {amount}");
    }
    world.pay_line(refund, "-99.99", "W1", 3).await.unwrap();
    world.pay_line(refund, "-0.01", "W2", 4).await.unwrap();
    world.pay_line(charge, "100", "W3", 4).await.unwrap();
    assert_eq!(owed(&world).await, []);
}

#[tokio::test]
async fn a_payment_of_a_line_that_changed_since_finds_it_no_more() {
    let world = start().await;
    bill(&world, 1, &["100.00"]).await.unwrap();
    let account = "A000000000000001";
    let mut transaction = world.transaction().await;
    let stale = lock_open_of(&mut transaction, NETWORK, &[account]).await.unwrap();
    transaction.rollback().await.unwrap();
    world.pay_line(account, "1", "W1", 3).await.unwrap();
    for amount in ["100", "50"] {
        let mut transaction = world.transaction().await;
        assert_eq!(pay(&mut transaction, &[payment(&stale[0], amount, "W2", 3)]).await.unwrap(), 0, "{amount}");
    }
}

#[tokio::test]
async fn the_open_lines_of_accounts_are_locked_for_both_companies_of_a_line_in_the_order_of_their_keys() {
    let world = start().await;
    let lines = [
        ReceivableLine { book_id: "B000000000000002".into(), ..line(2, 202_401) },
        line(2, 202_402),
        line(2, 202_312),
        ReceivableLine { retail_company_id: OTHER_RETAIL.into(), ..line(1, 202_401) },
        paid(line(1, 202_402)),
        line(3, 202_401),
    ];
    world.import_as(NETWORK, "lines", &lines).await.unwrap();
    let accounts = ["A000000000000002", "A000000000000001", "A000000000000099"];
    let locked = async |company: &str| -> Vec<_> {
        let mut transaction = world.transaction().await;
        let lines = lock_open_of(&mut transaction, company, &accounts).await.unwrap();
        lines.into_iter().map(|line| (line.settlement_account_id[15..].to_owned(), line.account_month)).collect()
    };
    let of = |account: &str, month| (account.to_owned(), month);
    let all = [of("1", 202_401), of("2", 202_312), of("2", 202_401), of("2", 202_402)];
    assert_eq!(locked(NETWORK).await, all, "whatever book they were in");
    assert_eq!(locked(RETAIL).await, all[1..]);
    assert_eq!(locked(OTHER_RETAIL).await, all[..1]);
    assert_eq!(locked(OTHER_NETWORK).await, []);
}
