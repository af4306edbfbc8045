//! A caller of the service, with a method for each RPC, and how tests read a refusal.

use communal_kit::server::MOST_REPLY;
use communal_proto::community::v1::bill_rule_service_client::BillRuleServiceClient;
use communal_proto::community::v1::charging_service_client::ChargingServiceClient;
use communal_proto::community::v1::community_service_client::CommunityServiceClient;
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::fee_service_client::FeeServiceClient;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use communal_proto::community::v1::quote_service_client::QuoteServiceClient;
use communal_proto::community::v1::*;
use futures::TryStreamExt;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

use super::{APP, HOME, fees, list, list_fees};

/// Methods that make one unary call.
macro_rules! calls {
    ($($client:ident { $($method:ident($request:ty) -> $response:ty;)+ })+) => {
        impl Caller {
            $($(
                pub(crate) async fn $method(&self, message: $request) -> Result<$response, Status> {
                    let mut client = $client::new(self.channel.clone()).max_decoding_message_size(64 << 20);
                    client.$method(self.request(message)).await.map(tonic::Response::into_inner)
                }
            )+)+
        }
    };
}

calls! {
    FeeServiceClient {
        list_config_fee_objs(ListConfigFeeObjsRequest) -> ListConfigFeeObjsResponse;
        list_fee(ListFeeRequest) -> ListFeeResponse;
        list_fee_obj(ListFeeObjRequest) -> ListFeeObjResponse;
        list_owe_fees(ListOweFeesRequest) -> ListOweFeesResponse;
        query_report_owe_fee(QueryReportOweFeeRequest) -> QueryReportOweFeeResponse;
        update_fee(UpdateFeeRequest) -> UpdateFeeResponse;
        finish_fee(FinishFeeRequest) -> FinishFeeResponse;
        delete_fee(DeleteFeeRequest) -> DeleteFeeResponse;
    }
    ChargingServiceClient {
        save_room_create_fee(SaveRoomCreateFeeRequest) -> SaveRoomCreateFeeResponse;
        room_create_pay_fee(RoomCreatePayFeeRequest) -> RoomCreatePayFeeResponse;
        save_parking_space_create_fee(SaveParkingSpaceCreateFeeRequest) -> SaveParkingSpaceCreateFeeResponse;
        save_contract_create_fee(SaveContractCreateFeeRequest) -> SaveContractCreateFeeResponse;
        save_meter_water(SaveMeterWaterRequest) -> SaveMeterWaterResponse;
        list_pay_fee_batch(ListPayFeeBatchRequest) -> ListPayFeeBatchResponse;
        apply_delete_pay_fee_batch_cmd(ApplyDeletePayFeeBatchCmdRequest) -> ApplyDeletePayFeeBatchCmdResponse;
        update_pay_fee_batch(UpdatePayFeeBatchRequest) -> UpdatePayFeeBatchResponse;
    }
    BillRuleServiceClient {
        list_pay_fee_rule(ListPayFeeRuleRequest) -> ListPayFeeRuleResponse;
        list_pay_fee_rule_bill(ListPayFeeRuleBillRequest) -> ListPayFeeRuleBillResponse;
        update_pay_fee_rule(UpdatePayFeeRuleRequest) -> UpdatePayFeeRuleResponse;
        delete_pay_fee_rule(DeletePayFeeRuleRequest) -> DeletePayFeeRuleResponse;
    }
}

/// A client with its credentials.
#[derive(Clone)]
pub(crate) struct Caller {
    channel: Channel,
    pub(crate) metadata: Vec<(&'static str, String)>,
}

impl Caller {
    /// The operator of a token, through the app that proves nothing.
    pub(crate) fn new(channel: Channel, token: String) -> Self {
        let metadata = vec![("x-channel-id", APP.to_owned()), ("authorization", format!("Bearer {token}"))];
        Self { channel, metadata }
    }

    /// Sets or replaces metadata; an empty value removes it.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        self.metadata.retain(|(n, _)| *n != name);
        if !value.is_empty() {
            self.metadata.push((name, value));
        }
        self
    }

    /// The same caller with a request id.
    pub(crate) fn id(&self, request_id: &str) -> Self {
        self.clone().with("idempotency-key", request_id)
    }

    pub(crate) fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        for (name, value) in &self.metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request.metadata_mut().insert(MOST_REPLY, (64_u32 << 20).into());
        request
    }

    fn items(&self) -> FeeItemServiceClient<Channel> {
        FeeItemServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub(crate) async fn save(&self, message: SaveFeeConfigRequest) -> Result<(), Status> {
        self.items().save_fee_config(self.request(message)).await.map(drop)
    }

    pub(crate) async fn update(&self, message: UpdateFeeConfigRequest) -> Result<(), Status> {
        self.items().update_fee_config(self.request(message)).await.map(drop)
    }

    pub(crate) async fn delete(&self, config_id: &str) -> Result<(), Status> {
        let message = DeleteFeeConfigRequest { config_id: config_id.into(), community_id: HOME.into() };
        self.items().delete_fee_config(self.request(message)).await.map(drop)
    }

    pub(crate) async fn list(&self, message: ListFeeConfigsRequest) -> Result<ListFeeConfigsResponse, Status> {
        self.items().list_fee_configs(self.request(message)).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn history(&self, message: QueryHisFeeConfigRequest) -> Result<QueryHisFeeConfigResponse, Status> {
        self.items().query_his_fee_config(self.request(message)).await.map(tonic::Response::into_inner)
    }

    /// The live item of a name in the home community.
    pub(crate) async fn named(&self, name: &str) -> FeeConfig {
        let found = self.list(ListFeeConfigsRequest { fee_name_eq: name.into(), ..list() }).await.unwrap();
        found.fee_configs.into_iter().next().unwrap()
    }

    pub(crate) async fn register(&self, community: &str, payer_objects: Vec<PayerObject>) -> Result<(), Status> {
        let message = RegisterPayerObjectsRequest { community_id: community.into(), payer_objects };
        let mut client = PayerObjectServiceClient::new(self.channel.clone());
        client.register_payer_objects(self.request(message)).await.map(drop)
    }

    pub(crate) async fn objects(&self, message: ListPayerObjectsRequest) -> Result<ListPayerObjectsResponse, Status> {
        let mut client = PayerObjectServiceClient::new(self.channel.clone());
        client.list_payer_objects(self.request(message)).await.map(tonic::Response::into_inner)
    }

    /// Imports messages into the community of the metadata.
    pub(crate) async fn import(
        &self,
        messages: Vec<ImportPayerObjectsRequest>,
    ) -> Result<ImportPayerObjectsResponse, Status> {
        let mut client = PayerObjectServiceClient::new(self.channel.clone());
        let stream = self.request(futures::stream::iter(messages));
        client.import_payer_objects(stream).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn read_meters(&self, readings: Vec<MeterReading>) -> Result<(), Status> {
        let message = RegisterMeterReadingsRequest { community_id: HOME.into(), readings };
        let mut client = PayerObjectServiceClient::new(self.channel.clone());
        client.register_meter_readings(self.request(message)).await.map(drop)
    }

    /// Sets settings of the home community.
    pub(crate) async fn set(&self, settings: &[(&str, &str)]) -> Result<(), Status> {
        let setting = |(key, value): &(&str, &str)| CommunitySetting { key: (*key).into(), value: (*value).into() };
        let settings = settings.iter().map(setting).collect();
        let message = PutCommunitySettingsRequest { community_id: HOME.into(), settings };
        let mut client = CommunityServiceClient::new(self.channel.clone());
        client.put_community_settings(self.request(message)).await.map(drop)
    }

    /// The settings of the home community.
    pub(crate) async fn settings(&self) -> Vec<(String, String)> {
        let message = GetCommunitySettingsRequest { community_id: HOME.into() };
        let mut client = CommunityServiceClient::new(self.channel.clone());
        let reply = client.get_community_settings(self.request(message)).await.unwrap().into_inner();
        reply.settings.into_iter().map(|setting| (setting.key, setting.value)).collect()
    }

    pub(crate) async fn quote(&self, message: QuoteFeeRequest) -> Result<QuoteFeeResponse, Status> {
        let mut client = QuoteServiceClient::new(self.channel.clone());
        client.quote_fee(self.request(message)).await.map(tonic::Response::into_inner)
    }

    /// The answers to a stream of requests for the tenant of the metadata.
    pub(crate) async fn quotes(&self, requests: Vec<QuoteFeeRequest>) -> Result<Vec<StreamQuotesResponse>, Status> {
        let mut client = QuoteServiceClient::new(self.channel.clone());
        let messages = requests.into_iter().map(|quote| StreamQuotesRequest { quote: Some(quote) });
        let stream = self.request(futures::stream::iter(messages.collect::<Vec<_>>()));
        client.stream_quotes(stream).await?.into_inner().try_collect().await
    }

    /// Creates a fee on each object from 2024-01-01 on.
    pub(crate) async fn charge(&self, config_id: &str, objects: &[String]) -> Result<Vec<String>, Status> {
        self.create_fees(fees(config_id, objects)).await
    }

    pub(crate) async fn create_fees(&self, message: CreateFeesRequest) -> Result<Vec<String>, Status> {
        let mut client = FeeServiceClient::new(self.channel.clone());
        client.create_fees(self.request(message)).await.map(|r| r.into_inner().fee_ids)
    }

    /// What the fees of the home community owe, in a stream.
    pub(crate) async fn stream_owing(&self) -> Vec<FeeDetail> {
        let mut client = FeeServiceClient::new(self.channel.clone());
        let message = StreamOweFeesRequest { community_id: HOME.into() };
        let stream = client.stream_owe_fees(self.request(message)).await.unwrap().into_inner();
        let answers: Vec<StreamOweFeesResponse> = stream.try_collect().await.unwrap();
        answers.into_iter().filter_map(|answer| answer.fee).collect()
    }

    pub(crate) async fn fees(&self, message: ListFeesRequest) -> Result<ListFeesResponse, Status> {
        let mut client = FeeServiceClient::new(self.channel.clone());
        client.list_fees(self.request(message)).await.map(tonic::Response::into_inner)
    }

    /// All fees of an item, page by page.
    pub(crate) async fn all_fees(&self, config_id: &str, state: FeeState) -> Vec<Fee> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let asked = ListFeesRequest { page_token: token, state: state.into(), ..list_fees(config_id) };
            let page = self.fees(asked).await.unwrap();
            all.extend(page.fees);
            if page.next_page_token.is_empty() {
                return all;
            }
            token = page.next_page_token;
        }
    }

    /// Creates a bill rule on each object from 2024-01-02 on: a day after [`Caller::charge`], which would be
    /// the same charge.
    pub(crate) async fn bill(&self, config_id: &str, objects: &[String]) -> Result<Vec<String>, Status> {
        self.bill_from(config_id, objects, "2024-01-02").await
    }

    /// Creates a bill rule on each object.
    pub(crate) async fn bill_from(
        &self,
        config_id: &str,
        objects: &[String],
        start: &str,
    ) -> Result<Vec<String>, Status> {
        let message = CreateBillRulesRequest {
            community_id: HOME.into(),
            config_id: config_id.into(),
            rules: objects
                .iter()
                .map(|id| NewBillRule { payer_obj_id: id.clone(), start_time: start.into(), ..NewBillRule::default() })
                .collect(),
            ..CreateBillRulesRequest::default()
        };
        let mut client = BillRuleServiceClient::new(self.channel.clone());
        client.create_bill_rules(self.request(message)).await.map(|r| r.into_inner().rule_ids)
    }

    /// Runs the bill rules of the home community and returns what the run did.
    pub(crate) async fn run_bills(&self) -> RunBillRulesResponse {
        let mut client = BillRuleServiceClient::new(self.channel.clone());
        let message = RunBillRulesRequest { community_id: HOME.into() };
        let stream = client.run_bill_rules(self.request(message)).await.unwrap().into_inner();
        let states: Vec<_> = stream.try_collect().await.unwrap();
        states.last().copied().unwrap_or_default()
    }

    /// Runs the bill rules of the home community and goes away after the first chunk.
    pub(crate) async fn run_one_chunk(&self) {
        let mut client = BillRuleServiceClient::new(self.channel.clone());
        let message = RunBillRulesRequest { community_id: HOME.into() };
        let mut stream = client.run_bill_rules(self.request(message)).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
    }

    pub(crate) async fn rules(&self, config_id: &str) -> Result<ListBillRulesResponse, Status> {
        let message = ListBillRulesRequest {
            community_id: HOME.into(),
            config_id: config_id.into(),
            page_size: 1_000,
            ..ListBillRulesRequest::default()
        };
        let mut client = BillRuleServiceClient::new(self.channel.clone());
        client.list_bill_rules(self.request(message)).await.map(tonic::Response::into_inner)
    }
}

/// The reason and the message of a refusal.
pub(crate) fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (String, String) {
    let details = outcome.expect_err("must be refused").get_error_details();
    let reason = details.error_info().map(|i| i.reason.clone()).unwrap_or_default();
    (reason, details.localized_message().map(|m| m.message.clone()).unwrap_or_default())
}

/// The fields that a refusal names.
pub(crate) fn fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<String> {
    let details = outcome.expect_err("must be refused").get_error_details();
    let fields = details.bad_request().map(|b| b.field_violations.iter().map(|v| v.field.clone()).collect());
    fields.unwrap_or_default()
}

/// A refusal as [`refusal`] returns it.
pub(crate) fn refused(reason: &str, message: &str) -> (String, String) {
    (reason.to_owned(), message.to_owned())
}
