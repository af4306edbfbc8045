//! The methods of `MonthControlService`. Both kinds of month share `open`, `change` and `delete_latest`.

use chrono::NaiveDate;
use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::dates::to_number;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::fields::month_control::NETWORK_STORE_ID;
use communal_proto::billing::v1::month_control_service_server::MonthControlService;
use communal_proto::billing::v1::{
    AddExpendMonthControlRequest, AddExpendMonthControlResponse, AddSettleMonthControlRequest,
    AddSettleMonthControlResponse, DeleteExpendMonthControlRequest, DeleteExpendMonthControlResponse,
    DeleteSettleMonthControlRequest, DeleteSettleMonthControlResponse, MonthControl, MonthControlFilter,
    MonthControlSeries, QueryExpendMonthControlRequest, QueryExpendMonthControlResponse,
    QuerySettleMonthControlRequest, QuerySettleMonthControlResponse, Reason, SettleMonthControl,
    UpdateExpendMonthControlRequest, UpdateExpendMonthControlResponse, UpdateSettleMonthControlRequest,
    UpdateSettleMonthControlResponse,
};
use communal_proto::{Fault, FieldPath, Reason as _};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::rules::{Change, NewMonth, fits, follows, out_of_reach};
use super::store::{self, MonthControlRow};
use super::{Kind, Series};
use crate::reasons::record_not_found;
use crate::suppliers;
use crate::vocabulary::paging::AskedPage;

/// Serves the month controls of a database.
#[derive(Clone, Debug)]
pub struct MonthControlRpc(pub Pool, pub Clock);

#[tonic::async_trait]
impl MonthControlService for MonthControlRpc {
    async fn add_expend_month_control(
        &self,
        request: Request<AddExpendMonthControlRequest>,
    ) -> Result<Response<AddExpendMonthControlResponse>, Status> {
        let (call, message, new) =
            begin(request)?.accept_with(|message, checker| NewMonth::read(message.month.as_ref()?, checker))?;
        let today = self.1.local(call.at).date();
        let reply = write(&self.0, &call, &message, async |tx| {
            open(tx, &call, &new, today).await?;
            Ok(AddExpendMonthControlResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_expend_month_control(
        &self,
        request: Request<QueryExpendMonthControlRequest>,
    ) -> Result<Response<QueryExpendMonthControlResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let found = store::list(&self.0, &call.tenant.id, Kind::Account, &filter, asked.page).await;
        let (months, total) = found.map_err(Refusal::from)?;
        let months = months.into_iter().map(month_control).collect();
        Ok(Response::new(QueryExpendMonthControlResponse { page: asked.reply(total), months }))
    }

    async fn update_expend_month_control(
        &self,
        request: Request<UpdateExpendMonthControlRequest>,
    ) -> Result<Response<UpdateExpendMonthControlResponse>, Status> {
        let (call, message, wanted) =
            begin(request)?.accept_with(|message, _| Change::read(message.month.as_ref()?))?;
        let reply = write(&self.0, &call, &message, async |tx| {
            change(tx, &call, &wanted).await?;
            Ok(UpdateExpendMonthControlResponse {})
        });
        Ok(reply.await?)
    }

    async fn delete_expend_month_control(
        &self,
        request: Request<DeleteExpendMonthControlRequest>,
    ) -> Result<Response<DeleteExpendMonthControlResponse>, Status> {
        let (call, message, series) =
            begin(request)?.accept_with(|message, _| Some(series(Kind::Account, message.series.as_ref()?)))?;
        let reply = write(&self.0, &call, &message, async |tx| {
            delete_latest(tx, &call, &series).await?;
            Ok(DeleteExpendMonthControlResponse {})
        });
        Ok(reply.await?)
    }

    async fn add_settle_month_control(
        &self,
        request: Request<AddSettleMonthControlRequest>,
    ) -> Result<Response<AddSettleMonthControlResponse>, Status> {
        let (call, message, new) =
            begin(request)?.accept_with(|message, checker| NewMonth::read_settle(message.month.as_ref()?, checker))?;
        let today = self.1.local(call.at).date();
        let reply = write(&self.0, &call, &message, async |tx| {
            open(tx, &call, &new, today).await?;
            Ok(AddSettleMonthControlResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_settle_month_control(
        &self,
        request: Request<QuerySettleMonthControlRequest>,
    ) -> Result<Response<QuerySettleMonthControlResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let (network_company_id, network_store_id) = (filter.network_company_id, filter.network_store_id);
        let filter = MonthControlFilter { network_company_id, network_store_id, ..MonthControlFilter::default() };
        let found = store::list(&self.0, &call.tenant.id, Kind::Settle, &filter, asked.page).await;
        let (months, total) = found.map_err(Refusal::from)?;
        let months = months.into_iter().map(settle_month_control).collect();
        Ok(Response::new(QuerySettleMonthControlResponse { page: asked.reply(total), months }))
    }

    async fn update_settle_month_control(
        &self,
        request: Request<UpdateSettleMonthControlRequest>,
    ) -> Result<Response<UpdateSettleMonthControlResponse>, Status> {
        let (call, message, wanted) =
            begin(request)?.accept_with(|message, _| Change::read_settle(message.month.as_ref()?))?;
        let reply = write(&self.0, &call, &message, async |tx| {
            change(tx, &call, &wanted).await?;
            Ok(UpdateSettleMonthControlResponse {})
        });
        Ok(reply.await?)
    }

    async fn delete_settle_month_control(
        &self,
        request: Request<DeleteSettleMonthControlRequest>,
    ) -> Result<Response<DeleteSettleMonthControlResponse>, Status> {
        let (call, message, series) =
            begin(request)?.accept_with(|message, _| Some(series(Kind::Settle, message.series.as_ref()?)))?;
        let reply = write(&self.0, &call, &message, async |tx| {
            delete_latest(tx, &call, &series).await?;
            Ok(DeleteSettleMonthControlResponse {})
        });
        Ok(reply.await?)
    }
}

async fn open(tx: &mut PgConnection, call: &Call, new: &NewMonth, today: NaiveDate) -> Result<(), Refusal> {
    if let Some(fault) = out_of_reach(new, today) {
        return Err(Refusal::for_faults(vec![fault]));
    }
    let Series { kind, network_company_id, network_store_id, .. } = &new.series;
    if !suppliers::store::has_network_store(tx, network_company_id, network_store_id).await? {
        let field = FieldPath::from(kind.block()).then(NETWORK_STORE_ID);
        let fault = Fault::rule(field, "is no store of the network company", "管网公司营业网点不存在");
        return Err(Refusal::of(Reason::SupplierNotFound).fault(fault));
    }
    store::lock(tx, call, &new.series).await?;
    follows(new, store::latest(tx, call, &new.series).await?).into_result()?;
    Ok(store::add(tx, call, new).await?)
}

async fn change(tx: &mut PgConnection, call: &Call, change: &Change) -> Result<(), Refusal> {
    store::lock(tx, call, &change.series).await?;
    let Some(now) = store::lock_month(tx, call, &change.series, change.month).await? else {
        let kind = change.series.kind;
        return Err(record_not_found(FieldPath::from(kind.block()).then(kind.month())));
    };
    fits(change, &now).into_result()?;
    Ok(store::update(tx, call, change).await?)
}

async fn delete_latest(tx: &mut PgConnection, call: &Call, series: &Series) -> Result<(), Refusal> {
    store::lock(tx, call, series).await?;
    let Some(latest) = store::latest(tx, call, series).await? else {
        return Err(record_not_found(series.kind.block()));
    };
    if !store::delete(tx, call, series, latest.account_month).await? {
        let text = Reason::MonthInUse.text();
        let fault = Fault::rule(series.kind.block(), format!("is {}, which is in use", latest.account_month), text);
        return Err(Refusal::of(Reason::MonthInUse).fault(fault));
    }
    Ok(())
}

fn series(kind: Kind, given: &MonthControlSeries) -> Series {
    Series::of(kind, &given.network_company_id, &given.network_store_id, given.utility())
}

fn month_control(row: MonthControlRow) -> MonthControl {
    let MonthControlRow {
        network_company_id,
        network_store_id,
        utility,
        account_month,
        part_month_rule,
        start_date,
        stop_date,
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

fn settle_month_control(row: MonthControlRow) -> SettleMonthControl {
    let MonthControl { network_company_id, network_store_id, utility, account_month, start_date, stop_date, .. } =
        month_control(row);
    let settled_month = account_month;
    SettleMonthControl { network_company_id, network_store_id, utility, settled_month, start_date, stop_date }
}
