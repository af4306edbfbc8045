//! The import of lines: all or none, once, each fault with its row.

use std::time::Duration;

use communal_proto::billing::v1::*;
use futures::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic_types::StatusExt as _;

use crate::harness::*;

async fn lines_stored(world: &World) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM receivable_line").fetch_one(world.pool()).await.unwrap()
}

#[tokio::test]
async fn a_batch_is_written_once_however_often_and_in_whatever_portions_it_is_sent() {
    let world = World::start().await;
    let lines: Vec<_> =
        (1..=2_500).map(|n| if n % 5 == 0 { line(n, 202_401) } else { paid(line(n, 202_401)) }).collect();
    let reply = world.import_as(NETWORK, "batch-1", &lines).await.unwrap();
    assert_eq!((reply.lines, reply.outstanding_lines, reply.replayed), (2_500, 500, false));
    let again = futures::stream::iter(import_messages("batch-1", &lines, 77));
    let again = world.receivables(caller(NETWORK)).import_receivable_lines(again).await.unwrap().into_inner();
    assert_eq!((again.lines, again.outstanding_lines, again.replayed), (2_500, 500, true));
    assert_eq!(lines_stored(&world).await, 2_500);
    let mut other = lines.clone();
    other[7].customer_id = "K999999999999999".into();
    let status = world.import_as(NETWORK, "batch-1", &other).await.unwrap_err();
    assert_eq!(fields(&status), ["batch.batch_id"]);
    assert_eq!(reason::<()>(Err(status)), "BATCH_REUSED");
    assert_eq!(reason(world.import_as(NETWORK, "batch-1", &lines[..2_499]).await), "BATCH_REUSED");
}

#[tokio::test]
async fn a_batch_belongs_to_the_company_that_sent_it() {
    let world = World::start().await;
    world.import_as(NETWORK, "same", &[line(1, 202_401)]).await.unwrap();
    let reply = world.import_as(RETAIL, "same", &[line(2, 202_401)]).await.unwrap();
    assert!(!reply.replayed, "another company's identifiers are its own");
    assert_eq!(lines_stored(&world).await, 2);
}

#[tokio::test]
async fn every_fault_is_named_by_its_row_over_the_whole_stream_and_nothing_is_written() {
    let world = World::start().await;
    let mut lines: Vec<_> = (0..3_000).map(|n| line(n + 1, 202_401)).collect();
    lines[17].fee = "1.234".into();
    lines[1_500].paid_total = "157.50".into();
    lines[1_501].paid_total = "-1".into();
    lines[2_000].network_company_id = OTHER_NETWORK.into();
    lines[2_000].retail_company_id = OTHER_RETAIL.into();
    lines[2_999].book_id = String::new();
    lines[2_999].account_month = 202_413;
    let status = world.import_as(NETWORK, "faulty", &lines).await.unwrap_err();
    assert_eq!(
        fields(&status),
        [
            "lines[17].fee",
            "lines[1500].paid_total",
            "lines[1501].paid_total",
            "lines[2000].retail_company_id",
            "lines[2999].book_id",
            "lines[2999].account_month",
        ]
    );
    assert!(words(&status).contains("lines[17].fee "), "{}", words(&status));
    assert_eq!(lines_stored(&world).await, 0);
    world.import_as(NETWORK, "faulty", &[line(1, 202_401)]).await.expect("a refused batch was never taken");
}

#[tokio::test]
async fn refunds_are_lines_with_the_signs_turned() {
    let world = World::start().await;
    let refund = |given: &str| ReceivableLine {
        fee: "-79.25".into(),
        paid_total: given.into(),
        latest_paid: given.into(),
        settled_month: 0,
        ..paid(line(1, 202_401))
    };
    for wrong in ["-79.26", "0.01"] {
        assert_eq!(reason(world.import_as(NETWORK, "refund", &[refund(wrong)]).await), "FIELD_MALFORMED");
    }
    let reply = world.import_as(NETWORK, "refund", &[refund("-79.24")]).await.unwrap();
    assert_eq!(reply.outstanding_lines, 1);
    assert_eq!(world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap()[0].paid_total, "-79.24");
}

#[tokio::test]
async fn a_line_that_exists_is_refused_wherever_it_is() {
    let world = World::start().await;
    world.import_as(NETWORK, "first", &[line(1, 202_401), paid(line(2, 202_401)), line(3, 202_401)]).await.unwrap();
    // Open beside open, settled beside settled, settled beside open, open beside settled.
    let cases = [line(1, 202_401), paid(line(2, 202_401)), paid(line(3, 202_401)), line(2, 202_401)];
    for (n, existing) in cases.into_iter().enumerate() {
        let lines = [line(100, 202_401), existing, line(101, 202_401)];
        let status = world.import_as(NETWORK, &format!("again-{n}"), &lines).await.unwrap_err();
        assert_eq!(fields(&status), ["lines[1]"], "case {n}");
        assert_eq!(reason::<()>(Err(status)), "LINE_EXISTS", "case {n}");
    }
    let twice = [line(7, 202_401), line(8, 202_401), line(7, 202_401)];
    let status = world.import_as(NETWORK, "twice", &twice).await.unwrap_err();
    assert_eq!(fields(&status), ["lines[2]"]);
    assert_eq!(reason::<()>(Err(status)), "LINE_EXISTS");
    assert_eq!(lines_stored(&world).await, 3);
}

/// The partitions of lines.
async fn months_of_lines(world: &World) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT relid::text FROM pg_partition_tree('receivable_line') WHERE isleaf ORDER BY relid::text COLLATE \"C\"",
    )
    .fetch_all(world.pool())
    .await
    .unwrap()
}

#[tokio::test]
async fn an_import_brings_its_account_months_in_whatever_order() {
    let world = World::start().await;
    let of = |account: u32, month: i32| ReceivableLine { start_date: 0, ..paid(line(account, month)) };
    // Each portion that is written begins with a month that the writer has not seen.
    let months = [202_402, 201_001, 202_401, 199_912, 196_705];
    let lines: Vec<_> =
        months.into_iter().flat_map(|month| (0..5_100).map(move |account| of(account, month))).collect();
    assert_eq!(world.import_as(NETWORK, "history", &lines).await.unwrap().lines, 25_500);
    assert_eq!(lines_stored(&world).await, 25_500);
    let expected =
        ["receivable_line_201001", "receivable_line_202401", "receivable_line_202402", "receivable_line_before_200001"];
    assert_eq!(months_of_lines(&world).await, expected, "what is older than the year 2000 stands together");
    // What is not accepted makes no partition.
    let far = ReceivableLine { account_month: 202_612, ..line(1, 202_402) };
    let status = world.import_as(NETWORK, "far", &[far]).await.unwrap_err();
    assert_eq!(fields(&status), ["lines[0].account_month"]);
    assert_eq!(months_of_lines(&world).await.len(), 4);
}

#[tokio::test]
async fn lines_that_exist_are_named_among_the_other_faults_wherever_they_stand() {
    let world = World::start().await;
    let known = [line(1, 202_401), paid(line(2, 202_401)), line(3, 202_401)];
    world.import_as(NETWORK, "first", &known).await.unwrap();
    // One is in a portion that would have been written, one beside the first fault, one long after it.
    let mut lines: Vec<_> = (0..14_000).map(|n| line(100 + n, 202_402)).collect();
    lines[6_000].fee = "1.234".into();
    lines[6_001] = known[1].clone();
    lines[13_000] = known[2].clone();
    let status = world.import_as(NETWORK, "late", &lines).await.unwrap_err();
    assert_eq!(fields(&status), ["lines[6000].fee", "lines[6001]", "lines[13000]"]);
    lines[6_000].fee = "1.23".into();
    lines[17] = known[0].clone();
    let status = world.import_as(NETWORK, "late", &lines).await.unwrap_err();
    assert_eq!(fields(&status), ["lines[17]", "lines[6001]", "lines[13000]"]);
    assert_eq!(reason::<()>(Err(status)), "LINE_EXISTS");
    assert_eq!(lines_stored(&world).await, 3);
}

#[tokio::test]
async fn lines_that_differ_in_a_dimension_are_different_lines() {
    let world = World::start().await;
    let base = line(1, 202_401);
    let lines = [
        base.clone(),
        ReceivableLine { tier: 2, ..base.clone() },
        ReceivableLine { period: 2, ..base.clone() },
        ReceivableLine { run_kind: NormalRetroType::Retro.into(), ..base.clone() },
        ReceivableLine { surcharge_item: 1, ..base.clone() },
        ReceivableLine { start_date: 20_240_115, ..base.clone() },
        ReceivableLine { charge_off_id: "Q2".into(), ..base },
    ];
    assert_eq!(world.import_as(NETWORK, "dimensions", &lines).await.unwrap().lines, 7);
}

#[tokio::test]
async fn the_first_message_names_the_batch_and_no_other_does() {
    let world = World::start().await;
    let import = |messages: Vec<ImportReceivableLinesRequest>| {
        let mut receivables = world.receivables(caller(NETWORK));
        async move { receivables.import_receivable_lines(futures::stream::iter(messages)).await }
    };
    let lines = vec![line(1, 202_401)];
    let batch = |id: &str| Some(communal_fixtures::receivables::batch(id, &lines));
    let message = |batch, lines| ImportReceivableLinesRequest { batch, lines };
    let named = |status: tonic::Status| fields(&status);
    assert_eq!(named(import(vec![]).await.unwrap_err()), ["batch"]);
    assert_eq!(named(import(vec![message(None, lines.clone())]).await.unwrap_err()), ["batch"]);
    assert_eq!(named(import(vec![message(batch(""), lines.clone())]).await.unwrap_err()), ["batch.batch_id"]);
    assert_eq!(named(import(vec![message(batch("a"), vec![])]).await.unwrap_err()), ["lines"]);
    let again = vec![message(batch("a"), lines.clone()), message(batch("a"), vec![line(2, 202_401)])];
    assert_eq!(named(import(again).await.unwrap_err()), ["batch"]);
    let many = (0..5_001).map(|n| line(n, 202_401)).collect();
    assert_eq!(named(import(vec![message(batch("a"), many)]).await.unwrap_err()), ["lines"]);
    assert_eq!(lines_stored(&world).await, 0);
}

#[tokio::test]
async fn a_batch_has_a_largest_size() {
    let world = World::start_with(&[("import_lines", "1500")]).await;
    let lines: Vec<_> = (1..=1_501).map(|n| line(n, 202_401)).collect();
    assert_eq!(fields(&world.import_as(NETWORK, "large", &lines).await.unwrap_err()), ["lines"]);
    assert_eq!(world.import_as(NETWORK, "large", &lines[..1_500]).await.unwrap().lines, 1_500);
}

#[tokio::test]
async fn reading_stops_after_five_hundred_faults() {
    let world = World::start().await;
    let lines: Vec<_> = (1..=4_000).map(|n| ReceivableLine { fee: String::new(), ..line(n, 202_401) }).collect();
    let status = world.import_as(NETWORK, "hopeless", &lines).await.unwrap_err();
    assert_eq!(fields(&status).first().map(String::as_str), Some("lines[0].fee"));
    assert!(status.message().contains("more"), "{}", status.message());
}

#[tokio::test]
async fn a_stream_cancelled_in_the_middle_leaves_nothing() {
    let world = World::start_with(&[("database_connections", "3")]).await;
    let lines: Vec<_> = (1..=6_000).map(|n| line(n, 202_401)).collect();
    for round in 0..4 {
        let (send, receive) = tokio::sync::mpsc::channel(4);
        let mut receivables = world.receivables(caller(NETWORK));
        let call = tokio::spawn(async move { receivables.import_receivable_lines(ReceiverStream::new(receive)).await });
        for message in import_messages(&format!("cut-{round}"), &lines, 300).into_iter().take(17 + round / 3) {
            send.send(message).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(20 * u64::try_from(round).unwrap())).await;
        call.abort();
    }
    eventually(|| async {
        let busy: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        busy == 0
    })
    .await;
    assert_eq!(lines_stored(&world).await, 0);
    assert_eq!(world.import_as(NETWORK, "cut-0", &lines).await.unwrap().lines, 6_000, "and the batch is still free");
}

#[tokio::test]
async fn of_equal_batches_at_once_one_is_written() {
    let world = World::start_with(&[("tenant_imports", "4"), ("channel_imports", "4")]).await;
    let lines: Vec<_> = (1..=2_000).map(|n| line(n, 202_401)).collect();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let mut receivables = world.receivables(caller(NETWORK));
            let messages = import_messages("same", &lines, 500);
            tokio::spawn(async move { receivables.import_receivable_lines(futures::stream::iter(messages)).await })
        })
        .collect();
    let mut written = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(reply) => written += i32::from(!reply.get_ref().replayed),
            Err(status) => assert_eq!(reason::<()>(Err(status)), "CONFLICT", "told to come back"),
        }
    }
    assert_eq!((written, lines_stored(&world).await), (1, 2_000));
}

#[tokio::test]
async fn of_batches_that_share_a_line_at_once_one_is_written() {
    let world = World::start().await;
    for round in 0..4 {
        // The shared line is open in one batch and settled in the other.
        let shared = line(1_000_000 + round, 202_401);
        let batch = |n: u32, shared: ReceivableLine| {
            let own = (0..1_200).map(|i| line(round * 10_000 + n * 1_200 + i, 202_402));
            let lines: Vec<_> = own.chain([shared]).collect();
            let mut receivables = world.receivables(caller(NETWORK));
            let messages = import_messages(&format!("{round}-{n}"), &lines, 500);
            tokio::spawn(async move { receivables.import_receivable_lines(futures::stream::iter(messages)).await })
        };
        let (a, b) = (batch(1, shared.clone()), batch(2, paid(shared.clone())));
        let outcomes = [a.await.unwrap(), b.await.unwrap()];
        let refused: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(refused.len(), 1, "round {round}: {refused:?}");
        for status in refused {
            assert_eq!(fields(&status), ["lines[1200]"]);
            assert_eq!(reason::<()>(Err(status)), "LINE_EXISTS");
        }
        let twins: i64 = sqlx::query_scalar("SELECT count(*) FROM receivable_line WHERE charge_off_id = $1")
            .bind(&shared.charge_off_id)
            .fetch_one(world.pool())
            .await
            .unwrap();
        assert_eq!(twins, 1);
    }
}

/// An import that has begun and whose sender waits.
async fn hold(world: &World, tenant: &'static str, n: u32) -> Held {
    let (send, receive) = tokio::sync::mpsc::channel(1);
    let mut receivables = world.receivables(caller(tenant));
    let call = tokio::spawn(async move { receivables.import_receivable_lines(ReceiverStream::new(receive)).await });
    send.send(import_messages(&format!("held-{n}"), &[line(n, 202_401)], 1).remove(0)).await.unwrap();
    (send, call)
}

type Held = (
    tokio::sync::mpsc::Sender<ImportReceivableLinesRequest>,
    tokio::task::JoinHandle<Result<tonic::Response<ImportReceivableLinesResponse>, tonic::Status>>,
);

/// Waits until so many imports have begun: their transactions hold their batches.
async fn begun(world: &World, imports: i64) {
    eventually(|| async {
        let held: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
             WHERE l.locktype = 'advisory' AND d.datname = current_database()",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        held == imports
    })
    .await;
}

#[tokio::test]
async fn imports_have_places_in_all_and_a_company_takes_its_share() {
    let world = World::start_with(&[("imports", "3"), ("tenant_imports", "2")]).await;
    let mut open = vec![hold(&world, NETWORK, 1).await, hold(&world, NETWORK, 2).await];
    begun(&world, 2).await;
    let status = world.import_as(NETWORK, "third", &[line(9, 202_401)]).await.unwrap_err();
    assert!(status.get_error_details().retry_info().is_some(), "{status:?}");
    assert_eq!(reason::<()>(Err(status)), "OVERLOADED");
    // Another company does not notice.
    world.import_as(RETAIL, "mine", &[line(8, 202_401)]).await.unwrap();
    open.push(hold(&world, RETAIL, 3).await);
    begun(&world, 3).await;
    assert_eq!(reason(world.import_as(OTHER_RETAIL, "fourth", &[line(9, 202_401)]).await), "OVERLOADED");
    for (send, call) in open {
        drop(send);
        call.await.unwrap().expect("those that began end well");
    }
    world.import_as(NETWORK, "third", &[line(9, 202_401)]).await.expect("there is room again");
    assert_eq!(lines_stored(&world).await, 5);
}

#[tokio::test]
async fn a_sender_that_sends_messages_and_no_lines_loses_its_place() {
    let world = World::start_with(&[("tenant_imports", "1"), ("import_window_ms", "400")]).await;
    let first = import_messages("empty", &[line(1, 202_401)], 1).remove(0);
    let empty = futures::stream::iter(std::iter::repeat_with(ImportReceivableLinesRequest::default));
    let slow = empty.then(|message| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        message
    });
    let stream = futures::stream::iter([first]).chain(slow);
    let refused = world.receivables(caller(NETWORK)).import_receivable_lines(Box::pin(stream)).await;
    assert_eq!(reason(refused), "DEADLINE_EXCEEDED");
    assert_eq!(world.import_as(NETWORK, "empty", &[line(1, 202_401)]).await.unwrap().lines, 1, "nothing is left of it");
}

#[tokio::test]
async fn each_company_of_a_line_has_its_role() {
    let world = World::start().await;
    let of = |network: &str, retail: &str| ReceivableLine {
        network_company_id: network.into(),
        retail_company_id: retail.into(),
        ..line(1, 202_401)
    };
    let cases: [(&str, ReceivableLine, &[&str]); 5] = [
        // A retail company may not put a line into another's arrears.
        (RETAIL, of(OTHER_RETAIL, RETAIL), &["lines[0].network_company_id"]),
        (RETAIL, of("N000000000000099", RETAIL), &["lines[0].network_company_id"]),
        (RETAIL, of(RETAIL, RETAIL), &["lines[0].network_company_id"]),
        (NETWORK, of(NETWORK, "S000000000000099"), &["lines[0].retail_company_id"]),
        (NETWORK, of(NETWORK, OTHER_NETWORK), &["lines[0].retail_company_id"]),
    ];
    for (n, (tenant, line, expected)) in cases.into_iter().enumerate() {
        let status = world.import_as(tenant, &format!("wrong-{n}"), &[line]).await.unwrap_err();
        assert_eq!(fields(&status), expected, "case {n}");
    }
    assert_eq!(world.arrears(OTHER_RETAIL, ArrearsFilter::default()).await.unwrap(), []);
    // A network company bills for the retailers on its grid, and for itself.
    world.import_as(NETWORK, "retailer", &[of(NETWORK, RETAIL)]).await.unwrap();
    world.import_as(NETWORK, "itself", &[of(NETWORK, NETWORK)]).await.unwrap();
}

#[tokio::test]
async fn stores_and_packages_are_registered_or_declared() {
    let world = World::start().await;
    let import = |batch_id: &str, line: &ReceivableLine, declares: bool| {
        let mut message = import_messages(batch_id, std::slice::from_ref(line), 1).remove(0);
        if !declares {
            message.batch = Some(ImportBatch { batch_id: batch_id.into(), ..ImportBatch::default() });
        }
        let mut receivables = world.receivables(caller(RETAIL));
        async move { receivables.import_receivable_lines(futures::stream::iter([message])).await }
    };
    let foreign = ReceivableLine { network_store_id: "old".into(), retail_store_id: "old".into(), ..line(1, 202_401) };
    let status = import("old", &foreign, false).await.unwrap_err();
    assert_eq!(fields(&status), ["lines[0].network_store_id", "lines[0].retail_store_id", "lines[0].package_id"]);
    import("old", &foreign, true).await.unwrap();

    let package_id = world.draft(laddered("居民阶梯")).await;
    let known = ReceivableLine { package_id, ..line(2, 202_401) };
    import("known", &known, false).await.unwrap();
    let elsewhere =
        ReceivableLine { network_company_id: OTHER_NETWORK.into(), network_store_id: String::new(), ..known };
    let status = import("elsewhere", &elsewhere, false).await.unwrap_err();
    assert_eq!(fields(&status), ["lines[0].package_id"], "sold in the area of another network company");
}

#[tokio::test]
async fn payments_add_up_and_times_follow_one_another() {
    let world = World::start().await;
    let unpaid = || line(1, 202_401);
    let settled = || paid(line(1, 202_401));
    let partly = || ReceivableLine {
        paid_total: "100".into(),
        latest_paid: "40".into(),
        previous_paid_date: 20_240_201,
        previous_payment_id: "W000000000000000".into(),
        latest_paid_date: 20_240_301,
        settled_month: 0,
        ..settled()
    };
    let cases: [(ReceivableLine, &[&str]); 19] = [
        (ReceivableLine { settled_month: 0, ..settled() }, &["settled_month"]),
        (ReceivableLine { settled_month: 202_401, ..unpaid() }, &["settled_month"]),
        (ReceivableLine { settled_month: 202_401, ..partly() }, &["settled_month"]),
        (ReceivableLine { settled_month: 202_312, ..settled() }, &["settled_month"]),
        (ReceivableLine { settled_month: 202_405, ..settled() }, &["settled_month"]),
        (
            ReceivableLine { latest_paid: String::new(), ..settled() },
            &["latest_paid", "previous_paid_date", "previous_payment_id"],
        ),
        (ReceivableLine { latest_paid_date: 0, ..settled() }, &["latest_paid_date"]),
        (ReceivableLine { latest_payment_id: String::new(), ..settled() }, &["latest_payment_id"]),
        (
            ReceivableLine { latest_paid_date: 20_240_201, latest_payment_id: "W1".into(), ..unpaid() },
            &["latest_paid_date", "latest_payment_id"],
        ),
        (ReceivableLine { previous_paid_date: 0, ..partly() }, &["previous_paid_date"]),
        (ReceivableLine { previous_payment_id: String::new(), ..partly() }, &["previous_payment_id"]),
        (ReceivableLine { latest_paid: "100".into(), ..partly() }, &["previous_paid_date", "previous_payment_id"]),
        (ReceivableLine { latest_paid: "100.01".into(), ..partly() }, &["latest_paid"]),
        (ReceivableLine { previous_paid_date: 20_240_302, ..partly() }, &["previous_paid_date"]),
        (ReceivableLine { latest_paid_date: 20_240_127, ..settled() }, &["latest_paid_date"]),
        (ReceivableLine { latest_paid_date: 20_240_316, ..settled() }, &["latest_paid_date"]),
        (ReceivableLine { charge_off_date: 20_240_316, penalty_from: 0, ..unpaid() }, &["charge_off_date"]),
        (ReceivableLine { account_month: 202_403, ..unpaid() }, &["account_month"]),
        (
            ReceivableLine { start_date: 20_240_129, penalty_from: 20_240_127, ..unpaid() },
            &["start_date", "penalty_from"],
        ),
    ];
    for (n, (line, expected)) in cases.into_iter().enumerate() {
        let status = world.import_as(NETWORK, &format!("wrong-{n}"), &[line]).await.unwrap_err();
        let mut found: Vec<_> = fields(&status).iter().map(|f| f.trim_start_matches("lines[0].").to_owned()).collect();
        let mut expected: Vec<_> = expected.iter().map(|f| (*f).to_owned()).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "case {n}");
    }
    let other = |line: ReceivableLine, n: u32| ReceivableLine { settlement_account_id: format!("A{n:015}"), ..line };
    world.import_as(NETWORK, "right", &[other(unpaid(), 1), other(settled(), 2), other(partly(), 3)]).await.unwrap();
}

async fn take_back(
    world: &World,
    tenant: &'static str,
    batch_id: &str,
) -> Result<TakeBackReceivableBatchResponse, tonic::Status> {
    let request = TakeBackReceivableBatchRequest { batch_id: batch_id.into() };
    world.receivables(caller(tenant)).take_back_receivable_batch(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_batch_that_was_imported_by_mistake_is_taken_back_whole() {
    let world = World::start().await;
    let mistaken: Vec<_> =
        (1..=2_500).map(|n| if n % 5 == 0 { line(n, 202_401) } else { paid(line(n, 202_401)) }).collect();
    world.import_as(NETWORK, "mistake", &mistaken).await.unwrap();
    // A batch of another company with the same identifier, and lines of the same companies.
    world.import_as(RETAIL, "mistake", &[line(9_001, 202_401)]).await.unwrap();
    world.import_as(NETWORK, "right", &[line(9_002, 202_401)]).await.unwrap();

    assert_eq!(reason(take_back(&world, OTHER_RETAIL, "mistake").await), "BATCH_NOT_FOUND", "of the caller alone");
    let reply = take_back(&world, NETWORK, "mistake").await.unwrap();
    assert_eq!((reply.lines, reply.replayed), (2_500, false));
    let left = world.arrears(NETWORK, ArrearsFilter::default()).await.unwrap();
    assert_eq!(
        left.iter().map(|l| l.settlement_account_id.as_str()).collect::<Vec<_>>(),
        ["A000000000009001", "A000000000009002"]
    );
    assert_eq!(lines_stored(&world).await, 2);
    let reply = take_back(&world, NETWORK, "mistake").await.unwrap();
    assert_eq!((reply.lines, reply.replayed), (2_500, true), "again changes nothing");

    let by: (String, String) = sqlx::query_as("SELECT operator_id, batch_id FROM receivable_batch_taken_back")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(by.1, "mistake");
    assert_eq!(by.0, communal_fixtures::credentials::billing::OPERATOR, "who did it is recorded");
    // The identifier says so from then on; under another one the lines are new again.
    assert_eq!(reason(world.import_as(NETWORK, "mistake", &mistaken).await), "BATCH_TAKEN_BACK");
    assert_eq!(world.import_as(NETWORK, "corrected", &mistaken).await.unwrap().lines, 2_500);
}

#[tokio::test]
async fn a_batch_of_which_a_line_was_paid_stays() {
    let world = World::start().await;
    let lines: Vec<_> = (1..=100).map(|n| line(n, 202_401)).collect();
    world.import_as(NETWORK, "paid-since", &lines).await.unwrap();
    // One of them in full, one in part.
    world.pay_line("A000000000000007", "157.49", "W1", 3).await.unwrap();
    world.pay_line("A000000000000008", "7.49", "W2", 3).await.unwrap();
    let status = take_back(&world, NETWORK, "paid-since").await.unwrap_err();
    assert!(words(&status).contains('2'), "{}", words(&status));
    assert_eq!(fields(&status), ["batch_id"]);
    assert_eq!(reason::<()>(Err(status)), "BATCH_TOUCHED");
    assert_eq!(lines_stored(&world).await, 100);
    assert!(world.import_as(NETWORK, "paid-since", &lines).await.unwrap().replayed, "and it is still the batch it was");
}

#[tokio::test]
async fn of_many_who_take_a_batch_back_at_once_one_does() {
    let world = World::start().await;
    let lines: Vec<_> = (1..=1_000).map(|n| line(n, 202_401)).collect();
    world.import_as(NETWORK, "mistake", &lines).await.unwrap();
    let outcomes = futures::future::join_all((0..8).map(|_| take_back(&world, NETWORK, "mistake"))).await;
    let mut done = 0;
    for outcome in outcomes {
        match outcome {
            Ok(reply) => done += i32::from(!reply.replayed),
            Err(status) => assert_eq!(reason::<()>(Err(status)), "CONFLICT", "told to come back"),
        }
    }
    assert_eq!((done, lines_stored(&world).await), (1, 0));
}

#[tokio::test]
async fn an_import_of_another_companys_lines_is_refused_and_its_lines_are_not_revealed() {
    let world = World::start().await;
    world.import_as(RETAIL, "own", &[line(1, 202_401)]).await.unwrap();
    let status = world.import_as(OTHER_RETAIL, "probe", &[line(1, 202_401)]).await.unwrap_err();
    assert_eq!(fields(&status), ["lines[0].retail_company_id"]);
    assert_eq!(world.arrears(OTHER_RETAIL, ArrearsFilter::default()).await.unwrap(), []);
}

#[tokio::test]
async fn a_stream_is_read_as_it_comes() {
    let world = World::start().await;
    let lines: Vec<_> = (1..=6_000).map(|n| line(n, 202_401)).collect();
    let slow = futures::stream::iter(import_messages("slow", &lines, 1_500)).then(|message| async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        message
    });
    let reply = world.receivables(caller(NETWORK)).import_receivable_lines(Box::pin(slow)).await.unwrap().into_inner();
    assert_eq!(reply.lines, 6_000);
}
