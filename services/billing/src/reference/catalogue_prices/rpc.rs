//! The methods of `CataloguePriceService`.

use communal_kit::call::Call;
use communal_kit::clock::Clock;
use communal_kit::database::stored::Stored;
use communal_kit::dates::to_number;
use communal_kit::money::at_scale;
use communal_kit::objections::Objections;
use communal_kit::paging::Cap;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::catalogue_price_service_server::CataloguePriceService;
use communal_proto::billing::v1::{
    AddMainPriceRequest, AddMainPriceResponse, AdjustMainPriceRequest, AdjustMainPriceResponse, AttachedPriceVersion,
    BasicFeePriceVersion, CataloguePriceFilter, CategoryItem, ClassProject, MainPriceFilter, MainPriceVersion,
    MaintainAttachPriceRequest, MaintainAttachPriceResponse, MaintainBasicFeePriceRequest,
    MaintainBasicFeePriceResponse, QueryAttachPriceRequest, QueryAttachPriceResponse, QueryBasicFeePriceRequest,
    QueryBasicFeePriceResponse, QueryClassProjectRequest, QueryClassProjectResponse, QueryMainPriceRequest,
    QueryMainPriceResponse,
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::Part;
use super::change::{plan, unknown_items};
use super::row::{self, AskedPrice};
use super::store::{self, PriceRow, VersionFilter};
use crate::reference::catalogue;
use crate::suppliers;
use crate::vocabulary::dates::{day, day_number};
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::quantity::UNIT_PRICE_SCALE;
use crate::vocabulary::tariff::YesNo;

/// Serves the prices of the catalogue.
#[derive(Clone, Debug)]
pub struct CataloguePriceRpc {
    pool: Pool,
    clock: Clock,
}

impl CataloguePriceRpc {
    /// Serves the prices of a database.
    #[must_use]
    pub fn new(pool: Pool, clock: Clock) -> Self {
        Self { pool, clock }
    }

    /// Changes a part of the catalogue: every row of the request, or none.
    async fn change<M: Message, R: Message + Default>(
        &self,
        (call, message, asked): (Call, M, Vec<AskedPrice>),
        part: Part,
    ) -> Result<Response<R>, Status> {
        let today = self.clock.today();
        let reply = write(&self.pool, &call, &message, async |tx| {
            store::lock(tx, &call).await?;
            unknown_items(&asked, &store::known_items(tx, &call, &asked).await?).into_result()?;
            let mut objections = Objections::default();
            let plan = plan(store::versions(tx, &call, part, &asked).await?, &asked, today, &mut objections);
            objections.into_result()?;
            store::carry_out(tx, &call, part, &plan).await?;
            Ok(R::default())
        });
        Ok(reply.await?)
    }

    /// Returns versions of a part of the catalogue, and the region of the company.
    async fn found(&self, call: &Call, part: Part, filter: &VersionFilter) -> Result<(Vec<PriceRow>, String), Refusal> {
        let found = store::list(&self.pool, &call.tenant.id, part, filter, Cap::UNPAGED.limit()).await?;
        let region = suppliers::store::region_of(&self.pool, &call.tenant.id).await?;
        Ok((Cap::UNPAGED.check(found, "请增加查询条件")?, region.unwrap_or_default()))
    }
}

#[tonic::async_trait]
impl CataloguePriceService for CataloguePriceRpc {
    async fn add_main_price(
        &self,
        request: Request<AddMainPriceRequest>,
    ) -> Result<Response<AddMainPriceResponse>, Status> {
        let accepted = begin(request)?.accept_with(|message, checker| {
            Some(row::read(&message.prices, checker, |given, faults| row::main(given, false, faults)))
        })?;
        self.change(accepted, Part::Main).await
    }

    async fn adjust_main_price(
        &self,
        request: Request<AdjustMainPriceRequest>,
    ) -> Result<Response<AdjustMainPriceResponse>, Status> {
        let accepted = begin(request)?.accept_with(|message, checker| {
            Some(row::read(&message.prices, checker, |given, faults| row::main(given, true, faults)))
        })?;
        self.change(accepted, Part::Main).await
    }

    async fn query_main_price(
        &self,
        request: Request<QueryMainPriceRequest>,
    ) -> Result<Response<QueryMainPriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let filter = VersionFilter::from(&message.filter.unwrap_or_default());
        let (found, region) = self.found(&call, Part::Main, &filter).await?;
        let prices = found.into_iter().map(|row| main_price(row, &region)).collect();
        Ok(Response::new(QueryMainPriceResponse { prices }))
    }

    async fn maintain_attach_price(
        &self,
        request: Request<MaintainAttachPriceRequest>,
    ) -> Result<Response<MaintainAttachPriceResponse>, Status> {
        let accepted =
            begin(request)?.accept_with(|message, checker| Some(row::read(&message.prices, checker, row::attached)))?;
        self.change(accepted, Part::Attached).await
    }

    async fn query_attach_price(
        &self,
        request: Request<QueryAttachPriceRequest>,
    ) -> Result<Response<QueryAttachPriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let filter = VersionFilter::from(&message.filter.unwrap_or_default());
        let (found, region) = self.found(&call, Part::Attached, &filter).await?;
        let prices = found.into_iter().map(|row| attached_price(row, &region)).collect();
        Ok(Response::new(QueryAttachPriceResponse { prices }))
    }

    async fn maintain_basic_fee_price(
        &self,
        request: Request<MaintainBasicFeePriceRequest>,
    ) -> Result<Response<MaintainBasicFeePriceResponse>, Status> {
        let accepted = begin(request)?
            .accept_with(|message, checker| Some(row::read(&message.prices, checker, row::basic_fee)))?;
        self.change(accepted, Part::BasicFee).await
    }

    async fn query_basic_fee_price(
        &self,
        request: Request<QueryBasicFeePriceRequest>,
    ) -> Result<Response<QueryBasicFeePriceResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let filter = VersionFilter::from(&message.filter.unwrap_or_default());
        let (found, region) = self.found(&call, Part::BasicFee, &filter).await?;
        let prices = found.into_iter().map(|row| basic_fee_price(row, &region)).collect();
        Ok(Response::new(QueryBasicFeePriceResponse { prices }))
    }

    async fn query_class_project(
        &self,
        request: Request<QueryClassProjectRequest>,
    ) -> Result<Response<QueryClassProjectResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let found =
            catalogue::store::category_items_of(&self.pool, &call.tenant.id, filter.utility(), asked.page).await;
        let (found, total) = found.map_err(Refusal::from)?;
        Ok(Response::new(QueryClassProjectResponse {
            page: asked.reply(total),
            items: found.into_iter().map(class_project).collect(),
        }))
    }
}

impl From<&MainPriceFilter> for VersionFilter {
    fn from(asked: &MainPriceFilter) -> Self {
        Self {
            account_item: Some(asked.account_item.clone()).filter(|item| !item.is_empty()),
            utility: asked.utility(),
            seasonal: asked.seasonal(),
            season: asked.season(),
            time_of_use: asked.time_of_use(),
            period: asked.period(),
            ladder: asked.ladder(),
            tier: asked.tier(),
            tiers: asked.ladder_tiers(),
            start: day(asked.start_date),
        }
    }
}

impl From<&CataloguePriceFilter> for VersionFilter {
    fn from(asked: &CataloguePriceFilter) -> Self {
        let account_item = Some(asked.account_item.clone()).filter(|item| !item.is_empty());
        Self { account_item, utility: asked.utility(), ..Self::default() }
    }
}

fn main_price(row: PriceRow, region_code: &str) -> MainPriceVersion {
    let PriceRow {
        price_id: _,
        account_item,
        utility: Stored(utility),
        supply_kind: Stored(supply_kind),
        main_item: main_category_item,
        surcharge_item,
        surcharge_name: _,
        retail_grade: retail_level,
        property_grade,
        heat_basis: Stored(heat_basis),
        property_basis,
        basic_fee_kind: Stored(basic_fee_kind),
        seasonal: Stored(seasonal),
        time_of_use: Stored(time_of_use),
        ladder: Stored(ladder),
        tiers: Stored(tiers),
        season: Stored(season),
        period: Stored(period),
        tier: Stored(tier),
        price,
        price_unit,
        lower_limit,
        upper_limit,
        start_date,
        stop_date,
        billed: _,
    } = row;
    MainPriceVersion {
        account_item,
        main_category_item,
        surcharge_item,
        price: at_scale(price, UNIT_PRICE_SCALE),
        price_unit,
        region_code: region_code.to_owned(),
        utility: utility.into(),
        supply_kind: supply_kind.into(),
        retail_level,
        property_grade,
        heat_basis: heat_basis.into(),
        property_basis: Stored::given(property_basis).into(),
        resident: YesNo::Unspecified.into(),
        agreement_price: YesNo::No.into(),
        basic_fee_kind: basic_fee_kind.into(),
        seasonal: seasonal.into(),
        season: season.into(),
        time_of_use: time_of_use.into(),
        period: period.into(),
        ladder: ladder.into(),
        tier: tier.into(),
        ladder_tiers: tiers.into(),
        upper_limit,
        lower_limit,
        start_date: to_number(start_date),
        stop_date: day_number(stop_date),
    }
}

fn attached_price(mut row: PriceRow, region_code: &str) -> AttachedPriceVersion {
    let category_item_name = row.surcharge_name.take().unwrap_or_default();
    let MainPriceVersion {
        account_item,
        main_category_item,
        surcharge_item,
        price,
        price_unit,
        region_code,
        utility,
        supply_kind,
        resident,
        agreement_price,
        start_date,
        stop_date,
        ..
    } = main_price(row, region_code);
    AttachedPriceVersion {
        account_item,
        main_category_item,
        surcharge_item,
        category_item_name,
        price,
        price_unit,
        region_code,
        utility,
        supply_kind,
        resident,
        agreement_price,
        start_date,
        stop_date,
    }
}

fn basic_fee_price(row: PriceRow, region_code: &str) -> BasicFeePriceVersion {
    let MainPriceVersion {
        account_item,
        main_category_item,
        surcharge_item,
        price,
        price_unit,
        region_code,
        utility,
        supply_kind,
        resident,
        agreement_price,
        basic_fee_kind,
        start_date,
        stop_date,
        ..
    } = main_price(row, region_code);
    BasicFeePriceVersion {
        account_item,
        main_category_item,
        surcharge_item,
        price,
        price_unit,
        region_code,
        utility,
        supply_kind,
        resident,
        agreement_price,
        basic_fee_kind,
        start_date,
        stop_date,
    }
}

fn class_project(item: CategoryItem) -> ClassProject {
    let CategoryItem { category_item, name: category_item_name, utility, surcharge, kind: category_item_kind } = item;
    ClassProject { utility, category_item, category_item_name, surcharge, category_item_kind }
}
