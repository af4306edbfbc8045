//! The whole product in this process, on two databases of its own, with credentials and
//! nothing else in them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chrono::Utc;
use communal_kit::clock::Clock;
use communal_kit::config::Reader;
use communal_kit::identity::store::{self, NewChannel};
use communal_kit::identity::{Proof, SealingKey, TenantKind, token};
use communal_kit::secret::Secret;
use communal_kit::test_support::TestDatabase;
use communal_standalone::{Settings, start};
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
pub(crate) const NETWORK: &str = "N000000000000001";
pub(crate) const RETAIL: &str = "S000000000000001";
pub(crate) const OTHER_RETAIL: &str = "S000000000000002";
pub(crate) const TOKEN_KEY: &str = "a key for the tokens of tests, 32+";
pub(crate) const SEALING_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OPERATOR: &str = "302023111900000001";

/// A running product.
pub(crate) struct Product {
    pub(crate) billing_database: TestDatabase,
    pub(crate) community_database: TestDatabase,
    pub(crate) gateway: SocketAddr,
    pub(crate) billing: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Product {
    /// Two databases with credentials.
    pub(crate) async fn databases() -> (TestDatabase, TestDatabase) {
        let billing = TestDatabase::create("billing", &communal_billing::MIGRATOR).await;
        let community = TestDatabase::create("community", &communal_community::MIGRATOR).await;
        billing_credentials(&billing.pool).await;
        community_credentials(&community.pool).await;
        (billing, community)
    }

    pub(crate) async fn start() -> Self {
        let (billing_database, community_database) = Self::databases().await;
        let settings = [
            ("billing_database_url", billing_database.url.as_str()),
            ("community_database_url", &community_database.url),
            ("billing_addr", "127.0.0.1:0"),
            ("billing_admin_addr", "127.0.0.1:0"),
            ("community_addr", "127.0.0.1:0"),
            ("community_admin_addr", "127.0.0.1:0"),
            ("gateway_addr", "127.0.0.1:0"),
            ("gateway_admin_addr", "127.0.0.1:0"),
            ("token_key", TOKEN_KEY),
            ("sealing_key", SEALING_KEY),
            ("drain_notice_ms", "10"),
        ];
        let settings: BTreeMap<_, _> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let running = start(Settings::read(Reader::new(settings)).unwrap()).await.unwrap();
        let (gateway, billing) = (running.gateway, running.billing);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(running.until(async move { drop(stopped.await) }));
        Self {
            billing_database,
            community_database,
            gateway,
            billing,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            token: operator_token(),
            stop,
            serving,
        }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap().unwrap();
    }

    /// Posts a body as it is to an EPEIS interface.
    pub(crate) async fn epeis(&self, path: &str, body: &Value) -> Reply {
        let request = self.http.post(format!("http://{}{path}", self.gateway)).body(body.to_string());
        Reply::of(request.send().await.unwrap()).await
    }

    /// Calls an HC command: a body for POST, a query for GET.
    pub(crate) async fn hc(&self, method: &str, code: &str, request: &Value, transaction_id: &str) -> Reply {
        let url = format!("http://{}/app/{code}", self.gateway);
        let builder = if method == "POST" {
            self.http.post(url).body(request.to_string())
        } else {
            let pairs = request.as_object().unwrap().iter();
            let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
            self.http.get(url).query(&pairs.map(|(k, v)| (k.clone(), text(v))).collect::<Vec<_>>())
        };
        let builder = builder
            .header("app-id", "micro-community")
            .header("transaction-id", transaction_id)
            .header("req-time", "20240301083000")
            .bearer_auth(&self.token);
        Reply::of(builder.send().await.unwrap()).await
    }

    /// A digest of everything that is stored, but the credentials.
    pub(crate) async fn stored(&self) -> String {
        format!("{}{}", digest(&self.billing_database.pool).await, digest(&self.community_database.pool).await)
    }
}

/// A token of the operator of both communities.
pub(crate) fn operator_token() -> String {
    token::issue(&Secret::new(TOKEN_KEY), OPERATOR, Utc::now(), chrono::TimeDelta::hours(1)).unwrap()
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Reply {
    async fn of(response: reqwest::Response) -> Self {
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("no JSON ({e}): {text}"));
        Self { status, text, json }
    }
}

/// The credentials that an EPEIS body carries.
pub(crate) fn sys_head(tenant: &str) -> Value {
    serde_json::json!({
        "CHANNEL_DID": "C000000000000001",
        "DYNAMIC_KEY": KEY,
        "REGISTER_DID": "R000000000000001",
        "ACCOUNT_DID": tenant,
    })
}

async fn billing_credentials(pool: &PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let now = Clock::system(communal_kit::clock::DEFAULT_ZONE).now();
    for (tenant, kind) in [
        (NETWORK, TenantKind::NetworkCompany),
        (RETAIL, TenantKind::RetailCompany),
        (OTHER_RETAIL, TenantKind::RetailCompany),
    ] {
        store::register_tenant(&mut connection, tenant, kind, tenant).await.unwrap();
    }
    let tenants = [NETWORK, RETAIL, OTHER_RETAIL].map(str::to_owned);
    let channel = NewChannel {
        channel_id: "C000000000000001",
        name: "test",
        proof: Proof::Key,
        admin: false,
        tenant_ids: &tenants,
        methods: &[],
        key: Some(Secret::new(KEY)),
        valid_for: None,
    };
    store::add_channel(&mut connection, &channel, None, now).await.unwrap();
    store::register_operator(&mut connection, "R000000000000001", "操作员", &tenants).await.unwrap();
}

async fn community_credentials(pool: &PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    let now = Clock::system(communal_kit::clock::DEFAULT_ZONE).now();
    let tenants = ["10001", "10002"].map(str::to_owned);
    for tenant in &tenants {
        store::register_tenant(&mut connection, tenant, TenantKind::Community, tenant).await.unwrap();
    }
    let sealing = SealingKey::parse(&Secret::new(SEALING_KEY)).unwrap();
    for (channel_id, proof) in [("micro-community", Proof::None), ("demo-app", Proof::Signature)] {
        let channel = NewChannel {
            channel_id,
            name: channel_id,
            proof,
            admin: false,
            tenant_ids: &tenants,
            methods: &[],
            key: Some(Secret::new("SECRET123")),
            valid_for: None,
        };
        store::add_channel(&mut connection, &channel, Some(&sealing), now).await.unwrap();
    }
    store::register_operator(&mut connection, OPERATOR, "管理员", &tenants).await.unwrap();
}

async fn digest(pool: &PgPool) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
         WHERE table_type = 'BASE TABLE' AND (table_schema = 'public' OR table_name = 'answered_request')
         ORDER BY 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert!(tables.len() > 3, "{tables:?}");
    let mut digest = String::new();
    for table in tables {
        let query = format!("SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t");
        let rows: String = sqlx::query_scalar(sqlx::AssertSqlSafe(query)).fetch_one(pool).await.unwrap();
        digest.push_str(&format!("{table}={rows};"));
    }
    digest
}
