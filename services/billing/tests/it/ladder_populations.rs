//! Ladder population over gRPC: each refusal, isolation, history, pages, the race.

use communal_proto::billing::v1::*;
use tonic::Status;

use crate::harness::*;

fn new(utility: NetworkType, increment: i32) -> NewLadderPopulation {
    NewLadderPopulation {
        retail_store_id: STORE.into(),
        utility: utility.into(),
        population_base: Some(4),
        population_increment: increment,
        limit_increase: "60".into(),
    }
}

fn record(increment: i32, base: i32, limit_increase: &str) -> LadderPopulation {
    LadderPopulation {
        retail_company_id: RETAIL.into(),
        retail_store_id: STORE.into(),
        region_code: REGION.into(),
        utility: NetworkType::Water.into(),
        population_base: Some(base),
        population_increment: increment,
        limit_increase: limit_increase.into(),
    }
}

fn key(record: LadderPopulation) -> LadderPopulationKey {
    let LadderPopulation { retail_company_id, retail_store_id, region_code, utility, population_increment, .. } =
        record;
    LadderPopulationKey { retail_company_id, retail_store_id, region_code, utility, population_increment }
}

async fn add(world: &World, tenant: &'static str, new: NewLadderPopulation) -> Result<(), Status> {
    let request = AddLadderPopulationRequest { population: Some(new) };
    world.ladder_populations(caller(tenant)).add_ladder_population(request).await.map(drop)
}

async fn update(world: &World, tenant: &'static str, record: LadderPopulation) -> Result<(), Status> {
    let request = UpdateLadderPopulationRequest { population: Some(record) };
    world.ladder_populations(caller(tenant)).update_ladder_population(request).await.map(drop)
}

async fn delete(world: &World, tenant: &'static str, key: LadderPopulationKey) -> Result<(), Status> {
    let request = DeleteLadderPopulationRequest { population: Some(key) };
    world.ladder_populations(caller(tenant)).delete_ladder_population(request).await.map(drop)
}

async fn list(world: &World, tenant: &'static str, filter: LadderPopulationFilter) -> (Vec<LadderPopulation>, i64) {
    let page = Some(PageRequest { page: 1, rows: 2 });
    let request = QueryLadderPopulationRequest { page, filter: Some(filter) };
    let reply = world.ladder_populations(caller(tenant)).query_ladder_population(request).await.unwrap().into_inner();
    (reply.populations, reply.page.unwrap().total)
}

#[tokio::test]
async fn increments_are_added_changed_deleted_and_listed_by_their_company() {
    let world = World::start().await;
    for increment in [1, 2, 3] {
        add(&world, RETAIL, new(NetworkType::Water, increment)).await.unwrap();
    }
    add(&world, OTHER_RETAIL, NewLadderPopulation { retail_store_id: OTHER_STORE.into(), ..new(NetworkType::Gas, 1) })
        .await
        .unwrap();
    update(&world, RETAIL, record(2, 0, "-0.5")).await.unwrap();
    delete(&world, RETAIL, key(record(1, 0, ""))).await.unwrap();

    let expected = vec![record(2, 0, "-0.50"), record(3, 4, "60.00")];
    assert_eq!(list(&world, RETAIL, LadderPopulationFilter::default()).await, (expected, 2));
    for (filter, found) in [
        (LadderPopulationFilter { region_code: REGION.into(), ..Default::default() }, 2),
        (LadderPopulationFilter { region_code: "310101000000".into(), ..Default::default() }, 0),
        (LadderPopulationFilter { retail_store_id: OTHER_STORE.into(), ..Default::default() }, 0),
        (LadderPopulationFilter { retail_company_id: OTHER_RETAIL.into(), ..Default::default() }, 0),
    ] {
        assert_eq!(list(&world, RETAIL, filter).await.1, found);
    }
    assert_eq!(list(&world, OTHER_RETAIL, LadderPopulationFilter::default()).await.1, 1);
    assert_eq!(world.history("ladder_population").await, ["INSERT", "INSERT", "INSERT", "INSERT", "UPDATE", "DELETE"]);
}

#[tokio::test]
async fn each_refusal_has_its_reason() {
    let world = World::start().await;
    add(&world, RETAIL, new(NetworkType::Water, 1)).await.unwrap();
    let refusals = |field: &str, reason: &str| (field.to_owned(), reason.to_owned());
    let not_found = refusals("COM_LAD_POPUL", "RECORD_NOT_FOUND");
    assert_eq!(
        refused(add(&world, RETAIL, new(NetworkType::Water, 1)).await),
        refusals("COM_LAD_POPUL", "RECORD_EXISTS")
    );
    assert_eq!(
        refused(add(&world, RETAIL, new(NetworkType::Heat, 1)).await),
        refusals("COM_LAD_POPUL.NETWORK_TYPE", "FIELD_CODE_UNKNOWN")
    );
    assert_eq!(
        refused(add(&world, RETAIL, new(NetworkType::Water, 0)).await),
        refusals("COM_LAD_POPUL.POPULATION_INCREMENT", "FIELD_MISSING")
    );
    // Another company's store.
    assert_eq!(
        refused(add(&world, OTHER_RETAIL, new(NetworkType::Water, 1)).await),
        refusals("COM_LAD_POPUL.RET_STORES_AID", "SUPPLIER_NOT_FOUND")
    );
    for given in [
        record(9, 1, "1"),
        LadderPopulation { region_code: "310101000000".into(), ..record(1, 1, "1") },
        LadderPopulation { retail_company_id: OTHER_RETAIL.into(), ..record(1, 1, "1") },
        LadderPopulation { retail_store_id: OTHER_STORE.into(), ..record(1, 1, "1") },
    ] {
        assert_eq!(refused(update(&world, RETAIL, given.clone()).await), not_found);
        assert_eq!(refused(delete(&world, RETAIL, key(given)).await), not_found);
    }
    assert_eq!(refused(update(&world, OTHER_RETAIL, record(1, 1, "1")).await), not_found);
    assert_eq!(refused(delete(&world, OTHER_RETAIL, key(record(1, 1, "1"))).await), not_found);
    assert_eq!(list(&world, RETAIL, LadderPopulationFilter::default()).await, (vec![record(1, 4, "60.00")], 1));
}

#[tokio::test]
async fn of_32_that_add_one_increment_one_does() {
    let world = World::start().await;
    one_of_32(|_| add(&world, RETAIL, new(NetworkType::Water, 1)), "RECORD_EXISTS").await;
    assert_eq!(list(&world, RETAIL, LadderPopulationFilter::default()).await.1, 1);
}
