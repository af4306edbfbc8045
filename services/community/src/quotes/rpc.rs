//! The RPCs of quotes.

use std::pin::Pin;
use std::time::Duration;

use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::refusal::Refusal;
use communal_kit::request::{begin_in_tenant, begin_stream};
use communal_proto::community::v1::quote_service_server::QuoteService;
use communal_proto::community::v1::{
    QuoteFeeRequest, QuoteFeeResponse, QuoteRefusal, StreamQuotesRequest, StreamQuotesResponse,
    stream_quotes_response::Outcome,
};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Checked, Checker};
use futures::{Stream, StreamExt, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{Asked, explained, rules};
use crate::amounts::Pricing;

/// Longest wait for the next message. A sender that is silent longer has gone, even if its connection is
/// still open.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// Serves quotes. It has no database.
#[derive(Clone, Debug)]
pub struct QuoteRpc {
    clock: Clock,
}

impl QuoteRpc {
    /// Serves quotes at the times of a clock.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock }
    }
}

#[tonic::async_trait]
impl QuoteService for QuoteRpc {
    async fn quote_fee(&self, request: Request<QuoteFeeRequest>) -> Result<Response<QuoteFeeResponse>, Status> {
        let (call, _, asked) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_quote)?;
        Ok(Response::new(quote(&asked, self.clock.local(call.at))?))
    }

    type StreamQuotesStream = Pin<Box<dyn Stream<Item = Result<StreamQuotesResponse, Status>> + Send + 'static>>;

    async fn stream_quotes(
        &self,
        request: Request<Streaming<StreamQuotesRequest>>,
    ) -> Result<Response<Self::StreamQuotesStream>, Status> {
        let (call, requests) = begin_stream(request)?;
        let now = self.clock.local(call.at);
        // Each request is answered when the client takes the answer: nothing waits in memory.
        let answers = stream::unfold(Some((requests, 0)), move |state| {
            let call = call.clone();
            async move {
                let (mut requests, row) = state?;
                match next(&mut requests).await {
                    Ok(None) => None,
                    Ok(Some(request)) => Some((Ok(answer(&call, row, &request, now)), Some((requests, row + 1)))),
                    Err(refusal) => Some((Err(Status::from(refusal)), None)),
                }
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

async fn next(requests: &mut Streaming<StreamQuotesRequest>) -> Result<Option<StreamQuotesRequest>, Refusal> {
    match tokio::time::timeout(LONGEST_SILENCE, requests.next()).await {
        Err(silence) => Err(Refusal::new(Common::DeadlineExceeded, "数据流中断").cause(silence)),
        Ok(None) => Ok(None),
        Ok(Some(Ok(message))) => Ok(Some(message)),
        Ok(Some(Err(status))) => Err(Refusal::new(Common::Unavailable, "数据流中断").cause(status)),
    }
}

/// Answers one request of a stream. A refusal is an answer too.
fn answer(call: &Call, row: i64, request: &StreamQuotesRequest, now: NaiveDateTime) -> StreamQuotesResponse {
    let outcome = match checked(call, request).and_then(|asked| quote(&asked, now)) {
        Ok(quote) => Outcome::Quote(quote),
        Err(refusal) => Outcome::Refusal(QuoteRefusal {
            reason: refusal.reason().to_owned(),
            text: refusal.text().to_owned(),
            fields: refusal.fields().map(ToString::to_string).collect(),
        }),
    };
    StreamQuotesResponse { row, outcome: Some(outcome) }
}

/// Checks and reads one request of a stream.
fn checked(call: &Call, request: &StreamQuotesRequest) -> Result<Asked, Refusal> {
    let mut checker = Checker::default();
    request.check(&mut checker);
    let asked = request.quote.as_ref().and_then(|quote| rules::of_quote(quote, &mut checker));
    let faults = checker.into_faults();
    if !faults.is_empty() {
        return Err(Refusal::for_faults(faults));
    }
    let of_tenant = request.quote.as_ref().is_some_and(|quote| quote.community_id == call.tenant.id);
    if !of_tenant {
        return Err(Refusal::of(Common::TenantRefused));
    }
    asked.ok_or_else(|| Refusal::internal("a request without a fault was not read"))
}

fn quote(asked: &Asked, now: NaiveDateTime) -> Result<QuoteFeeResponse, Refusal> {
    let refusal = |error| rules::refusal(&error);
    let pricing = Pricing::new(&asked.item, &asked.payer, &asked.fee).map_err(|error| refusal(error.into()))?;
    let quote = pricing.quote(asked.scope, asked.at.unwrap_or(now)).map_err(refusal)?;
    explained::response(&pricing, &quote).map_err(|error| refusal(error.into()))
}
