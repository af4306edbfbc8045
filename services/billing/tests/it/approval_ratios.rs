//! Approval ratios over gRPC: each refusal, isolation, history, the race.

use communal_proto::billing::v1::*;
use tonic::Status;

use crate::harness::*;

fn record(ratio: &str, factor: &str) -> ApprovalRatio {
    ApprovalRatio {
        retail_company_id: RETAIL.into(),
        retail_store_id: STORE.into(),
        region_code: REGION.into(),
        utility: NetworkType::Electricity.into(),
        over_approval_ratio: ratio.into(),
        approval_factor: factor.into(),
    }
}

fn new(record: ApprovalRatio) -> NewApprovalRatio {
    let ApprovalRatio { retail_company_id, retail_store_id, utility, over_approval_ratio, approval_factor, .. } =
        record;
    NewApprovalRatio { retail_company_id, retail_store_id, utility, over_approval_ratio, approval_factor }
}

fn key(record: ApprovalRatio) -> ApprovalRatioKey {
    let ApprovalRatio { retail_company_id, retail_store_id, region_code, utility, over_approval_ratio, .. } = record;
    ApprovalRatioKey { retail_company_id, retail_store_id, region_code, utility, over_approval_ratio }
}

async fn add(world: &World, tenant: &'static str, record: ApprovalRatio) -> Result<(), Status> {
    let request = AddApprovalRatioRequest { ratio: Some(new(record)) };
    world.approval_ratios(caller(tenant)).add_approval_ratio(request).await.map(drop)
}

async fn update(world: &World, tenant: &'static str, record: ApprovalRatio) -> Result<(), Status> {
    let request = UpdateApprovalRatioRequest { ratio: Some(record) };
    world.approval_ratios(caller(tenant)).update_approval_ratio(request).await.map(drop)
}

async fn delete(world: &World, tenant: &'static str, record: ApprovalRatio) -> Result<(), Status> {
    let request = DeleteApprovalRatioRequest { ratio: Some(key(record)) };
    world.approval_ratios(caller(tenant)).delete_approval_ratio(request).await.map(drop)
}

async fn list(world: &World, tenant: &'static str) -> Vec<ApprovalRatio> {
    let request = QueryApprovalRatioRequest { page: Some(PageRequest { page: 1, rows: 10 }), filter: None };
    world.approval_ratios(caller(tenant)).query_approval_ratio(request).await.unwrap().into_inner().ratios
}

#[tokio::test]
async fn a_store_has_one_ratio_that_changes_and_goes() {
    let world = World::start().await;
    add(&world, RETAIL, record("1.05", "2")).await.unwrap();
    assert_eq!(list(&world, RETAIL).await, [record("1.0500", "2.0000")]);
    assert_eq!(list(&world, OTHER_RETAIL).await, []);
    update(&world, RETAIL, record("1.1", "1")).await.unwrap();
    assert_eq!(list(&world, RETAIL).await, [record("1.1000", "1.0000")]);
    delete(&world, RETAIL, record("1.1", "")).await.unwrap();
    assert_eq!(list(&world, RETAIL).await, []);
    assert_eq!(world.history("approval_ratio").await, ["INSERT", "UPDATE", "DELETE"]);
}

#[tokio::test]
async fn each_refusal_has_its_reason() {
    let world = World::start().await;
    add(&world, RETAIL, record("1.05", "2")).await.unwrap();
    let water = ApprovalRatio { utility: NetworkType::Water.into(), ..record("1.05", "2") };
    let place = |field: &str, reason: &str| (format!("COM_APPR_DEMAND{field}"), reason.to_owned());
    for (given, refusal) in [
        (record("1.10", "2"), place("", "RECORD_EXISTS")),
        (record("0.9999", "2"), place(".OVER_APPROVAL_RATIO", "FIELD_MALFORMED")),
        (record("1", "0.5"), place(".APPROVAL_FACTOR", "FIELD_MALFORMED")),
        (water, place(".NETWORK_TYPE", "FIELD_CODE_UNKNOWN")),
        (
            ApprovalRatio { retail_company_id: OTHER_RETAIL.into(), ..record("1", "1") },
            place(".RET_STORES_AID", "SUPPLIER_NOT_FOUND"),
        ),
    ] {
        assert_eq!(refused(add(&world, RETAIL, given).await), refusal);
    }
    let not_found = place("", "RECORD_NOT_FOUND");
    let elsewhere = ApprovalRatio { region_code: "310101000000".into(), ..record("1.05", "2") };
    assert_eq!(refused(update(&world, RETAIL, elsewhere.clone()).await), not_found);
    assert_eq!(refused(delete(&world, RETAIL, elsewhere).await), not_found);
    assert_eq!(refused(update(&world, OTHER_RETAIL, record("1.05", "2")).await), not_found);
    assert_eq!(refused(delete(&world, OTHER_RETAIL, record("1.05", "2")).await), not_found);
    // The one to delete is named by its ratio too.
    assert_eq!(refused(delete(&world, RETAIL, record("1.06", "")).await), not_found);
    assert_eq!(list(&world, RETAIL).await, [record("1.0500", "2.0000")]);
}

#[tokio::test]
async fn of_32_that_add_the_ratio_of_a_store_one_does() {
    let world = World::start().await;
    one_of_32(|_| add(&world, RETAIL, record("1.05", "2")), "RECORD_EXISTS").await;
}
