//! Runs: a month is billed chunk by chunk; what cannot be billed is parked by name; a run that is killed is finished by others.

use std::process::{Child, Command, Stdio};

use communal_billing::charge_off::store::proof::breaches;
use communal_proto::billing::v1::*;
use tonic::Status;

use crate::harness::*;
use crate::moving_in::{bring, rows};

/// Accounts that have moved in, with meters that stand at 1234.5; March of 2024 is open.
pub(crate) async fn start(accounts: usize) -> (World, Network) {
    let world = World::start_archive().await;
    world.register_items(NETWORK).await;
    let network = world.network().await;
    for (batch, from) in (1..=accounts).step_by(2_000).enumerate() {
        let to = accounts.min(from + 1_999);
        bring(&world, RETAIL, &format!("BATCH{batch}"), &rows(&network, from..=to)).await.unwrap();
    }
    // Open for good, because a process goes by the machine's clock.
    world.open_month(RETAIL, account_month(202_403, 20_240_301, 99_991_231)).await;
    (world, network)
}

fn account(n: usize) -> String {
    format!("A{n:015}")
}

/// Makes the points of accounts and reads their meters, all registers at a reading.
pub(crate) async fn read_all(world: &World, numbers: impl Iterator<Item = usize>) {
    let numbers: Vec<_> = numbers.collect();
    for some in numbers.chunks(1_000) {
        let ids: Vec<_> = some.iter().map(|n| account(*n)).collect();
        let ids: Vec<_> = ids.iter().map(String::as_str).collect();
        world.create_points(caller(RETAIL), &ids).await.unwrap();
        let readings = some.iter().map(|n| read(&format!("M{n:015}"), ReadingsType::Total, "1300")).collect();
        world.enter(caller(RETAIL), readings).await.unwrap();
    }
}

pub(crate) async fn run(world: &World, account_month: i32, book_id: &str) -> Result<Vec<RunBookResponse>, Status> {
    let request = RunBookRequest { account_month, book_id: book_id.into() };
    let mut stream = world.runs(caller(RETAIL)).run_book(request).await?.into_inner();
    let mut states = Vec::new();
    while let Some(state) = stream.message().await? {
        states.push(state);
    }
    Ok(states)
}

async fn parked(world: &World) -> Vec<String> {
    parked_in(world, 202_403).await
}

async fn parked_in(world: &World, account_month: i32) -> Vec<String> {
    let request = ListParkedAccountsRequest { account_month, ..ListParkedAccountsRequest::default() };
    let reply = world.runs(caller(RETAIL)).list_parked_accounts(request).await.unwrap().into_inner();
    reply.accounts.into_iter().map(|a| format!("{} {}", a.settlement_account_id, a.reason)).collect()
}

#[tokio::test]
async fn a_book_that_is_not_the_companys_is_refused_by_name() {
    let (world, _) = start(1).await;
    for book in ["B499999999999999", "NO-BOOK"] {
        let expected = ("BOOK_AID".to_owned(), "BOOK_NOT_FOUND".to_owned());
        assert_eq!(refused(run(&world, 202_403, book).await), expected);
        let request = ListParkedAccountsRequest { account_month: 202_403, book_id: book.into(), ..Default::default() };
        assert_eq!(refused(world.runs(caller(RETAIL)).list_parked_accounts(request).await), expected);
    }
    assert_eq!(world.rows("billing_run").await.len(), 0);
}

async fn assert_books_agree(world: &World) {
    let mut connection = world.pool().acquire().await.unwrap();
    assert_eq!(breaches(&mut connection, RETAIL).await.unwrap(), []);
}

async fn bills(world: &World) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM bill").fetch_one(world.pool()).await.unwrap()
}

#[tokio::test]
async fn a_run_bills_a_month_and_parks_by_name_what_it_cannot_bill() {
    let (world, network) = start(30).await;
    read_all(&world, 1..=20).await;
    let states = run(&world, 202_403, "").await.unwrap();
    let last = states.last().unwrap();
    assert_eq!((last.chunks, last.chunks_done, last.accounts, last.accounts_done), (1, 1, 30, 30));
    assert_eq!((last.bills, last.parked), (20, 10));
    let unread: Vec<_> = (21..=30).map(|n| format!("{} REGISTER_NOT_READ", account(n))).collect();
    assert_eq!(parked(&world).await, unread, "their points are made, and they are not read");
    assert_eq!(bills(&world).await, 20);
    let owed = world.arrears(RETAIL, ArrearsFilter::default()).await.unwrap();
    assert_eq!(owed.iter().filter(|line| line.settlement_account_id == account(1)).count(), 1);
    // 1300 − 1234.5, the old meter's 2.5, and the fixed quantity of −1.5.
    assert_eq!((owed[0].quantity.as_str(), owed[0].account_month), ("66.50", 202_403));
    let of_lines: rust_decimal::Decimal =
        owed.iter().map(|line| line.fee.parse::<rust_decimal::Decimal>().unwrap()).sum();
    assert_eq!(of_lines.to_string(), last.total);
    assert_books_agree(&world).await;

    // Read the others: the next run bills those alone.
    let late = (21..=30).map(|n| read(&format!("M{n:015}"), ReadingsType::Total, "1300")).collect();
    world.enter(caller(RETAIL), late).await.unwrap();
    let states = run(&world, 202_403, &network.book_id).await.unwrap();
    assert_eq!((states.last().unwrap().bills, states.last().unwrap().parked), (10, 0));
    assert_eq!(parked(&world).await, [""; 0]);
    let states = run(&world, 202_403, "").await.unwrap();
    assert_eq!(states.last().unwrap().bills, 0);
    assert_eq!(bills(&world).await, 30);
    assert_books_agree(&world).await;
}

/// What was read in a month that was not charged off would be billed in the next one, and that one's reading be refused.
#[tokio::test]
async fn a_reading_of_an_earlier_month_is_billed_only_after_its_point_is_made_again() {
    let world = World::start_archive().await;
    world.register_items(NETWORK).await;
    let network = world.network().await;
    bring(&world, RETAIL, "BATCH", &rows(&network, 1..=2)).await.unwrap();
    world.open_month(RETAIL, account_month(202_403, 20_240_301, 20_240_401)).await;
    world.open_month(RETAIL, account_month(202_404, 20_240_401, 20_240_501)).await;
    read_all(&world, 1..=1).await;
    // Not read: nothing of March is in it.
    world.create_points(caller(RETAIL), &[&account(2)]).await.unwrap();
    world.days_pass(18);
    assert_eq!(run(&world, 202_404, "").await.unwrap().last().unwrap().bills, 0);
    let expected = [format!("{} ACCOUNT_MONTH_NOT_OPEN", account(1)), format!("{} REGISTER_NOT_READ", account(2))];
    assert_eq!(parked_in(&world, 202_404).await, expected);
    let refusal = world.charge_off(caller(RETAIL), &[(&account(1), NormalRetroType::Normal)]).await.unwrap_err();
    let words = "has a billing point of 202403, and 202404 is open: make it again (CreateBillingInfo)";
    assert!(refusal.message().contains(words), "{}", refusal.message());
    world.create_points(caller(RETAIL), &[&account(1)]).await.unwrap();
    assert_eq!(run(&world, 202_404, "").await.unwrap().last().unwrap().bills, 1);
    assert_eq!(parked_in(&world, 202_404).await, [format!("{} REGISTER_NOT_READ", account(2))]);
    assert_books_agree(&world).await;
}

/// A meter of an account that moved in has no average: a slip of the keyboard in its first reading would be a bill of thousands.
#[tokio::test]
async fn a_first_reading_that_moved_too_far_is_listed_and_its_account_parked_until_it_is_entered_again() {
    let (world, _) = start(2).await;
    read_all(&world, 1..=2).await;
    let enter = |reading| world.enter(caller(RETAIL), vec![read("M000000000000002", ReadingsType::Total, reading)]);
    // The meter stands at 1234.5, and 10,000 is what a register may move that has no average.
    for (reading, fits) in [("11234.51", false), ("11234.5", true), ("91300", false)] {
        enter(reading).await.unwrap();
        let faults = world.faults(RETAIL, "", 100).await;
        let expected = if fits { vec![] } else { vec![format!("High {} Total", account(2))] };
        assert_eq!(faults, expected, "{reading}");
    }
    assert_eq!(run(&world, 202_403, "").await.unwrap().last().unwrap().bills, 1);
    assert_eq!(parked(&world).await, [format!("{} BILL_UNSAFE", account(2))]);
    enter("1300").await.unwrap();
    assert_eq!(run(&world, 202_403, "").await.unwrap().last().unwrap().bills, 1);
    assert_books_agree(&world).await;
}

#[tokio::test]
async fn a_month_that_is_not_open_is_refused_and_another_company_has_nothing_to_bill() {
    let (world, _) = start(3).await;
    read_all(&world, 1..=3).await;
    let refusal = run(&world, 202_404, "").await.unwrap_err();
    assert_eq!(fields(&refusal), ["ACCOUNT_MONTH"]);
    assert_eq!(reason::<()>(Err(refusal)), "ACCOUNT_MONTH_NOT_OPEN");
    let request = RunBookRequest { account_month: 202_403, book_id: String::new() };
    let mut stream = world.runs(caller(NETWORK)).run_book(request).await.unwrap().into_inner();
    assert_eq!(reason(stream.message().await), "ACCOUNT_MONTH_NOT_OPEN");
    assert_eq!(bills(&world).await, 0);
}

#[tokio::test]
async fn points_that_are_calculated_and_charged_off_by_hand_are_left_out() {
    let (world, _) = start(5).await;
    read_all(&world, 1..=5).await;
    world.calculate_normal(caller(RETAIL), &[&account(2), &account(3)]).await.unwrap();
    world.charge_off(caller(RETAIL), &[(&account(2), NormalRetroType::Normal)]).await.unwrap();
    let states = run(&world, 202_403, "").await.unwrap();
    assert_eq!(states.last().unwrap().bills, 4);
    assert_eq!(bills(&world).await, 5);
    assert_books_agree(&world).await;
    let calculations = "SELECT settlement_account_id FROM point_calculation";
    let left: Vec<String> = sqlx::query_scalar(calculations).fetch_all(world.pool()).await.unwrap();
    assert_eq!(left, [account(2)], "what a run calculated anew is not said to have been calculated before");
    // What was calculated and what the run calculated are the same.
    let totals: Vec<String> =
        sqlx::query_scalar("SELECT DISTINCT total::text FROM bill").fetch_all(world.pool()).await.unwrap();
    assert_eq!(totals.len(), 1);
}

/// A process that runs the month.
fn process(world: &World) -> Child {
    command(world, &["run", "--company", RETAIL, "--month", "202403"])
}

fn command(world: &World, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_billing"))
        .args(arguments)
        .env_clear()
        .envs([("COMMUNAL_BILLING_DATABASE_URL", world.database.url.as_str()), ("COMMUNAL_SEALING_KEY", SEALING_KEY)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_command_line_says_in_english_what_was_parked_for_which_reason_and_its_exit_code_that_something_was() {
    let (world, _) = start(3).await;
    let check = command(&world, &["check", "--month", "202403"]).wait_with_output().unwrap();
    let printed = String::from_utf8(check.stdout).unwrap();
    assert!(
        check.status.success() && printed.contains("; nothing") && printed.ends_with(" was billed in 202403\n"),
        "{printed}"
    );
    read_all(&world, 1..=1).await;
    let ran = || process(&world).wait_with_output().unwrap();
    let done = ran();
    let printed = String::from_utf8(done.stdout).unwrap();
    assert!(printed.starts_with("3 accounts: 1 bills of "), "{printed}");
    assert!(
        printed.ends_with("\naccounts  parked for (ListParkedAccounts names them)\n       2  REGISTER_NOT_READ\n"),
        "{printed}"
    );
    assert_eq!(done.status.code(), Some(3));
    read_all(&world, 2..=3).await;
    let done = ran();
    assert_eq!((done.status.code(), String::from_utf8(done.stdout).unwrap().lines().count()), (Some(0), 1));
    let refused = command(&world, &["run", "--company", RETAIL, "--month", "202404"]).wait_with_output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let complaint = String::from_utf8(refused.stderr).unwrap();
    let expected = "billing: ACCOUNT_MONTH_NOT_OPEN: account_month is not open today for any account of the company\n";
    assert!(complaint.ends_with(expected), "{complaint}");
}

#[tokio::test]
async fn a_run_that_is_killed_three_times_is_finished_by_two_processes() {
    let (world, _) = start(6_000).await;
    read_all(&world, 1..=6_000).await;
    let mut before = 0;
    for _ in 0..3 {
        let mut killed = process(&world);
        eventually(async || bills(&world).await > before).await;
        killed.kill().unwrap();
        killed.wait().unwrap();
        before = bills(&world).await;
        assert_books_agree(&world).await;
    }
    assert!(before < 6_000, "the run was killed in the middle");
    let (first, second) = (process(&world), process(&world));
    for process in [first, second] {
        let done = process.wait_with_output().unwrap();
        assert!(done.status.success());
        assert!(String::from_utf8(done.stdout).unwrap().starts_with("6000 accounts: 6000 bills"));
    }
    assert_eq!(bills(&world).await, 6_000);
    let lines: i64 = sqlx::query_scalar("SELECT count(DISTINCT settlement_account_id) FROM receivable_line")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(lines, 6_000);
    assert_books_agree(&world).await;
}
