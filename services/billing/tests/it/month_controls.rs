//! Month controls over gRPC: order and days of the months, suppliers, isolation, pages, races.

use communal_billing::reference::month_controls::store::use_open;
use communal_billing::reference::month_controls::{Kind, Series};
use communal_kit::call::{Call, Tenant};
use communal_kit::identity::TenantKind;
use communal_kit::write::announce;
use communal_proto::billing::v1::*;

use crate::harness::*;

fn month(account_month: i32, start_date: i32, stop_date: i32) -> MonthControl {
    MonthControl {
        network_company_id: NETWORK.into(),
        network_store_id: NETWORK_STORE.into(),
        utility: NetworkType::Water.into(),
        account_month,
        part_month_rule: ChargeRuleType::ByDays.into(),
        start_date,
        stop_date,
    }
}

async fn add(world: &World, tenant: &'static str, month: MonthControl) -> Result<(), tonic::Status> {
    let request = AddExpendMonthControlRequest { month: Some(month) };
    world.month_controls(caller(tenant)).add_expend_month_control(request).await.map(drop)
}

async fn months(world: &World, tenant: &'static str, page: i32, rows: i32) -> (Vec<i32>, i64) {
    let request = QueryExpendMonthControlRequest { page: Some(PageRequest { page, rows }), filter: None };
    let reply = world.month_controls(caller(tenant)).query_expend_month_control(request).await.unwrap().into_inner();
    (reply.months.iter().map(|m| m.account_month).collect(), reply.page.unwrap().total)
}

#[tokio::test]
async fn months_follow_each_other_and_are_listed_from_the_latest() {
    let world = World::start().await;
    add(&world, RETAIL, month(202_401, 20_240_101, 20_240_201)).await.unwrap();
    add(&world, RETAIL, month(202_402, 20_240_201, 20_240_301)).await.unwrap();
    // Another utility, and another company, have months of their own.
    add(&world, RETAIL, MonthControl { utility: NetworkType::Gas.into(), ..month(202_401, 20_240_110, 20_240_120) })
        .await
        .unwrap();
    add(&world, OTHER_RETAIL, month(202_401, 20_240_101, 20_240_201)).await.unwrap();

    for (given, field) in [
        (month(202_402, 20_240_301, 20_240_401), "COM_EXPEND_CONTROL.ACCOUNT_MONTH"),
        (month(202_403, 20_240_229, 20_240_401), "COM_EXPEND_CONTROL.STARTUP_DATE"),
    ] {
        let refused = add(&world, RETAIL, given).await.unwrap_err();
        assert_eq!(fields(&refused), [field]);
        assert_eq!(reason::<()>(Err(refused)), "MONTH_NOT_LATER");
    }
    assert_eq!(months(&world, RETAIL, 1, 2).await, (vec![202_402, 202_401], 3));
    assert_eq!(months(&world, RETAIL, 2, 2).await, (vec![202_401], 3));
    assert_eq!(months(&world, OTHER_RETAIL, 1, 10).await, (vec![202_401], 1));
}

/// Today is 2024-03-15.
#[tokio::test]
async fn a_month_of_either_kind_is_opened_a_year_ahead_at_most() {
    let world = World::start().await;
    let settle = async |settled_month| {
        let MonthControl { network_company_id, network_store_id, utility, start_date, stop_date, .. } =
            month(0, 20_240_301, 20_991_231);
        let month =
            SettleMonthControl { network_company_id, network_store_id, utility, settled_month, start_date, stop_date };
        let request = AddSettleMonthControlRequest { month: Some(month) };
        world.month_controls(caller(RETAIL)).add_settle_month_control(request).await.map(drop)
    };
    for out_of_reach in [199_912, 202_504, 999_912] {
        let account = add(&world, RETAIL, month(out_of_reach, 20_240_301, 20_991_231)).await;
        assert_eq!(refused(account), ("COM_EXPEND_CONTROL.ACCOUNT_MONTH".into(), "FIELD_MALFORMED".into()));
        let settle = settle(out_of_reach).await;
        assert_eq!(refused(settle), ("COM_SETTLE_CONTROL.SETTLE_ACCOUNT_MONTH".into(), "FIELD_MALFORMED".into()));
    }
    assert_eq!(world.rows("month_control").await.len(), 0);
    add(&world, RETAIL, month(200_001, 20_000_101, 20_000_201)).await.unwrap();
    add(&world, RETAIL, month(202_503, 20_240_301, 20_991_231)).await.unwrap();
    settle(202_503).await.unwrap();
}

#[tokio::test]
async fn a_store_must_be_one_of_the_network_company() {
    let world = World::start().await;
    for given in [
        MonthControl { network_store_id: STORE.into(), ..month(202_401, 20_240_101, 20_240_201) },
        MonthControl { network_company_id: OTHER_NETWORK.into(), ..month(202_401, 20_240_101, 20_240_201) },
        // A retail company's own store, under its own name.
        MonthControl {
            network_company_id: RETAIL.into(),
            network_store_id: STORE.into(),
            ..month(202_401, 20_240_101, 20_240_201)
        },
    ] {
        assert_eq!(reason(add(&world, RETAIL, given).await), "SUPPLIER_NOT_FOUND");
    }
    assert_eq!(months(&world, RETAIL, 1, 10).await, (vec![], 0));
}

#[tokio::test]
async fn of_32_that_open_one_month_one_does() {
    let world = World::start().await;
    one_of_32(|_| add(&world, RETAIL, month(202_401, 20_240_101, 20_240_201)), "MONTH_NOT_LATER").await;
    assert_eq!(months(&world, RETAIL, 1, 10).await, (vec![202_401], 1));
}

#[tokio::test]
async fn of_32_months_whose_windows_overlap_one_is_opened() {
    let world = World::start().await;
    let months_of_years = (2022..2025).flat_map(|year| (1..=12).map(move |month| year * 100 + month));
    let account_months: Vec<i32> = months_of_years.collect();
    let window = |n: usize| month(account_months[n], 20_240_101 + i32::try_from(n).unwrap() % 28, 20_240_201);
    one_of_32(|n| add(&world, RETAIL, window(n)), "MONTH_NOT_LATER").await;
    assert_eq!(months(&world, RETAIL, 1, 10).await.1, 1);
}

async fn update(world: &World, tenant: &'static str, month: MonthControlChange) -> Result<(), tonic::Status> {
    let request = UpdateExpendMonthControlRequest { month: Some(month) };
    world.month_controls(caller(tenant)).update_expend_month_control(request).await.map(drop)
}

fn change(account_month: i32, start_date: i32, stop_date: i32) -> MonthControlChange {
    let MonthControl { network_company_id, network_store_id, utility, .. } = month(0, 0, 0);
    let part_month_rule = 0;
    MonthControlChange {
        network_company_id,
        network_store_id,
        utility,
        account_month,
        part_month_rule,
        start_date,
        stop_date,
    }
}

fn series() -> MonthControlSeries {
    let MonthControl { network_company_id, network_store_id, utility, .. } = month(0, 0, 0);
    MonthControlSeries { network_company_id, network_store_id, utility }
}

async fn delete(world: &World, tenant: &'static str) -> Result<(), tonic::Status> {
    let request = DeleteExpendMonthControlRequest { series: Some(series()) };
    world.month_controls(caller(tenant)).delete_expend_month_control(request).await.map(drop)
}

/// Creates something in the open month, as a billing point does.
async fn use_today(world: &World, kind: Kind) -> Option<i32> {
    let tenant = Tenant { id: RETAIL.into(), kind: TenantKind::RetailCompany };
    let call = Call::internal(tenant, "test", world.clock.now());
    let series = Series::of(kind, NETWORK, NETWORK_STORE, NetworkType::Water);
    let mut transaction = world.pool().begin().await.unwrap();
    announce(&mut transaction, &call).await.unwrap();
    let month = use_open(&mut transaction, &call, &series, world.clock.today()).await.unwrap();
    transaction.commit().await.unwrap();
    month
}

#[tokio::test]
async fn a_month_changes_between_its_neighbours_and_the_latest_is_deleted() {
    let world = World::start().await;
    for (account_month, start, stop) in [(202_401, 20_240_101, 20_240_201), (202_402, 20_240_205, 20_240_301)] {
        add(&world, RETAIL, month(account_month, start, stop)).await.unwrap();
    }
    update(&world, RETAIL, change(202_401, 0, 20_240_205)).await.unwrap();
    let rule = MonthControlChange { part_month_rule: ChargeRuleType::None.into(), ..change(202_402, 20_240_210, 0) };
    update(&world, RETAIL, rule).await.unwrap();
    let page = Some(PageRequest { page: 1, rows: 10 });
    let listed = world.month_controls(caller(RETAIL));
    let listed = { listed }.query_expend_month_control(QueryExpendMonthControlRequest { page, filter: None }).await;
    let no_rule =
        MonthControl { part_month_rule: ChargeRuleType::None.into(), ..month(202_402, 20_240_210, 20_240_301) };
    assert_eq!(listed.unwrap().into_inner().months, [no_rule, month(202_401, 20_240_101, 20_240_205)]);

    let refusal = |field: &str, reason: &str| (format!("COM_EXPEND_CONTROL{field}"), reason.to_owned());
    for (given, expected) in [
        (change(202_401, 0, 20_240_211), refusal(".OUTAGE_DATE", "MONTHS_OVERLAP")),
        (change(202_402, 20_240_204, 0), refusal(".STARTUP_DATE", "MONTHS_OVERLAP")),
        (change(202_401, 20_240_205, 0), refusal(".OUTAGE_DATE", "FIELD_MALFORMED")),
        (change(202_403, 20_240_301, 0), refusal(".ACCOUNT_MONTH", "RECORD_NOT_FOUND")),
    ] {
        assert_eq!(refused(update(&world, RETAIL, given).await), expected);
    }
    assert_eq!(
        refused(update(&world, OTHER_RETAIL, change(202_401, 0, 0)).await),
        refusal(".ACCOUNT_MONTH", "RECORD_NOT_FOUND")
    );
    assert_eq!(refused(delete(&world, OTHER_RETAIL).await), refusal("", "RECORD_NOT_FOUND"));
    delete(&world, RETAIL).await.unwrap();
    assert_eq!(months(&world, RETAIL, 1, 10).await, (vec![202_401], 1));
    delete(&world, RETAIL).await.unwrap();
    assert_eq!(refused(delete(&world, RETAIL).await), refusal("", "RECORD_NOT_FOUND"));
    assert_eq!(world.history("month_control").await, ["INSERT", "INSERT", "UPDATE", "UPDATE", "DELETE", "DELETE"]);
}

#[tokio::test]
async fn a_month_in_use_is_not_deleted_nor_moved_off_its_days() {
    let world = World::start().await;
    assert_eq!(use_today(&world, Kind::Account).await, None, "no month is open");
    add(&world, RETAIL, month(202_403, 20_240_301, 20_240_401)).await.unwrap();
    assert_eq!(use_today(&world, Kind::Account).await, Some(202_403));
    assert_eq!(use_today(&world, Kind::Settle).await, None);
    world.days_pass(5);
    assert_eq!(use_today(&world, Kind::Account).await, Some(202_403));
    assert_eq!(use_today(&world, Kind::Account).await, Some(202_403), "noted already");
    assert_eq!(world.history("month_control").await, ["INSERT", "UPDATE", "UPDATE"]);

    let refusal = |field: &str| (format!("COM_EXPEND_CONTROL{field}"), "MONTH_IN_USE".to_owned());
    assert_eq!(refused(delete(&world, RETAIL).await), refusal(""));
    assert_eq!(refused(update(&world, RETAIL, change(202_403, 20_240_316, 0)).await), refusal(".STARTUP_DATE"));
    assert_eq!(refused(update(&world, RETAIL, change(202_403, 0, 20_240_320)).await), refusal(".OUTAGE_DATE"));
    update(&world, RETAIL, change(202_403, 20_240_315, 20_240_321)).await.unwrap();
}

#[tokio::test]
async fn settle_months_work_alike_and_stand_apart() {
    let world = World::start().await;
    add(&world, RETAIL, month(202_401, 20_240_101, 20_240_201)).await.unwrap();
    let settle = |settled_month, start_date, stop_date| {
        let MonthControl { network_company_id, network_store_id, utility, .. } = month(0, 0, 0);
        SettleMonthControl { network_company_id, network_store_id, utility, settled_month, start_date, stop_date }
    };
    let mut client = world.month_controls(caller(RETAIL));
    let first = settle(202_401, 20_240_101, 20_240_201);
    let request = |month: &SettleMonthControl| AddSettleMonthControlRequest { month: Some(month.clone()) };
    client.add_settle_month_control(request(&first)).await.unwrap();
    let again = client.add_settle_month_control(request(&settle(202_401, 20_240_201, 20_240_301))).await;
    let refusal = |field: &str, reason: &str| (format!("COM_SETTLE_CONTROL{field}"), reason.to_owned());
    assert_eq!(refused(again), refusal(".SETTLE_ACCOUNT_MONTH", "MONTH_NOT_LATER"));
    let unknown = SettleMonthControl { network_store_id: STORE.into(), ..first.clone() };
    let unknown = client.add_settle_month_control(request(&unknown)).await;
    assert_eq!(refused(unknown), refusal(".NET_STORES_AID", "SUPPLIER_NOT_FOUND"));

    let SettleMonthControl { network_company_id, network_store_id, utility, settled_month, .. } = first;
    let (start_date, stop_date) = (0, 20_240_120);
    let change = SettleMonthControlChange {
        network_company_id,
        network_store_id,
        utility,
        settled_month,
        start_date,
        stop_date,
    };
    client.update_settle_month_control(UpdateSettleMonthControlRequest { month: Some(change) }).await.unwrap();
    let page = Some(PageRequest { page: 1, rows: 10 });
    let query = QuerySettleMonthControlRequest { page, filter: None };
    let listed = client.query_settle_month_control(query.clone()).await.unwrap().into_inner();
    assert_eq!((listed.months, listed.page.unwrap().total), (vec![settle(202_401, 20_240_101, 20_240_120)], 1));
    let foreign = world.month_controls(caller(OTHER_RETAIL)).query_settle_month_control(query).await.unwrap();
    assert_eq!(foreign.into_inner().months, []);

    let request = || DeleteSettleMonthControlRequest { series: Some(series()) };
    client.delete_settle_month_control(request()).await.unwrap();
    assert_eq!(refused(client.delete_settle_month_control(request()).await), refusal("", "RECORD_NOT_FOUND"));
    assert_eq!(months(&world, RETAIL, 1, 10).await, (vec![202_401], 1), "account months are others");
}

#[tokio::test]
async fn of_32_that_delete_the_only_month_one_does() {
    let world = World::start().await;
    add(&world, RETAIL, month(202_401, 20_240_101, 20_240_201)).await.unwrap();
    one_of_32(|_| delete(&world, RETAIL), "RECORD_NOT_FOUND").await;
}
