//! Bill rules over gRPC. What they share with fees is tested there as well.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use communal_proto::community::v1::*;
use futures::future::join_all;

use crate::charging::{charge_room, everything, owned};
use crate::harness::*;

#[tokio::test]
async fn a_bill_rule_is_listed_as_it_was_created() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(1).await;
    let id = service.item("公摊费").await;
    let rule_ids = caller.bill(&id, &rooms).await.unwrap();
    let expected = BillRule {
        rule_id: rule_ids[0].clone(),
        config_id: id.clone(),
        community_id: HOME.into(),
        payer_obj_id: rooms[0].clone(),
        payer_obj_type: PayerObjectType::Room.into(),
        fee_flag: FeeFlag::Periodic.into(),
        state: FeeState::Charging.into(),
        start_time: "2024-01-02 00:00:00".into(),
        max_time: "2050-12-31 23:59:59".into(),
        cur_year_month: "2024-01-02".into(),
        ended_time: String::new(),
    };
    assert_eq!(caller.rules(&id).await.unwrap().rules, [expected]);
}

fn rules() -> ListPayFeeRuleRequest {
    ListPayFeeRuleRequest { page: 1, row: 500, community_id: HOME.into(), ..ListPayFeeRuleRequest::default() }
}

fn bills() -> ListPayFeeRuleBillRequest {
    ListPayFeeRuleBillRequest { page: 1, row: 500, community_id: HOME.into(), ..ListPayFeeRuleBillRequest::default() }
}

fn change(rule_id: &str) -> UpdatePayFeeRuleRequest {
    UpdatePayFeeRuleRequest { rule_id: rule_id.into(), community_id: HOME.into(), ..UpdatePayFeeRuleRequest::default() }
}

fn delete(rule_id: &str) -> DeletePayFeeRuleRequest {
    DeletePayFeeRuleRequest { rule_id: rule_id.into(), community_id: HOME.into() }
}

/// Bills, oldest first: their first and last day and what they owe.
async fn billed(caller: &Caller) -> Vec<(String, String, String)> {
    let listed = caller.list_pay_fee_rule_bill(bills()).await.unwrap().data;
    let shown = |bill: PayFeeRuleBill| (bill.cur_year_month, bill.deadline_time[..10].to_owned(), bill.amount_owed);
    let mut shown: Vec<_> = listed.into_iter().map(shown).collect();
    shown.sort();
    shown
}

fn lines(expected: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    expected.iter().map(|(from, last, owed)| ((*from).into(), (*last).into(), (*owed).into())).collect()
}

/// A community in bill mode with a room that is charged 250.00 a month from 2024-01-15 on; returns the rule.
async fn in_bill_mode(service: &Service) -> PayFeeRule {
    let caller = service.caller();
    let item = service.item("物业费").await;
    caller.register(HOME, vec![PayerObject { built_up_area: "60".into(), ..owned("R1", "O1") }]).await.unwrap();
    caller.set(&[("PAY_FEE_MONTH", "ON")]).await.unwrap();
    let request = SaveRoomCreateFeeRequest { start_time: "2024-01-15".into(), ..charge_room(&item, "R1") };
    caller.save_room_create_fee(request).await.unwrap();
    caller.list_pay_fee_rule(rules()).await.unwrap().data.remove(0)
}

#[tokio::test]
async fn in_bill_mode_a_charge_makes_a_rule_and_its_prorated_bills() {
    let service = Service::start().await;
    let caller = service.caller();
    let rule = in_bill_mode(&service).await;
    assert_eq!((rule.cur_year_month.as_str(), rule.fee_name.as_str()), ("2024-04-15", "物业费"));
    let expected = [
        ("2024-01-15", "2024-01-31", "137.10"),
        ("2024-02-01", "2024-02-29", "250.00"),
        ("2024-03-01", "2024-03-31", "250.00"),
        ("2024-04-01", "2024-04-14", "112.90"),
    ];
    assert_eq!(billed(&caller).await, lines(&expected));
    let listed = caller.list_pay_fee_rule_bill(bills()).await.unwrap().data;
    let names: BTreeSet<_> = listed.iter().map(|bill| (bill.bill_name.as_str(), bill.month_cycle.as_str())).collect();
    assert!(names.contains(&("物业费2024年02月", "1")), "{names:?}");
    // A bill is a fee: it is listed, owed and quoted like one, whole.
    let fees = caller.list_fee(everything()).await.unwrap();
    assert!(fees.total == 4 && fees.fees.iter().all(|fee| fee.fee_flag() == FeeFlag::OneOff));
    let arrears = ListOweFeesRequest { community_id: HOME.into(), owner_id: "O1".into(), ..Default::default() };
    assert_eq!(caller.list_owe_fees(arrears).await.unwrap().total, 4);
    // The same charge is a duplicate; one-off items and escalating rents make fees.
    let again = SaveRoomCreateFeeRequest { start_time: "2024-01-15".into(), ..charge_room(&rule.config_id, "R1") };
    assert_eq!(refusal(caller.save_room_create_fee(again).await).0, "DUPLICATE_FEE");
    let deposit = service.formula_item("押金", "2002", FeeFlag::OneOff).await;
    let rent = service.formula_item("租金", "1102", FeeFlag::Periodic).await;
    caller.save_room_create_fee(charge_room(&deposit, "R1")).await.unwrap();
    let rent = SaveRoomCreateFeeRequest {
        rate_cycle: "12".into(),
        rate: "0.05".into(),
        rate_start_time: "2025-01-01".into(),
        ..charge_room(&rent, "R1")
    };
    caller.save_room_create_fee(rent).await.unwrap();
    assert_eq!(caller.list_pay_fee_rule(rules()).await.unwrap().total, 1);
    assert_eq!(service.count("SELECT count(*) FROM fee WHERE rule_id IS NULL").await, 2);
    // Filters.
    let total = async |request| caller.list_pay_fee_rule_bill(request).await.unwrap().total;
    assert_eq!(total(ListPayFeeRuleBillRequest { fee_id: listed[0].fee_id.clone(), ..bills() }).await, 4);
    assert_eq!(total(ListPayFeeRuleBillRequest { bill_id: listed[0].bill_id.clone(), ..bills() }).await, 1);
    assert_eq!(total(ListPayFeeRuleBillRequest { cur_year_month: "2024-03-01".into(), ..bills() }).await, 1);
    assert_eq!(total(ListPayFeeRuleBillRequest { bill_name: "2024年03月".into(), ..bills() }).await, 1);
    assert_eq!(total(ListPayFeeRuleBillRequest { rule_id: "939".into(), ..bills() }).await, 0);
}

#[tokio::test]
async fn a_rule_is_moved_finished_and_deleted_with_its_bills() {
    let service = Service::start().await;
    let caller = service.caller();
    let id = in_bill_mode(&service).await.rule_id;
    let four = billed(&caller).await;
    // The cursor moved back makes no bill twice; beyond the gap that it skips, days are billed.
    let back = UpdatePayFeeRuleRequest { cur_year_month: "2024-02-10".into(), ..change(&id) };
    caller.update_pay_fee_rule(back).await.unwrap();
    caller.run_bills().await;
    assert_eq!(billed(&caller).await, four);
    assert_eq!(caller.list_pay_fee_rule(rules()).await.unwrap().data[0].cur_year_month, "2024-04-15");
    let too_early = UpdatePayFeeRuleRequest { cur_year_month: "2024-01-14".into(), ..change(&id) };
    assert_eq!(fields(caller.update_pay_fee_rule(too_early).await), ["cur_year_month"]);
    let billed_beyond = UpdatePayFeeRuleRequest { max_time: "2024-04-13".into(), ..change(&id) };
    assert_eq!(refusal(caller.update_pay_fee_rule(billed_beyond).await).0, "BILLED_BEYOND");
    assert_eq!(
        refusal(caller.update_pay_fee_rule(change("939")).await),
        refused("BILL_RULE_NOT_FOUND", "更新数据失败")
    );

    // It ends by itself where its cursor reaches its end.
    let cut =
        UpdatePayFeeRuleRequest { max_time: "2024-05-10".into(), state: FeeState::Charging.into(), ..change(&id) };
    caller.update_pay_fee_rule(cut).await.unwrap();
    service.advance(TimeDelta::days(60));
    // A token is good for hours.
    let caller = service.caller();
    assert_eq!(caller.run_bills().await.ended, 1);
    assert_eq!(
        billed(&caller).await[4..],
        lines(&[("2024-04-15", "2024-04-30", "137.10"), ("2024-05-01", "2024-05-10", "80.65")])
    );
    let rule = caller.list_pay_fee_rule(rules()).await.unwrap().data.remove(0);
    assert_eq!(rule.state(), FeeState::Ended);
    let ended =
        caller.update_pay_fee_rule(UpdatePayFeeRuleRequest { state: FeeState::Ended.into(), ..change(&id) }).await;
    assert_eq!(refusal(ended).0, "BILL_RULE_ENDED");

    service
        .execute(
            "INSERT INTO pay_fee_detail (community_id, detail_id, fee_id, state, span_from, span_until)
                     SELECT community_id, fee_id, fee_id, '1400', start_time, bill_until FROM pay_fee LIMIT 1",
        )
        .await;
    let paid = caller.delete_pay_fee_rule(delete(&id)).await;
    assert_eq!(refusal(paid), refused("BILLS_PAID", "该规则有1笔账单已缴费，不能删除"));
    service.execute("UPDATE pay_fee_detail SET state = '1100'").await;
    caller.delete_pay_fee_rule(delete(&id)).await.unwrap();
    assert_eq!(refusal(caller.delete_pay_fee_rule(delete(&id)).await), refused("BILL_RULE_NOT_FOUND", "删除数据失败"));
    assert_eq!((billed(&caller).await.len(), caller.list_pay_fee_rule(rules()).await.unwrap().total), (0, 0));
}

#[tokio::test]
async fn stopping_the_item_ends_rules_and_their_bills() {
    let service = Service::start().await;
    let caller = service.caller();
    let rule = in_bill_mode(&service).await;
    caller.update(stop(&rule.config_id, "物业费")).await.unwrap();
    service.advance(TimeDelta::days(60));
    let caller = service.caller();
    assert_eq!(caller.run_bills().await, RunBillRulesResponse::default());
    assert!(billed(&caller).await.iter().all(|(.., owed)| owed == "0.00"));
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_once_and_runs_that_were_cut_off_bill_each_span_once() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(2_100).await;
    let id = service.item("物业费").await;
    for rooms in rooms.chunks(1_050) {
        caller.bill(&id, rooms).await.unwrap();
    }
    // One is cut off after its first chunk, while another has locked a rule and dies with it.
    let mut dying = service.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM pay_fee_rule ORDER BY rule_id LIMIT 1 FOR UPDATE").execute(&mut *dying).await.unwrap();
    caller.run_one_chunk().await;
    let running = tokio::spawn({
        let caller = caller.clone();
        async move { caller.run_bills().await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert!(!running.is_finished(), "a rule that another run holds was left out");
    dying.rollback().await.unwrap();
    assert_eq!(running.await.unwrap().rules, 2_100);

    service.advance(TimeDelta::days(31));
    let callers: Vec<_> = (0..4).map(|_| service.caller()).collect();
    let runs = join_all(callers.iter().map(Caller::run_bills)).await;
    assert_eq!(runs.iter().map(|run| run.bills).sum::<i64>(), 2 * 2_100);
    // From 2 January to 1 April in four bills, and to 1 May in two more.
    assert_eq!(service.count("SELECT count(*) FROM fee").await, 6 * 2_100);
    let spans = "SELECT count(DISTINCT (rule_id, start_time)) FROM fee";
    assert_eq!(service.count(spans).await, 6 * 2_100);
    let idle = callers[0].run_bills().await;
    assert_eq!((idle.total, idle.bills), (2_100, 0));
    // Bills of a rule touch each other.
    let gaps = "SELECT count(*) FROM (SELECT start_time::date - lag(bill_until) OVER (PARTITION BY rule_id ORDER BY start_time) AS days FROM fee) x WHERE days <> 0";
    assert_eq!(service.count(gaps).await, 0);
}
