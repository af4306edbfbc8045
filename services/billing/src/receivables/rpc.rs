//! The methods of `ReceivableService`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use communal_kit::clock::Clock;
use communal_kit::paging::Cap;
use communal_kit::pool::{Lease, Pool};
use communal_kit::portions::{self, Portions};
use communal_kit::refusal::Refusal;
use communal_kit::replicas::{Replicas, Source, staleness};
use communal_kit::request::{begin, begin_stream};
use communal_kit::uploads::Uploads;
use communal_kit::write::write;
use communal_proto::billing::v1::receivable_service_server::ReceivableService;
use communal_proto::billing::v1::{
    ArrearsFilter, ImportReceivableLinesRequest, ImportReceivableLinesResponse, QueryUserArrearagesRequest,
    QueryUserArrearagesResponse, StreamUserArrearagesRequest, StreamUserArrearagesResponse,
    TakeBackReceivableBatchRequest, TakeBackReceivableBatchResponse,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checker, Fault};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::arrears::Wanted;
use super::import::Terms;
use super::{Limits, import, store};
use crate::vocabulary::identifiers::BatchId;

/// Serves receivables.
#[derive(Clone, Debug)]
pub struct ReceivableRpc {
    pool: Pool,
    clock: Clock,
    replicas: Option<Arc<Replicas>>,
    limits: Limits,
    imports: Arc<Uploads>,
    answers: portions::Sender,
}

impl ReceivableRpc {
    /// Serves the receivables of a database, arrears also from its replicas.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock, replicas: Option<Replicas>, limits: Limits) -> Self {
        let imports = Uploads::new("billing", limits.uploads);
        let answers = portions::Sender::new("billing", limits.portions);
        Self { pool, clock, replicas: replicas.map(Arc::new), limits, imports, answers }
    }

    /// The imports that are under way, for other imports to be counted with them.
    #[must_use]
    pub fn imports(&self) -> Arc<Uploads> {
        Arc::clone(&self.imports)
    }

    async fn lines_of_primary(&self, caller: &str, wanted: &Wanted, most: i64) -> Result<Vec<Bytes>, sqlx::Error> {
        // On a connection of its own: through the pool, each row would pass one more stream.
        let mut connection = lease(&self.pool, wanted).await?;
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
            let mut connection = lease(replicas.pick(limit)?, wanted).await?;
            let behind = replicas.prove(&mut connection, limit).await?;
            let lines = store::arrears(&mut *connection, caller, wanted, most).await?;
            connection.done();
            Ok((lines, behind))
        };
        let began = Instant::now();
        Ok(replicas.answered(reading.await, began.elapsed())?)
    }

    /// Returns the next portion from a replica that is within the limit, or `None` if the primary has to be read.
    async fn portion_of_replica(
        &self,
        arrears: &Arrears,
        limit: Duration,
    ) -> Result<Option<(Portion, Duration)>, Refusal> {
        let Some(replicas) = &self.replicas else { return Ok(None) };
        let reading = async {
            let mut connection = lease(replicas.pick(limit)?, &arrears.wanted).await?;
            let behind = replicas.prove(&mut connection, limit).await?;
            let portion = store::portion(&mut *connection, &arrears.caller, &arrears.wanted, &arrears.after).await?;
            connection.done();
            Ok((portion, behind))
        };
        let began = Instant::now();
        Ok(replicas.answered(reading.await, began.elapsed())?)
    }

    /// Returns the next portion, and how far it is behind the primary if a replica gave it. The connection is
    /// given back before it is sent.
    async fn portion(&self, arrears: &Arrears) -> Result<(Portion, Option<Duration>), Refusal> {
        let replica = match arrears.limit {
            Some(limit) => self.portion_of_replica(arrears, limit).await?,
            None => None,
        };
        if let Some((portion, behind)) = replica {
            return Ok((portion, Some(behind)));
        }
        let mut connection = lease(&self.pool, &arrears.wanted).await?;
        let portion = store::portion(&mut *connection, &arrears.caller, &arrears.wanted, &arrears.after).await?;
        connection.done();
        Ok((portion, None))
    }
}

/// Leases a connection for arrears: those of a book are few, those of a company grow with it.
async fn lease(pool: &Pool, wanted: &Wanted) -> Result<Lease, sqlx::Error> {
    if wanted.book_id.is_some() { pool.lease().await } else { pool.lease_for_large_query().await }
}

/// Lines, and the place of the last of them.
type Portion = (Vec<Bytes>, Option<store::Place>);

/// Arrears that are being read.
struct Arrears {
    caller: String,
    wanted: Wanted,
    /// The staleness that the caller allows, of each portion.
    limit: Option<Duration>,
    after: store::Place,
}

/// The stream of arrears, and the portion that was read already.
struct Streamed {
    rpc: ReceivableRpc,
    arrears: Arrears,
    first: Option<Portion>,
}

impl Portions for Streamed {
    type Message = StreamUserArrearagesResponse;

    async fn next(&mut self) -> Result<Option<Self::Message>, Refusal> {
        let (lines, last) = match self.first.take() {
            Some(first) => first,
            None => {
                let (portion, behind) = self.rpc.portion(&self.arrears).await?;
                // A stream that went over to the primary stays there: it does not go back in time.
                self.arrears.limit = self.arrears.limit.filter(|_| behind.is_some());
                portion
            }
        };
        let Some(last) = last else { return Ok(None) };
        self.arrears.after = last;
        Ok(Some(StreamUserArrearagesResponse { lines }))
    }
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

    type StreamUserArrearagesStream = ReceiverStream<Result<StreamUserArrearagesResponse, Status>>;

    async fn stream_user_arrearages(
        &self,
        request: Request<StreamUserArrearagesRequest>,
    ) -> Result<Response<Self::StreamUserArrearagesStream>, Status> {
        let limit = limit(request.metadata());
        let (call, _, (wanted, limit)) =
            begin(request)?.accept_with(|message, checker| query(message.filter.as_ref(), limit, checker))?;
        let mut arrears = Arrears { caller: call.tenant.id, wanted, limit, after: store::Place::default() };
        // Before the answer begins, so that it can still be refused and says how far it is behind.
        let (first, behind) = self.portion(&arrears).await?;
        Source::of(behind).count();
        arrears.limit = limit.filter(|_| behind.is_some());
        let stream = self.answers.stream(Streamed { rpc: self.clone(), arrears, first: Some(first) });
        Ok(answer(stream, limit, behind))
    }

    async fn import_receivable_lines(
        &self,
        request: Request<Streaming<ImportReceivableLinesRequest>>,
    ) -> Result<Response<ImportReceivableLinesResponse>, Status> {
        let (call, stream) = begin_stream(request)?;
        let upload = self.imports.begin(&call)?;
        let terms = Terms { upload, most_lines: self.limits.import_lines, today: self.clock.today() };
        Ok(Response::new(import::import(&self.pool, &call, terms, stream).await?))
    }

    async fn take_back_receivable_batch(
        &self,
        request: Request<TakeBackReceivableBatchRequest>,
    ) -> Result<Response<TakeBackReceivableBatchResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let batch_id = BatchId::from(message.batch_id.as_str());
        let reply = write(&self.pool, &call, &message, async |tx| import::take_back(tx, &call, &batch_id).await);
        Ok(reply.await?)
    }
}
