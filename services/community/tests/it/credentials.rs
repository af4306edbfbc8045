//! Authentication. The mechanism belongs to the kit and is tested there; here are the messages and choices
//! of this service, over every RPC.

use chrono::TimeDelta;
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::*;
use tonic::Status;

use crate::harness::*;

/// Every RPC of the service in a community, with requests that are right but for the caller.
async fn everything(caller: &Caller, community: &str) -> Vec<Result<(), Status>> {
    let community_id = community.to_owned();
    let there = |m: CreateFeesRequest| CreateFeesRequest { community_id: community_id.clone(), ..m };
    vec![
        caller.save(SaveFeeConfigRequest { community_id: community_id.clone(), ..save("物业费") }).await,
        caller
            .update(UpdateFeeConfigRequest { community_id: community_id.clone(), ..update("123456", "物业费") })
            .await,
        caller.list(ListFeeConfigsRequest { community_id: community_id.clone(), ..list() }).await.map(drop),
        caller.history(QueryHisFeeConfigRequest { community_id: community_id.clone(), ..history() }).await.map(drop),
        caller.create_fees(there(fees("123456", &["R1".to_owned()]))).await.map(drop),
        caller.fees(ListFeesRequest { community_id: community_id.clone(), ..list_fees("") }).await.map(drop),
        caller.register(community, vec![room("R1")]).await,
        caller
            .objects(ListPayerObjectsRequest {
                community_id: community_id.clone(),
                ..ListPayerObjectsRequest::default()
            })
            .await
            .map(drop),
    ]
}

#[tokio::test]
async fn a_community_that_is_not_the_callers_never_shows_whether_it_exists() {
    let service = Service::start().await;
    let other_tenant = refused("TENANT_REFUSED", "传入小区ID非法，请正常操作");
    for community in [FOREIGN, "99999", "-1", "10001'"] {
        for outcome in everything(&service.caller(), community).await {
            assert_eq!(refusal(outcome), other_tenant, "{community}");
        }
    }
    // The app acts for it, the operator does not.
    let other_operator = service.caller().with("authorization", format!("Bearer {}", service.token(OTHER_OPERATOR)));
    for outcome in everything(&other_operator, HOME).await {
        assert_eq!(refusal(outcome), other_tenant);
    }
    // Metadata that contradicts the message.
    for outcome in everything(&service.caller().with("x-tenant-id", OTHER), HOME).await {
        assert_eq!(refusal(outcome), other_tenant);
    }
    // A caller who may not ask gets no faults of the request.
    let nameless = SaveFeeConfigRequest { fee_name: String::new(), community_id: FOREIGN.into(), ..save("") };
    assert_eq!(refusal(service.caller().save(nameless).await), other_tenant);
    assert_eq!(service.count("SELECT count(*) FROM payer_object").await, 0);
}

#[tokio::test]
async fn communities_of_one_operator_do_not_see_each_other() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(1).await;
    let id = service.item("物业费").await;
    caller.charge(&id, &rooms).await.unwrap();
    caller.bill(&id, &rooms).await.unwrap();
    let items = caller.list(ListFeeConfigsRequest { community_id: OTHER.into(), ..list() }).await.unwrap();
    assert_eq!(items.total, 0);
    let there = ListFeesRequest { community_id: OTHER.into(), ..list_fees(&id) };
    assert!(caller.fees(there).await.unwrap().fees.is_empty());
    let there = ListPayerObjectsRequest { community_id: OTHER.into(), ..ListPayerObjectsRequest::default() };
    assert!(caller.objects(there).await.unwrap().payer_objects.is_empty());
    let there = CreateFeesRequest { community_id: OTHER.into(), ..fees(&id, &rooms) };
    assert_eq!(refusal(caller.create_fees(there).await).0, "FEE_ITEM_NOT_FOUND");
}

#[tokio::test]
async fn without_credentials_nothing_is_served() {
    let service = Service::start().await;
    let caller = service.caller();
    let unknown_app = refused("CREDENTIALS_REFUSED", "鉴权失败：签名失败");
    let not_signed_in = refused("OPERATOR_REFUSED", "您还没有登录，请先登录");
    for (caller, expected) in [
        (caller.clone().with("x-channel-id", ""), refused("CHANNEL_MISSING", "鉴权失败：APP_ID 为空或不正确")),
        (caller.clone().with("x-channel-id", "nobody"), unknown_app.clone()),
        (caller.clone().with("authorization", ""), not_signed_in.clone()),
        (caller.clone().with("authorization", "Bearer nonsense"), not_signed_in.clone()),
        (caller.clone().with("authorization", format!("Base {}", service.token(OPERATOR))), not_signed_in.clone()),
        (caller.clone().with("authorization", format!("Bearer {}", service.token("nobody"))), not_signed_in.clone()),
        // An app with a secret must sign, or show it.
        (caller.clone().with("x-channel-id", SIGNING_APP), unknown_app.clone()),
        (caller.clone().with("x-channel-id", SIGNING_APP).with("x-channel-key", "SECRET124"), unknown_app),
        (
            caller.clone().with("x-request-time", "yesterday"),
            refused("REQUEST_ID_INVALID", "鉴权失败：requestTime 格式不对，遵循yyyyMMddHHmmss格式"),
        ),
    ] {
        for outcome in everything(&caller, HOME).await {
            assert_eq!(refusal(outcome), expected);
        }
    }
    let showing = caller.clone().with("x-channel-id", SIGNING_APP).with("x-channel-key", SECRET);
    showing.list(list()).await.unwrap();
    // A token ends.
    service.advance(TimeDelta::hours(2));
    assert_eq!(refusal(caller.list(list()).await), not_signed_in);
}

#[tokio::test]
async fn a_credential_with_two_values_is_refused() {
    let service = Service::start().await;
    let caller = service.caller();
    let twice = async |name: &'static str, value: &str| {
        let mut request = caller.request(list());
        request.metadata_mut().append(name, value.parse().unwrap());
        FeeItemServiceClient::new(service.channel.clone()).list_fee_configs(request).await
    };
    for (name, value) in [("x-channel-id", SIGNING_APP), ("authorization", "Bearer nonsense")] {
        assert_eq!(refusal(twice(name, value).await), refused("CREDENTIALS_REFUSED", "鉴权失败：签名失败"), "{name}");
    }
    for name in ["x-tenant-id", "x-channel-key", "x-request-time", "x-operator-id", "x-signature"] {
        let caller = service.caller().with(name, "1");
        let mut request = caller.request(list());
        request.metadata_mut().append(name, "2".parse().unwrap());
        let outcome = FeeItemServiceClient::new(service.channel.clone()).list_fee_configs(request).await;
        assert_eq!(refusal(outcome).0, "CREDENTIALS_REFUSED", "{name}");
    }
    let mut request = service.caller().with("idempotency-key", "1").request(list());
    request.metadata_mut().append("idempotency-key", "2".parse().unwrap());
    let outcome = FeeItemServiceClient::new(service.channel.clone()).list_fee_configs(request).await;
    assert_eq!(refusal(outcome), refused("REQUEST_ID_INVALID", "请求流水号出现多次且取值不同"));
    // The same value twice is one value.
    twice("x-channel-id", APP).await.unwrap();
}

#[tokio::test]
async fn strangers_cannot_use_up_the_rate_of_an_app_that_proves_nothing() {
    let service = Service::start_with(&[("channel_calls_per_second", "5")]).await;
    let stranger = service.caller().with("authorization", "Bearer nonsense");
    for _ in 0..20 {
        assert_eq!(refusal(stranger.list(list()).await).0, "OPERATOR_REFUSED");
    }
    service.caller().list(list()).await.unwrap();
    // The rate still holds for those who have a token.
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        outcomes.push(service.caller().list(list()).await);
    }
    let refused = outcomes.into_iter().find(Result::is_err).expect("beyond its rate");
    assert_eq!(refusal(refused).0, "OVERLOADED");
}
