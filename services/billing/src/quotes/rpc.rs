//! The RPCs of quotes. A stored account is read; nothing is written.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;

use chrono::NaiveDateTime;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::Statement as _;
use communal_kit::dates::to_number;
use communal_kit::objections::Objections;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::{begin, begin_stream, next};
use communal_kit::write::announce;
use communal_proto::billing::v1::fee_quote::Outcome;
use communal_proto::billing::v1::fields::stream_fee_quotes_request;
use communal_proto::billing::v1::quote_service_server::QuoteService;
use communal_proto::billing::v1::{
    FeeQuote, FeeQuoteRefusal, NormalRetroType, QuoteFeesRequest, QuoteFeesResponse, Reason, StreamFeeQuotesRequest,
    StreamFeeQuotesResponse,
};
use communal_proto::contract::v1::{FaultKind, Reason as Common};
use communal_proto::{Checked as _, Checker, Fault, FieldPath};
use futures::{Stream, stream};
use sqlx::PgConnection;
use tonic::{Request, Response, Status, Streaming};

use super::{Asked, MOST_PACKAGES, StoredQuote, explained, rules};
use crate::archive::settlement_accounts::lifecycle::unknown_account;
use crate::calculation;
use crate::calculation::facts::{Uncalculated, bill, pricing};
use crate::metering::points;
use crate::metering::points::rules::making;
use crate::metering::readings::rules::{ReadAt, judge, objection};
use crate::rating::{Bill, Rates};
use crate::vocabulary::dates::time_number;
use crate::vocabulary::vacancy::VacancyRatios;

/// Serves quotes.
#[derive(Clone, Debug)]
pub struct QuoteRpc {
    pool: Pool,
    clock: Clock,
    vacancy: Arc<VacancyRatios>,
}

impl QuoteRpc {
    /// Serves the quotes of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock, vacancy: Arc<VacancyRatios>) -> Self {
        Self { pool, clock, vacancy }
    }

    /// The bill of a stored account, in a transaction that is rolled back.
    async fn stored(&self, call: &Call, asked: StoredQuote) -> Result<Bill, Refusal> {
        let mut transaction = self.pool.begin().named("begin").await?;
        announce(&mut transaction, call).await?;
        let local = self.clock.local(call.at);
        let outcome = bill_of_stored(&mut transaction, call, asked, local, &self.vacancy).await;
        transaction.rollback().named("rollback").await?;
        outcome
    }
}

/// Takes an account through the steps of its calculation: its point is made if there is none of the open month, and the
/// readings that are given take the place of those that are entered.
async fn bill_of_stored(
    tx: &mut PgConnection,
    call: &Call,
    asked: StoredQuote,
    local: NaiveDateTime,
    vacancy: &VacancyRatios,
) -> Result<Bill, Refusal> {
    let (id, today) = (asked.settlement_account_id.as_str(), local.date());
    let field = rules::stored_account_place;
    let refused = |(reason, fault): (Reason, Fault)| Refusal::of(reason).fault(fault);
    let basis = points::store::basis(tx, call, &[id], today).await?;
    let basis = basis.ok_or_else(|| Refusal::of(Common::Conflict))?;
    let Some(standing) = basis.standing(id) else {
        return Err(refused((Reason::SettlementAccountNotFound, unknown_account(field()))));
    };
    let making = making(standing, field()).map_err(refused)?;
    if standing.open_point != Some(making.month()) {
        points::store::make(tx, call, &basis, &[(id, making)]).await?;
    }
    let mut found = calculation::store::lock(tx, call, &[(id, NormalRetroType::Normal)], today).await?;
    let point = found.points.remove(&(id.to_owned(), NormalRetroType::Normal));
    let mut point = point.ok_or_else(|| Refusal::of(Reason::PointNotOpen))?;
    let at = ReadAt { day: to_number(today), time: time_number(local) };
    let mut objections = Objections::default();
    for (row, entered) in asked.readings.iter().enumerate() {
        match judge(entered, &point.snapshot, at) {
            Ok(read) => point.readings.enter(read),
            Err((reason, fault)) => {
                let fault = Fault { field: rules::reading_place(row, fault.field), ..fault };
                objections.extend([objection(reason, fault)]);
            }
        }
    }
    objections.into_result()?;
    let uncalculated = |error: Uncalculated| rules::refusal_of_stored(&error);
    let pricing = pricing(&point.facts(), today).map_err(uncalculated)?;
    let keys = BTreeSet::from([pricing.key.clone()]);
    let mut rates = calculation::rates::store::load(tx, &call.tenant.id, &keys, vacancy).await?;
    let priced = rates.remove(&pricing.key).ok_or_else(|| Refusal::of(Reason::NotPriced))?;
    let priced = priced.map_err(|unpriced| uncalculated(unpriced.into()))?;
    bill(&point.facts(), &priced).map_err(uncalculated)
}

#[tonic::async_trait]
impl QuoteService for QuoteRpc {
    async fn quote_fees(&self, request: Request<QuoteFeesRequest>) -> Result<Response<QuoteFeesResponse>, Status> {
        let (call, _, asked) = begin(request)?.accept_with(rules::asked)?;
        let bill = match asked {
            Asked::Given(rates, facts) => facts.bill(&rates).map_err(|error| rules::refusal(&error))?,
            Asked::Stored(asked) => self.stored(&call, asked).await?,
        };
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
        fields: refusal.fields().map(FieldPath::proto_path).collect(),
    }
}
