//! The methods of `ReceivableService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_kit::database::Statement as _;
use communal_kit::paging::Cap;
use communal_kit::pool::{Pool, Transaction};
use communal_kit::refusal::Refusal;
use communal_kit::replicas::{Replicas, Source, staleness};
use communal_kit::request::{begin, begin_stream};
use communal_kit::telemetry::boundary::belonging;
use communal_proto::billing::v1::receivable_service_server::ReceivableService;
use communal_proto::billing::v1::{
    ArrearsFilter, ImportReceivableLinesRequest, ImportReceivableLinesResponse, QueryUserArrearagesRequest,
    QueryUserArrearagesResponse, StreamUserArrearagesRequest, StreamUserArrearagesResponse,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checker, Fault};
use futures::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::arrears::Wanted;
use super::{Limits, import, store};

/// Concurrent imports: each keeps the keys of its lines in memory and a transaction open.
const CONCURRENT_IMPORTS: usize = 4;
/// Portions of a stream that wait for the client.
const PORTIONS_AHEAD: usize = 2;

/// Serves receivables.
#[derive(Clone, Debug)]
pub struct ReceivableRpc {
    pool: Pool,
    replicas: Option<Arc<Replicas>>,
    limits: Limits,
    imports: Arc<Semaphore>,
}

impl ReceivableRpc {
    /// Serves the receivables of a database, arrears also from its replicas.
    #[must_use]
    pub fn new(pool: Pool, replicas: Option<Replicas>, limits: Limits) -> Self {
        let imports = Arc::new(Semaphore::new(CONCURRENT_IMPORTS));
        Self { pool, replicas: replicas.map(Arc::new), limits, imports }
    }

    async fn lines_of_primary(&self, caller: &str, wanted: &Wanted, most: i64) -> Result<Vec<Bytes>, sqlx::Error> {
        // On a connection of its own: through the pool, each row would pass one more stream.
        let mut connection = self.pool.lease().await?;
        let lines = store::arrears(&mut *connection, caller, wanted, most).await?;
        connection.done();
        Ok(lines)
    }

    /// Returns lines and staleness from a replica that is within the limit, or `None` if the primary has to
    /// be read.
    async fn lines_of_replica(
        &self,
        caller: &str,
        wanted: &Wanted,
        most: i64,
        limit: Duration,
    ) -> Result<Option<(Vec<Bytes>, Duration)>, Refusal> {
        let Some(replicas) = &self.replicas else { return Ok(None) };
        let reading = async {
            let mut connection = replicas.pick(limit)?.lease().await?;
            let behind = replicas.prove(&mut connection, limit).await?;
            let lines = store::arrears(&mut *connection, caller, wanted, most).await?;
            connection.done();
            Ok((lines, behind))
        };
        let began = Instant::now();
        Ok(replicas.answered(reading.await, began.elapsed())?)
    }

    /// Opens a cursor on a replica that is within the limit and reads its first portion; returns `None` if the
    /// primary has to be read. Until the first portion is there, the primary can still be read instead.
    async fn cursor_of_replica(
        &self,
        caller: &str,
        wanted: &Wanted,
        limit: Duration,
    ) -> Result<Option<(Cursor, Duration)>, Refusal> {
        let Some(replicas) = &self.replicas else { return Ok(None) };
        let opening = async {
            let pool = replicas.pick(limit)?;
            // Each statement sees everything that was replayed before it: the cursor at least what was
            // proved.
            let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY";
            let mut transaction = pool.begin_with(begin).named("begin").await?;
            let behind = replicas.prove(&mut transaction, limit).await?;
            store::open_cursor(&mut transaction, caller, wanted).await?;
            let first = store::next_portion(&mut transaction).await?;
            Ok((Cursor { transaction, first }, behind))
        };
        let began = Instant::now();
        Ok(replicas.answered(opening.await, began.elapsed())?)
    }
}

/// Arrears that are being read, and the portion that was read already.
struct Cursor {
    transaction: Transaction,
    first: Vec<Bytes>,
}

/// Reads the staleness that the caller allows; `None` if it is not given.
fn limit(metadata: &MetadataMap) -> Result<Option<Duration>, Fault> {
    let mut values = metadata.get_all(staleness::LIMIT).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Fault {
            field: staleness::LIMIT.into(),
            kind: FaultKind::Repeated,
            description: "is given more than once".into(),
            text: format!("{}重复出现", staleness::LIMIT),
        });
    }
    // A value that is no text is no number either.
    staleness::read_limit(value.to_str().unwrap_or_default()).map(Some)
}

/// Builds the response; adds the actual staleness if the caller sent a limit.
fn answer<T>(message: T, limit: Option<Duration>, behind: Option<Duration>) -> Response<T> {
    let mut response = Response::new(message);
    if limit.is_some() {
        let shown = behind.map_or(0, staleness::actual_ms);
        response.metadata_mut().insert(staleness::ACTUAL, MetadataValue::from(shown));
    }
    response
}

/// Reads the filter and the allowed staleness of a query; faults go to the checker.
fn query(
    filter: Option<&ArrearsFilter>,
    limit: Result<Option<Duration>, Fault>,
    checker: &mut Checker,
) -> Option<(Wanted, Option<Duration>)> {
    let wanted = filter.map_or_else(|| Ok(Wanted::default()), Wanted::read).map_err(|fault| checker.push(fault));
    let limit = limit.map_err(|fault| checker.push(fault));
    Some((wanted.ok()?, limit.ok()?))
}

#[tonic::async_trait]
impl ReceivableService for ReceivableRpc {
    async fn query_user_arrearages(
        &self,
        request: Request<QueryUserArrearagesRequest>,
    ) -> Result<Response<QueryUserArrearagesResponse>, Status> {
        let limit = limit(request.metadata());
        let (call, _, (wanted, limit)) =
            begin(request)?.accept_with(|message, checker| query(message.filter.as_ref(), limit, checker))?;
        let cap = Cap::of(self.limits.arrears_cap);
        let most = cap.limit();
        let replica = match limit {
            Some(limit) => self.lines_of_replica(&call.tenant.id, &wanted, most, limit).await?,
            None => None,
        };
        let (lines, behind) = match replica {
            Some((lines, behind)) => (lines, Some(behind)),
            None => (self.lines_of_primary(&call.tenant.id, &wanted, most).await.map_err(Refusal::from)?, None),
        };
        Source::of(behind).count();
        metrics::histogram!("communal_billing_arrears_lines").record(u32::try_from(lines.len()).unwrap_or(u32::MAX));
        let lines = cap.check(lines, "请按抄表区段或营业网点缩小范围，或使用gRPC接口StreamUserArrearages")?;
        Ok(answer(QueryUserArrearagesResponse { lines }, limit, behind))
    }

    type StreamUserArrearagesStream =
        Pin<Box<dyn Stream<Item = Result<StreamUserArrearagesResponse, Status>> + Send + 'static>>;

    async fn stream_user_arrearages(
        &self,
        request: Request<StreamUserArrearagesRequest>,
    ) -> Result<Response<Self::StreamUserArrearagesStream>, Status> {
        let limit = limit(request.metadata());
        let (call, _, (wanted, limit)) =
            begin(request)?.accept_with(|message, checker| query(message.filter.as_ref(), limit, checker))?;
        let replica = match limit {
            Some(limit) => self.cursor_of_replica(&call.tenant.id, &wanted, limit).await?,
            None => None,
        };
        let (cursor, behind) = replica.unzip();
        Source::of(behind).count();
        let (portions, stream) = mpsc::channel(PORTIONS_AHEAD);
        let pool = self.pool.clone();
        let sending = async move {
            let sent = match cursor {
                Some(Cursor { transaction, first }) => send_portions(transaction, first, &portions).await,
                None => stream_arrears(&pool, &call.tenant.id, &wanted, &portions).await,
            };
            if let Err(refusal) = sent {
                // Fails only if the client is gone.
                let _ = portions.send(Err(refusal.into())).await;
            }
        };
        // The task belongs to the trace of its call, which has been answered by then.
        tokio::spawn(belonging(sending));
        Ok(answer(Box::pin(ReceiverStream::new(stream)), limit, behind))
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

/// Sends the arrears of the primary in portions, as fast as the client takes them.
async fn stream_arrears(
    pool: &Pool,
    caller: &str,
    wanted: &Wanted,
    portions: &mpsc::Sender<Result<StreamUserArrearagesResponse, Status>>,
) -> Result<(), Refusal> {
    let mut transaction = pool.begin_with("BEGIN READ ONLY").named("begin").await?;
    store::open_cursor(&mut transaction, caller, wanted).await?;
    let first = store::next_portion(&mut transaction).await?;
    send_portions(transaction, first, portions).await
}

/// Sends this portion and those after it. Ends and releases the connection when the client goes: at
/// once while it waits for the client, else after the current portion.
async fn send_portions(
    mut transaction: Transaction,
    first: Vec<Bytes>,
    portions: &mpsc::Sender<Result<StreamUserArrearagesResponse, Status>>,
) -> Result<(), Refusal> {
    let mut lines = first;
    loop {
        if lines.is_empty() || portions.send(Ok(StreamUserArrearagesResponse { lines })).await.is_err() {
            transaction.rollback().named("rollback").await?;
            return Ok(());
        }
        lines = store::next_portion(&mut transaction).await?;
    }
}
