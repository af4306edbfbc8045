//! The methods of `DeliveryPriceService`.

use std::collections::{BTreeSet, HashSet};

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::on_constraint;
use communal_kit::database::stored::Stored;
use communal_kit::objections::Objections;
use communal_kit::paging::Cap;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::delivery_price_service_server::DeliveryPriceService;
use communal_proto::billing::v1::fields::new_delivery_price::ACCOUNT_ITEM;
use communal_proto::billing::v1::{
    AddDeliveryPriceRequest, AddDeliveryPriceResponse, AdjustDeliveryPriceRequest, AdjustDeliveryPriceResponse,
    DeleteDeliveryPriceRequest, DeleteDeliveryPriceResponse, QueryDeliveryPriceRequest, QueryDeliveryPriceResponse,
    Reason,
};
use communal_proto::{Fault, Reason as _};
use sqlx::PgConnection;
use tonic::{Request, Response, Status};

use super::Version;
use super::rules::{Cause, adjusted, broken_ladders, ended, opened, place, read};
use super::store::{self, Standing};
use crate::suppliers::store::region_of;
use crate::vocabulary::tariff::Ladder;

/// Serves the delivery prices of a database.
#[derive(Clone, Debug)]
pub struct DeliveryPriceRpc(pub Pool, pub Clock);

#[tonic::async_trait]
impl DeliveryPriceService for DeliveryPriceRpc {
    async fn add_delivery_price(
        &self,
        request: Request<AddDeliveryPriceRequest>,
    ) -> Result<Response<AddDeliveryPriceResponse>, Status> {
        let (call, message, prices) =
            begin(request)?.accept_with(|message, checker| Some(read(&message.prices, checker, opened)))?;
        let reply = write(&self.0, &call, &message, async |tx| {
            store::lock_all(tx, &call).await?;
            let mut objections = Objections::default();
            for (row, new) in prices.iter().enumerate() {
                open(tx, &call, row, new, &mut objections).await?;
            }
            objections.into_result()?;
            ladders_fit(tx, &call, &prices).await?;
            Ok(AddDeliveryPriceResponse {})
        });
        Ok(reply.await?)
    }

    async fn adjust_delivery_price(
        &self,
        request: Request<AdjustDeliveryPriceRequest>,
    ) -> Result<Response<AdjustDeliveryPriceResponse>, Status> {
        let (call, message, prices) =
            begin(request)?.accept_with(|message, checker| Some(read(&message.prices, checker, adjusted)))?;
        let today = self.1.today();
        let reply = write(&self.0, &call, &message, async |tx| {
            store::lock_all(tx, &call).await?;
            let region = region_of(&mut *tx, &call.tenant.id).await?.unwrap_or_default();
            let mut objections = Objections::default();
            let mut begun = HashSet::new();
            for (row, (given, wanted)) in message.prices.iter().zip(&prices).enumerate() {
                let before = store::lock(tx, &call, &wanted.key, None, wanted.start).await?;
                let cause = match before {
                    _ if given.region_code != region => Cause::OtherRegion,
                    None => match store::first_day(tx, &call, &wanted.key).await? {
                        None => Cause::NoSuchPrice,
                        Some(first) if wanted.start < first => Cause::BeforeFirst(first),
                        Some(_) => Cause::NotInForce,
                    },
                    // A row takes the place of a version that was there, not of an earlier row's.
                    Some(_) if !begun.insert((&wanted.key, wanted.start)) => Cause::TwiceInRequest,
                    Some(before) if before.billed && wanted.start < today => Cause::Billed,
                    Some(before) => {
                        store::close(tx, &call, before.price_id, wanted.start).await?;
                        // The request has no field for it.
                        let agreement_price = Stored::given(before.agreement_price);
                        open(tx, &call, row, &Version { agreement_price, ..wanted.clone() }, &mut objections).await?;
                        continue;
                    }
                };
                cause.object(row, &mut objections);
            }
            objections.into_result()?;
            ladders_fit(tx, &call, &prices).await?;
            Ok(AdjustDeliveryPriceResponse {})
        });
        Ok(reply.await?)
    }

    async fn delete_delivery_price(
        &self,
        request: Request<DeleteDeliveryPriceRequest>,
    ) -> Result<Response<DeleteDeliveryPriceResponse>, Status> {
        let (call, message, prices) =
            begin(request)?.accept_with(|message, checker| Some(read(&message.prices, checker, ended)))?;
        let today = self.1.today();
        let reply = write(&self.0, &call, &message, async |tx| {
            store::lock_all(tx, &call).await?;
            let region = region_of(&mut *tx, &call.tenant.id).await?.unwrap_or_default();
            let mut objections = Objections::default();
            for (row, (given, ended)) in message.prices.iter().zip(&prices).enumerate() {
                let day = ended.stop.unwrap_or(today);
                let cause = match store::lock(tx, &call, &ended.key, Some(ended.start), day).await? {
                    _ if given.region_code != region => Cause::OtherRegion,
                    None => match store::first_day(tx, &call, &ended.key).await? {
                        None => Cause::NoSuchPrice,
                        Some(first) if ended.start < first => Cause::BeforeFirst(first),
                        Some(_) => Cause::NoneBegins,
                    },
                    Some(version) if version.price != ended.price => Cause::OtherPrice,
                    Some(version) if version.billed && day < today => Cause::Billed,
                    Some(version) => {
                        store::close(tx, &call, version.price_id, day).await?;
                        continue;
                    }
                };
                cause.object(row, &mut objections);
            }
            objections.into_result()?;
            Ok(DeleteDeliveryPriceResponse {})
        });
        Ok(reply.await?)
    }

    async fn query_delivery_price(
        &self,
        request: Request<QueryDeliveryPriceRequest>,
    ) -> Result<Response<QueryDeliveryPriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (company_id, limit) = (&call.tenant.id, Cap::UNPAGED.limit());
        let region = region_of(&self.0, company_id).await.map_err(Refusal::from)?.unwrap_or_default();
        let found = store::list(&self.0, company_id, &region, &message.filters, self.1.today(), limit).await;
        let prices = Cap::UNPAGED.check(found.map_err(Refusal::from)?, "请指定会计科目")?;
        Ok(Response::new(QueryDeliveryPriceResponse { prices }))
    }
}

/// Opens a version, or objects to it.
async fn open(
    tx: &mut PgConnection,
    call: &Call,
    row: usize,
    new: &Version,
    objections: &mut Objections,
) -> Result<(), Refusal> {
    let reason = Reason::AccountItemNotFound;
    let unknown = || {
        let fault = Fault::rule(place(row, ACCOUNT_ITEM), "is none of the company and utility", reason.text());
        Refusal::of(reason).fault(fault)
    };
    let added = store::add(tx, call, new).await;
    if !added.map_err(on_constraint("delivery_price_account_item", unknown))? {
        let cause = match store::standing_against(tx, call, new).await? {
            Standing { same_split: true, days } => Cause::Overlaps(days),
            Standing { same_split: false, days } => Cause::SplitOtherwise(days),
        };
        cause.object(row, objections);
    }
    Ok(())
}

/// Refuses tiers that do not fit each other on a day on which a version opens.
async fn ladders_fit(tx: &mut PgConnection, call: &Call, opened: &[Version]) -> Result<(), Refusal> {
    let laddered = opened.iter().filter(|new| new.key.ladder != Ladder::None);
    let account_items: BTreeSet<_> = laddered.map(|new| new.key.account_item.as_str()).collect();
    if account_items.is_empty() {
        return Ok(());
    }
    let versions = store::in_tiers(tx, call, &account_items.into_iter().collect::<Vec<_>>()).await?;
    broken_ladders(&versions, opened).into_result()
}
