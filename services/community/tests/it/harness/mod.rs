//! What the tests stand on: the service in this process, over real gRPC, on a database of its
//! own; a caller of it; and requests that are right.

mod caller;
mod samples;

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use communal_community::{Config, MIGRATOR, bind};
use communal_fixtures::TestDatabase;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::config::Reader;
use communal_kit::identity::store::{self, NewChannel};
use communal_kit::identity::{Proof, SealingKey, TenantKind, token};
use communal_kit::secret::Secret;
use sqlx::PgPool;
use tonic::transport::Channel;

pub(crate) use caller::{Caller, fields, refusal, told};
pub(crate) use samples::*;

pub(crate) const TOKEN_KEY: &str = "a key for the tokens of tests, 32+";
pub(crate) const SEALING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The community of most tests; the app and the operator act for it and for OTHER.
pub(crate) const HOME: &str = "10001";
pub(crate) const OTHER: &str = "10002";
/// A community for which no one in these tests acts.
pub(crate) const FOREIGN: &str = "10003";
pub(crate) const APP: &str = "micro-community";
pub(crate) const SIGNING_APP: &str = "demo-app";
pub(crate) const SECRET: &str = "SECRET123";
pub(crate) const OPERATOR: &str = "302023111900000001";
/// Acts for OTHER alone.
pub(crate) const OTHER_OPERATOR: &str = "302023111900000002";
pub(crate) const OPERATOR_NAME: &str = "王小明";

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
        ("drain_notice_ms", "10"),
        ("credentials_cached_ms", "100"),
    ];
    given.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

pub(crate) async fn register(pool: &PgPool) {
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
pub(crate) struct Service {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Clock,
    pub(crate) channel: Channel,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let database = TestDatabase::create("community", &MIGRATOR).await;
        register(&database.pool).await;
        let mut reader = Reader::new(settings(&database.url));
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
        token::issue(&Secret::new(TOKEN_KEY), operator, self.clock.now(), TimeDelta::hours(2)).unwrap()
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

    pub(crate) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql).fetch_one(self.pool()).await.unwrap()
    }
}
