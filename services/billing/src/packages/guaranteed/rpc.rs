//! The methods of `GuaranteedPackageService`.

use communal_kit::request::begin;
use communal_proto::FieldPath;
use communal_proto::billing::v1::fields::{add_com_package_request, package_store, update_com_package_request};
use communal_proto::billing::v1::guaranteed_package_service_server::GuaranteedPackageService;
use communal_proto::billing::v1::{
    AddComPackageRequest, AddComPackageResponse, ApplyPutOnComPackageRequest, ApplyPutOnComPackageResponse,
    CancelComPackageRequest, CancelComPackageResponse, GuaranteedPackage, GuaranteedPackageId, PutOnComPackageRequest,
    PutOnComPackageResponse, QueryComPackageRequest, QueryComPackageResponse, SalePackage, UpdateComPackageRequest,
    UpdateComPackageResponse,
};
use tonic::{Request, Response, Status};

use crate::packages::draft::Draft;
use crate::packages::kind::PackageKind;
use crate::packages::lifecycle::SaleStart;
use crate::packages::rpc::{Named, PackageRpc, package_of, without_contradiction};
use crate::packages::store::Filter;
use crate::vocabulary::identifiers::PackageId;

#[tonic::async_trait]
impl GuaranteedPackageService for PackageRpc {
    async fn add_com_package(
        &self,
        request: Request<AddComPackageRequest>,
    ) -> Result<Response<AddComPackageResponse>, Status> {
        let (call, message, drafts) = begin(request)?.accept_with(|message, checker| {
            let read = |(row, package)| {
                (place(row), without_contradiction(PackageKind::Guaranteed, &place(row), Draft::from(package), checker))
            };
            Some(message.packages.iter().enumerate().map(read).collect::<Vec<_>>())
        })?;
        let field = |row| add_com_package_request::STORES.at(row).then(package_store::NETWORK_STORE_ID);
        let stores = message.stores.iter().enumerate();
        let stores: Vec<_> = stores.map(|(row, s)| (field(row), s.network_store_id.as_str().into())).collect();
        let reply = |added: Vec<PackageId>| AddComPackageResponse {
            package_ids: added.iter().map(|id| id.as_str().to_owned()).collect(),
        };
        self.add(&call, &message, &drafts, &stores, reply).await
    }

    async fn update_com_package(
        &self,
        request: Request<UpdateComPackageRequest>,
    ) -> Result<Response<UpdateComPackageResponse>, Status> {
        let (call, message, drafts) = begin(request)?.accept_with(|message, checker| {
            let mut drafts = Vec::new();
            for (row, package) in message.packages.iter().enumerate() {
                let draft = without_contradiction(PackageKind::Guaranteed, &place(row), package.into(), checker);
                drafts.push((place(row), package.package_id.as_str().into(), draft));
            }
            Some(drafts)
        })?;
        self.replace(PackageKind::Guaranteed, &call, &message, &drafts).await
    }

    async fn apply_put_on_com_package(
        &self,
        request: Request<ApplyPutOnComPackageRequest>,
    ) -> Result<Response<ApplyPutOnComPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        self.submit(PackageKind::Guaranteed, &call, &message, &named(&message.packages)).await
    }

    async fn put_on_com_package(
        &self,
        request: Request<PutOnComPackageRequest>,
    ) -> Result<Response<PutOnComPackageResponse>, Status> {
        let today = self.today();
        let (call, message, starts) = begin(request)?.accept_with(|message, checker| {
            let mut starts = Vec::new();
            for (row, package) in message.packages.iter().enumerate() {
                let start = SaleStart::from(package);
                start.faults(&place(row), today).into_iter().for_each(|fault| checker.push(fault));
                starts.push((place(row), start));
            }
            Some(starts)
        })?;
        self.put_on_sale(PackageKind::Guaranteed, &call, &message, &starts).await
    }

    async fn cancel_com_package(
        &self,
        request: Request<CancelComPackageRequest>,
    ) -> Result<Response<CancelComPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        self.cancel(PackageKind::Guaranteed, &call, &message, &named(&message.packages)).await
    }

    async fn query_com_package(
        &self,
        request: Request<QueryComPackageRequest>,
    ) -> Result<Response<QueryComPackageResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let asked = message.filter.unwrap_or_default();
        let filter = Filter {
            kinds: &[asked.package_kind()],
            account_item: Some(asked.account_item.as_str()).filter(|item| !item.is_empty()),
            state: asked.state(),
            utility: asked.utility(),
            name: Some(asked.name.as_str()).filter(|name| !name.is_empty()),
            sellable: None,
        };
        let packages = self.list(&call, &filter).await?.into_iter().map(guaranteed).collect();
        Ok(Response::new(QueryComPackageResponse { packages }))
    }
}

/// The place of a package in a request. All requests have the same names.
fn place(row: usize) -> FieldPath {
    update_com_package_request::PACKAGES.at(row)
}

/// The packages of a request, each with its field.
fn named(packages: &[GuaranteedPackageId]) -> Vec<Named> {
    packages.iter().enumerate().map(|(row, package)| package_of(&place(row), &package.package_id)).collect()
}

/// The documented view of a guaranteed package lacks what only a retail package has.
fn guaranteed(package: SalePackage) -> GuaranteedPackage {
    let SalePackage {
        network_company_id,
        retail_company_id,
        retail_store_id: _,
        package_id,
        package_kind,
        name,
        remark,
        account_item,
        retail_level,
        utility,
        supply_kind,
        resident,
        deviation,
        seasonal,
        agreement_price,
        heat_basis,
        property_basis,
        basic_fee_kind,
        time_of_use,
        ladder,
        ladder_tiers,
        state,
        enabled,
        may_cancel: _,
        population,
        by_power,
        power_range,
        property_grade,
        delivery_level,
        voltage,
        start_date,
        stop_date,
    } = package;
    GuaranteedPackage {
        network_company_id,
        retail_company_id,
        package_id,
        package_kind,
        name,
        remark,
        account_item,
        retail_level,
        utility,
        supply_kind,
        basic_fee_kind,
        resident,
        deviation,
        seasonal,
        agreement_price,
        heat_basis,
        property_basis,
        time_of_use,
        ladder,
        ladder_tiers,
        state,
        population,
        by_power,
        power_range,
        property_grade,
        delivery_level,
        voltage,
        enabled,
        start_date,
        stop_date,
    }
}
