//! Community fees (HC): fee items (费用项), the fees and bill rules by which rooms, cars and
//! contracts are charged, the payer objects themselves, and the formula grammar.
//!
//! One folder a noun, and in it the types and rules (pure), the store (SQL) and the RPCs. The
//! service owns its database and shares nothing with others; see its README for what it owns and
//! what it guarantees.
//!
//! # Lock order
//!
//! A transaction claims its request id first ([`communal_kit::write`]), then locks owners and payer
//! objects in the order of their identifiers, then the settings of the community, then a fee item, then a
//! batch, then bill rules, then fees. Only registering locks payer objects; charging them refers to them by foreign key,
//! and registering does not wait for that. Each function that locks says so.

pub mod amounts;
pub mod bill_rules;
pub mod charging;
pub mod cli;
pub mod config;
pub mod fee_items;
pub mod fees;
pub mod payer_objects;
pub mod quotes;
pub mod seed;
pub mod vocabulary;

use std::sync::Arc;

use chrono::TimeDelta;
use communal_kit::administration::IdentityRpc;
use communal_kit::database;
use communal_kit::identity::policy::OperatorSource;
use communal_kit::identity::{Authenticator, Policy, Proof, TenantKind, Wording};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::secret::Secret;
use communal_kit::server::{Bound, LARGEST_REPLY, LARGEST_REQUEST, Server, Services};
use communal_kit::telemetry;
use communal_proto::community::v1::bill_rule_service_server::BillRuleServiceServer;
use communal_proto::community::v1::charging_service_server::ChargingServiceServer;
use communal_proto::community::v1::community_service_server::CommunityServiceServer;
use communal_proto::community::v1::fee_item_service_server::FeeItemServiceServer;
use communal_proto::community::v1::fee_service_server::FeeServiceServer;
use communal_proto::community::v1::payer_object_service_server::PayerObjectServiceServer;
use communal_proto::community::v1::quote_service_server::QuoteServiceServer;
use communal_proto::contract::v1::Reason;
use communal_proto::identity::v1::identity_service_server::IdentityServiceServer;
use sqlx::PgPool;
use sqlx::migrate::Migrator;

pub use config::Config;
use fee_items::rpc::CLOSURES;

/// The schema of this service, on top of the platform's.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// The largest difference between the time of a signed request and the clock.
const REQUEST_TIME_WINDOW: TimeDelta = TimeDelta::minutes(15);

/// The documented messages for refused credentials.
static WORDING: Wording = Wording {
    channel_missing: "鉴权失败：APP_ID 为空或不正确",
    credentials: "鉴权失败：签名失败",
    request_id: "鉴权失败：TRANSACTION_ID 不能为空",
    request_time: "鉴权失败：requestTime 格式不对，遵循yyyyMMddHHmmss格式",
    operator: "您还没有登录，请先登录",
    tenant: "传入小区ID非法，请正常操作",
    method: "鉴权失败：AppId 没有权限访问 serviceCode = {method}",
    // No method of the service is for another kind of tenant.
    role: |_| Refusal::of(Reason::TenantRefused),
};

/// Authentication policy: HC apps prove themselves by a signature, a key, or by the operator's
/// token alone.
#[must_use]
pub fn policy(token_key: Secret) -> Policy {
    Policy {
        proofs: &[Proof::Key, Proof::Signature, Proof::None],
        tenant_kinds: &[TenantKind::Community],
        operator: OperatorSource::Token(token_key),
        // That of `communityId`.
        longest_identifier: 30,
        request_time_window: REQUEST_TIME_WINDOW,
        administration: &[],
        wording: &WORDING,
    }
}

/// Sets the limits of a service's messages.
macro_rules! limited {
    ($service:expr) => {
        $service.max_decoding_message_size(LARGEST_REQUEST).max_encoding_message_size(LARGEST_REPLY)
    };
}

/// Describes the metrics of this service. Counters begin at zero, so that the first event is seen
/// as a step.
fn describe_metrics() {
    telemetry::metrics_handle();
    metrics::describe_counter!(CLOSURES, "Fee items stopped, with all that was open");
    metrics::counter!(CLOSURES).increment(0);
}

/// Opens the ports.
///
/// # Errors
/// Returns an error if a port is taken or the database's URL cannot be read.
pub async fn bind(config: &Config) -> anyhow::Result<Bound> {
    describe_metrics();
    let pool = Pool::new(&config.database)?;
    let (sealing, clock) = (config.sealing_key.clone(), config.clock.clone());
    let authenticator = Arc::new(Authenticator::new(
        pool.clone(),
        policy(config.token_key.clone()),
        sealing.clone(),
        clock.clone(),
        config.server.authenticator.clone(),
    ));
    let items = fee_items::rpc::FeeItemRpc::new(pool.clone(), clock.clone());
    let fees = fees::rpc::FeeRpc::new(pool.clone(), clock.clone());
    let rules = bill_rules::rpc::BillRuleRpc::new(pool.clone(), clock.clone());
    let objects = payer_objects::rpc::PayerObjectRpc::new(pool.clone());
    let settings = payer_objects::settings::rpc::CommunityRpc::new(pool.clone());
    let charging = charging::rpc::ChargingRpc::new(pool.clone(), clock.clone());
    let quotes = quotes::rpc::QuoteRpc::new(pool.clone(), clock.clone());
    let identity = IdentityRpc::new(pool.clone(), sealing, clock, authenticator.clone());
    let services = Services::default()
        .with(limited!(FeeItemServiceServer::new(items)))
        .with(limited!(FeeServiceServer::new(fees)))
        .with(limited!(BillRuleServiceServer::new(rules)))
        .with(limited!(PayerObjectServiceServer::new(objects)))
        .with(limited!(ChargingServiceServer::new(charging)))
        .with(limited!(CommunityServiceServer::new(settings)))
        .with(limited!(QuoteServiceServer::new(quotes)));
    let administration = Services::default().with(IdentityServiceServer::new(identity));
    let server = Server::new(config.server.clone(), services, authenticator, pool, &MIGRATOR);
    server.administered_by(administration).bind().await
}

/// Serves until `shutdown` ends, then lets running calls end.
///
/// # Errors
/// Returns an error if a port is taken or serving fails.
pub async fn serve(config: &Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    bind(config).await?.serve(shutdown).await
}

/// Brings the schema up to date.
///
/// # Errors
/// Returns an error if a migration fails; those before it stay applied.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    database::migrate(pool, &MIGRATOR).await
}
