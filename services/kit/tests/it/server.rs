//! A service as its callers and operators meet it: credentials, health, deadlines, drain.
//! The administration of credentials is the one interface every service has, so it is what
//! is called here.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, TimeZone, Utc};
use communal_fixtures::TestDatabase;
use communal_kit::administration::IdentityRpc;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::database::DatabaseSettings;
use communal_kit::delivery::{Undelivered, undelivered};
use communal_kit::identity::authenticator::AuthenticatorSettings;
use communal_kit::identity::policy::OperatorSource;
use communal_kit::identity::store::{self, NewChannel};
use communal_kit::identity::{Authenticator, Policy, Proof, TenantKind, Wording};
use communal_kit::pool::{Lease, Pool};
use communal_kit::refusal::Refusal;
use communal_kit::secret::Secret;
use communal_kit::server::{Server, ServerLimits, ServerSettings, Services};
use communal_kit::tls::PemFiles;
use communal_proto::contract::v1::Reason;
use communal_proto::identity::v1 as pb;
use communal_proto::identity::v1::identity_service_client::IdentityServiceClient;
use communal_proto::identity::v1::identity_service_server::IdentityServiceServer;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sqlx::migrate::Migrator;
use sqlx::{Connection as _, PgConnection};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic::transport::Channel;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

static NO_MIGRATIONS: Migrator = Migrator::DEFAULT;
/// Places for calls.
pub(crate) const CONNECTIONS: u32 = 6;
pub(crate) const ADMIN_KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
static WORDING: Wording = Wording {
    channel_missing: "no channel",
    credentials: "refused",
    request_id: "request id",
    request_time: "request time",
    operator: "operator",
    tenant: "tenant",
    method: "may not call {method}",
    role: |_| Refusal::of(Reason::TenantRefused),
};

pub(crate) struct Service {
    database: TestDatabase,
    /// That of the service, made as services make it.
    pub(crate) pool: Pool,
    pub(crate) address: SocketAddr,
    pub(crate) admin_address: SocketAddr,
    clock: Clock,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(Duration::from_secs(60), Duration::from_secs(5)).await
    }

    async fn start_with(connection_age: Duration, drain_limit: Duration) -> Self {
        Self::start_within(connection_age, drain_limit, |_| {}).await
    }

    /// A service whose limits are changed for a test.
    pub(crate) async fn within(change: impl FnOnce(&mut ServerLimits)) -> Self {
        Self::start_within(Duration::from_secs(60), Duration::from_secs(20), change).await
    }

    async fn start_within(
        connection_age: Duration,
        drain_limit: Duration,
        change: impl FnOnce(&mut ServerLimits),
    ) -> Self {
        let database = TestDatabase::create("kit", &NO_MIGRATIONS).await;
        let clock = Clock::fixed(DEFAULT_ZONE, Utc.with_ymd_and_hms(2024, 3, 1, 0, 0, 0).unwrap());
        let mut connection = database.pool.acquire().await.unwrap();
        store::register_tenant(&mut connection, "S1", TenantKind::RetailCompany, "one").await.unwrap();
        for (channel_id, admin) in [("admin", true), ("plain", false)] {
            let new = NewChannel {
                channel_id,
                name: channel_id,
                proof: Proof::Key,
                admin,
                tenant_ids: &["S1".to_owned()],
                methods: &[],
                key: Some(Secret::new(ADMIN_KEY)),
                valid_for: Some(TimeDelta::days(10)),
            };
            store::add_channel(&mut connection, &new, None, clock.now()).await.unwrap();
        }
        drop(connection);
        let policy = Policy {
            proofs: &[Proof::Key],
            tenant_kinds: &[TenantKind::RetailCompany],
            operator: OperatorSource::Metadata,
            longest_identifier: 16,
            request_time_window: TimeDelta::minutes(15),
            administration: &[],
            wording: &WORDING,
        };
        let pool = Pool::new(&DatabaseSettings {
            url: Secret::new(database.url.clone()),
            connections: CONNECTIONS,
            statement_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(10),
            acquire_timeout: Duration::from_secs(5),
        })
        .unwrap();
        let settings = AuthenticatorSettings {
            cached_for: Duration::from_millis(50),
            calls_per_second: None,
            ..AuthenticatorSettings::default()
        };
        let authenticator = Arc::new(Authenticator::new(pool.clone(), policy, None, clock.clone(), settings.clone()));
        let rpc = IdentityRpc::new(pool.clone(), None, clock.clone(), authenticator.clone());
        let services = Services::default().with(IdentityServiceServer::new(rpc.clone()));
        let administration = Services::default().with(IdentityServiceServer::new(rpc));
        let mut limits = ServerLimits { calls: 4, deadline: Duration::from_secs(10), ..ServerLimits::default() };
        change(&mut limits);
        let settings = ServerSettings {
            service: "kit",
            address: ([127, 0, 0, 1], 0).into(),
            admin_address: ([127, 0, 0, 1], 0).into(),
            identity_address: Some(([127, 0, 0, 1], 0).into()),
            limits,
            gzip_from: NonZeroUsize::new(1),
            connection_age,
            drain_notice: Duration::from_millis(200),
            drain_limit,
            authenticator: settings,
            tls: PemFiles::default(),
        };
        let server = Server::new(settings, services, authenticator, pool.clone(), &NO_MIGRATIONS);
        let server = server.administered_by(administration);
        let bound = server.bind().await.unwrap();
        let (address, admin_address) = (bound.address, bound.admin_address);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(bound.serve(async move { drop(stopped.await) }));
        Self { database, pool, address, admin_address, clock, stop: Some(stop), serving }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn list(&self, credentials: &[(&'static str, &str)]) -> Result<Vec<pb::Channel>, tonic::Status> {
        let mut request = Request::new(pb::ListChannelsRequest {});
        for (key, value) in credentials {
            request.metadata_mut().insert(*key, value.parse().unwrap());
        }
        let mut client = IdentityServiceClient::new(self.channel().await);
        client.list_channels(request).await.map(|r| r.into_inner().channels)
    }

    pub(crate) async fn health(&self, name: &str) -> i32 {
        let mut client = HealthClient::new(self.channel().await);
        let request = HealthCheckRequest { service: name.into() };
        client.check(request).await.unwrap().into_inner().status
    }

    pub(crate) async fn http(&self, path: &str) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(self.admin_address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

pub(crate) fn credentials<'a>(channel: &'a str, key: &'a str) -> [(&'static str, &'a str); 2] {
    [("x-channel-id", channel), ("x-channel-key", key)]
}

#[tokio::test]
async fn whatever_is_wrong_with_credentials_the_answer_is_the_same() {
    let service = Service::start().await;
    let other_key = "f".repeat(64);
    let unknown = service.list(&credentials("nobody", ADMIN_KEY)).await.unwrap_err();
    let wrong = service.list(&credentials("admin", &other_key)).await.unwrap_err();
    let none = service.list(&[("x-channel-id", "admin")]).await.unwrap_err();
    assert_eq!(service.list(&credentials("admin", ADMIN_KEY)).await.unwrap().len(), 2);

    service.clock.set(service.clock.now() + TimeDelta::days(10));
    let expired = service.list(&credentials("admin", ADMIN_KEY)).await.unwrap_err();
    for refused in [&unknown, &wrong, &none, &expired] {
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert_eq!((refused.message(), refused.details()), (unknown.message(), unknown.details()));
    }
    let missing = service.list(&[]).await.unwrap_err();
    assert_eq!(missing.get_details_error_info().unwrap().reason, "CHANNEL_MISSING");
}

#[tokio::test]
async fn only_an_administrator_administers_and_a_disabled_channel_is_out() {
    let service = Service::start().await;
    let refused = service.list(&credentials("plain", ADMIN_KEY)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(refused.get_details_error_info().unwrap().reason, "METHOD_NOT_GRANTED");

    service.list(&credentials("admin", ADMIN_KEY)).await.unwrap();
    let mut connection = service.database.pool.acquire().await.unwrap();
    store::disable_channel(&mut connection, "admin", service.clock.now()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(service.list(&credentials("admin", ADMIN_KEY)).await.unwrap_err().code(), Code::Unauthenticated);
}

/// A request of the administrator.
fn by_admin<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    for (key, value) in credentials("admin", ADMIN_KEY) {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_key_rotates_without_a_gap() {
    let service = Service::start().await;
    let request = pb::RotateChannelKeyRequest { channel_id: "admin".into(), overlap_hours: 1, valid_days: 0 };
    let request = by_admin(request);
    let mut client = IdentityServiceClient::new(service.channel().await);
    let new_key = client.rotate_channel_key(request).await.unwrap().into_inner().key;
    assert_eq!(new_key.len(), 64);
    tokio::time::sleep(Duration::from_millis(100)).await;
    for key in [ADMIN_KEY, &new_key] {
        service.list(&credentials("admin", key)).await.unwrap();
    }
    service.clock.set(service.clock.now() + TimeDelta::hours(1));
    service.list(&credentials("admin", &new_key)).await.unwrap();
    assert_eq!(service.list(&credentials("admin", ADMIN_KEY)).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_faulty_request_names_its_fields() {
    let service = Service::start().await;
    let request = by_admin(pb::AddChannelRequest {
        channel_id: "has space".into(),
        name: "n".repeat(65),
        proof: pb::Proof::Unspecified.into(),
        valid_days: -1,
        ..Default::default()
    });
    let refused = IdentityServiceClient::new(service.channel().await).add_channel(request).await.unwrap_err();
    let fields: Vec<_> =
        refused.get_details_bad_request().unwrap().field_violations.into_iter().map(|v| v.field).collect();
    assert_eq!(fields, ["channel_id", "name", "proof", "valid_days"]);
    assert_eq!(service.list(&credentials("admin", ADMIN_KEY)).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_tenant_that_is_registered_again_stays_and_is_renamed_by_the_call_for_it() {
    let service = Service::start().await;
    let mut client = IdentityServiceClient::new(service.channel().await);
    let mut register = async |kind: TenantKind, name: &str| {
        let tenant = pb::Tenant { tenant_id: "S1".into(), kind: kind.into(), name: name.into() };
        let request = by_admin(pb::RegisterTenantRequest { tenant: Some(tenant) });
        client.register_tenant(request).await.map(drop)
    };
    register(TenantKind::RetailCompany, "one").await.unwrap();
    let refused = register(TenantKind::RetailCompany, "two").await.unwrap_err();
    let details = refused.get_error_details();
    let named: Vec<_> = details.bad_request().unwrap().field_violations.iter().map(|f| f.field.as_str()).collect();
    assert_eq!(named, ["tenant.name"]);
    assert!(refused.message().contains("named one") && refused.message().contains("RenameTenant"), "{refused:?}");
    let names =
        async || store::tenants(&service.pool).await.unwrap().into_iter().map(|(_, name)| name).collect::<Vec<_>>();
    assert_eq!(names().await, ["one"], "nothing is renamed in passing");

    let mut client = IdentityServiceClient::new(service.channel().await);
    let rename = |id: &str| by_admin(pb::RenameTenantRequest { tenant_id: id.into(), name: "two".into() });
    client.rename_tenant(rename("S1")).await.unwrap();
    assert_eq!(names().await, ["two"]);
    let unknown = client.rename_tenant(rename("S2")).await.unwrap_err();
    assert!(unknown.message().contains("S2"), "{unknown:?}");
}

#[tokio::test]
async fn health_needs_no_credentials_and_readiness_ends_before_the_service_does() {
    const SERVING: i32 = 1;
    const NOT_SERVING: i32 = 2;
    let mut service = Service::start().await;
    for name in ["", "readiness", "liveness"] {
        assert_eq!(service.health(name).await, SERVING, "{name}");
    }
    assert!(service.http("/readyz").await.starts_with("HTTP/1.1 200"));
    assert!(service.http("/metrics").await.contains("communal_build_info"));

    service.stop.take().unwrap().send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(service.health("readiness").await, NOT_SERVING);
    assert_eq!(service.health("liveness").await, SERVING);
    assert!(service.http("/readyz").await.starts_with("HTTP/1.1 503"));
    service.list(&credentials("admin", ADMIN_KEY)).await.expect("calls are still answered while others notice");
    tokio::time::timeout(Duration::from_secs(6), service.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_deadline_is_exceeded_and_not_cancelled() {
    let service = Service::start().await;
    let _lock = lock_that_calls_wait_for(&service).await;
    let mut request = Request::new(pb::ListChannelsRequest {});
    for (key, value) in credentials("admin", ADMIN_KEY) {
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    request.metadata_mut().insert("grpc-timeout", "1500m".parse().unwrap());
    // tonic's channel has a clock of its own, and on a busy machine it could be the first to end the call.
    let without_clock = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<tonic::body::Body>();
    let address = format!("http://{}", service.address).parse().unwrap();
    let mut client = IdentityServiceClient::with_origin(without_clock, address);
    let refused = client.list_channels(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::DeadlineExceeded);
}

/// A lock that each call has to wait for, until its transaction ends.
async fn lock_that_calls_wait_for(service: &Service) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut transaction = service.database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE platform.channel").execute(&mut *transaction).await.unwrap();
    transaction
}

#[tokio::test]
async fn beyond_the_ceiling_a_client_with_one_connection_is_refused_and_told_when_to_come_back() {
    let service = Service::start().await;
    let lock = lock_that_calls_wait_for(&service).await;
    let client = IdentityServiceClient::new(service.channel().await);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let mut client = client.clone();
        let mut request = Request::new(pb::ListChannelsRequest {});
        for (key, value) in credentials("admin", ADMIN_KEY) {
            request.metadata_mut().insert(key, value.parse().unwrap());
        }
        calls.spawn(async move { client.list_channels(request).await });
    }
    // Four are carried out, and wait; the others need not.
    for _ in 0..8 {
        let refused = calls.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(refused.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    }
    lock.rollback().await.unwrap();
    while let Some(call) = calls.join_next().await {
        assert_eq!(call.unwrap().unwrap().into_inner().channels.len(), 2);
    }
}

#[tokio::test]
async fn a_service_whose_connections_are_all_in_use_stays_ready() {
    const SERVING: i32 = 1;
    let service = Service::start().await;
    eventually(|| async { service.health("readiness").await == SERVING }).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(service.pool.lease().await.unwrap());
    }
    let of_its_own = service.pool.driver().acquire().await.unwrap();
    // Longer than readiness waits for an answer of the database.
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(service.health("readiness").await, SERVING);
    }
    drop((held, of_its_own));
}

#[tokio::test]
async fn connections_that_died_unused_are_gone_before_the_service_is_ready_again() {
    let service = Service::start().await;
    let ready = || async { service.http("/readyz").await.starts_with("HTTP/1.1 200") };
    eventually(ready).await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(service.pool.lease().await.unwrap());
    }
    idle.into_iter().for_each(Lease::done);
    let mut other = PgConnection::connect(&service.database.owner_url).await.unwrap();
    let ended: i64 = sqlx::query_scalar(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )
    .fetch_one(&mut other)
    .await
    .unwrap();
    assert!(ended >= 7, "{ended}");
    eventually(|| async { !ready().await }).await;
    eventually(ready).await;
    for _ in 0..12 {
        service.list(&credentials("admin", ADMIN_KEY)).await.expect("no call meets a dead connection");
        // Longer than credentials are cached, so that each call needs the database.
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_has_had_its_time_ends_and_loses_no_call() {
    let service = Service::start_with(Duration::from_millis(50), Duration::from_millis(200)).await;
    let began = tokio::time::Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    let opened = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let opened = Arc::clone(&opened);
        let connector = tower::service_fn(move |address: http::Uri| {
            opened.fetch_add(1, Ordering::Relaxed);
            async move {
                let stream = TcpStream::connect(address.authority().map_or("", |a| a.as_str())).await?;
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        let endpoint = Channel::from_shared(format!("http://{}", service.address)).unwrap();
        let channel = endpoint.connect_with_connector_lazy(connector);
        callers.spawn(async move {
            let mut lost = Vec::new();
            while began.elapsed() < Duration::from_secs(2) {
                let mut request = Request::new(pb::ListChannelsRequest {});
                for (key, value) in credentials("admin", ADMIN_KEY) {
                    request.metadata_mut().insert(key, value.parse().unwrap());
                }
                match IdentityServiceClient::new(channel.clone()).list_channels(request).await {
                    Ok(_) => {}
                    // It may be made again at once, on a new connection.
                    Err(status) if undelivered(&status) == Some(Undelivered::TurnedAway) => {}
                    Err(status) => lost.push(status),
                }
            }
            lost
        });
    }
    while let Some(caller) = callers.join_next().await {
        let lost = caller.unwrap();
        assert!(lost.is_empty(), "{lost:?}");
    }
    // Each caller has one connection at a time, so more than three were opened only if some ended.
    assert!(opened.load(Ordering::Relaxed) > 3, "no connection ended");
}

/// Waits until a condition holds, for at most ten seconds.
pub(crate) async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    for _ in 0..500 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("did not happen within ten seconds");
}
