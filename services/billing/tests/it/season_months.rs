//! Season months over gRPC: all or nothing, each refusal, isolation, history, the race.

use communal_proto::billing::v1::*;
use tonic::Status;

use crate::harness::*;

fn month(season_month: i32, season: AbundanceType) -> SeasonMonth {
    SeasonMonth {
        retail_company_id: RETAIL.into(),
        retail_store_id: STORE.into(),
        utility: NetworkType::Electricity.into(),
        season: season.into(),
        season_month,
    }
}

async fn add(world: &World, tenant: &'static str, months: Vec<SeasonMonth>) -> Result<(), Status> {
    world.season_months(caller(tenant)).add_abune_month(AddAbuneMonthRequest { months }).await.map(drop)
}

async fn delete(world: &World, tenant: &'static str, month: SeasonMonth) -> Result<(), Status> {
    let request = DeleteAbuneMonthRequest { month: Some(month) };
    world.season_months(caller(tenant)).delete_abune_month(request).await.map(drop)
}

async fn query(world: &World, tenant: &'static str, filter: SeasonMonthFilter) -> (Vec<SeasonMonth>, i32) {
    let request = QueryAbuneMonthRequest { filter: Some(filter) };
    let reply = world.season_months(caller(tenant)).query_abune_month(request).await.unwrap().into_inner();
    (reply.months, reply.open_month.unwrap().account_month)
}

fn of(company: &str) -> SeasonMonthFilter {
    SeasonMonthFilter { retail_company_id: company.into(), ..SeasonMonthFilter::default() }
}

#[tokio::test]
async fn months_get_a_season_and_lose_it() {
    use AbundanceType::{Abundant, Withered};
    let world = World::start().await;
    add(&world, RETAIL, vec![month(202_407, Abundant), month(202_401, Withered), month(202_412, Withered)])
        .await
        .unwrap();
    delete(&world, RETAIL, month(202_412, Withered)).await.unwrap();
    let all = vec![month(202_401, Withered), month(202_407, Abundant)];
    assert_eq!(query(&world, RETAIL, of(RETAIL)).await, (all, 0));
    let withered = SeasonMonthFilter { season: Withered.into(), retail_store_id: STORE.into(), ..of(RETAIL) };
    assert_eq!(query(&world, RETAIL, withered).await.0, [month(202_401, Withered)]);
    let of_water = SeasonMonthFilter { utility: NetworkType::Water.into(), ..of(RETAIL) };
    assert_eq!(query(&world, RETAIL, of_water).await.0, []);
    assert_eq!(query(&world, RETAIL, of(OTHER_RETAIL)).await.0, []);
    assert_eq!(query(&world, OTHER_RETAIL, of(RETAIL)).await.0, []);
    assert_eq!(world.history("season_month").await, ["INSERT", "INSERT", "INSERT", "DELETE"]);

    // The account month that is open today, 2024-03-15.
    let open = AddExpendMonthControlRequest {
        month: Some(MonthControl {
            network_company_id: NETWORK.into(),
            network_store_id: NETWORK_STORE.into(),
            utility: NetworkType::Electricity.into(),
            account_month: 202_402,
            part_month_rule: ChargeRuleType::ByDays.into(),
            start_date: 20_240_301,
            stop_date: 20_240_401,
        }),
    };
    world.month_controls(caller(RETAIL)).add_expend_month_control(open).await.unwrap();
    assert_eq!(query(&world, RETAIL, of(RETAIL)).await.1, 202_402);
    assert_eq!(query(&world, OTHER_RETAIL, of(OTHER_RETAIL)).await.1, 0);
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_nothing_is_written() {
    use AbundanceType::{Abundant, Flat};
    let world = World::start().await;
    add(&world, RETAIL, vec![month(202_401, Abundant)]).await.unwrap();
    let refusal = |field: &str, reason: &str| (field.to_owned(), reason.to_owned());
    // A month has one season, in the request and in the database; every such row is named.
    let taken = vec![month(202_402, Flat), month(202_401, Flat), month(202_402, Abundant)];
    let both = "COM_ABUN_MON[1].ABUNDANCE_MONTH COM_ABUN_MON[2].ABUNDANCE_MONTH";
    assert_eq!(refused(add(&world, RETAIL, taken).await), refusal(both, "RECORD_EXISTS"));
    let gas = SeasonMonth { utility: NetworkType::Gas.into(), ..month(202_403, Flat) };
    let gas = add(&world, RETAIL, vec![month(202_402, Flat), gas]).await;
    assert_eq!(refused(gas), refusal("COM_ABUN_MON[1].NETWORK_TYPE", "FIELD_CODE_UNKNOWN"));
    let store = refusal("COM_ABUN_MON[0].RET_STORES_AID", "SUPPLIER_NOT_FOUND");
    assert_eq!(refused(add(&world, OTHER_RETAIL, vec![month(202_402, Flat)]).await), store);
    let foreign = SeasonMonth { retail_company_id: OTHER_RETAIL.into(), ..month(202_402, Flat) };
    assert_eq!(refused(add(&world, RETAIL, vec![foreign.clone()]).await), store);
    let not_found = refusal("COM_ABUN_MON", "RECORD_NOT_FOUND");
    for given in [month(202_402, Flat), month(202_401, Flat), foreign] {
        assert_eq!(refused(delete(&world, RETAIL, given).await), not_found);
    }
    assert_eq!(refused(delete(&world, OTHER_RETAIL, month(202_401, Abundant)).await), not_found);
    assert_eq!(query(&world, RETAIL, of(RETAIL)).await.0, [month(202_401, Abundant)]);
}

#[tokio::test]
async fn of_32_that_set_the_season_of_a_month_one_does() {
    let world = World::start().await;
    let season = |n: usize| if n.is_multiple_of(2) { AbundanceType::Abundant } else { AbundanceType::Withered };
    one_of_32(|n| add(&world, RETAIL, vec![month(202_401, season(n))]), "RECORD_EXISTS").await;
    assert_eq!(query(&world, RETAIL, of(RETAIL)).await.0.len(), 1);
}
