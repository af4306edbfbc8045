//! Billing: what a retail company sells, at what price, and what its customers owe (EPEIS).
//!
//! A folder a noun: [`suppliers`], [`reference`] data, [`packages`] with their prices, the [`archive`], [`metering`],
//! [`receivables`], [`quotes`]; inside each the rules, the store and the methods side by side. [`rating`] is the pure
//! computation from quantities and prices to lines, [`vocabulary`] the leaf that all of them share. Every file does no
//! I/O unless its name says otherwise (`rpc`, `store`, `import`, `cli`, `config`, `main`, `lib`, `seed`).

pub mod archive;
pub mod calculation;
pub mod charge_off;
pub mod cli;
pub mod config;
pub mod ledger;
pub mod metering;
pub mod packages;
pub mod quotes;
pub mod rating;
pub mod reasons;
pub mod receivables;
pub mod reference;
pub mod runs;
pub mod seed;
pub mod suppliers;
pub mod vocabulary;

use std::sync::Arc;

use chrono::TimeDelta;
use communal_kit::administration::IdentityRpc;
use communal_kit::identity::policy::OperatorSource;
use communal_kit::identity::{Authenticator, Policy, Proof, TenantKind, Wording};
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::replicas::{self, Replicas};
use communal_kit::server::{Bound, LARGEST_REPLY, LARGEST_REQUEST, Server, Services};
use communal_kit::telemetry;
use communal_proto::billing::v1::Reason;
use communal_proto::billing::v1::adjust_ratio_service_server::AdjustRatioServiceServer;
use communal_proto::billing::v1::adjustment_service_server::AdjustmentServiceServer;
use communal_proto::billing::v1::approval_ratio_service_server::ApprovalRatioServiceServer;
use communal_proto::billing::v1::archive_service_server::ArchiveServiceServer;
use communal_proto::billing::v1::billing_point_service_server::BillingPointServiceServer;
use communal_proto::billing::v1::book_service_server::BookServiceServer;
use communal_proto::billing::v1::calculation_service_server::CalculationServiceServer;
use communal_proto::billing::v1::catalogue_price_service_server::CataloguePriceServiceServer;
use communal_proto::billing::v1::catalogue_service_server::CatalogueServiceServer;
use communal_proto::billing::v1::charge_off_service_server::ChargeOffServiceServer;
use communal_proto::billing::v1::customer_service_server::CustomerServiceServer;
use communal_proto::billing::v1::delivery_price_service_server::DeliveryPriceServiceServer;
use communal_proto::billing::v1::guaranteed_package_service_server::GuaranteedPackageServiceServer;
use communal_proto::billing::v1::ladder_population_service_server::LadderPopulationServiceServer;
use communal_proto::billing::v1::meter_service_server::MeterServiceServer;
use communal_proto::billing::v1::month_control_service_server::MonthControlServiceServer;
use communal_proto::billing::v1::package_price_service_server::PackagePriceServiceServer;
use communal_proto::billing::v1::package_service_server::PackageServiceServer;
use communal_proto::billing::v1::quote_service_server::QuoteServiceServer;
use communal_proto::billing::v1::reading_service_server::ReadingServiceServer;
use communal_proto::billing::v1::receivable_service_server::ReceivableServiceServer;
use communal_proto::billing::v1::run_service_server::RunServiceServer;
use communal_proto::billing::v1::season_month_service_server::SeasonMonthServiceServer;
use communal_proto::billing::v1::settlement_account_service_server::SettlementAccountServiceServer;
use communal_proto::billing::v1::supplier_service_server::SupplierServiceServer;
use communal_proto::billing::v1::user_account_service_server::UserAccountServiceServer;
use communal_proto::billing::v1::verification_service_server::VerificationServiceServer;
use communal_proto::identity::v1::identity_service_server::IdentityServiceServer;
use sqlx::migrate::Migrator;

use archive::customers::rpc::Proofs;
pub use config::Config;
use config::Switch;

/// The schema of billing.
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// The messages for refused credentials. EPEIS documents none. They do not tell what is wrong with a
/// channel, operator or tenant.
static WORDING: Wording = Wording {
    channel_missing: "渠道号不能为空",
    credentials: "渠道号或动态请求密钥不正确",
    request_id: "请求流水号格式不正确",
    request_time: "请求时间不正确",
    operator: "注册ID不存在或未实名",
    tenant: "账户ID不存在或未激活",
    method: "渠道无权调用接口{method}",
    role: |required| match required {
        TenantKind::NetworkCompany => Refusal::of(Reason::NotANetworkCompany),
        _ => Refusal::of(Reason::NotARetailCompany),
    },
};

/// The authentication policy: EPEIS channels authenticate with their key.
#[must_use]
pub fn policy() -> Policy {
    Policy {
        proofs: &[Proof::Key],
        tenant_kinds: &[TenantKind::NetworkCompany, TenantKind::RetailCompany],
        operator: OperatorSource::Metadata,
        // That of `ACCOUNT_DID`, `CHANNEL_DID`, `REGISTER_DID` and of the companies in every block.
        longest_identifier: 16,
        // Nothing here is signed with a time.
        request_time_window: TimeDelta::zero(),
        administration: &["/communal.billing.v1.CustomerService/IssueVerifyCode"],
        wording: &WORDING,
    }
}

/// Describes the metrics of billing. Counters without labels start at zero, so that their first increment
/// is visible.
fn describe_metrics() {
    replicas::describe_metrics();
    metrics::describe_histogram!("communal_billing_arrears_lines", "Lines of an answer to a query of arrears");
    metrics::describe_counter!("communal_billing_lines_imported_total", "Imported receivable lines");
    metrics::counter!("communal_billing_lines_imported_total").increment(0);
    metrics::describe_counter!("communal_billing_run_bills_total", "Bills that runs made");
    metrics::counter!("communal_billing_run_bills_total").increment(0);
    metrics::describe_counter!("communal_billing_run_parked_total", "Accounts that runs did not bill");
    metrics::counter!("communal_billing_run_parked_total").increment(0);
}

/// Opens the ports of billing.
///
/// # Errors
/// Returns an error if a port is in use or a database URL cannot be read.
pub async fn bind(config: Config) -> anyhow::Result<Bound> {
    telemetry::metrics_handle();
    describe_metrics();
    let pool = Pool::new(&config.database)?;
    let settings = config.server.authenticator.clone();
    let authenticator = Arc::new(Authenticator::new(pool.clone(), policy(), None, config.clock.clone(), settings));
    let packages = packages::rpc::PackageRpc::new(pool.clone(), config.clock.clone());
    let prices = packages::prices::rpc::PriceRpc::new(pool.clone(), config.clock.clone());
    let replicas = match config.replicas.as_slice() {
        [] => None,
        replicas => Some(Replicas::watch(pool.driver(), replicas)?),
    };
    let limits = receivables::Limits {
        arrears_cap: config.arrears_cap,
        import_lines: config.import_lines,
        portions: config.portions,
        uploads: config.uploads,
    };
    let receivables = receivables::rpc::ReceivableRpc::new(pool.clone(), config.clock.clone(), replicas, limits);
    let prices_of_items = reference::catalogue_prices::rpc::CataloguePriceRpc::new(pool.clone(), config.clock.clone());
    let months = reference::month_controls::rpc::MonthControlRpc(pool.clone(), config.clock.clone());
    let adjust_ratios = reference::adjust_ratios::rpc::AdjustRatioRpc(pool.clone());
    let approval_ratios = reference::approval_ratios::rpc::ApprovalRatioRpc(pool.clone());
    let ladder_populations = reference::ladder_populations::rpc::LadderPopulationRpc(pool.clone());
    let delivery_prices = reference::delivery_prices::rpc::DeliveryPriceRpc(pool.clone(), config.clock.clone());
    let season_months = reference::season_months::rpc::SeasonMonthRpc(pool.clone(), config.clock.clone());
    let catalogue = reference::catalogue::rpc::CatalogueRpc(pool.clone());
    let suppliers = suppliers::rpc::SupplierRpc::new(pool.clone());
    let proofs = match config.verify_codes {
        Switch::On => Proofs::Codes,
        Switch::Off => {
            tracing::warn!("COMMUNAL_BILLING_VERIFY_CODES=off: any code proves a phone");
            Proofs::Any
        }
    };
    let books = archive::books::rpc::BookRpc(pool.clone());
    let customers = archive::customers::rpc::CustomerRpc::new(pool.clone(), config.personal.clone(), proofs);
    let user_accounts = archive::user_accounts::rpc::UserAccountRpc(pool.clone());
    let meters = archive::meters::rpc::MeterRpc(pool.clone());
    let archive = archive::moving_in::rpc::ArchiveRpc::new(
        pool.clone(),
        config.personal.clone(),
        config.clock.clone(),
        receivables.imports(),
    );
    let vacancy = Arc::new(config.vacancy_ratios);
    let bounds = metering::readings::rules::ReadingBounds {
        factor: config.reading_factor,
        first_movement: config.charge_off.bounds.first_movement,
    };
    let charge_off = charge_off::rpc::ChargeOffRpc::new(pool.clone(), config.clock.clone(), config.charge_off.clone());
    let runs = runs::rpc::RunRpc::new(
        pool.clone(),
        config.clock.clone(),
        config.charge_off,
        Arc::clone(&vacancy),
        config.run_workers,
    );
    let settlement_accounts =
        archive::settlement_accounts::rpc::SettlementAccountRpc::new(pool.clone(), config.personal.clone());
    let verification = archive::verification::rpc::VerificationRpc::new(pool.clone(), config.clock.clone());
    let points = metering::points::rpc::BillingPointRpc::new(pool.clone(), config.clock.clone());
    let readings =
        metering::readings::rpc::ReadingRpc::new(pool.clone(), config.clock.clone(), receivables.imports(), bounds);
    let quotes = quotes::rpc::QuoteRpc::new(pool.clone(), config.clock.clone(), Arc::clone(&vacancy));
    let calculations = calculation::rpc::CalculationRpc::new(pool.clone(), config.clock.clone(), vacancy);
    let adjustments =
        calculation::adjustments::rpc::AdjustmentRpc::new(pool.clone(), config.clock.clone(), config.retro_fee_cap);
    let identity = IdentityRpc::new(pool.clone(), None, config.clock.clone(), Arc::clone(&authenticator));
    let services = Services::default()
        .with(PackageServiceServer::new(packages.clone()).max_decoding_message_size(LARGEST_REQUEST))
        .with(GuaranteedPackageServiceServer::new(packages).max_decoding_message_size(LARGEST_REQUEST))
        .with(PackagePriceServiceServer::new(prices).max_decoding_message_size(LARGEST_REQUEST))
        .with(
            ReceivableServiceServer::new(receivables)
                .max_decoding_message_size(LARGEST_REQUEST)
                .max_encoding_message_size(LARGEST_REPLY),
        )
        .with(CataloguePriceServiceServer::new(prices_of_items).max_decoding_message_size(LARGEST_REQUEST))
        .with(MonthControlServiceServer::new(months).max_decoding_message_size(LARGEST_REQUEST))
        .with(AdjustRatioServiceServer::new(adjust_ratios).max_decoding_message_size(LARGEST_REQUEST))
        .with(ApprovalRatioServiceServer::new(approval_ratios).max_decoding_message_size(LARGEST_REQUEST))
        .with(DeliveryPriceServiceServer::new(delivery_prices).max_decoding_message_size(LARGEST_REQUEST))
        .with(LadderPopulationServiceServer::new(ladder_populations).max_decoding_message_size(LARGEST_REQUEST))
        .with(SeasonMonthServiceServer::new(season_months).max_decoding_message_size(LARGEST_REQUEST))
        .with(CatalogueServiceServer::new(catalogue).max_decoding_message_size(LARGEST_REQUEST))
        .with(SupplierServiceServer::new(suppliers).max_decoding_message_size(LARGEST_REQUEST))
        .with(BookServiceServer::new(books).max_decoding_message_size(LARGEST_REQUEST))
        .with(CustomerServiceServer::new(customers).max_decoding_message_size(LARGEST_REQUEST))
        .with(UserAccountServiceServer::new(user_accounts).max_decoding_message_size(LARGEST_REQUEST))
        .with(MeterServiceServer::new(meters).max_decoding_message_size(LARGEST_REQUEST))
        .with(
            SettlementAccountServiceServer::new(settlement_accounts)
                .max_decoding_message_size(LARGEST_REQUEST)
                .max_encoding_message_size(LARGEST_REPLY),
        )
        .with(ArchiveServiceServer::new(archive).max_decoding_message_size(LARGEST_REQUEST))
        .with(VerificationServiceServer::new(verification).max_decoding_message_size(LARGEST_REQUEST))
        .with(BillingPointServiceServer::new(points).max_decoding_message_size(LARGEST_REQUEST))
        .with(ReadingServiceServer::new(readings).max_decoding_message_size(LARGEST_REQUEST))
        .with(
            CalculationServiceServer::new(calculations)
                .max_decoding_message_size(LARGEST_REQUEST)
                .max_encoding_message_size(LARGEST_REPLY),
        )
        .with(ChargeOffServiceServer::new(charge_off).max_decoding_message_size(LARGEST_REQUEST))
        .with(RunServiceServer::new(runs).max_decoding_message_size(LARGEST_REQUEST))
        .with(AdjustmentServiceServer::new(adjustments).max_decoding_message_size(LARGEST_REQUEST))
        .with(QuoteServiceServer::new(quotes).max_decoding_message_size(LARGEST_REQUEST));
    let administration = Services::default().with(IdentityServiceServer::new(identity));
    let server = Server::new(config.server, services, authenticator, pool, &MIGRATOR);
    server.administered_by(administration).bind().await
}

/// Serves billing until `shutdown` ends.
///
/// # Errors
/// Returns why it cannot be served.
pub async fn serve(config: Config, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
    bind(config).await?.serve(shutdown).await
}
