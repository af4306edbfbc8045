//! Meters over gRPC: factory numbers, digits, changes, isolation, races.

use communal_kit::call::{Call, Tenant};
use communal_kit::identity::TenantKind;
use communal_kit::write::announce;
use communal_proto::billing::v1::*;

use crate::harness::*;

async fn change(world: &World, tenant: &'static str, meter: ChangedMeter) -> Result<(), tonic::Status> {
    world.meters(caller(tenant)).upd_settle_meter(UpdSettleMeterRequest { meter: Some(meter) }).await.map(drop)
}

async fn delete(world: &World, tenant: &'static str, meter_id: &str) -> Result<(), tonic::Status> {
    let meter = Some(MeterId { meter_id: meter_id.into() });
    world.meters(caller(tenant)).del_settle_meter(DelSettleMeterRequest { meter }).await.map(drop)
}

#[tokio::test]
async fn meters_are_registered_found_changed_and_deleted() {
    let world = World::start().await;
    let transformer = NewMeter { meter_kind: DeviceType::CurrentTransformer.into(), digits: 0, ..new_meter("CT-1") };
    let water = NewMeter { utility: NetworkType::Water.into(), meter_kind: 2, ..new_meter("W-1") };
    world.add_meters(caller(RETAIL), vec![new_meter("E-1"), transformer, water]).await.unwrap();
    let all = world.list_meters(RETAIL, MeterFilter::default()).await;
    assert_eq!(all.iter().map(|m| m.factory_number.as_str()).collect::<Vec<_>>(), ["E-1", "CT-1", "W-1"]);
    assert_eq!((all[0].meter_multiplier.as_str(), all[0].digits, all[1].digits), ("1.00", 6, 0));
    assert!(all.iter().all(|m| m.installation_state() == InstallType::None && m.meter_id.starts_with('M')));
    let found = async |filter| world.list_meters(RETAIL, filter).await.len();
    assert_eq!(found(MeterFilter { factory_number: "ｅ-1".into(), ..Default::default() }).await, 1);
    assert_eq!(found(MeterFilter { utility: NetworkType::Water.into(), ..Default::default() }).await, 1);
    assert_eq!(found(MeterFilter { meter_kind: DeviceType::Electricity.into(), ..Default::default() }).await, 1);
    assert_eq!(found(MeterFilter { installation_state: InstallType::None.into(), ..Default::default() }).await, 3);
    for nothing in [
        MeterFilter { meter_name: "表".into(), ..Default::default() },
        MeterFilter { installation_state: InstallType::Installed.into(), ..Default::default() },
        MeterFilter { installation_state: InstallType::Running.into(), ..Default::default() },
    ] {
        assert_eq!(found(nothing).await, 0);
    }
    let request = QuerySettleMeterRequest { page: page(2, 2), filter: None };
    let second = world.meters(caller(RETAIL)).query_settle_meter(request).await.unwrap().into_inner().meters;
    assert_eq!(second, [all[2].clone()]);

    let id = all[0].meter_id.clone();
    let by = ChangedMeter { meter_id: id.clone(), digits: 5, meter_multiplier: "20".into(), ..Default::default() };
    change(&world, RETAIL, by).await.unwrap();
    let changed = world.list_meters(RETAIL, MeterFilter { factory_number: "E-1".into(), ..Default::default() }).await;
    assert_eq!(changed, [Meter { digits: 5, meter_multiplier: "20.00".into(), ..all[0].clone() }]);
    let digits = ChangedMeter { meter_id: all[1].meter_id.clone(), digits: 5, ..Default::default() };
    let refused = change(&world, RETAIL, digits).await.unwrap_err();
    assert_eq!(fields(&refused), ["SETTLE_METER.METER_BIT"]);
    let taken = ChangedMeter { meter_id: id.clone(), factory_number: "ct-1".into(), ..Default::default() };
    assert_eq!(reason(change(&world, RETAIL, taken).await), "METER_NUMBER_TAKEN");
    delete(&world, RETAIL, &id).await.unwrap();
    assert_eq!(reason(delete(&world, RETAIL, &id).await), "METER_NOT_FOUND");
}

#[tokio::test]
async fn a_meter_has_digits_and_a_number_of_its_own_in_its_company() {
    let world = World::start().await;
    let refuse =
        async |meter: NewMeter| world.add_meters(caller(RETAIL), vec![new_meter("A"), meter]).await.unwrap_err();
    let without = refuse(NewMeter { digits: 0, ..new_meter("B") }).await;
    assert_eq!(fields(&without), ["SETTLE_METER[1].METER_BIT"]);
    let transformer = NewMeter { meter_kind: DeviceType::VoltageTransformer.into(), ..new_meter("B") };
    assert_eq!(fields(&refuse(transformer).await), ["SETTLE_METER[1].METER_BIT"]);
    assert_eq!(fields(&refuse(NewMeter { digits: 11, ..new_meter("B") }).await), ["SETTLE_METER[1].METER_BIT"]);
    assert_eq!(
        fields(&refuse(NewMeter { meter_multiplier: "0".into(), ..new_meter("B") }).await),
        ["SETTLE_METER[1].METER_RATE"]
    );
    let twice = refuse(new_meter("a")).await;
    assert_eq!(fields(&twice), ["SETTLE_METER[1].DEVICE_FACTORY_INFO"]);
    assert_eq!(reason::<()>(Err(twice)), "METER_NUMBER_TAKEN");
    let foreign = refuse(NewMeter { store_id: OTHER_STORE.into(), ..new_meter("B") }).await;
    assert_eq!(reason::<()>(Err(foreign)), "SUPPLIER_NOT_FOUND");
    assert_eq!(world.rows("meter").await.len(), 0, "all or nothing");

    world.add_meters(caller(RETAIL), vec![new_meter("A")]).await.unwrap();
    assert_eq!(reason(world.add_meters(caller(RETAIL), vec![new_meter("Ａ")]).await), "METER_NUMBER_TAKEN");
    world
        .add_meters(caller(OTHER_RETAIL), vec![NewMeter { store_id: OTHER_STORE.into(), ..new_meter("A") }])
        .await
        .unwrap();
    let id = world.list_meters(RETAIL, MeterFilter::default()).await.remove(0).meter_id;
    let by = ChangedMeter { meter_id: id.clone(), digits: 5, ..Default::default() };
    assert_eq!(reason(change(&world, OTHER_RETAIL, by).await), "METER_NOT_FOUND");
    assert_eq!(reason(delete(&world, OTHER_RETAIL, &id).await), "METER_NOT_FOUND");
}

#[tokio::test]
async fn a_meter_is_of_a_kind_that_measures_its_utility() {
    let world = World::start().await;
    let cold_water = NewMeter { meter_kind: DeviceType::ColdWater.into(), ..new_meter("B") };
    let refused = world.add_meters(caller(RETAIL), vec![new_meter("A"), cold_water]).await.unwrap_err();
    assert_eq!(fields(&refused), ["SETTLE_METER[1].DEVICE_TYPE"]);
    assert_eq!(world.rows("meter").await.len(), 0, "all or nothing");

    world.add_meters(caller(RETAIL), vec![new_meter("A")]).await.unwrap();
    let meter_id = world.list_meters(RETAIL, MeterFilter::default()).await.remove(0).meter_id;
    let water = ChangedMeter { meter_id, utility: NetworkType::Water.into(), ..Default::default() };
    assert_eq!(fields(&change(&world, RETAIL, water.clone()).await.unwrap_err()), ["SETTLE_METER.DEVICE_TYPE"]);
    let cold_water = DeviceType::ColdWater.into();
    change(&world, RETAIL, ChangedMeter { meter_kind: cold_water, ..water.clone() }).await.unwrap();
    // Of a meter that does not fit from before the rule, the rest may change.
    let tenant = Tenant { id: RETAIL.into(), kind: TenantKind::RetailCompany };
    let mut transaction = world.pool().begin().await.unwrap();
    announce(&mut transaction, &Call::internal(tenant, "test", world.clock.now())).await.unwrap();
    sqlx::query("UPDATE meter SET utility = '2'").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    change(&world, RETAIL, ChangedMeter { utility: 0, digits: 5, ..water }).await.unwrap();
}

#[tokio::test]
async fn of_32_that_register_one_meter_one_does() {
    let world = World::start().await;
    let add = |n: usize| world.add_meters(caller(RETAIL), vec![new_meter(&format!("E-{n}")), new_meter(spelled(n))]);
    let named = one_of_32(add, "METER_NUMBER_TAKEN").await;
    assert_eq!(named, [vec!["SETTLE_METER[1].DEVICE_FACTORY_INFO".to_owned()]].into());
}
