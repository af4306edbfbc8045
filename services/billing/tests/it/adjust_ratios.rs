//! Adjust ratios over gRPC: days apart, all or nothing, each refusal, isolation, history, the race.

use communal_proto::billing::v1::*;
use tonic::Status;

use crate::harness::*;

fn new(power_factor: &str, start_date: i32, stop_date: i32) -> NewAdjustRatio {
    NewAdjustRatio {
        retail_store_id: STORE.into(),
        power_factor_standard: ForRateValidType::P90.into(),
        power_factor: power_factor.into(),
        adjust_direction: RewardPunishType::Penalty.into(),
        adjust_ratio: "0.005".into(),
        start_date,
        stop_date,
    }
}

fn record(new: NewAdjustRatio) -> AdjustRatio {
    AdjustRatio {
        retail_company_id: RETAIL.into(),
        retail_store_id: new.retail_store_id,
        power_factor_standard: new.power_factor_standard,
        power_factor: format!("{}00", new.power_factor),
        main_category_item: 0,
        adjust_direction: new.adjust_direction,
        adjust_ratio: format!("{}000", new.adjust_ratio),
        start_date: new.start_date,
        stop_date: new.stop_date,
    }
}

fn key(record: AdjustRatio) -> AdjustRatioKey {
    let AdjustRatio { retail_company_id, retail_store_id, power_factor_standard, power_factor, start_date, .. } =
        record;
    AdjustRatioKey { retail_company_id, retail_store_id, power_factor_standard, power_factor, start_date }
}

async fn add(world: &World, tenant: &'static str, ratios: Vec<NewAdjustRatio>) -> Result<(), Status> {
    world.adjust_ratios(caller(tenant)).add_adjust_ratio(AddAdjustRatioRequest { ratios }).await.map(drop)
}

async fn update(world: &World, tenant: &'static str, record: AdjustRatio) -> Result<(), Status> {
    let request = UpdateAdjustRatioRequest { ratio: Some(record) };
    world.adjust_ratios(caller(tenant)).update_adjust_ratio(request).await.map(drop)
}

async fn delete(world: &World, tenant: &'static str, record: AdjustRatio) -> Result<(), Status> {
    let request = DeleteAdjustRatioRequest { ratio: Some(key(record)) };
    world.adjust_ratios(caller(tenant)).delete_adjust_ratio(request).await.map(drop)
}

async fn list(world: &World, tenant: &'static str) -> Vec<AdjustRatio> {
    let request = QueryAdjustRatioRequest { page: Some(PageRequest { page: 1, rows: 10 }), filter: None };
    world.adjust_ratios(caller(tenant)).query_adjust_ratio(request).await.unwrap().into_inner().ratios
}

const JANUARY: (i32, i32) = (20_240_101, 20_240_201);
const FEBRUARY: (i32, i32) = (20_240_201, 20_240_301);

#[tokio::test]
async fn ratios_hold_on_days_apart() {
    let world = World::start().await;
    let (january, february) = (new("0.89", JANUARY.0, JANUARY.1), new("0.89", FEBRUARY.0, FEBRUARY.1));
    add(&world, RETAIL, vec![february.clone(), january.clone(), new("0.90", JANUARY.0, JANUARY.1)]).await.unwrap();
    // An update keeps what is left out, and may end a ratio earlier.
    let change =
        AdjustRatio { adjust_ratio: "0.01".into(), adjust_direction: 0, stop_date: 0, ..record(february.clone()) };
    update(&world, RETAIL, change).await.unwrap();
    update(&world, RETAIL, AdjustRatio { stop_date: 20_240_115, ..record(january.clone()) }).await.unwrap();
    delete(&world, RETAIL, record(new("0.90", JANUARY.0, JANUARY.1))).await.unwrap();
    let expected = [
        AdjustRatio { stop_date: 20_240_115, ..record(january) },
        AdjustRatio { adjust_ratio: "0.010000".into(), ..record(february) },
    ];
    assert_eq!(list(&world, RETAIL).await, expected);
    assert_eq!(list(&world, OTHER_RETAIL).await, []);
    let operations = ["INSERT", "INSERT", "INSERT", "UPDATE", "UPDATE", "DELETE"];
    assert_eq!(world.history("adjust_ratio").await, operations);
}

#[tokio::test]
async fn each_refusal_has_its_reason_and_nothing_is_written() {
    let world = World::start().await;
    let january = new("0.89", JANUARY.0, JANUARY.1);
    add(&world, RETAIL, vec![january.clone(), new("0.89", FEBRUARY.0, FEBRUARY.1)]).await.unwrap();
    let refusal = |field: &str, reason: &str| (format!("COM_ADJUST_RAT{field}"), reason.to_owned());
    for (rows, expected) in [
        // One day of a ratio that exists.
        (
            vec![new("0.8", 20_240_101, 20_240_102), new("0.890", 20_240_131, 20_240_201)],
            refusal("[1].STARTUP_DATE", "RECORD_EXISTS"),
        ),
        (vec![new("1.01", JANUARY.0, JANUARY.1)], refusal("[0].FOR_RAT_CALC_VALUE", "FIELD_MALFORMED")),
        (vec![new("0.8", JANUARY.1, JANUARY.1)], refusal("[0].OUTAGE_DATE", "FIELD_MALFORMED")),
        (
            vec![NewAdjustRatio { retail_store_id: OTHER_STORE.into(), ..new("0.8", JANUARY.0, JANUARY.1) }],
            refusal("[0].RET_STORES_AID", "SUPPLIER_NOT_FOUND"),
        ),
    ] {
        assert_eq!(refused(add(&world, RETAIL, rows).await), expected);
    }
    let change = record(january.clone());
    for (given, expected) in [
        (AdjustRatio { stop_date: 20_240_202, ..change.clone() }, refusal(".OUTAGE_DATE", "RECORD_EXISTS")),
        (AdjustRatio { stop_date: JANUARY.0, ..change.clone() }, refusal(".OUTAGE_DATE", "FIELD_MALFORMED")),
        (
            AdjustRatio { main_category_item: 1003, ..change.clone() },
            refusal(".CAT_ITEM_MAIN_NUM", "CATEGORY_ITEM_NOT_FOUND"),
        ),
        (AdjustRatio { start_date: 20_240_102, ..change.clone() }, refusal("", "RECORD_NOT_FOUND")),
        (AdjustRatio { retail_company_id: OTHER_RETAIL.into(), ..change.clone() }, refusal("", "RECORD_NOT_FOUND")),
    ] {
        assert_eq!(refused(update(&world, RETAIL, given).await), expected);
    }
    let not_found = refusal("", "RECORD_NOT_FOUND");
    assert_eq!(refused(update(&world, OTHER_RETAIL, change.clone()).await), not_found);
    assert_eq!(refused(delete(&world, OTHER_RETAIL, change.clone()).await), not_found);
    assert_eq!(refused(delete(&world, RETAIL, AdjustRatio { power_factor: "0.88".into(), ..change }).await), not_found);
    assert_eq!(list(&world, RETAIL).await[0], record(january));
}

#[tokio::test]
async fn the_line_is_booked_on_a_main_item_of_electricity() {
    let world = World::start().await;
    let item = |category_item, utility: NetworkType, surcharge: YesNo| {
        let (utility, surcharge) = (utility.into(), surcharge.into());
        CategoryItem { category_item, name: "力调电费".into(), utility, surcharge, kind: String::new() }
    };
    use NetworkType::{Electricity, Water};
    let items =
        vec![item(1003, Electricity, YesNo::No), item(1101, Electricity, YesNo::Yes), item(2001, Water, YesNo::No)];
    world.catalogue(caller(RETAIL)).register_category_items(RegisterCategoryItemsRequest { items }).await.unwrap();
    let january = new("0.89", JANUARY.0, JANUARY.1);
    add(&world, RETAIL, vec![january.clone()]).await.unwrap();
    let booked_on = |main_category_item| AdjustRatio { main_category_item, ..record(january.clone()) };
    update(&world, RETAIL, booked_on(1003)).await.unwrap();
    for number in [1101, 2001] {
        assert_eq!(reason(update(&world, RETAIL, booked_on(number)).await), "CATEGORY_ITEM_NOT_FOUND");
    }
    update(&world, RETAIL, booked_on(0)).await.unwrap();
    assert_eq!(list(&world, RETAIL).await, [booked_on(1003)]);
}

#[tokio::test]
async fn of_32_whose_days_overlap_one_is_added() {
    let world = World::start().await;
    let days = |n: usize| i32::try_from(n % 20).unwrap();
    one_of_32(|n| add(&world, RETAIL, vec![new("0.89", 20_240_101 + days(n), 20_240_201)]), "RECORD_EXISTS").await;
    assert_eq!(list(&world, RETAIL).await.len(), 1);
}
