//! Charge-off over gRPC: what a bill moves, once; what is refused; credits, draws, races, isolation.

use communal_billing::charge_off::store::proof::breaches;
use communal_proto::billing::v1::*;
use futures::future::join_all;
use rust_decimal::Decimal;
use tonic::Status;

use crate::harness::*;

const FIRST: &str = "COM_USER_METER[0].SETTLEMENT_AID";
const NORMAL: NormalRetroType = NormalRetroType::Normal;
const RETRO: NormalRetroType = NormalRetroType::Retro;

/// Beijing's year ladder crossing a step: 157.49.
const BEIJING: &[(&str, &str, &str)] = &[("80", "0.4883", "39.06"), ("220", "0.5383", "118.43")];

/// An account whose meter is read, with its meter; March 2024 is open.
async fn read_account(world: &World, network: &Network, number: usize) -> (String, String) {
    let (account, meter) = world.archived(network, number).await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, "400")]).await.unwrap();
    (account, meter)
}

async fn start() -> (World, Network) {
    let world = World::start_archive().await;
    let network = world.network().await;
    world.open_spring(RETAIL).await;
    (world, network)
}

async fn text(world: &World, statement: &'static str) -> String {
    sqlx::query_scalar(statement).fetch_one(world.pool()).await.unwrap()
}

async fn customer_of(world: &World, account: &str) -> String {
    let statement = "SELECT customer_id FROM user_account JOIN settlement_account USING (company_id, user_account_id)
         WHERE settlement_account_id = $1";
    sqlx::query_scalar(statement).bind(account).fetch_one(world.pool()).await.unwrap()
}

async fn open_lines(world: &World) -> Vec<ReceivableLine> {
    world.arrears(RETAIL, ArrearsFilter::default()).await.unwrap()
}

/// What is outstanding of lines, as "fee paid levy".
fn outstanding(lines: &[ReceivableLine]) -> Vec<String> {
    lines.iter().map(|l| format!("{} {} {}", l.fee, l.paid_total, l.penalty_from)).collect()
}

fn refused(outcome: Result<(), Status>) -> (String, Vec<String>) {
    let status = outcome.unwrap_err();
    let named = fields(&status);
    (reason::<()>(Err(status)), named)
}

#[tokio::test]
async fn what_was_calculated_is_owed_once_and_everything_moves_with_it() {
    let (world, network) = start().await;
    let (account, _) = read_account(&world, &network, 1).await;
    world.calculated_as(&account, NORMAL, &bill_of("2800", BEIJING)).await;
    world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();

    let lines = open_lines(&world).await;
    assert_eq!(outstanding(&lines), ["39.06  20240330", "118.43  20240330"]);
    let line = &lines[1];
    assert_eq!((line.quantity.as_str(), line.unit_price.as_str()), ("220.00", "0.538300"));
    assert_eq!((line.account_month, line.charge_off_date, line.tier()), (202_403, 20_240_315, LadderLevelType::Second));
    assert_eq!((line.network_company_id.as_str(), line.retail_company_id.as_str()), (NETWORK, RETAIL));
    assert_eq!(
        (line.book_id.as_str(), line.package_id.as_str()),
        (network.book_id.as_str(), network.package_id.as_str())
    );
    assert_eq!((line.run_kind(), line.package_kind(), line.resident()), (NORMAL, ChargePackType::Market, YesNo::Yes));
    assert_eq!(line.charge_off_id, lines[0].charge_off_id, "a bill has one serial");
    assert_eq!(line.customer_id, customer_of(&world, &account).await);
    // The network company sees them as well.
    assert_eq!(world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap().len(), 2);

    let accumulated =
        "SELECT concat_ws(' ', account_month, year_quantity, month_quantity, version) FROM account_accumulator";
    assert_eq!(text(&world, accumulated).await, "202403 3100.00 300.00 1");
    let register =
        "SELECT concat_ws(' ', last_reading, last_read_on, old_quantity, billed_days, metered_total, billed_total)
         FROM account_register";
    assert_eq!(text(&world, register).await, "400.000000 2024-03-15 0.00 0 300.00 300.00");
    assert_eq!(world.entries().await, ["2 1 1 0.00 157.49 0.00 157.49"]);
    assert_eq!(text(&world, "SELECT concat_ws(' ', revenue, cash) FROM posting").await, "-157.49 0.00");
    let bill = "SELECT concat_ws(' ', account_month, kind, number, lines, total, quantity) FROM bill";
    assert_eq!(text(&world, bill).await, "202403 1 0 2 157.49 300.00");
    assert_eq!(world.rows("point_open").await, [""; 0]);

    // Again: done, and nothing moves.
    world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();
    assert_eq!(text(&world, accumulated).await, "202403 3100.00 300.00 1");
    assert_eq!(world.rows("bill").await.len(), 1);
    assert_eq!(world.rows("posting").await.len(), 1);
    let (reason, _) = refused(world.create_points(caller(RETAIL), &[&account]).await);
    assert_eq!(reason, "ACCOUNT_CHARGED_OFF");
}

#[tokio::test]
async fn charge_off_is_not_in_the_change_log_of_registers_and_a_swap_is() {
    let (world, network) = start().await;
    let (account, meter) = read_account(&world, &network, 1).await;
    world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
    let logged = "SELECT count(*)::text FROM platform.change WHERE noun = 'account_register'";
    let before = text(&world, logged).await;
    world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();
    assert_eq!(text(&world, logged).await, before);
    world.process(&account, BusCategType::Close).await.unwrap();
    world
        .serve_meter(served(&account, BusCategType::Close), vec![], vec![reading(&meter, ReadingsType::Total, "410")])
        .await
        .unwrap();
    assert_ne!(text(&world, logged).await, before);
    let left = "SELECT concat_ws(' ', last_reading, old_quantity) FROM account_register";
    assert_eq!(text(&world, left).await, "410.000000 10.00", "what is not billed yet counts from the billed reading");
}

#[tokio::test]
async fn a_point_that_does_not_fit_is_refused_and_with_it_the_call() {
    let (world, network) = start().await;
    let (fit, _) = read_account(&world, &network, 1).await;
    world.calculated_as(&fit, NORMAL, &bill_of("0", BEIJING)).await;
    let (account, _) = world.archived(&network, 2).await;
    let charge =
        async |account: &str, kind| refused(world.charge_off(caller(RETAIL), &[(account, kind), (&fit, NORMAL)]).await);
    let first = vec![FIRST.to_owned()];
    assert_eq!(charge("A000000000000000", NORMAL).await, ("SETTLEMENT_ACCOUNT_NOT_FOUND".into(), first.clone()));
    assert_eq!(charge(&account, NORMAL).await, ("NOT_CALCULATED".into(), first.clone()), "it has no point");
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    assert_eq!(charge(&account, NORMAL).await.0, "NOT_CALCULATED");
    assert_eq!(charge(&account, RETRO).await.0, "NOT_CALCULATED");
    world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
    // Billed otherwise since.
    sqlx::query(
        "UPDATE account_accumulator SET version = version + 1, account_month = 202403 WHERE settlement_account_id = $1",
    )
    .bind(&account)
    .execute(world.pool())
    .await
    .unwrap();
    assert_eq!(charge(&account, NORMAL).await, ("CALCULATION_OUTDATED".into(), first.clone()));
    // The lines do not add up to the bill.
    let mut wrong = bill_of("0", BEIJING);
    wrong.total += Decimal::new(1, 2);
    world.calculated_as(&account, NORMAL, &wrong).await;
    assert_eq!(charge(&account, NORMAL).await, ("BILL_UNSAFE".into(), first.clone()));
    // The same point twice.
    let twice = world.charge_off(caller(RETAIL), &[(&fit, NORMAL), (&fit, NORMAL)]).await.unwrap_err();
    assert_eq!(fields(&twice), ["COM_USER_METER[1].SETTLEMENT_AID"]);
    assert_eq!(world.rows("bill").await.len(), 0);
    assert_eq!(open_lines(&world).await.len(), 0);
    // Another company has none of them.
    let foreign = refused(world.charge_off(caller(NETWORK), &[(&fit, NORMAL)]).await);
    assert_eq!(foreign, ("SETTLEMENT_ACCOUNT_NOT_FOUND".into(), first));
    assert_eq!(world.rows("bill").await.len(), 0);
}

#[tokio::test]
async fn a_normal_and_a_retro_bill_of_one_call_do_not_both_fit() {
    let (world, network) = start().await;
    let (account, _) = read_account(&world, &network, 1).await;
    world.retro_point(&account, 1).await;
    world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
    world.calculated_as(&account, RETRO, &bill_of("0", &[("10", "1", "10.00")])).await;
    let both = world.charge_off(caller(RETAIL), &[(&account, NORMAL), (&account, RETRO)]).await;
    assert_eq!(refused(both), ("CALCULATION_OUTDATED".into(), vec!["COM_USER_METER[1].SETTLEMENT_AID".into()]));
    world.charge_off(caller(RETAIL), &[(&account, RETRO)]).await.unwrap();
    let normal = world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await;
    assert_eq!(refused(normal).0, "CALCULATION_OUTDATED");
    let register = "SELECT last_reading::text FROM account_register";
    assert_eq!(text(&world, register).await, "100.000000", "a retro bill moves no register");
    world.calculated_as(&account, NORMAL, &bill_of("10", BEIJING)).await;
    world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();
    assert_eq!(world.entries().await, ["2 1 1 0.00 10.00 0.00 10.00", "2 2 1 10.00 157.49 0.00 167.49"]);
}

#[tokio::test]
async fn a_bill_below_zero_is_closed_by_itself_and_its_credit_pays_the_oldest_debt() {
    let (world, network) = start().await;
    let (account, _) = read_account(&world, &network, 1).await;
    world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
    world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();
    world.retro_point(&account, 1).await;
    let refund = bill_of("300", &[("-120", "0.5383", "-64.60"), ("-30", "0.4883", "-14.65")]);
    world.calculated_as(&account, RETRO, &refund).await;
    world.charge_off(caller(RETAIL), &[(&account, RETRO)]).await.unwrap();
    assert_eq!(
        world.entries().await,
        [
            "1 1 4 0.00 0.00 79.25 79.25",
            "1 2 3 79.25 79.25 0.00 0.00",
            "2 1 1 0.00 157.49 0.00 157.49",
            "2 2 1 157.49 -79.25 0.00 78.24",
            "2 3 4 78.24 0.00 -79.25 157.49",
            "2 4 2 157.49 0.00 79.25 78.24",
        ]
    );
    // Within the days of grace the penalty does not begin earlier.
    assert_eq!(outstanding(&open_lines(&world).await), ["118.43 40.19 20240330"]);
    let closed = "SELECT string_agg(concat_ws(' ', paid_total, settled_month, with_line), ', ' ORDER BY paid_total)
         FROM receivable_closing";
    assert_eq!(text(&world, closed).await, "-64.60 202403 t, -14.65 202403 t, 39.06 202403 f");
}

#[tokio::test]
async fn a_line_of_no_fee_is_closed_at_once_and_a_bill_of_nothing_moves_no_fund() {
    let (world, network) = start().await;
    let (account, _) = read_account(&world, &network, 1).await;
    world.calculated_as(&account, NORMAL, &bill_of("0", &[("0", "0.4883", "0.00")])).await;
    world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();
    assert_eq!(open_lines(&world).await.len(), 0);
    assert_eq!(world.rows("receivable_closing").await.len(), 1);
    assert_eq!(world.rows("bill").await.len(), 1);
    assert_eq!(world.entries().await, [""; 0]);
}

#[tokio::test]
async fn available_funds_pay_the_bill_unless_that_is_off() {
    for (setting, left, funds) in
        [("on", vec!["118.43 60.94 20240330"], "0.00"), ("off", vec!["39.06  20240330", "118.43  20240330"], "100.00")]
    {
        let world = World::start_with(&[("billing_verify_codes", "off"), ("billing_auto_draw", setting)]).await;
        let network = world.network().await;
        world.open_spring(RETAIL).await;
        let (account, _) = read_account(&world, &network, 1).await;
        world.deposit(&customer_of(&world, &account).await, "100.00").await;
        world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
        world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();
        assert_eq!(outstanding(&open_lines(&world).await), left);
        assert_eq!(text(&world, "SELECT balance::text FROM balance WHERE fund = '1'").await, funds);
    }
}

/// What payments paid, as "account line amount", imported lines as number 0.
async fn parts(world: &World) -> Vec<String> {
    let statement =
        "SELECT concat_ws(' ', settlement_account_id, line_month, greatest(line_number, 0), amount) FROM payment_part
         ORDER BY payment_id, line_month, settlement_account_id, line_number";
    sqlx::query_scalar(statement).fetch_all(world.pool()).await.unwrap()
}

/// The books of the company agree.
async fn agree(world: &World) {
    let mut connection = world.pool().acquire().await.unwrap();
    assert_eq!(breaches(&mut connection, RETAIL).await.unwrap(), []);
}

#[tokio::test]
async fn funds_pay_an_imported_line_of_the_customer_before_a_newer_bill_and_each_part_is_kept() {
    let (world, network) = start().await;
    let (account, _) = read_account(&world, &network, 1).await;
    let customer = customer_of(&world, &account).await;
    world.deposit(&customer, "100.00").await;
    let brought = |number, month, fee: &str, customer: &str| ReceivableLine {
        settlement_account_id: account.clone(),
        customer_id: customer.into(),
        fee: fee.into(),
        penalty_from: 20_240_401,
        ..line(number, month)
    };
    // The account's customer of that time owes the older one.
    let lines = [brought(1, 202_401, "57.49", &customer), brought(2, 202_312, "8.00", "K000000000000077")];
    world.import_as(RETAIL, "old", &lines).await.unwrap();
    world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
    world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await.unwrap();

    let paid = |rest: &str| format!("{account} {rest}");
    assert_eq!(parts(&world).await, [paid("202401 0 57.49"), paid("202403 1 39.06"), paid("202403 2 3.45")]);
    let open = "SELECT string_agg(concat_ws(' ', fee, paid_total), ', ' ORDER BY fee) FROM receivable_open";
    assert_eq!(text(&world, open).await, "8.00 0.00, 118.43 3.45");
    assert_eq!(
        world.entries().await,
        [
            "1 1 4 0.00 0.00 100.00 100.00",
            "1 2 3 100.00 100.00 0.00 0.00",
            "2 1 1 0.00 157.49 0.00 157.49",
            "2 2 1 157.49 57.49 0.00 214.98",
            "2 3 2 214.98 0.00 100.00 114.98",
        ],
        "the imported line is issued with its payment: the receivable stays what was billed here"
    );
    assert_eq!(text(&world, "SELECT min(revenue)::text FROM posting").await, "-214.98");
    agree(&world).await;
    let request = TakeBackReceivableBatchRequest { batch_id: "old".into() };
    let taken = world.receivables(caller(RETAIL)).take_back_receivable_batch(request).await;
    assert_eq!(reason(taken), "BATCH_TOUCHED");
}

#[tokio::test]
async fn funds_pay_what_was_billed_to_the_customer_of_an_account_that_another_has_now() {
    let (world, network) = start().await;
    let (left, _) = read_account(&world, &network, 1).await;
    let customer = customer_of(&world, &left).await;
    world.calculated_as(&left, NORMAL, &bill_of("0", BEIJING)).await;
    world.charge_off(caller(RETAIL), &[(&left, NORMAL)]).await.unwrap();
    let user: String =
        sqlx::query_scalar("SELECT user_account_id FROM settlement_account WHERE settlement_account_id = $1")
            .bind(&left)
            .fetch_one(world.pool())
            .await
            .unwrap();
    let (_, another) = world.user_account(2, "李四").await;
    let transfer = BusinessApplication { user_account_id: another, ..of_account(&left, BusCategType::Transfer) };
    world.apply(caller(RETAIL), vec![transfer]).await.unwrap();
    world.verify(RETAIL, network.parameters(&left, BusCategType::Transfer, YesNo::Yes)).await.unwrap();
    assert_ne!(customer_of(&world, &left).await, customer);

    let kept = world.connect(&user, "二号用电").await;
    world.verify(RETAIL, network.parameters(&kept, BusCategType::New, YesNo::Yes)).await.unwrap();
    let meter = world.meter(new_meter("E-2")).await;
    let readings = vec![reading(&meter, ReadingsType::Total, "100")];
    world.serve_meter(served(&kept, BusCategType::New), vec![installed(&meter)], readings).await.unwrap();
    world.create_points(caller(RETAIL), &[&kept]).await.unwrap();
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, "400")]).await.unwrap();
    world.calculated_as(&kept, NORMAL, &bill_of("0", BEIJING)).await;
    world.deposit(&customer, "200.00").await;
    world.charge_off(caller(RETAIL), &[(&kept, NORMAL)]).await.unwrap();

    let expected = [(&left, "1 39.06"), (&left, "2 118.43"), (&kept, "1 39.06"), (&kept, "2 3.45")];
    let mut expected = expected.map(|(account, part)| format!("{account} 202403 {part}"));
    expected.sort();
    assert_eq!(parts(&world).await, expected);
    agree(&world).await;
}

#[tokio::test]
async fn of_32_that_charge_one_point_off_all_are_done_and_one_bill_is_made() {
    let (world, network) = start().await;
    let (account, _) = read_account(&world, &network, 1).await;
    world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
    let calls = (0..32).map(|_| async { world.charge_off(caller(RETAIL), &[(&account, NORMAL)]).await });
    assert!(join_all(calls).await.into_iter().all(|outcome| outcome.is_ok()));
    assert_eq!(world.rows("bill").await.len(), 1);
    assert_eq!(world.entries().await, ["2 1 1 0.00 157.49 0.00 157.49"]);
}

#[tokio::test]
async fn accounts_of_one_customer_chain_in_one_call() {
    let (world, network) = start().await;
    let mut accounts = Vec::new();
    for number in 1..=3 {
        let (account, _) = read_account(&world, &network, number).await;
        world.calculated_as(&account, NORMAL, &bill_of("0", BEIJING)).await;
        accounts.push(account);
    }
    let points: Vec<_> = accounts.iter().map(|account| (account.as_str(), NORMAL)).collect();
    world.charge_off(caller(RETAIL), &points).await.unwrap();
    assert_eq!(world.rows("bill").await.len(), 3);
    assert_eq!(text(&world, "SELECT sum(debit)::text FROM ledger").await, "472.47");
    assert_eq!(text(&world, "SELECT concat_ws(' ', count(*), sum(revenue)) FROM posting").await, "1 -472.47");
}
