//! The service in this process, over real gRPC, on a database of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use communal_community::{Config, MIGRATOR, bind};
use communal_kit::call::Call;
use communal_kit::call::Tenant;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::config::Reader;
use communal_kit::identity::store::{self, NewChannel};
use communal_kit::identity::{Proof, SealingKey, TenantKind, token};
use communal_kit::secret::Secret;
use communal_kit::test_support::TestDatabase;
use communal_proto::community::v1::bill_rule_service_client::BillRuleServiceClient;
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::fee_service_client::FeeServiceClient;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use communal_proto::community::v1::*;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Request, Status};
use tonic_types::StatusExt;

pub const TOKEN_KEY: &str = "a key for the tokens of tests, 32+";
pub const SEALING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The community of most tests; the app and the operator act for it and for OTHER.
pub const HOME: &str = "10001";
pub const OTHER: &str = "10002";
/// A community that exists and that nobody here acts for.
pub const FOREIGN: &str = "10003";
pub const APP: &str = "micro-community";
pub const SIGNING_APP: &str = "demo-app";
pub const SECRET: &str = "SECRET123";
pub const OPERATOR: &str = "302023111900000001";
/// Acts for OTHER alone.
pub const OTHER_OPERATOR: &str = "302023111900000002";
pub const OPERATOR_NAME: &str = "王小明";

/// 2024-03-20 10:30:00 in Shanghai.
pub fn morning() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 3, 20, 2, 30, 0).unwrap()
}

pub fn settings(database_url: &str) -> BTreeMap<String, String> {
    let given = [
        ("community_database_url", database_url),
        ("community_addr", "127.0.0.1:0"),
        ("community_admin_addr", "127.0.0.1:0"),
        ("token_key", TOKEN_KEY),
        ("sealing_key", SEALING_KEY),
        ("drain_notice_ms", "10"),
        ("credentials_cached_ms", "100"),
    ];
    given.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

pub async fn register(pool: &PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    for (id, name) in [(HOME, "阳光花园"), (OTHER, "翠湖雅苑"), (FOREIGN, "别家小区")] {
        store::register_tenant(&mut connection, id, TenantKind::Community, name).await.unwrap();
    }
    let ours = [HOME.to_owned(), OTHER.to_owned()];
    let sealing = SealingKey::parse(&Secret::new(SEALING_KEY)).unwrap();
    for (channel_id, proof, key) in
        [(APP, Proof::None, None), (SIGNING_APP, Proof::Signature, Some(Secret::new(SECRET)))]
    {
        let new = NewChannel {
            channel_id,
            name: channel_id,
            proof,
            admin: false,
            tenant_ids: &ours,
            methods: &[],
            key,
            valid_for: None,
        };
        store::add_channel(&mut connection, &new, Some(&sealing), morning()).await.unwrap();
    }
    store::register_operator(&mut connection, OPERATOR, OPERATOR_NAME, &ours).await.unwrap();
    store::register_operator(&mut connection, OTHER_OPERATOR, "李四", &[OTHER.to_owned()]).await.unwrap();
}

/// A running service.
pub struct Service {
    pub database: TestDatabase,
    pub address: SocketAddr,
    pub clock: Clock,
    pub channel: Channel,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub async fn start() -> Self {
        let database = TestDatabase::create("community", &MIGRATOR).await;
        register(&database.pool).await;
        let mut reader = Reader::new(settings(&database.url));
        let clock = Clock::fixed(DEFAULT_ZONE, morning());
        let config = Config { clock: clock.clone(), ..Config::read(&mut reader) };
        reader.finish().unwrap();
        let bound = bind(&config).await.unwrap();
        let address = bound.address;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(bound.serve(async move { drop(stopped.await) }));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { database, address, clock, channel, stop, serving }
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap().unwrap();
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// The operator of both communities, through the app that proves nothing.
    pub fn caller(&self) -> Caller {
        Caller::new(self.channel.clone(), self.token(OPERATOR))
    }

    pub fn token(&self, operator: &str) -> String {
        token::issue(&Secret::new(TOKEN_KEY), operator, self.clock.now(), TimeDelta::hours(2)).unwrap()
    }

    pub fn advance(&self, by: TimeDelta) {
        self.clock.set(self.clock.now() + by);
    }

    /// The call as the store sees it.
    pub fn call(&self) -> Call {
        Call {
            tenant: Tenant { id: HOME.into(), kind: TenantKind::Community },
            operator_id: OPERATOR.into(),
            operator_name: OPERATOR_NAME.into(),
            channel_id: APP.into(),
            request_id: None,
            trace_id: "trace".into(),
            method: "/test".into(),
            at: self.clock.now(),
        }
    }

    /// Registers `count` rooms in the home community and tells their identifiers.
    pub async fn rooms(&self, count: usize) -> Vec<String> {
        let ids: Vec<String> = (0..count).map(|n| format!("ROOM{n:06}")).collect();
        for ids in ids.chunks(5_000) {
            let objects = ids.iter().map(|id| room(id)).collect();
            self.caller().register(HOME, objects).await.unwrap();
        }
        ids
    }

    /// Saves an item and tells its identifier.
    pub async fn item(&self, name: &str) -> String {
        self.caller().save(save(name)).await.unwrap();
        self.caller().named(name).await.config_id
    }

    pub async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }
}

/// A client with its credentials.
#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    pub metadata: Vec<(&'static str, String)>,
}

impl Caller {
    /// Whoever the token speaks for, through the app that proves nothing.
    pub fn new(channel: Channel, token: String) -> Self {
        let metadata = vec![("x-channel-id", APP.to_owned()), ("authorization", format!("Bearer {token}"))];
        Self { channel, metadata }
    }

    /// Sets or replaces metadata; an empty value removes it.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        self.metadata.retain(|(n, _)| *n != name);
        if !value.is_empty() {
            self.metadata.push((name, value));
        }
        self
    }

    /// The same caller with a request id.
    pub fn id(&self, request_id: &str) -> Self {
        self.clone().with("x-request-id", request_id)
    }

    fn request<M>(&self, message: M) -> Request<M> {
        let mut request = Request::new(message);
        for (name, value) in &self.metadata {
            request.metadata_mut().insert(*name, value.parse().unwrap());
        }
        request
    }

    fn items(&self) -> FeeItemServiceClient<Channel> {
        FeeItemServiceClient::new(self.channel.clone()).max_decoding_message_size(64 << 20)
    }

    pub async fn save(&self, message: SaveFeeConfigRequest) -> Result<(), Status> {
        self.items().save_fee_config(self.request(message)).await.map(drop)
    }

    pub async fn update(&self, message: UpdateFeeConfigRequest) -> Result<(), Status> {
        self.items().update_fee_config(self.request(message)).await.map(drop)
    }

    pub async fn delete(&self, config_id: &str) -> Result<(), Status> {
        let message = DeleteFeeConfigRequest { config_id: config_id.into(), community_id: HOME.into() };
        self.items().delete_fee_config(self.request(message)).await.map(drop)
    }

    pub async fn list(&self, message: ListFeeConfigsRequest) -> Result<ListFeeConfigsResponse, Status> {
        self.items().list_fee_configs(self.request(message)).await.map(tonic::Response::into_inner)
    }

    pub async fn history(&self, message: QueryHisFeeConfigRequest) -> Result<QueryHisFeeConfigResponse, Status> {
        self.items().query_his_fee_config(self.request(message)).await.map(tonic::Response::into_inner)
    }

    /// The live item of a name in the home community.
    pub async fn named(&self, name: &str) -> FeeConfig {
        let found = self.list(ListFeeConfigsRequest { fee_name_eq: name.into(), ..list() }).await.unwrap();
        found.fee_configs.into_iter().next().unwrap()
    }

    pub async fn register(&self, community: &str, payer_objects: Vec<PayerObject>) -> Result<(), Status> {
        let message = RegisterPayerObjectsRequest { community_id: community.into(), payer_objects };
        let mut client = PayerObjectServiceClient::new(self.channel.clone());
        client.register_payer_objects(self.request(message)).await.map(drop)
    }

    pub async fn objects(&self, message: ListPayerObjectsRequest) -> Result<ListPayerObjectsResponse, Status> {
        let mut client = PayerObjectServiceClient::new(self.channel.clone());
        client.list_payer_objects(self.request(message)).await.map(tonic::Response::into_inner)
    }

    /// Creates a fee on each object from 2024-01-01 on.
    pub async fn charge(&self, config_id: &str, objects: &[String]) -> Result<Vec<String>, Status> {
        self.create_fees(fees(config_id, objects)).await
    }

    pub async fn create_fees(&self, message: CreateFeesRequest) -> Result<Vec<String>, Status> {
        let mut client = FeeServiceClient::new(self.channel.clone());
        client.create_fees(self.request(message)).await.map(|r| r.into_inner().fee_ids)
    }

    pub async fn fees(&self, message: ListFeesRequest) -> Result<ListFeesResponse, Status> {
        let mut client = FeeServiceClient::new(self.channel.clone());
        client.list_fees(self.request(message)).await.map(tonic::Response::into_inner)
    }

    /// All fees of an item, page by page.
    pub async fn all_fees(&self, config_id: &str, state: FeeState) -> Vec<Fee> {
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

    /// Creates a bill rule on each object from 2024-01-01 on.
    pub async fn bill(&self, config_id: &str, objects: &[String]) -> Result<Vec<String>, Status> {
        let message = CreateBillRulesRequest {
            community_id: HOME.into(),
            config_id: config_id.into(),
            rules: objects
                .iter()
                .map(|id| NewBillRule {
                    payer_obj_id: id.clone(),
                    start_time: "2024-01-01".into(),
                    ..NewBillRule::default()
                })
                .collect(),
        };
        let mut client = BillRuleServiceClient::new(self.channel.clone());
        client.create_bill_rules(self.request(message)).await.map(|r| r.into_inner().rule_ids)
    }

    pub async fn rules(&self, config_id: &str) -> Result<ListBillRulesResponse, Status> {
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

/// The reason and the words of a refusal.
pub fn refusal<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (String, String) {
    let details = outcome.expect_err("must be refused").get_error_details();
    let reason = details.error_info().map(|i| i.reason.clone()).unwrap_or_default();
    (reason, details.localized_message().map(|m| m.message.clone()).unwrap_or_default())
}

/// The fields that a refusal names.
pub fn fields<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Vec<String> {
    let details = outcome.expect_err("must be refused").get_error_details();
    let fields = details.bad_request().map(|b| b.field_violations.iter().map(|v| v.field.clone()).collect());
    fields.unwrap_or_default()
}

/// A refusal as [`refusal`] tells it.
pub fn told(reason: &str, words: &str) -> (String, String) {
    (reason.to_owned(), words.to_owned())
}

/// A complete save.
pub fn save(name: &str) -> SaveFeeConfigRequest {
    SaveFeeConfigRequest {
        fee_type_cd: FeeType::Property.into(),
        fee_name: name.into(),
        fee_flag: FeeFlag::Periodic.into(),
        start_time: "2024-01-01".into(),
        end_time: "2050-12-31".into(),
        computing_formula: "1001".into(),
        square_price: "2.5".into(),
        additional_amount: "100".into(),
        community_id: HOME.into(),
        bill_type: BillType::Monthly.into(),
        payment_cd: PaymentTiming::Prepaid.into(),
        payment_cycle: "1".into(),
        ..SaveFeeConfigRequest::default()
    }
}

/// An update that says what [`save`] said.
pub fn update(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest {
        config_id: config_id.into(),
        fee_type_cd: FeeType::Property.into(),
        fee_name: name.into(),
        fee_flag: FeeFlag::Periodic.into(),
        start_time: "2024-01-01".into(),
        end_time: "2050-12-31".into(),
        computing_formula: "1001".into(),
        square_price: "2.5".into(),
        additional_amount: "100".into(),
        community_id: HOME.into(),
        bill_type: BillType::Monthly.into(),
        ..UpdateFeeConfigRequest::default()
    }
}

/// The same update that stops the item.
pub fn stop(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest { state: ItemState::Stopped.into(), ..update(config_id, name) }
}

/// The same update that takes the item into use again.
pub fn reopen(config_id: &str, name: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest { state: ItemState::InUse.into(), ..update(config_id, name) }
}

/// A list of everything in the home community.
pub fn list() -> ListFeeConfigsRequest {
    ListFeeConfigsRequest { page: 1, row: 500, community_id: HOME.into(), ..ListFeeConfigsRequest::default() }
}

/// The whole history of the home community.
pub fn history() -> QueryHisFeeConfigRequest {
    QueryHisFeeConfigRequest { page: 1, row: 500, community_id: HOME.into(), ..QueryHisFeeConfigRequest::default() }
}

/// The fees of an item, as many as a page holds.
pub fn list_fees(config_id: &str) -> ListFeesRequest {
    ListFeesRequest {
        community_id: HOME.into(),
        config_id: config_id.into(),
        page_size: 1_000,
        ..ListFeesRequest::default()
    }
}

/// A fee on each object from 2024-01-01 on.
pub fn fees(config_id: &str, objects: &[String]) -> CreateFeesRequest {
    CreateFeesRequest {
        community_id: HOME.into(),
        config_id: config_id.into(),
        fees: objects
            .iter()
            .map(|id| NewFee { payer_obj_id: id.clone(), start_time: "2024-01-01".into(), ..NewFee::default() })
            .collect(),
    }
}

/// A room.
pub fn room(id: &str) -> PayerObject {
    PayerObject {
        payer_obj_id: id.into(),
        payer_obj_type: PayerObjectType::Room.into(),
        name: format!("{id}室"),
        built_up_area: "88.88".into(),
        fee_coefficient: "1.2".into(),
        layer: 3,
        ..PayerObject::default()
    }
}
