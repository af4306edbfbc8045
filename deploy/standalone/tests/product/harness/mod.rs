//! What the product's tests share: two databases with credentials and nothing else in them ([`Databases`]), the whole
//! product in this process on top of them ([`Product`]), and a process of its own ([`process`]).

pub(crate) mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use chrono::Utc;
use communal_fixtures::TestDatabase;
use communal_fixtures::credentials::{billing, community};
use communal_kit::config::Reader;
use communal_standalone::{Settings, start};
use serde_json::Value;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// The databases of both services, with credentials.
pub(crate) struct Databases {
    pub(crate) billing: TestDatabase,
    pub(crate) community: TestDatabase,
}

impl Databases {
    pub(crate) async fn create() -> Self {
        let billing = TestDatabase::create("billing", &communal_billing::MIGRATOR).await;
        let community = TestDatabase::create("community", &communal_community::MIGRATOR).await;
        billing::register(&mut billing.pool.acquire().await.unwrap()).await.unwrap();
        community::register(&mut community.pool.acquire().await.unwrap()).await.unwrap();
        Self { billing, community }
    }

    /// A digest of everything that is stored except credentials.
    pub(crate) async fn digest(&self) -> String {
        format!("{}{}", digest(&self.billing.pool).await, digest(&self.community.pool).await)
    }
}

/// The product in this process.
pub(crate) struct Product {
    pub(crate) databases: Databases,
    pub(crate) gateway: SocketAddr,
    pub(crate) http: reqwest::Client,
    pub(crate) token: String,
    billing: SocketAddr,
    community: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Product {
    pub(crate) async fn start() -> Self {
        let databases = Databases::create().await;
        let settings = [
            ("billing_database_url", databases.billing.url.as_str()),
            ("community_database_url", &databases.community.url),
            ("billing_addr", "127.0.0.1:0"),
            ("billing_admin_addr", "127.0.0.1:0"),
            ("community_addr", "127.0.0.1:0"),
            ("community_admin_addr", "127.0.0.1:0"),
            ("gateway_addr", "127.0.0.1:0"),
            ("gateway_admin_addr", "127.0.0.1:0"),
            ("token_key", community::TOKEN_KEY),
            ("sealing_key", community::SEALING_KEY),
            ("drain_notice_ms", "10"),
        ];
        let settings: BTreeMap<_, _> = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let running = start(Settings::read(Reader::new(settings)).unwrap()).await.unwrap();
        let (gateway, billing, community) = (running.gateway, running.billing, running.community);
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(running.until(async move { drop(stopped.await) }));
        let http = client();
        Self { databases, gateway, http, token: operator_token(), billing, community, stop, serving }
    }

    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.serving.await.unwrap().unwrap();
    }

    /// A connection to billing's gRPC port.
    pub(crate) async fn billing(&self) -> Channel {
        connect(self.billing).await
    }

    /// A connection to community's gRPC port.
    pub(crate) async fn community(&self) -> Channel {
        connect(self.community).await
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
            .header("app-id", community::APP)
            .header("transaction-id", transaction_id)
            .header("req-time", "20240301083000")
            .bearer_auth(&self.token);
        Reply::of(builder.send().await.unwrap()).await
    }
}

/// A client that ignores the proxies of the environment.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// A connection to a gRPC port.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A token of the operator of both communities, valid now.
pub(crate) fn operator_token() -> String {
    community::token(community::OPERATOR, Utc::now())
}

/// The credentials that an EPEIS body carries.
pub(crate) fn sys_head(tenant: &str) -> Value {
    serde_json::json!({
        "CHANNEL_DID": billing::CHANNEL,
        "DYNAMIC_KEY": billing::KEY,
        "REGISTER_DID": billing::OPERATOR,
        "ACCOUNT_DID": tenant,
    })
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
