//! The RPCs of quotes. They have no database: everything is in the request.

use std::pin::Pin;

use communal_kit::refusal::Refusal;
use communal_kit::request::{begin, begin_stream, next};
use communal_proto::billing::v1::fee_quote::Outcome;
use communal_proto::billing::v1::fields::{quote_fees_request, stream_fee_quotes_request};
use communal_proto::billing::v1::quote_service_server::QuoteService;
use communal_proto::billing::v1::{
    FeeQuote, FeeQuoteRefusal, QuoteFeesRequest, QuoteFeesResponse, Reason, StreamFeeQuotesRequest,
    StreamFeeQuotesResponse,
};
use communal_proto::contract::v1::FaultKind;
use communal_proto::{Checked as _, Checker, Fault};
use futures::{Stream, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{MOST_PACKAGES, explained, rules};
use crate::rating::Rates;

/// Serves quotes.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuoteRpc;

#[tonic::async_trait]
impl QuoteService for QuoteRpc {
    async fn quote_fees(&self, request: Request<QuoteFeesRequest>) -> Result<Response<QuoteFeesResponse>, Status> {
        let (_, _, (rates, facts)) = begin(request)?.accept_with(|message, checker| {
            let (package, account) = message.package.as_ref().zip(message.account.as_ref())?;
            let rates = rules::rates(package, quote_fees_request::PACKAGE, checker);
            Some((rates, rules::account(account, quote_fees_request::ACCOUNT, checker)?))
        })?;
        let bill = facts.bill(&rates).map_err(|error| rules::refusal(&error))?;
        Ok(Response::new(QuoteFeesResponse { bill: Some(explained::bill(&bill)) }))
    }

    type StreamFeeQuotesStream = Pin<Box<dyn Stream<Item = Result<StreamFeeQuotesResponse, Status>> + Send + 'static>>;

    async fn stream_fee_quotes(
        &self,
        request: Request<Streaming<StreamFeeQuotesRequest>>,
    ) -> Result<Response<Self::StreamFeeQuotesStream>, Status> {
        let (_, requests) = begin_stream(request)?;
        // Each request is answered when the client takes the answer: nothing waits in memory but the packages.
        let answers = stream::unfold(Some((requests, Packages::default(), 0)), |state| async move {
            let (mut requests, mut packages, row) = state?;
            match next(&mut requests, "数据流中断").await {
                Ok(None) => None,
                Ok(Some(request)) => {
                    let answer = match packages.answer(&request) {
                        Ok(quotes) => StreamFeeQuotesResponse { row, refusal: None, quotes },
                        Err(refused) => {
                            StreamFeeQuotesResponse { row, refusal: Some(refusal(&refused)), quotes: Vec::new() }
                        }
                    };
                    Some((Ok(answer), Some((requests, packages, row + 1))))
                }
                Err(refused) => Some((Err(Status::from(refused)), None)),
            }
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The packages of a stream, in the order in which they were given.
#[derive(Default)]
struct Packages(Vec<(String, Rates)>);

impl Packages {
    /// Takes the package of a request, and quotes its account under all packages. A request with a fault changes nothing.
    fn answer(&mut self, request: &StreamFeeQuotesRequest) -> Result<Vec<FeeQuote>, Refusal> {
        let mut checker = Checker::default();
        request.check(&mut checker);
        if request.package.is_none() && request.account.is_none() {
            checker.push(Fault {
                field: stream_fee_quotes_request::PACKAGE.into(),
                kind: FaultKind::Missing,
                description: "or an account is required".to_owned(),
                text: "套餐和结算户不能都为空".to_owned(),
            });
        }
        let package = request.package.as_ref().map(|package| {
            (&package.package_id, rules::rates(package, stream_fee_quotes_request::PACKAGE, &mut checker))
        });
        let account = request.account.as_ref();
        let facts =
            account.and_then(|account| rules::account(account, stream_fee_quotes_request::ACCOUNT, &mut checker));
        let faults = checker.into_faults();
        if !faults.is_empty() {
            return Err(Refusal::for_faults(faults));
        }
        if let Some((id, rates)) = package {
            self.take(id, rates)?;
        }
        let Some(facts) = facts else { return Ok(Vec::new()) };
        if self.0.is_empty() {
            return Err(Refusal::of(Reason::QuotedPackages));
        }
        let quote = |(id, rates): &(String, Rates)| {
            let outcome = match facts.bill(rates) {
                Ok(bill) => Outcome::Bill(explained::bill(&bill)),
                Err(error) => Outcome::Refusal(refusal(&rules::refusal(&error))),
            };
            FeeQuote { package_id: id.clone(), outcome: Some(outcome) }
        };
        Ok(self.0.iter().map(quote).collect())
    }

    fn take(&mut self, id: &str, rates: Rates) -> Result<(), Refusal> {
        let is_full = self.0.len() == MOST_PACKAGES;
        match self.0.iter_mut().find(|(known, _)| known == id) {
            Some((_, known)) => *known = rates,
            None if is_full => return Err(Refusal::of(Reason::QuotedPackages)),
            None => self.0.push((id.to_owned(), rates)),
        }
        Ok(())
    }
}

/// A refusal as an answer of the stream.
fn refusal(refusal: &Refusal) -> FeeQuoteRefusal {
    FeeQuoteRefusal {
        reason: refusal.reason().to_owned(),
        text: refusal.text().to_owned(),
        fields: refusal.fields().map(ToString::to_string).collect(),
    }
}
