//! The calls of `ReceivableService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use communal_kit::call::{begin, begin_stream};
use communal_kit::database::Statement as _;
use communal_kit::refusal::Refusal;
use communal_proto::billing::v1::receivable_service_server::ReceivableService;
use communal_proto::billing::v1::{
    ArrearsFilter, ImportReceivableLinesRequest, ImportReceivableLinesResponse, QueryUserArrearagesRequest,
    QueryUserArrearagesResponse, StreamUserArrearagesRequest, StreamUserArrearagesResponse,
};
use communal_proto::contract::v1::Reason as Common;
use futures::Stream;
use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;

use super::arrears::Wanted;
use super::{import, store};
use crate::answer_too_large;

/// Imports at once: each keeps the keys of its lines in memory and a transaction open.
const IMPORTS_AT_ONCE: usize = 4;
/// Portions of a stream that wait for the client.
const PORTIONS_AHEAD: usize = 2;

/// Limits of receivables.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most lines of an unpaged answer.
    pub arrears_cap: u32,
    /// Most lines of an imported batch.
    pub import_lines: u32,
}

/// Serves receivables.
#[derive(Clone, Debug)]
pub struct ReceivableRpc {
    pool: PgPool,
    limits: Limits,
    imports: Arc<Semaphore>,
}

impl ReceivableRpc {
    /// Receivables of this database.
    #[must_use]
    pub fn new(pool: PgPool, limits: Limits) -> Self {
        Self { pool, limits, imports: Arc::new(Semaphore::new(IMPORTS_AT_ONCE)) }
    }
}

/// Reads the filter; what it asks for that cannot be asked for is one more fault.
fn wanted(filter: Option<&ArrearsFilter>, checker: &mut communal_proto::Checker) -> Wanted {
    filter.map_or_else(Wanted::default, |filter| {
        Wanted::read(filter).unwrap_or_else(|fault| {
            checker.push(fault);
            Wanted::default()
        })
    })
}

#[tonic::async_trait]
impl ReceivableService for ReceivableRpc {
    async fn query_user_arrearages(
        &self,
        request: Request<QueryUserArrearagesRequest>,
    ) -> Result<Response<QueryUserArrearagesResponse>, Status> {
        let mut begun = begin(request)?;
        let wanted = wanted(begun.message.filter.as_ref(), &mut begun.checker);
        let (call, _) = begun.accept()?;
        let cap = i64::from(self.limits.arrears_cap);
        let lines =
            store::arrears(&self.pool, &call.tenant.id, &wanted, cap.saturating_add(1)).await.map_err(Refusal::from)?;
        metrics::histogram!("communal_billing_arrears_lines").record(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        if i64::try_from(lines.len()).is_ok_and(|n| n > cap) {
            let hint = "请按抄表区段或营业网点缩小范围，或使用gRPC接口StreamUserArrearages";
            return Err(answer_too_large(cap, hint).into());
        }
        Ok(Response::new(QueryUserArrearagesResponse { lines }))
    }

    type StreamUserArrearagesStream =
        Pin<Box<dyn Stream<Item = Result<StreamUserArrearagesResponse, Status>> + Send + 'static>>;

    async fn stream_user_arrearages(
        &self,
        request: Request<StreamUserArrearagesRequest>,
    ) -> Result<Response<Self::StreamUserArrearagesStream>, Status> {
        let mut begun = begin(request)?;
        let wanted = wanted(begun.message.filter.as_ref(), &mut begun.checker);
        let (call, _) = begun.accept()?;
        let (portions, stream) = mpsc::channel(PORTIONS_AHEAD);
        let pool = self.pool.clone();
        let sending = async move {
            if let Err(refusal) = stream_arrears(&pool, &call.tenant.id, &wanted, &portions).await {
                // Where the client is gone there is nobody to tell.
                let _ = portions.send(Err(refusal.into())).await;
            }
        };
        // It has the trace of its call, which has been answered by then.
        tokio::spawn(sending.in_current_span());
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    async fn import_receivable_lines(
        &self,
        request: Request<Streaming<ImportReceivableLinesRequest>>,
    ) -> Result<Response<ImportReceivableLinesResponse>, Status> {
        let (call, stream) = begin_stream(request)?;
        let Ok(_place) = self.imports.try_acquire() else {
            let refusal = Refusal::new(Common::Overloaded, "导入任务过多，请稍后重试");
            return Err(refusal.retry_after(Duration::from_secs(5)).into());
        };
        Ok(Response::new(import::import(&self.pool, &call, self.limits.import_lines, stream).await?))
    }
}

/// Sends the arrears in portions, as fast as the client takes them. Ends, and gives the
/// connection back, when the client goes: at once while it waits for the client, after the
/// portion at hand otherwise.
async fn stream_arrears(
    pool: &PgPool,
    caller: &str,
    wanted: &Wanted,
    portions: &mpsc::Sender<Result<StreamUserArrearagesResponse, Status>>,
) -> Result<(), Refusal> {
    let mut transaction = pool.begin_with("BEGIN READ ONLY").named("begin").await?;
    store::open_cursor(&mut transaction, caller, wanted).await?;
    loop {
        let lines = store::next_portion(&mut transaction).await?;
        if lines.is_empty() || portions.send(Ok(StreamUserArrearagesResponse { lines })).await.is_err() {
            transaction.rollback().named("rollback").await?;
            return Ok(());
        }
    }
}
