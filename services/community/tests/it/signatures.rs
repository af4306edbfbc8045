//! A signature of HC holds for the call that a gateway received, and for no other.

use chrono::{DateTime, TimeDelta, Utc};
use communal_kit::identity::{GatewayKeys, signature, vouching};
use communal_kit::secret::Secret;
use communal_kit::telemetry::trace::TraceContext;
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::*;
use prost::Message;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};
use tonic::{Code, Extensions, Request, Status};

use crate::harness::*;

const LIST: &str = "/communal.community.v1.FeeItemService/ListFeeConfigs";
const UPDATE: &str = "/communal.community.v1.FeeItemService/UpdateFeeConfig";

fn written(time: DateTime<Utc>, service: &Service) -> String {
    service.clock.local(time).format("%Y%m%d%H%M%S").to_string()
}

/// The metadata of a signed call, as a gateway with the key of the service sends it.
fn signed(service: &Service, method: &str, id: &str, message: &impl Message) -> MetadataMap {
    let mut metadata = unproved(service, id);
    keys().prove(method, &mut metadata, &message.encode_to_vec());
    metadata
}

/// The same without the gateway's proof.
fn unproved(service: &Service, id: &str) -> MetadataMap {
    let time = written(service.clock.now(), service);
    let state = signature::state(id, &time, SIGNING_APP, b"{\"what\":\"a client signed\"}");
    let mut metadata = MetadataMap::new();
    for (name, value) in [
        ("x-channel-id", SIGNING_APP.to_owned()),
        ("idempotency-key", id.to_owned()),
        ("x-request-time", time),
        ("x-signature", signature::finish(&state, &Secret::new(SECRET)).unwrap()),
        ("authorization", format!("Bearer {}", service.token(OPERATOR))),
    ] {
        metadata.insert(name, value.parse().unwrap());
    }
    metadata.append_bin(vouching::SIGNATURE_STATES, BinaryMetadataValue::from_bytes(&state));
    metadata
}

fn keys() -> GatewayKeys {
    GatewayKeys::parse(&Secret::new(GATEWAY_KEY)).unwrap()
}

fn request<M>(metadata: &MetadataMap, message: M) -> Request<M> {
    Request::from_parts(metadata.clone(), Extensions::default(), message)
}

async fn lists(service: &Service, metadata: &MetadataMap, message: ListFeeConfigsRequest) -> Result<(), Status> {
    FeeItemServiceClient::new(service.channel.clone()).list_fee_configs(request(metadata, message)).await.map(drop)
}

async fn updates(service: &Service, metadata: &MetadataMap, message: UpdateFeeConfigRequest) -> Result<(), Status> {
    FeeItemServiceClient::new(service.channel.clone()).update_fee_config(request(metadata, message)).await.map(drop)
}

async fn deletes(service: &Service, metadata: &MetadataMap, message: DeleteFeeConfigRequest) -> Result<(), Status> {
    FeeItemServiceClient::new(service.channel.clone()).delete_fee_config(request(metadata, message)).await.map(drop)
}

fn is_refused(outcome: Result<(), Status>) {
    let status = outcome.as_ref().expect_err("must be refused");
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(refusal(outcome), refused("CREDENTIALS_REFUSED", "鉴权失败：签名失败"));
}

#[tokio::test]
async fn a_call_that_a_gateway_vouches_for_is_served() {
    let service = Service::start().await;
    lists(&service, &signed(&service, LIST, "id-1", &list()), list()).await.unwrap();
    let id = service.item("物业费").await;
    let message = update(&id, "物业费二期");
    let metadata = signed(&service, UPDATE, "id-2", &message);
    updates(&service, &metadata, message.clone()).await.unwrap();
    // Sent once more as it was, it is the same request, and answered as a repeated one.
    updates(&service, &metadata, message).await.unwrap();
    assert_eq!(service.count("SELECT count(*) FROM platform.answered_request WHERE request_id = 'id-2'").await, 1);
}

#[tokio::test]
async fn a_row_has_the_trace_id_that_its_gateway_gave_and_the_answer_says_it() {
    let service = Service::start().await;
    let item = service.item("物业费").await;
    let trace_told = async |metadata: &MetadataMap| {
        let delete = DeleteFeeConfigRequest { config_id: item.clone(), community_id: HOME.into() };
        let mut client = FeeItemServiceClient::new(service.channel.clone());
        let answer = client.delete_fee_config(request(metadata, delete)).await;
        let told = answer.map_or_else(|refused| refused.metadata().clone(), |answer| answer.metadata().clone());
        told.get("x-trace-id").unwrap().to_str().unwrap().to_owned()
    };
    let trace = TraceContext::root();
    let mut metadata = signed(
        &service,
        "/communal.community.v1.FeeItemService/DeleteFeeConfig",
        "id-1",
        &DeleteFeeConfigRequest { config_id: item.clone(), community_id: HOME.into() },
    );
    keys().prove_trace(&mut metadata, &trace);
    assert_eq!(trace_told(&metadata).await, trace.trace_id());
    let stored = "SELECT trace_id FROM platform.change ORDER BY change_number DESC LIMIT 1";
    let stored: String = sqlx::query_scalar(stored).fetch_one(service.pool()).await.unwrap();
    assert_eq!(stored, trace.trace_id());
    // A refusal says its trace as well. Under a key that is not the service's the trace is the service's own.
    GatewayKeys::generate().prove_trace(&mut metadata, &trace);
    let other = trace_told(&metadata).await;
    assert!(other.len() == 32 && other != trace.trace_id(), "{other}");
}

#[tokio::test]
async fn states_that_no_gateway_vouches_for_are_refused() {
    let service = Service::start().await;
    is_refused(lists(&service, &unproved(&service, "id-1"), list()).await);
    // From every caller: an app that needs no signature, and one that shows its secret.
    for (name, value) in [("x-channel-id", APP), ("x-channel-key", SECRET)] {
        let mut metadata = unproved(&service, "id-1");
        metadata.insert(name, value.parse().unwrap());
        is_refused(lists(&service, &metadata, list()).await);
    }
    // Under a key that is not the service's.
    let mut metadata = unproved(&service, "id-1");
    GatewayKeys::generate().prove(LIST, &mut metadata, &list().encode_to_vec());
    is_refused(lists(&service, &metadata, list()).await);
    // Without states a signature is one that nothing can be held against.
    let mut metadata = signed(&service, LIST, "id-1", &list());
    metadata.remove_bin(vouching::SIGNATURE_STATES);
    is_refused(lists(&service, &metadata, list()).await);
}

#[tokio::test]
async fn a_captured_call_cannot_be_moved_to_another_method_id_time_operator_or_community() {
    let service = Service::start().await;
    let id = service.item("物业费").await;
    let captured = signed(&service, LIST, "id-1", &list());
    lists(&service, &captured, list()).await.unwrap();
    // The same credentials before a method that changes something.
    let delete = DeleteFeeConfigRequest { config_id: id.clone(), community_id: HOME.into() };
    is_refused(deletes(&service, &captured, delete.clone()).await);
    for (name, value) in [
        ("idempotency-key", "id-2".to_owned()),
        ("x-request-time", written(service.clock.now() + TimeDelta::minutes(14), &service)),
        ("authorization", format!("Bearer {}", service.token(OTHER_OPERATOR))),
        ("x-tenant-id", HOME.to_owned()),
    ] {
        let mut moved = captured.clone();
        moved.insert(name, value.parse().unwrap());
        is_refused(lists(&service, &moved, list()).await);
    }
    // The same call with another message: another community, another page, nothing.
    for other in [
        ListFeeConfigsRequest { community_id: OTHER.into(), ..list() },
        ListFeeConfigsRequest { page: 2, ..list() },
        ListFeeConfigsRequest::default(),
    ] {
        is_refused(lists(&service, &captured, other).await);
    }
    // A message that nobody signed changes nothing, also where its length is the same.
    let message = update(&id, "物业费甲");
    let metadata = signed(&service, UPDATE, "id-3", &message);
    is_refused(updates(&service, &metadata, update(&id, "物业费乙")).await);
    assert_eq!(service.caller().named("物业费").await.config_id, id);
    assert_eq!(service.count("SELECT count(*) FROM platform.answered_request").await, 0);
    // The original still goes, until it is too old.
    updates(&service, &metadata, message.clone()).await.unwrap();
    service.advance(TimeDelta::minutes(16));
    assert_eq!(refusal(updates(&service, &metadata, message).await).0, "REQUEST_ID_INVALID");
}
