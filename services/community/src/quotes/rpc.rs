//! The RPCs of quotes.

use std::pin::Pin;

use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::{begin_in_tenant, begin_stream, next};
use communal_proto::FieldPath;
use communal_proto::community::v1::quote_service_server::QuoteService;
use communal_proto::community::v1::{
    QuoteFeeRequest, QuoteFeeResponse, QuoteRefusal, Reason, StreamQuotesRequest, StreamQuotesResponse,
    stream_quotes_response::Outcome,
};
use communal_proto::contract::v1::Reason as Common;
use communal_proto::{Checked, Checker};
use futures::{Stream, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{Asked, Given, Of, explained, rules};
use crate::amounts::Pricing;
use crate::fees;

/// Serves quotes.
#[derive(Clone, Debug)]
pub struct QuoteRpc {
    pool: Pool,
    clock: Clock,
}

impl QuoteRpc {
    /// Serves quotes of the fees of a database, at the times of a clock.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }
}

#[tonic::async_trait]
impl QuoteService for QuoteRpc {
    async fn quote_fee(&self, request: Request<QuoteFeeRequest>) -> Result<Response<QuoteFeeResponse>, Status> {
        let (call, _, asked) = begin_in_tenant(request, |m| &m.community_id)?.accept_with(rules::of_quote)?;
        Ok(Response::new(quote(&self.pool, &call, &asked, self.clock.local(call.at)).await?))
    }

    type StreamQuotesStream = Pin<Box<dyn Stream<Item = Result<StreamQuotesResponse, Status>> + Send + 'static>>;

    async fn stream_quotes(
        &self,
        request: Request<Streaming<StreamQuotesRequest>>,
    ) -> Result<Response<Self::StreamQuotesStream>, Status> {
        let (call, requests) = begin_stream(request)?;
        let (pool, now) = (self.pool.clone(), self.clock.local(call.at));
        // Each request is answered when the client takes the answer: nothing waits in memory.
        let answers = stream::unfold(Some((requests, 0)), move |state| {
            let (pool, call) = (pool.clone(), call.clone());
            async move {
                let (mut requests, row) = state?;
                match next(&mut requests, "数据流中断").await {
                    Ok(None) => None,
                    Ok(Some(request)) => {
                        let answer = answer(&pool, &call, row, &request, now).await;
                        Some((Ok(answer), Some((requests, row + 1))))
                    }
                    Err(refusal) => Some((Err(Status::from(refusal)), None)),
                }
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Answers one request of a stream. A refusal is an answer too.
async fn answer(
    pool: &Pool,
    call: &Call,
    row: i64,
    request: &StreamQuotesRequest,
    now: NaiveDateTime,
) -> StreamQuotesResponse {
    let quoted = match checked(call, request) {
        Ok(asked) => quote(pool, call, &asked, now).await,
        Err(refusal) => Err(refusal),
    };
    let outcome = match quoted {
        Ok(quote) => Outcome::Quote(quote),
        Err(refusal) => Outcome::Refusal(QuoteRefusal {
            reason: refusal.reason().to_owned(),
            text: refusal.text().to_owned(),
            fields: refusal.fields().map(FieldPath::proto_path).collect(),
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

/// Quotes at `now`, unless the request says when.
async fn quote(pool: &Pool, call: &Call, asked: &Asked, now: NaiveDateTime) -> Result<QuoteFeeResponse, Refusal> {
    let now = asked.at.unwrap_or(now);
    let of = |pricing: &Pricing<'_>| -> Result<QuoteFeeResponse, Refusal> {
        let refusal = |error| rules::refusal(&error);
        let quote = pricing.quote(asked.scope, now).map_err(refusal)?;
        explained::response(pricing, &quote).map_err(|error| refusal(error.into()))
    };
    match &asked.of {
        Of::Given(given) => {
            let Given { item, payer, fee } = given.as_ref();
            of(&Pricing::new(item, payer, fee).map_err(|error| rules::refusal(&error.into()))?)
        }
        Of::Stored(fee_id) => {
            let found = fees::store::with_facts(pool, call, fee_id).await?;
            let (row, facts) = found.ok_or_else(|| Refusal::of(Reason::FeeNotFound))?;
            facts.priced(&row, |pricing, _| of(pricing)).map_err(|error| fees::rules::amount_refusal(&error))?
        }
    }
}
