//! Arrears over gRPC: visibility, order, cap, and every documented key.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use communal_billing::receivables::arrears::{Seen, Wanted};
use communal_billing::receivables::store::arrears_statements;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::*;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage as _};
use sqlx::Row as _;
use tonic::transport::Endpoint;

use crate::harness::*;

const BOOKS: [&str; 2] = ["B000000000000001", "B000000000000002"];

/// Lines of every combination of companies, store, book and kind; two for each, one of them paid.
fn every_kind_of_line() -> Vec<ReceivableLine> {
    let mut lines = Vec::new();
    let companies = [
        (NETWORK, RETAIL, STORE),
        (NETWORK, OTHER_RETAIL, OTHER_STORE),
        (NETWORK, NETWORK, "H000000000000005"),
        (OTHER_NETWORK, RETAIL, STORE),
        (OTHER_NETWORK, OTHER_NETWORK, "H000000000000006"),
    ];
    for (network, retail, store) in companies {
        for book in BOOKS {
            for kind in [ChargePackType::Guaranteed, ChargePackType::LowIncome, ChargePackType::Market] {
                for paid in [false, true] {
                    let number = u32::try_from(lines.len()).unwrap() + 1;
                    lines.push(ReceivableLine {
                        network_company_id: network.into(),
                        retail_company_id: retail.into(),
                        retail_store_id: store.into(),
                        book_id: book.into(),
                        package_kind: kind.into(),
                        ..if paid { self::paid(line(number, 202_401)) } else { line(number, 202_401) }
                    });
                }
            }
        }
    }
    lines
}

async fn import_all(world: &World, lines: &[ReceivableLine]) {
    for company in [NETWORK, OTHER_NETWORK] {
        let own: Vec<_> = lines.iter().filter(|l| l.network_company_id == company).cloned().collect();
        world.import_as(company, &format!("all-{company}"), &own).await.unwrap();
    }
}

fn filter(store: &str, book: &str, kind: ChargePackType) -> ArrearsFilter {
    ArrearsFilter { retail_store_id: store.into(), book_id: book.into(), package_kind: kind.into() }
}

fn accounts(lines: &[ReceivableLine]) -> BTreeSet<String> {
    lines.iter().map(|l| l.settlement_account_id.clone()).collect()
}

#[tokio::test]
async fn the_filter_means_what_the_document_says_for_every_caller() {
    let world = World::start().await;
    let lines = every_kind_of_line();
    import_all(&world, &lines).await;
    for caller in [NETWORK, OTHER_NETWORK, RETAIL, OTHER_RETAIL] {
        for kind in [ChargePackType::Unspecified, ChargePackType::Guaranteed, ChargePackType::Market] {
            for book in ["", BOOKS[0], BOOKS[1], "B000000000000009"] {
                for store in ["", STORE, OTHER_STORE] {
                    let asked = filter(store, book, kind);
                    let wanted = Wanted::read(&asked).unwrap();
                    let expected: BTreeSet<_> = lines
                        .iter()
                        .filter(|l| l.paid_total.is_empty())
                        .filter(|l| {
                            let seen = Seen {
                                network_company_id: &l.network_company_id,
                                retail_company_id: &l.retail_company_id,
                                retail_store_id: &l.retail_store_id,
                                book_id: &l.book_id,
                                package_kind: l.package_kind(),
                            };
                            wanted.sees(caller, seen)
                        })
                        .map(|l| l.settlement_account_id.clone())
                        .collect();
                    let found = world.arrears(caller, asked.clone()).await.unwrap();
                    assert_eq!(found.len(), accounts(&found).len(), "no line comes twice");
                    assert_eq!(accounts(&found), expected, "{caller} asks {asked:?}");
                    assert_eq!(world.streamed(caller, asked).await.unwrap(), found, "the stream says the same");
                }
            }
        }
    }
}

/// The cells in which the two readings of "1-保底价只查用本公司电，3-市场价只查未用本公司电" differ, and
/// those in which they agree, in numbers that do not come from the code under test.
#[tokio::test]
async fn both_readings_of_the_filter_are_distinguished() {
    let world = World::start().await;
    import_all(&world, &every_kind_of_line()).await;
    let count = |caller, kind| {
        let world = &world;
        async move { world.arrears(caller, filter("", "", kind)).await.unwrap().len() }
    };
    use ChargePackType::{Guaranteed, Market, Unspecified};
    // Two books; of each pair of companies one unpaid line a book and kind.
    assert_eq!(count(NETWORK, Unspecified).await, 18, "all lines in its area, whoever sells");
    assert_eq!(count(NETWORK, Guaranteed).await, 2, "only its own energy, not the retailers' guaranteed lines");
    assert_eq!(count(NETWORK, Market).await, 4, "only others' energy, not its own market lines");
    assert_eq!(count(RETAIL, Unspecified).await, 12, "its lines in both networks");
    assert_eq!(count(RETAIL, Guaranteed).await, 4, "its energy at the guaranteed price");
    assert_eq!(count(RETAIL, Market).await, 0, "others' energy it does not see at all");
}

#[tokio::test]
async fn low_income_cannot_be_asked_for() {
    let world = World::start().await;
    let status = world.arrears(NETWORK, filter("", "", ChargePackType::LowIncome)).await.unwrap_err();
    assert_eq!(fields(&status), ["ACC_VOLPRICE_OWE.CHARGE_PACK_TYPE"]);
    assert_eq!(reason::<()>(Err(status)), "FIELD_CODE_UNKNOWN");
    let status = world.streamed(NETWORK, filter("", "", ChargePackType::LowIncome)).await.unwrap_err();
    assert_eq!(reason::<()>(Err(status)), "FIELD_CODE_UNKNOWN");
}

#[tokio::test]
async fn the_order_is_book_account_month_and_charge_off_whatever_came_first() {
    let world = World::start().await;
    let mut lines = Vec::new();
    for (n, book) in [(0, BOOKS[1]), (1, BOOKS[0])] {
        for account in [3, 1, 2] {
            for month in [202_402, 202_312, 202_401] {
                for tier in [2, 1] {
                    let retail = if account == 2 { OTHER_RETAIL } else { RETAIL };
                    let number = n * 10 + account;
                    let line = line(number, month);
                    lines.push(ReceivableLine { book_id: book.into(), tier, retail_company_id: retail.into(), ..line });
                }
            }
        }
    }
    world.import_as(NETWORK, "order", &lines).await.unwrap();
    let place = |l: &ReceivableLine| {
        (l.book_id.clone(), l.settlement_account_id.clone(), l.account_month, l.charge_off_id.clone())
    };
    let first = world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap();
    let places: Vec<_> = first.iter().map(place).collect();
    let mut sorted = places.clone();
    sorted.sort();
    assert_eq!(places.len(), 36);
    assert_eq!(places, sorted);
    for _ in 0..3 {
        assert_eq!(world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap(), first, "the same each time");
    }
}

#[tokio::test]
async fn an_answer_beyond_the_cap_is_an_error_and_never_cut_short() {
    let world = World::start_with(&[("arrears_cap", "10")]).await;
    let lines: Vec<_> = (1..=11).map(|n| line(n, 202_401)).collect();
    world.import_as(NETWORK, "ten", &lines[..10]).await.unwrap();
    assert_eq!(world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap().len(), 10, "the cap itself is fine");
    world.import_as(NETWORK, "eleventh", &lines[10..]).await.unwrap();
    let status = world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap_err();
    assert!(words(&status).contains("10") && words(&status).contains("StreamUserArrearages"), "{}", words(&status));
    assert_eq!(reason::<()>(Err(status)), "ANSWER_TOO_LARGE");
    assert_eq!(world.streamed(NETWORK, ArrearsFilter::default()).await.unwrap().len(), 11, "the stream has no cap");
}

#[tokio::test]
async fn a_stream_of_many_portions_is_whole_and_ends_when_the_client_goes() {
    let world = World::start_with(&[("database_connections", "3"), ("arrears_cap", "100000")]).await;
    let lines: Vec<_> = (1..=12_345).map(|n| line(n, 202_401)).collect();
    world.import_as(NETWORK, "many", &lines).await.unwrap();
    let unary = world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap();
    assert_eq!(world.streamed(NETWORK, ArrearsFilter::default()).await.unwrap(), unary);
    // Clients that read one portion and go: more of them than there are connections.
    for _ in 0..8 {
        let request = StreamUserArrearagesRequest::default();
        let mut stream = world.receivables(caller(NETWORK)).stream_user_arrearages(request).await.unwrap().into_inner();
        assert_eq!(stream.message().await.unwrap().map(|p| p.lines.len()), Some(500));
    }
    assert_eq!(world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap().len(), 12_345);
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_no_connection() {
    let settings = [("database_connections", "3"), ("acquire_timeout_ms", "500"), ("channel_concurrent_streams", "64")];
    let world = World::start_with(&settings).await;
    let lines: Vec<_> = (1..=6_000).map(|n| line(n, 202_401)).collect();
    world.import_as(NETWORK, "many", &lines).await.unwrap();
    // A client that gives no stream any room.
    let endpoint = Endpoint::from_shared(format!("http://{}", world.address)).unwrap().initial_stream_window_size(0);
    let channel = endpoint.connect().await.unwrap();
    let mut unread = Vec::new();
    for _ in 0..24 {
        let mut receivables = ReceivableServiceClient::with_interceptor(channel.clone(), caller(NETWORK));
        unread.push(receivables.stream_user_arrearages(StreamUserArrearagesRequest::default()).await.unwrap());
    }
    // Long enough for each to have read all that it reads ahead.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let open: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(open, 0);
    let book = filter("", "B000000000000009", ChargePackType::Unspecified);
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(world.arrears(OTHER_RETAIL, book.clone()).await.unwrap(), []);
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    }
    assert_eq!(world.streamed(NETWORK, ArrearsFilter::default()).await.unwrap().len(), 6_000);
    drop(unread);
}

#[tokio::test]
async fn a_stream_goes_on_after_its_last_line_whatever_happens_meanwhile() {
    let world = World::start().await;
    // More than connection and client hold of a stream that nobody reads: 20,000 lines are some 9 MB.
    let lines: Vec<_> = (1..=20_000).map(|n| line(n * 2, 202_401)).collect();
    world.import_as(NETWORK, "before", &lines).await.unwrap();
    let request = StreamUserArrearagesRequest::default();
    let mut stream = world.receivables(caller(NETWORK)).stream_user_arrearages(request).await.unwrap().into_inner();
    let mut found: Vec<_> = stream.message().await.unwrap().unwrap().lines;
    // Lines before and after the place of the stream; a few of those that it still has to read are paid.
    world.import_as(NETWORK, "between", &[line(1, 202_401), line(39_989, 202_401)]).await.unwrap();
    sqlx::query("DELETE FROM receivable_open WHERE settlement_account_id > 'A000000000039990'")
        .execute(world.pool())
        .await
        .unwrap();
    while let Some(portion) = stream.message().await.unwrap() {
        found.extend(portion.lines);
    }
    let found: Vec<_> = found.into_iter().map(|l| ReceivableLine::decode(l).unwrap().settlement_account_id).collect();
    let expected: Vec<_> =
        (1..40_000).filter(|n| n % 2 == 0 && *n <= 39_990 || *n == 39_989).map(|n| format!("A{n:015}")).collect();
    assert!(found == expected, "each once and in order: {} of {}", found.len(), expected.len());
}

/// A line with every field set, each to another value.
fn full_line() -> ReceivableLine {
    ReceivableLine {
        node_id: "L000000000000001".into(),
        network_store_id: "H000000000000005".into(),
        retail_dimension: "维度一".into(),
        network_dimension: "维度二".into(),
        using_customer_id: "K000000000000002".into(),
        user_account_id: "D000000000000001".into(),
        industry_code: "A0111".into(),
        industry_sector: 2,
        assessed: 2,
        resident: 2,
        public_use: 2,
        temporary: 2,
        urban: 2,
        military: 2,
        supply_kind: 3,
        stopped_or_vacant: 2,
        business_kind: BusCategType::Transfer.into(),
        basic_fee_kind: 3,
        seasonal: 2,
        season: 3,
        time_of_use: 5,
        period: 6,
        agreement_price: 2,
        ladder: 3,
        ladder_tiers: 5,
        tier: 5,
        power_factor_standard: 4,
        heat_basis: 4,
        property_basis: 2,
        category_item: 9_999_999_999,
        surcharge_item: 7,
        start_date: 20_230_101,
        quantity: "-12345678901234.5".into(),
        unit_price: "99999999.1".into(),
        fee: "-99999999999999.99".into(),
        voltage: 9,
        delivery_level: "12".into(),
        retail_level: "34".into(),
        property_grade: "56".into(),
        previous_paid_date: 20_240_201,
        previous_payment_id: "W000000000000001".into(),
        paid_total: "-0.3".into(),
        latest_paid: "-0.1".into(),
        latest_paid_date: 20_240_202,
        latest_payment_id: "W000000000000002".into(),
        ..line(1, 202_401)
    }
}

#[tokio::test]
async fn all_sixty_one_fields_come_back_as_they_were_billed_and_paid() {
    let world = World::start().await;
    let given = full_line();
    world.import_as(RETAIL, "full", std::slice::from_ref(&given)).await.unwrap();
    let found = world.arrears(RETAIL, ArrearsFilter::default()).await.unwrap();
    // The decimals at their documented scale, everything else as it was.
    let expected = ReceivableLine {
        quantity: "-12345678901234.50".into(),
        unit_price: "99999999.100000".into(),
        paid_total: "-0.30".into(),
        latest_paid: "-0.10".into(),
        ..given
    };
    assert_eq!(found, [expected]);

    let pool = DescriptorPool::decode(communal_proto::FILE_DESCRIPTOR_SET).unwrap();
    let described = pool.get_message_by_name("communal.billing.v1.ReceivableLine").unwrap();
    let mut bytes = Vec::new();
    found[0].encode(&mut bytes).unwrap();
    let line = DynamicMessage::decode(described, bytes.as_slice()).unwrap();
    assert_eq!(line.descriptor().fields().len(), 61);
    for field in line.descriptor().fields() {
        // What is in arrears is not settled.
        let settled = field.json_name() == "SETTLE_ACCOUNT_MONTH";
        assert_eq!(line.has_field(&field), !settled, "{}", field.json_name());
    }
}

#[tokio::test]
async fn what_was_never_paid_shows_nothing_paid() {
    let world = World::start().await;
    world.import_as(RETAIL, "unpaid", &[line(1, 202_401)]).await.unwrap();
    let found = world.arrears(RETAIL, ArrearsFilter::default()).await.unwrap();
    let paid = &found[0];
    assert_eq!((paid.paid_total.as_str(), paid.latest_paid.as_str(), paid.latest_paid_date), ("", "", 0));
    assert_eq!((paid.fee.as_str(), paid.penalty_from, paid.settled_month), ("157.49", 20_240_128, 0));
}

#[tokio::test]
async fn arrears_are_read_in_order_from_the_index_of_either_company_and_never_sorted() {
    // Also where a book has so large a part of the lines that reading all of them looks cheap.
    for books in [60, 5] {
        arrears_are_read_in_order(books).await;
    }
}

async fn arrears_are_read_in_order(books: u32) {
    let world = World::start().await;
    let lines: Vec<_> =
        (1..=6_000).map(|n| ReceivableLine { book_id: format!("B{:015}", n % books), ..line(n, 202_401) }).collect();
    world.import_as(NETWORK, "plan", &lines).await.unwrap();
    sqlx::raw_sql("ANALYZE receivable_open").execute(world.pool()).await.unwrap();
    let mut connection = world.pool().acquire().await.unwrap();
    // The plan that a prepared statement settles on, whatever its first arguments were.
    sqlx::raw_sql("SET plan_cache_mode = force_generic_plan").execute(&mut *connection).await.unwrap();
    let names = ["all_books", "one_book", "next_of_all_books", "next_of_one_book"];
    for (name, (statement, parameters)) in names.into_iter().zip(arrears_statements()) {
        let prepare = format!("PREPARE {name} ({parameters}) AS {statement}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
        let last = if name.starts_with("next") { "'B000000000000007', 'A', 202401, '', 0" } else { "10001" };
        let explain = format!("EXPLAIN EXECUTE {name} ('{NETWORK}', 'B000000000000007', NULL, NULL, NULL, {last})");
        let plan = sqlx::raw_sql(sqlx::AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let has = |what: &str| plan.iter().any(|line| line.contains(what));
        assert!(has("receivable_open_pkey") && has("receivable_open_by_retail"), "{plan:#?}");
        assert!(has("Merge Append") && !has("Seq Scan") && !has("Sort  ("), "{plan:#?}");
        assert!(!has("receivable_line") && !has("receivable_closing"), "history is not even looked at: {plan:#?}");
        // A portion begins at its place in the index, and does not walk to it.
        let begins = |line: &&String| line.contains("Index Cond") && line.contains("ROW(");
        assert_eq!(plan.iter().filter(begins).count(), if name.starts_with("next") { 2 } else { 0 }, "{plan:#?}");
    }
}
