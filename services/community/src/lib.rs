//! Community fees (HC): fee items (费用项), the fees and bill rules by which rooms, cars and
//! contracts are charged, the payer objects themselves, and the formula grammar.
//!
//! A folder a noun, and inside it the rules (pure), the store (SQL) and the RPCs. The service
//! owns its database and shares nothing with others; see its README for what it owns and
//! what it promises.

pub mod amounts;
pub mod bill_rules;
pub mod cli;
pub mod config;
pub mod fee_items;
pub mod fees;
pub mod paging;
pub mod payer_objects;
pub mod reasons;
pub mod seed;
pub mod vocabulary;

use std::sync::Arc;

use communal_kit::database;
use communal_kit::identity::Authenticator;
use communal_kit::identity::admin::IdentityRpc;
use communal_kit::pool::Pool;
use communal_kit::server::{Bound, Server};
use communal_kit::server::{LARGEST_REPLY, LARGEST_REQUEST};
use communal_kit::telemetry;
use communal_proto::community::v1::bill_rule_service_server::BillRuleServiceServer;
use communal_proto::community::v1::fee_item_service_server::FeeItemServiceServer;
use communal_proto::community::v1::fee_service_server::FeeServiceServer;
use communal_proto::community::v1::payer_object_service_server::PayerObjectServiceServer;
use communal_proto::identity::v1::identity_service_server::IdentityServiceServer;
use sqlx::PgPool;
use sqlx::migrate::Migrator;
use tonic::service::Routes;

pub use config::Config;

/// The schema of this service, on top of the platform's.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// Sets the limits of a service's messages.
macro_rules! limited {
    ($service:expr) => {
        $service.max_decoding_message_size(LARGEST_REQUEST).max_encoding_message_size(LARGEST_REPLY)
    };
}

/// Opens the ports.
///
/// # Errors
/// Where one is taken, or the database's URL cannot be read.
pub async fn bind(config: &Config) -> anyhow::Result<Bound> {
    telemetry::metrics_handle();
    // From zero, so that the first is seen as a step.
    metrics::describe_counter!("communal_community_item_closures_total", "Fee items stopped, with all that was open");
    metrics::counter!("communal_community_item_closures_total").increment(0);
    let pool = Pool::new(&config.database)?;
    let (sealing, clock) = (config.sealing_key.clone(), config.clock.clone());
    let authenticator = Arc::new(Authenticator::new(
        pool.clone(),
        config::policy(config.token_key.clone()),
        sealing.clone(),
        clock.clone(),
        config.server.authenticator,
    ));
    let items = fee_items::rpc::FeeItemRpc::new(pool.clone(), clock.clone());
    let fees = fees::rpc::FeeRpc::new(pool.clone(), clock.clone());
    let rules = bill_rules::rpc::BillRuleRpc::new(pool.clone(), clock.clone());
    let objects = payer_objects::rpc::PayerObjectRpc::new(pool.clone(), clock.clone());
    let identity = IdentityRpc::new(pool.clone(), sealing, clock, authenticator.clone());
    let routes = Routes::new(limited!(FeeItemServiceServer::new(items)))
        .add_service(limited!(FeeServiceServer::new(fees)))
        .add_service(limited!(BillRuleServiceServer::new(rules)))
        .add_service(limited!(PayerObjectServiceServer::new(objects)))
        .add_service(limited!(IdentityServiceServer::new(identity)));
    Server::new(config.server.clone(), routes, authenticator, pool, &MIGRATOR).bind().await
}

/// Serves until `shutdown` ends, then lets running calls end.
///
/// # Errors
/// Where a port is taken or serving fails.
pub async fn serve(config: &Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    bind(config).await?.serve(shutdown).await
}

/// Brings the schema up to date.
///
/// # Errors
/// Where a migration fails; those before it stay applied.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    database::migrate(pool, &MIGRATOR).await
}
