//! Month controls over gRPC: order and days of the months, suppliers, isolation, pages, races.

use communal_proto::billing::v1::*;
use futures::future::join_all;

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
    let outcomes = join_all((0..32).map(|_| add(&world, RETAIL, month(202_401, 20_240_101, 20_240_201)))).await;
    assert_eq!(outcomes.iter().filter(|o| o.is_ok()).count(), 1);
    assert!(outcomes.into_iter().filter(Result::is_err).all(|o| reason(o) == "MONTH_NOT_LATER"));
    assert_eq!(months(&world, RETAIL, 1, 10).await, (vec![202_401], 1));
}
