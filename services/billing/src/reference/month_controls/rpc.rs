//! The methods of `MonthControlService`.

use communal_kit::database::stored::Stored;
use communal_kit::dates::to_number;
use communal_kit::paging::Page;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::Fault;
use communal_proto::billing::v1::fields::add_expend_month_control_request::MONTH;
use communal_proto::billing::v1::fields::month_control::NETWORK_STORE_ID;
use communal_proto::billing::v1::month_control_service_server::MonthControlService;
use communal_proto::billing::v1::{
    AddExpendMonthControlRequest, AddExpendMonthControlResponse, MonthControl, NextYesNo, PageReply,
    QueryExpendMonthControlRequest, QueryExpendMonthControlResponse, Reason,
};
use tonic::{Request, Response, Status};

use super::rules::{NewMonth, follows};
use super::store::{self, MonthControlRow};
use crate::suppliers;

/// Serves month controls.
#[derive(Clone, Debug)]
pub struct MonthControlRpc {
    pool: Pool,
}

impl MonthControlRpc {
    /// Serves the month controls of a database.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool }
    }
}

#[tonic::async_trait]
impl MonthControlService for MonthControlRpc {
    async fn add_expend_month_control(
        &self,
        request: Request<AddExpendMonthControlRequest>,
    ) -> Result<Response<AddExpendMonthControlResponse>, Status> {
        let (call, message, new) =
            begin(request)?.accept_with(|message, checker| NewMonth::read(message.month.as_ref()?, checker))?;
        let reply = write(&self.pool, &call, &message, async |tx| {
            if !suppliers::store::has_network_store(tx, &new.network_company_id, &new.network_store_id).await? {
                let text = "管网公司营业网点不存在";
                let fault = Fault::rule(MONTH.then(NETWORK_STORE_ID), "is no store of the network company", text);
                return Err(Refusal::of(Reason::SupplierNotFound).fault(fault));
            }
            follows(&new, store::lock_latest(tx, &call, &new).await?).into_result()?;
            store::add(tx, &call, &new).await?;
            Ok(AddExpendMonthControlResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_expend_month_control(
        &self,
        request: Request<QueryExpendMonthControlRequest>,
    ) -> Result<Response<QueryExpendMonthControlResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (message.page.unwrap_or_default(), message.filter.unwrap_or_default());
        let page = Page::numbered(asked.page, asked.rows);
        let (found, total) = store::list(&self.pool, &call.tenant.id, &filter, page).await.map_err(Refusal::from)?;
        let next = if page.has_next(total) { NextYesNo::More } else { NextYesNo::None };
        Ok(Response::new(QueryExpendMonthControlResponse {
            page: Some(PageReply { page: asked.page, rows: asked.rows, next: next.into(), total }),
            months: found.into_iter().map(month_control).collect(),
        }))
    }
}

fn month_control(row: MonthControlRow) -> MonthControl {
    let MonthControlRow {
        network_company_id,
        network_store_id,
        utility: Stored(utility),
        account_month,
        part_month_rule: Stored(part_month_rule),
        start_date,
        stop_date,
        place: _,
        total: _,
    } = row;
    MonthControl {
        network_company_id,
        network_store_id,
        utility: utility.into(),
        account_month,
        part_month_rule: part_month_rule.into(),
        start_date: to_number(start_date),
        stop_date: to_number(stop_date),
    }
}
