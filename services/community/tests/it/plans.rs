//! Lists and arrears take the same statements for two rooms and for 20,000. What asks for a part of a community reads no
//! large table from end to end.

use std::collections::BTreeMap;

use communal_community::MIGRATOR;
use communal_fixtures::TestDatabase;
use communal_fixtures::large_community::{self as large, item_id, owner_id, room_id};
use communal_proto::community::v1::*;
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, PgPool};

use crate::harness::*;
use crate::process::Process;

/// Tables that grow with the rooms of communities.
const LARGE: &str = "SELECT relname::text, seq_scan FROM pg_stat_user_tables
    WHERE relname IN ('owner', 'payer_object', 'meter_reading', 'pay_fee', 'pay_fee_rule', 'pay_fee_detail') ORDER BY 1";

/// Fills three communities without triggers and foreign keys, like one that has been served for months: with rules, a bill of
/// each rule of a first item, and a payment line for each tenth fee.
async fn fill(pool: &PgPool) {
    let mut statements = vec!["SET LOCAL session_replication_role = replica".to_owned()];
    statements.push("SELECT platform.announce('o', 'o', 'c', 't', 'm', now())".to_owned());
    for community in [HOME, OTHER, "30001"] {
        let [readings, fees] = large::fees(community);
        statements.extend([large::owners(community), large::rooms(community), large::items(community), readings, fees]);
        statements.push(large::rules(community));
        statements.push(format!(
            "INSERT INTO pay_fee (community_id, fee_id, config_id, payer_obj_id, payer_obj_type, fee_flag, state, epoch,
                 start_time, end_time, deadline_time, rule_id, bill_until, owner_id, payer_name)
             SELECT community_id, 'bill' || rule_id, config_id, payer_obj_id, payer_obj_type, '2006012', '2008001', 0,
                 start_time, start_time, start_time + interval '1 month - 1 second', rule_id,
                 (start_time + interval '1 month')::date, 'owner' || right(payer_obj_id, 5), payer_obj_id
             FROM pay_fee_rule WHERE community_id = '{community}' AND config_id = 'item03'"
        ));
        statements.push(format!(
            "INSERT INTO pay_fee_detail (community_id, detail_id, fee_id, state, span_from, span_until)
             SELECT community_id, 'line' || fee_id, fee_id, '1400', start_time, end_time
             FROM pay_fee WHERE community_id = '{community}' AND right(fee_id, 1) = '7'"
        ));
    }
    let mut transaction = pool.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statements.join(";"))).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    sqlx::raw_sql("VACUUM ANALYZE").execute(pool).await.unwrap();
}

async fn scans(pool: &PgPool) -> Vec<(String, i64)> {
    sqlx::query("SELECT pg_stat_clear_snapshot()").execute(pool).await.unwrap();
    sqlx::query_as(LARGE).fetch_all(pool).await.unwrap()
}

/// How often each call ran each statement.
type Ran = Vec<(&'static str, BTreeMap<String, i64>)>;

/// Makes calls, and pushes how often each ran each statement.
macro_rules! calls {
    ($process:ident, $ran:ident, { $($name:literal: $method:ident($request:expr).$rows:ident;)+ }) => {
        $(
            let before = $process.statements().await;
            let reply = $process.caller().$method($request).await.unwrap();
            assert!(reply.$rows.into_iter().count() > 0, "{} found nothing", $name);
            let ran = $process.statements().await.into_iter().map(|(name, count)| {
                let of_call = count - before.get(&name).unwrap_or(&0);
                (name, of_call)
            });
            // The credentials of a caller are read every few seconds.
            let of_call = |name: &str| !name.starts_with("channel_") && !name.starts_with("operator_");
            $ran.push(($name, ran.filter(|(name, count)| *count > 0 && of_call(name)).collect()));
        )+
    };
}

fn fees() -> ListFeeRequest {
    ListFeeRequest { page: 1, row: 500, community_id: HOME.into(), ..ListFeeRequest::default() }
}

fn report() -> QueryReportOweFeeRequest {
    QueryReportOweFeeRequest { page: 1, row: 500, community_id: HOME.into(), ..QueryReportOweFeeRequest::default() }
}

fn rules() -> ListPayFeeRuleRequest {
    ListPayFeeRuleRequest { page: 1, row: 500, community_id: HOME.into(), ..ListPayFeeRuleRequest::default() }
}

fn bills() -> ListPayFeeRuleBillRequest {
    ListPayFeeRuleBillRequest { page: 1, row: 500, community_id: HOME.into(), ..ListPayFeeRuleBillRequest::default() }
}

/// Makes the calls that ask for a part of the community.
async fn parts(process: &Process) -> Ran {
    let owing = || ListOweFeesRequest { community_id: HOME.into(), ..ListOweFeesRequest::default() };
    let objects = || ListConfigFeeObjsRequest { page: 1, row: 500, community_id: HOME.into(), config_id: item_id(5) };
    let quote = || ListFeeObjRequest {
        community_id: HOME.into(),
        fee_id: "fee00000003".into(),
        ..ListFeeObjRequest::default()
    };
    let mut ran = Vec::new();
    calls!(process, ran, {
        "fees of an object": list_fee(ListFeeRequest { payer_obj_id: room_id(1), ..fees() }).fees;
        "fees of a room": list_fee(ListFeeRequest { room_num: "0-1-1".into(), ..fees() }).fees;
        "fees of an owner": list_fee(ListFeeRequest { owner_id: owner_id(1), ..fees() }).fees;
        "fees of an item": list_fee(ListFeeRequest { config_id: item_id(5), ..fees() }).fees;
        "a fee": list_fee(ListFeeRequest { fee_id: "fee00000003".into(), ..fees() }).fees;
        "a quote": list_fee_obj(quote()).data;
        "objects of an item": list_config_fee_objs(objects()).data;
        "arrears of objects":
            list_owe_fees(ListOweFeesRequest { pay_obj_id: format!("{},{}", room_id(0), room_id(1)), ..owing() }).data;
        "arrears of an owner": list_owe_fees(ListOweFeesRequest { owner_id: owner_id(0), ..owing() }).data;
        "arrears of a building":
            query_report_owe_fee(QueryReportOweFeeRequest { floor_id: "floor0".into(), ..report() }).data;
        "rules of an object": list_pay_fee_rule(ListPayFeeRuleRequest { payer_obj_id: room_id(1), ..rules() }).data;
        "bills of a rule":
            list_pay_fee_rule_bill(ListPayFeeRuleBillRequest { rule_id: "rule00000001".into(), ..bills() }).data;
    });
    ran
}

/// Makes the calls that ask for the whole community, if only to count it.
async fn wholes(process: &Process) -> Ran {
    let mut ran = Vec::new();
    calls!(process, ran, {
        "fees": list_fee(fees()).fees;
        "fees by name": list_fee(ListFeeRequest { owner_name: "业主1".into(), ..fees() }).fees;
        "arrears": query_report_owe_fee(report()).data;
        "arrears of an item": query_report_owe_fee(QueryReportOweFeeRequest { config_ids: item_id(5), ..report() }).data;
        "rules": list_pay_fee_rule(rules()).data;
        "bills": list_pay_fee_rule_bill(bills()).data;
    });
    ran
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_arrears_of_20_000_rooms_take_the_statements_of_two_and_no_part_scans_a_table() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    register(&database.pool).await;
    let owner = PgPool::connect(&database.owner_url).await.unwrap();
    fill(&owner).await;
    let before = scans(&owner).await;
    let process = Process::start(&database.url).await;
    process.caller().list(list()).await.unwrap();
    // The driver's first executions have plans of their own, later ones perhaps one plan for all values.
    let mut large = parts(&process).await;
    for _ in 0..6 {
        large = parts(&process).await;
    }
    process.signal(Signal::SIGTERM);
    process.exit_code().await;
    // The sessions report what they counted at their end.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(scans(&owner).await, before);

    let process = Process::start(&database.url).await;
    process.caller().list(list()).await.unwrap();
    large.extend(wholes(&process).await);
    process.signal(Signal::SIGTERM);
    process.exit_code().await;

    // The same calls where there are two rooms, with the fees that they name.
    let kept = "SET session_replication_role = replica;
        DELETE FROM pay_fee WHERE payer_obj_id NOT IN ('room00000', 'room00001')
            AND fee_id NOT IN ('fee00000003', 'fee00000004');
        DELETE FROM pay_fee_rule WHERE payer_obj_id NOT IN ('room00000', 'room00001');
        DELETE FROM payer_object WHERE payer_obj_id NOT IN ('room00000', 'room00001', 'room00003', 'room00004')";
    sqlx::raw_sql(kept).execute(&owner).await.unwrap();
    let process = Process::start(&database.url).await;
    process.caller().list(list()).await.unwrap();
    let mut small = parts(&process).await;
    small.extend(wholes(&process).await);
    for ((name, of_large), (_, of_small)) in large.iter().zip(&small) {
        assert_eq!(of_large, of_small, "{name}");
        assert!(of_large.values().sum::<i64>() <= 10, "{name}: {of_large:?}");
    }
    process.signal(Signal::SIGTERM);
    process.exit_code().await;
}
