//! The peer of the arrears row as a process: it answers the same call from 61 columns through a struct, a message of 61 fields
//! and prost. Usage: `struct-peer LISTEN DATABASE_URL`

use std::convert::Infallible;
use std::net::SocketAddr;

use anyhow::Context;
use communal_bench::columns::{COLUMNS, StoredLine};
use communal_proto::billing::v1::{QueryUserArrearagesRequest, ReceivableLine};
use futures::TryStreamExt;
use futures::future::BoxFuture;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, PgPool};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// The allocator of the services, because allocators are not compared.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The reply with its lines as messages; the contract's reply has them as bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Reply {
    #[prost(message, repeated, tag = "1")]
    lines: Vec<ReceivableLine>,
}

#[derive(Clone)]
struct Arrears {
    pool: PgPool,
    statement: &'static str,
}

impl Arrears {
    async fn lines(&self, tenant: &str, book: &str) -> Result<Vec<ReceivableLine>, sqlx::Error> {
        let rows = sqlx::query(self.statement).bind(tenant).bind(book).fetch(&self.pool);
        rows.and_then(|row| async move { StoredLine::read(&row).map(StoredLine::into_message) }).try_collect().await
    }
}

impl UnaryService<QueryUserArrearagesRequest> for Arrears {
    type Response = Reply;
    type Future = BoxFuture<'static, Result<Response<Reply>, Status>>;

    fn call(&mut self, request: Request<QueryUserArrearagesRequest>) -> Self::Future {
        let arrears = self.clone();
        Box::pin(async move {
            let tenant = request.metadata().get("x-tenant-id").and_then(|v| v.to_str().ok()).unwrap_or_default();
            let book = request.get_ref().filter.as_ref().map(|f| f.book_id.as_str()).unwrap_or_default();
            let lines = arrears.lines(tenant, book).await.map_err(|error| Status::internal(error.to_string()))?;
            Ok(Response::new(Reply { lines }))
        })
    }
}

impl Service<http::Request<Body>> for Arrears {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let arrears = self.clone();
        Box::pin(async move {
            let codec: ProstCodec<Reply, QueryUserArrearagesRequest> = ProstCodec::default();
            Ok(Grpc::new(codec).unary(arrears, request).await)
        })
    }
}

impl NamedService for Arrears {
    const NAME: &'static str = "communal.billing.v1.ReceivableService";
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, url] = arguments.as_slice() else { anyhow::bail!("usage: struct-peer LISTEN DATABASE_URL") };
    let address: SocketAddr = listen.parse().context("not an address")?;
    let pool = PgPoolOptions::new()
        .max_connections(communal_bench::stage::CONNECTIONS)
        .test_before_acquire(false)
        .connect(url)
        .await?;
    let statement = format!(
        "SELECT {} FROM arrears_line WHERE NOT settled AND retail_company_id = $1 AND book_id = $2 \
         ORDER BY book_id, settlement_account_id, account_month, charge_off_id",
        COLUMNS.join(", ")
    );
    // The statement is made once and lives as long as the process.
    let statement: &'static str = statement.leak();
    let _ = AssertSqlSafe(statement);
    Server::builder().add_service(Arrears { pool, statement }).serve(address).await?;
    Ok(())
}
