//! The service in this process, over real gRPC, on a database of its own; a caller of it; and
//! requests that are right.

mod caller;
mod samples;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use communal_community::{Config, MIGRATOR, bind};
use communal_fixtures::TestDatabase;
use communal_fixtures::credentials::community as credentials;
use communal_kit::call::{Call, Tenant};
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::config::Reader;
use communal_kit::identity::TenantKind;
use communal_kit::write::announce;
use sqlx::{AssertSqlSafe, PgPool};
use tonic::transport::Channel;

pub(crate) use caller::{Caller, fields, refusal, refused};
pub(crate) use communal_fixtures::credentials::community::{
    APP, FOREIGN, GATEWAY_KEY, HOME, OPERATOR, OPERATOR_NAME, OTHER, OTHER_OPERATOR, SEALING_KEY, SECRET, SIGNING_APP,
    TOKEN_KEY,
};
pub(crate) use samples::*;

/// 2024-03-20 10:30:00 in Shanghai.
pub(crate) fn morning() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2024, 3, 20, 2, 30, 0).unwrap()
}

pub(crate) fn settings(database_url: &str) -> BTreeMap<String, String> {
    let given = [
        ("community_database_url", database_url),
        ("community_addr", "127.0.0.1:0"),
        ("community_admin_addr", "127.0.0.1:0"),
        ("token_key", TOKEN_KEY),
        ("sealing_key", SEALING_KEY),
        ("gateway_key", GATEWAY_KEY),
        ("drain_notice_ms", "10"),
        ("credentials_cached_ms", "100"),
    ];
    given.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

/// Registers the communities, apps and operators of the tests.
pub(crate) async fn register(pool: &PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    credentials::register(&mut connection).await.unwrap();
}

/// A running service.
pub(crate) struct Service {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Clock,
    pub(crate) channel: Channel,
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// A service with settings of its own.
    pub(crate) async fn start_with(given: &[(&str, &str)]) -> Self {
        let database = TestDatabase::create("community", &MIGRATOR).await;
        register(&database.pool).await;
        let mut settings = settings(&database.url);
        settings.extend(given.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let mut reader = Reader::new(settings);
        let clock = Clock::fixed(DEFAULT_ZONE, morning());
        let config = Config { clock: clock.clone(), ..Config::read(&mut reader) };
        reader.finish().unwrap();
        let bound = bind(&config).await.unwrap();
        let address = bound.address;
        tokio::spawn(bound.serve(std::future::pending()));
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { database, clock, channel }
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    /// The operator of both communities, through the app that proves nothing.
    pub(crate) fn caller(&self) -> Caller {
        Caller::new(self.channel.clone(), self.token(OPERATOR))
    }

    pub(crate) fn token(&self, operator: &str) -> String {
        credentials::token(operator, self.clock.now())
    }

    pub(crate) fn advance(&self, by: TimeDelta) {
        self.clock.set(self.clock.now() + by);
    }

    /// Registers `count` rooms in the home community and returns their identifiers.
    pub(crate) async fn rooms(&self, count: usize) -> Vec<String> {
        let ids: Vec<String> = (0..count).map(|n| format!("ROOM{n:06}")).collect();
        for ids in ids.chunks(5_000) {
            let objects = ids.iter().map(|id| room(id)).collect();
            self.caller().register(HOME, objects).await.unwrap();
        }
        ids
    }

    /// Saves an item and returns its identifier.
    pub(crate) async fn item(&self, name: &str) -> String {
        self.caller().save(save(name)).await.unwrap();
        self.caller().named(name).await.config_id
    }

    /// Runs a statement that no call makes, as an actor of its own.
    pub(crate) async fn execute(&self, statement: &'static str) {
        let tenant = Tenant { id: HOME.into(), kind: TenantKind::Community };
        let mut transaction = self.pool().begin().await.unwrap();
        announce(&mut transaction, &Call::internal(tenant, "test", self.clock.now())).await.unwrap();
        sqlx::query(AssertSqlSafe(statement)).execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
    }

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }
}
