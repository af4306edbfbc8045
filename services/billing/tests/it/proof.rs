//! The proof that the books of a company agree: each rule finds what breaks it.

use std::collections::BTreeSet;

use communal_billing::charge_off::store::proof::{breaches, breaches_of};
use communal_billing::vocabulary::dates::AccountMonth;
use communal_proto::billing::v1::NormalRetroType::Normal;
use communal_proto::billing::v1::*;
use sqlx::PgPool;

use crate::harness::*;

/// Changes by hand, and the rules that they break. The account has a bill of two lines in March 2024, and its customer paid
/// the first of them.
const CHANGES: &[(&str, &[&str])] = &[
    (
        "UPDATE receivable_line SET fee = fee + 1 WHERE line_number = 1",
        &["a bill is the sum of its lines"],
    ),
    ("UPDATE bill SET lines = 3", &["a bill is the sum of its lines"]),
    (
        "UPDATE bill SET total = total + 1",
        &["a bill is the sum of its lines", "a bill is issued once in the ledger"],
    ),
    (
        "DELETE FROM receivable_open",
        &[
            "a line is open or closed, never both, never neither",
            "what a customer owes is the balance of the receivable",
        ],
    ),
    (
        "INSERT INTO receivable_closing SELECT c.network_company_id, c.settlement_account_id, c.account_month, c.charge_off_id, 2,
             c.paid_total, c.latest_paid, c.latest_paid_date, c.latest_payment_id, c.previous_paid_date, c.previous_payment_id,
             c.levy_date, c.settled_month, c.with_line, c.operator_id, c.channel_id, c.trace_id, c.written_at
         FROM receivable_closing c",
        &["a line is open or closed, never both, never neither"],
    ),
    (
        "DELETE FROM receivable_line WHERE line_number = 2",
        &["a bill is the sum of its lines", "what is open or closed is a line"],
    ),
    (
        "UPDATE receivable_open SET paid_total = 1",
        &["what a customer owes is the balance of the receivable"],
    ),
    (
        "UPDATE ledger SET serial = 'E1' WHERE business_kind = '1'",
        &[
            "a bill is issued once in the ledger",
            "an entry that issues is of a bill, or of what was paid of imported lines",
        ],
    ),
    (
        "UPDATE ledger SET previous = previous + 1, balance = balance + 1 WHERE fund = '2' AND entry = 2",
        &[
            "the entries of a fund chain without a gap",
            "no entry is after that at which its fund stands",
            "a balance is that of the last entry",
        ],
    ),
    (
        "UPDATE ledger SET entry = 4 WHERE fund = '2' AND entry = 2",
        &[
            "the entries of a fund chain without a gap",
            "no entry is after that at which its fund stands",
            "a balance is that of the last entry",
        ],
    ),
    (
        "UPDATE balance SET balance = balance + 1 WHERE fund = '2'",
        &[
            "no entry is after that at which its fund stands",
            "a balance is that of the last entry",
            "what a customer owes is the balance of the receivable",
        ],
    ),
    ("UPDATE posting SET revenue = revenue - 1 WHERE revenue <> 0", &["a posting adds up to zero"]),
    ("UPDATE ledger SET posting_id = -1 WHERE fund = '2' AND entry = 2", &[
        "a posting adds up to zero",
        "an entry is of a posting",
    ]),
    ("UPDATE payment_part SET amount = amount - 1", &["the parts of a draw are what it paid"]),
    ("UPDATE payment_part SET line_number = 2", &["a part was paid of its line"]),
    ("UPDATE account_accumulator SET version = version + 1", &["accumulators move once a bill"]),
    (
        "INSERT INTO point_open (company_id, settlement_account_id, kind, account_month, number, book_id, reading_order, registers)
         SELECT company_id, settlement_account_id, kind, account_month, number, book_id, 1, 1 FROM bill",
        &["a point that has a bill is not open"],
    ),
];

/// Rules that concern a whole history, which no single month proves.
const OF_HISTORIES: [&str; 4] = [
    "a balance is that of the last entry",
    "a posting adds up to zero",
    "accumulators move once a bill",
    "what a customer owes is the balance of the receivable",
];

#[tokio::test]
async fn each_rule_finds_what_breaks_it_in_its_month() {
    let world = World::start_archive().await;
    let network = world.network().await;
    world.open_spring(RETAIL).await;
    let (account, meter) = world.archived(&network, 1).await;
    let statement = "SELECT customer_id FROM user_account JOIN settlement_account USING (company_id, user_account_id)";
    let customer: String = sqlx::query_scalar(statement).fetch_one(world.pool()).await.unwrap();
    world.deposit(&customer, "39.06").await;
    world.create_points(caller(RETAIL), &[&account]).await.unwrap();
    world.enter(caller(RETAIL), vec![read(&meter, ReadingsType::Total, "400")]).await.unwrap();
    let beijing = [("80", "0.4883", "39.06"), ("220", "0.5383", "118.43")];
    world.calculated_as(&account, Normal, &bill_of("2800", &beijing)).await;
    world.charge_off(caller(RETAIL), &[(&account, Normal)]).await.unwrap();

    let owner = PgPool::connect(&world.database.owner_url).await.unwrap();
    let of = |number| AccountMonth::read(number).unwrap();
    let mut untouched = owner.acquire().await.unwrap();
    assert_eq!(breaches(&mut untouched, RETAIL).await.unwrap(), []);
    assert_eq!(breaches_of(&mut untouched, RETAIL, of(202_403)).await.unwrap(), []);
    for (change, rules) in CHANGES {
        let mut transaction = owner.begin().await.unwrap();
        sqlx::raw_sql(
            "SET LOCAL session_replication_role = replica;
             ALTER TABLE receivable_line DISABLE TRIGGER USER;",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        let changed = sqlx::query(sqlx::AssertSqlSafe((*change).to_owned())).execute(&mut *transaction).await.unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        let found = breaches(&mut transaction, RETAIL).await.unwrap();
        let found: BTreeSet<_> = found.iter().map(|breach| breach.rule).collect();
        assert_eq!(found, rules.iter().copied().collect(), "{change}");
        let in_month = breaches_of(&mut transaction, RETAIL, of(202_403)).await.unwrap();
        let in_month: BTreeSet<_> = in_month.iter().map(|breach| breach.rule).collect();
        let expected = rules.iter().copied().filter(|rule| !OF_HISTORIES.contains(rule)).collect();
        assert_eq!(in_month, expected, "{change}");
        assert_eq!(breaches_of(&mut transaction, RETAIL, of(202_404)).await.unwrap(), [], "{change}");
        assert_eq!(breaches(&mut transaction, OTHER_RETAIL).await.unwrap(), [], "{change}");
        transaction.rollback().await.unwrap();
    }
    let all: BTreeSet<_> = CHANGES.iter().flat_map(|(_, rules)| rules.iter().copied()).collect();
    assert_eq!(all.len(), 15, "each rule is broken by one of the changes");
}
