//! The calls of `ReceivableService`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_kit::database::Statement as _;
use communal_kit::pool::{Pool, Transaction};
use communal_kit::refusal::Refusal;
use communal_kit::request::{begin, begin_stream};
use communal_kit::telemetry::boundary::belonging;
use communal_proto::Fault;
use communal_proto::billing::v1::receivable_service_server::ReceivableService;
use communal_proto::billing::v1::{
    ArrearsFilter, ImportReceivableLinesRequest, ImportReceivableLinesResponse, QueryUserArrearagesRequest,
    QueryUserArrearagesResponse, StreamUserArrearagesRequest, StreamUserArrearagesResponse,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use futures::Stream;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::arrears::Wanted;
use super::{Limits, import, store};
use crate::answer_too_large;
use communal_kit::replicas::{Replicas, Source, staleness};

/// Imports at once: each keeps the keys of its lines in memory and a transaction open.
const IMPORTS_AT_ONCE: usize = 4;
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
    /// Receivables of this database and of its replicas, where it has any.
    #[must_use]
    pub fn new(pool: Pool, replicas: Option<Replicas>, limits: Limits) -> Self {
        let imports = Arc::new(Semaphore::new(IMPORTS_AT_ONCE));
        Self { pool, replicas: replicas.map(Arc::new), limits, imports }
    }

    async fn lines_of_primary(&self, caller: &str, wanted: &Wanted, most: i64) -> Result<Vec<Bytes>, sqlx::Error> {
        // Over a connection of its own: through the pool, each row would go through one more stream.
        let mut connection = self.pool.lease().await?;
        let lines = store::arrears(&mut *connection, caller, wanted, most).await?;
        connection.done();
        Ok(lines)
    }

    /// Lines from a replica that is within the limit. Nothing where the primary has to be asked.
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

    /// A cursor on a replica that is within the limit, and its first portion: until that is
    /// there, the primary can still be asked instead.
    async fn cursor_of_replica(
        &self,
        caller: &str,
        wanted: &Wanted,
        limit: Duration,
    ) -> Result<Option<(Cursor, Duration)>, Refusal> {
        let Some(replicas) = &self.replicas else { return Ok(None) };
        let opening = async {
            let pool = replicas.pick(limit)?;
            // Each statement of its own sees what was replayed by then: the cursor not less than
            // what was proved before it.
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

/// Arrears that are being read, and those that were read already.
struct Cursor {
    transaction: Transaction,
    first: Vec<Bytes>,
}

/// How far behind the answer may be; the primary's where nothing is said.
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
    // What is no text is no number either.
    staleness::read_limit(value.to_str().unwrap_or_default()).map(Some)
}

/// Adds a fault of the metadata to those of the request.
fn noted<T>(read: Result<Option<T>, Fault>, checker: &mut communal_proto::Checker) -> Option<T> {
    read.unwrap_or_else(|fault| {
        checker.push(fault);
        None
    })
}

/// An answer; to whoever said how far behind it may be, with how far it is at most.
fn answer<T>(message: T, limit: Option<Duration>, behind: Option<Duration>) -> Response<T> {
    let mut response = Response::new(message);
    if limit.is_some() {
        let shown = behind.map_or(0, staleness::actual_ms);
        response.metadata_mut().insert(staleness::ACTUAL, MetadataValue::from(shown));
    }
    response
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
        let limit = limit(request.metadata());
        let mut begun = begin(request)?;
        let wanted = wanted(begun.message.filter.as_ref(), &mut begun.checker);
        let limit = noted(limit, &mut begun.checker);
        let (call, _) = begun.accept()?;
        let cap = i64::from(self.limits.arrears_cap);
        let most = cap.saturating_add(1);
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
        if i64::try_from(lines.len()).is_ok_and(|n| n > cap) {
            let hint = "请按抄表区段或营业网点缩小范围，或使用gRPC接口StreamUserArrearages";
            return Err(answer_too_large(cap, hint).into());
        }
        Ok(answer(QueryUserArrearagesResponse { lines }, limit, behind))
    }

    type StreamUserArrearagesStream =
        Pin<Box<dyn Stream<Item = Result<StreamUserArrearagesResponse, Status>> + Send + 'static>>;

    async fn stream_user_arrearages(
        &self,
        request: Request<StreamUserArrearagesRequest>,
    ) -> Result<Response<Self::StreamUserArrearagesStream>, Status> {
        let limit = limit(request.metadata());
        let mut begun = begin(request)?;
        let wanted = wanted(begun.message.filter.as_ref(), &mut begun.checker);
        let limit = noted(limit, &mut begun.checker);
        let (call, _) = begun.accept()?;
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
                // Where the client is gone there is nobody to tell.
                let _ = portions.send(Err(refusal.into())).await;
            }
        };
        // It has the trace of its call, which has been answered by then.
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

/// Sends this portion and those after it. Ends, and gives the connection back, when the client
/// goes: at once while it waits for the client, after the portion at hand otherwise.
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
