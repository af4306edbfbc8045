//! The methods of `RunService`.

use std::sync::Arc;

use communal_kit::clock::Clock;
use communal_kit::money::{CENTS, at_scale};
use communal_kit::paging::KeyPage;
use communal_kit::pool::Pool;
use communal_kit::progress::{Answers, Teller, answers};
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_proto::billing::v1::fields::list_parked_accounts_request;
use communal_proto::billing::v1::run_service_server::RunService;
use communal_proto::billing::v1::{
    ListParkedAccountsRequest, ListParkedAccountsResponse, RunBookRequest, RunBookResponse,
};
use tonic::{Request, Response, Status};

use super::run::{Progress, Scope, Terms, run};
use super::store;
use crate::archive::books;
use crate::charge_off::Settings;
use crate::vocabulary::dates::time_number;
use crate::vocabulary::vacancy::VacancyRatios;

/// Serves runs.
#[derive(Clone, Debug)]
pub struct RunRpc {
    pool: Pool,
    clock: Clock,
    settings: Settings,
    vacancy: Arc<VacancyRatios>,
    workers: usize,
}

impl RunRpc {
    /// Serves the runs of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock, settings: Settings, vacancy: Arc<VacancyRatios>, workers: usize) -> Self {
        Self { pool, clock, settings, vacancy, workers }
    }
}

fn progress(state: Progress) -> RunBookResponse {
    let Progress { chunks, chunks_done, accounts, accounts_done, bills, parked, total, drawn } = state;
    let (total, drawn) = (at_scale(total, CENTS), at_scale(drawn, CENTS));
    RunBookResponse { chunks, chunks_done, accounts, accounts_done, bills, parked, total, drawn }
}

#[tonic::async_trait]
impl RunService for RunRpc {
    type RunBookStream = Answers<RunBookResponse>;

    async fn run_book(&self, request: Request<RunBookRequest>) -> Result<Response<Self::RunBookStream>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let scope = Scope { account_month: message.account_month, book_id: message.book_id };
        let local = self.clock.local(call.at);
        let terms = Terms {
            settings: self.settings.clone(),
            vacancy: (*self.vacancy).clone(),
            workers: self.workers,
            now: (local.date(), time_number(local)),
        };
        let pool = self.pool.clone();
        let work = |teller: Teller<Progress>| async move {
            run(&pool, &call, &scope, &terms, move |state| teller.tell(state)).await
        };
        Ok(Response::new(answers(work, progress)))
    }

    async fn list_parked_accounts(
        &self,
        request: Request<ListParkedAccountsRequest>,
    ) -> Result<Response<ListParkedAccountsResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let month = message.account_month.to_string();
        let page = KeyPage::read(message.page_size, &message.page_token, &[&month, &message.book_id])?;
        let book = list_parked_accounts_request::BOOK_ID.into();
        books::store::require_known(&self.pool, &call.tenant.id, &message.book_id, book).await?;
        let scope = Scope { account_month: message.account_month, book_id: message.book_id };
        let found = store::parked(&self.pool, &call.tenant.id, &scope, &page.after, page.limit()).await;
        let mut accounts = found.map_err(Refusal::from)?;
        let next_page_token = page.cut(&mut accounts, |account| account.settlement_account_id.as_str());
        Ok(Response::new(ListParkedAccountsResponse { accounts, next_page_token }))
    }
}
