//! A billing service over real gRPC in this process, on a PostgreSQL database of its own, with a
//! clock that the test holds.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code, unreachable_pub, missing_docs)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeZone, Utc};
use communal_billing::{Config, MIGRATOR};
use communal_kit::call::Call;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::config::Reader;
use communal_kit::dates;
use communal_kit::identity::store::{NewChannel, add_channel, register_operator, register_tenant};
use communal_kit::identity::{Proof, Tenant, TenantKind};
use communal_kit::secret::Secret;
use communal_kit::test_support::TestDatabase;
use communal_proto::billing::v1::package_price_service_client::PackagePriceServiceClient;
use communal_proto::billing::v1::package_service_client::PackageServiceClient;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::supplier_service_client::SupplierServiceClient;
use communal_proto::billing::v1::*;
use prost::Message as _;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_types::StatusExt;

pub const NETWORK: &str = "N000000000000001";
pub const OTHER_NETWORK: &str = "N000000000000002";
pub const RETAIL: &str = "S000000000000001";
pub const OTHER_RETAIL: &str = "S000000000000002";
pub const STORE: &str = "H000000000000001";
pub const OTHER_STORE: &str = "H000000000000003";
const CHANNEL: &str = "C000000000000001";
const KEY: &str = "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b";
const OPERATOR: &str = "R000000000000001";

/// A running service.
pub struct World {
    pub database: TestDatabase,
    pub clock: Clock,
    pub address: SocketAddr,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
}

/// In whose name a client calls.
#[derive(Clone, Debug)]
pub struct Caller {
    tenant: &'static str,
    request_id: Option<String>,
}

pub fn caller(tenant: &'static str) -> Caller {
    Caller { tenant, request_id: None }
}

pub fn with_request_id(tenant: &'static str, request_id: &str) -> Caller {
    Caller { tenant, request_id: Some(request_id.to_owned()) }
}

impl Interceptor for Caller {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let metadata = request.metadata_mut();
        for (name, value) in [
            ("x-channel-id", CHANNEL),
            ("x-channel-key", KEY),
            ("x-operator-id", OPERATOR),
            ("x-tenant-id", self.tenant),
        ] {
            metadata.insert(name, value.parse().unwrap());
        }
        if let Some(id) = &self.request_id {
            metadata.insert("x-request-id", id.parse().unwrap());
        }
        Ok(request)
    }
}

pub type Intercepted = InterceptedService<Channel, Caller>;

impl World {
    /// A service on 2024-03-15, 10:00 in Shanghai, with two network and two retail companies.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with settings.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_on(TestDatabase::create("billing", &MIGRATOR).await, settings).await
    }

    /// The same on this database.
    pub async fn start_on(database: TestDatabase, settings: &[(&str, &str)]) -> Self {
        register(&database.pool).await;
        let mut given: BTreeMap<String, String> = [
            ("billing_database_url", database.url.as_str()),
            ("billing_addr", "127.0.0.1:0"),
            ("billing_admin_addr", "127.0.0.1:0"),
            ("drain_notice_ms", "0"),
            ("channel_calls_per_second", "0"),
        ]
        .iter()
        .chain(settings)
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
        given.entry("database_connections".into()).or_insert_with(|| "16".into());
        let mut reader = Reader::new(given);
        let mut config = Config::read(&mut reader);
        reader.finish().unwrap();
        let clock = Clock::fixed(DEFAULT_ZONE, Utc.with_ymd_and_hms(2024, 3, 15, 2, 0, 0).unwrap());
        config.clock = clock.clone();
        let bound = communal_billing::bind(config).await.unwrap();
        let address = bound.address;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move { bound.serve(async move { drop(stopped.await) }).await.unwrap() });
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Self { database, clock, address, channel, stop: Some(stop), serving: Some(serving) }
    }

    /// Stops the service as an operator does, and waits for its end.
    pub async fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(serving) = self.serving.take() {
            serving.await.unwrap();
        }
    }

    pub fn pool(&self) -> &PgPool {
        &self.database.pool
    }

    pub fn packages(&self, caller: Caller) -> PackageServiceClient<Intercepted> {
        PackageServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn prices(&self, caller: Caller) -> PackagePriceServiceClient<Intercepted> {
        PackagePriceServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn receivables(&self, caller: Caller) -> ReceivableServiceClient<Intercepted> {
        ReceivableServiceClient::with_interceptor(self.channel.clone(), caller)
            .max_decoding_message_size(64 * 1024 * 1024)
    }

    pub fn suppliers(&self, caller: Caller) -> SupplierServiceClient<Intercepted> {
        SupplierServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    /// Lets days pass.
    pub fn days_pass(&self, days: u64) {
        let now: DateTime<Utc> = self.clock.now();
        self.clock.set(now.checked_add_days(Days::new(days)).unwrap());
    }

    /// A day counted from today, as the documents write it.
    pub fn day(&self, after: i64) -> i32 {
        dates::to_number(self.date(after))
    }

    pub fn date(&self, after: i64) -> NaiveDate {
        self.clock.today() + chrono::TimeDelta::days(after)
    }

    /// Drafts a package and returns its identifier.
    pub async fn draft(&self, package: NewSalePackage) -> String {
        let name = package.name.clone();
        let request = AddSalePackageRequest { package: Some(package) };
        self.packages(caller(RETAIL)).add_sale_package(request).await.unwrap();
        self.package_named(&name).await
    }

    pub async fn package_named(&self, name: &str) -> String {
        let reply = self.packages(caller(RETAIL)).query_sale_package(QuerySalePackageRequest::default()).await.unwrap();
        let mut packages = reply.into_inner().packages.into_iter();
        packages.find(|p| p.name == name).map(|p| p.package_id).expect("a package of this name")
    }

    pub async fn package(&self, package_id: &str) -> SalePackage {
        let reply = self.packages(caller(RETAIL)).query_sale_package(QuerySalePackageRequest::default()).await.unwrap();
        reply.into_inner().packages.into_iter().find(|p| p.package_id == package_id).expect("this package")
    }

    pub async fn add_prices(&self, rows: Vec<SalePackagePriceRow>) {
        let request = AddSalePackagePriceRequest { rows };
        self.prices(caller(RETAIL)).add_sale_package_price(request).await.unwrap();
    }

    pub async fn submit(&self, package_id: &str) {
        let request = ApplyPutOnSalesPackageRequest { packages: vec![named(package_id)] };
        self.packages(caller(RETAIL)).apply_put_on_sales_package(request).await.unwrap();
    }

    pub async fn put_on_sale(&self, package_id: &str, start_date: i32, stop_date: i32) {
        let package = Some(SalePackageStart { package_id: package_id.into(), start_date, stop_date });
        self.packages(caller(RETAIL)).put_on_sale_package(PutOnSalePackageRequest { package }).await.unwrap();
    }

    pub async fn cancel(&self, package_id: &str) {
        let request = CancelSalesPackageRequest { packages: vec![named(package_id)] };
        self.packages(caller(RETAIL)).cancel_sales_package(request).await.unwrap();
    }

    /// A laddered package with its three prices, on sale from today.
    pub async fn on_sale(&self, name: &str) -> String {
        let id = self.draft(laddered(name)).await;
        self.add_prices(ladder_rows(&id)).await;
        self.submit(&id).await;
        self.put_on_sale(&id, self.day(0), 0).await;
        id
    }

    /// The open rows of a package: price by tier, with their days.
    pub async fn open_prices(&self, package_id: &str) -> Vec<SalePackagePrice> {
        let request = QuerySalePackagePriceRequest {
            page: Some(PageRequest { page: 1, rows: 1000 }),
            package: Some(PackageOfPrices { package_id: package_id.into() }),
        };
        self.prices(caller(RETAIL)).query_sale_package_price(request).await.unwrap().into_inner().rows
    }

    pub async fn import_as(
        &self,
        tenant: &'static str,
        batch_id: &str,
        lines: &[ReceivableLine],
    ) -> Result<ImportReceivableLinesResponse, Status> {
        let messages = futures::stream::iter(import_messages(batch_id, lines, 1000));
        self.receivables(caller(tenant)).import_receivable_lines(messages).await.map(tonic::Response::into_inner)
    }

    /// The arrears that a caller sees, decoded.
    pub async fn arrears(&self, tenant: &'static str, filter: ArrearsFilter) -> Result<Vec<ArrearsLine>, Status> {
        let request = QueryUserArrearagesRequest { filter: Some(filter) };
        let reply = self.receivables(caller(tenant)).query_user_arrearages(request).await?.into_inner();
        Ok(reply.lines.into_iter().map(|line| ArrearsLine::decode(line).unwrap()).collect())
    }

    /// The same from the stream.
    pub async fn streamed(&self, tenant: &'static str, filter: ArrearsFilter) -> Result<Vec<ArrearsLine>, Status> {
        let request = StreamUserArrearagesRequest { filter: Some(filter) };
        let mut stream = self.receivables(caller(tenant)).stream_user_arrearages(request).await?.into_inner();
        let mut lines = Vec::new();
        while let Some(portion) = stream.message().await? {
            assert!(portion.lines.len() <= 500);
            lines.extend(portion.lines.into_iter().map(|line| ArrearsLine::decode(line).unwrap()));
        }
        Ok(lines)
    }

    pub async fn versions(&self, package_id: &str) -> Vec<SalePackageTag> {
        let request = QuerySalePackageTagsRequest { package: Some(PackageOfPrices { package_id: package_id.into() }) };
        self.prices(caller(RETAIL)).query_sale_package_tags(request).await.unwrap().into_inner().versions
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// A call as the handlers know it, for tests of the stores.
pub fn call(tenant: &str, kind: TenantKind) -> Call {
    Call {
        tenant: Tenant { id: tenant.into(), kind },
        operator_id: OPERATOR.into(),
        operator_name: "操作员".into(),
        channel_id: CHANNEL.into(),
        request_id: None,
        trace_id: "test".into(),
        method: "test".into(),
    }
}

async fn register(pool: &PgPool) {
    let mut transaction = pool.begin().await.unwrap();
    let tenants = [
        (NETWORK, TenantKind::NetworkCompany),
        (OTHER_NETWORK, TenantKind::NetworkCompany),
        (RETAIL, TenantKind::RetailCompany),
        (OTHER_RETAIL, TenantKind::RetailCompany),
    ];
    for (id, kind) in tenants {
        register_tenant(&mut transaction, id, kind, id).await.unwrap();
    }
    let tenant_ids = tenants.map(|(id, _)| id.to_owned());
    let channel = NewChannel {
        channel_id: CHANNEL,
        name: "test",
        proof: Proof::Key,
        admin: false,
        tenant_ids: &tenant_ids,
        methods: &[],
        key: Some(Secret::new(KEY)),
        valid_for: None,
    };
    let long_ago = Utc.with_ymd_and_hms(2020, 1, 1, 0, 0, 0).unwrap();
    add_channel(&mut transaction, &channel, None, long_ago).await.unwrap();
    register_operator(&mut transaction, OPERATOR, "操作员", &tenant_ids).await.unwrap();
    for (company, store) in [(RETAIL, STORE), (OTHER_RETAIL, OTHER_STORE)] {
        let stores = [Store { store_id: store.into(), name: "营业厅".into() }];
        let call = call(company, TenantKind::RetailCompany);
        communal_billing::suppliers::store::register(&mut transaction, &call, &stores).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

pub fn named(package_id: &str) -> SalePackageId {
    SalePackageId { package_id: package_id.into() }
}

/// An electricity package with a year ladder of three tiers.
pub fn laddered(name: &str) -> NewSalePackage {
    NewSalePackage {
        network_company_id: NETWORK.into(),
        retail_store_id: STORE.into(),
        name: name.into(),
        remark: "备注".into(),
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        deviation: YesNo::No.into(),
        agreement_price: YesNo::No.into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::Year.into(),
        ladder_tiers: LadderNumType::Three.into(),
        may_cancel: YesNo::Yes.into(),
        retail_level: "1".into(),
        voltage: TransVoltageType::Below1kv.into(),
        ..Default::default()
    }
}

/// A price row of such a package.
pub fn row(package_id: &str, tier: i32, price: &str, lower: i64, upper: i64) -> SalePackagePriceRow {
    SalePackagePriceRow {
        package_id: package_id.into(),
        account_item: "101001".into(),
        utility: NetworkType::Electricity.into(),
        agreement_price: YesNo::No.into(),
        price: price.into(),
        price_unit: "元/千瓦时".into(),
        time_of_use: TimeFeesType::One.into(),
        ladder: LadderType::Year.into(),
        tier,
        lower_limit: lower,
        upper_limit: upper,
        ..Default::default()
    }
}

pub fn ladder_rows(package_id: &str) -> Vec<SalePackagePriceRow> {
    vec![
        row(package_id, 1, "0.4883", 0, 2880),
        row(package_id, 2, "0.5383", 2880, 4800),
        row(package_id, 3, "0.7883", 4800, 0),
    ]
}

/// A bill line of an account in a month: 300 kWh that cost 157.49, unpaid, of the first retail
/// company in the first network company's book 1.
pub fn line(account: u32, account_month: i32) -> ReceivableLine {
    ReceivableLine {
        network_company_id: NETWORK.into(),
        retail_company_id: RETAIL.into(),
        retail_store_id: STORE.into(),
        package_id: "P000000000000001".into(),
        book_id: "B000000000000001".into(),
        utility: NetworkType::Electricity.into(),
        settlement_account_id: format!("A{account:015}"),
        run_kind: NormalRetroType::Normal.into(),
        customer_id: format!("K{account:015}"),
        account_item: "101001".into(),
        category_item: 1,
        account_month,
        quantity: "300".into(),
        unit_price: "0.5".into(),
        fee: "157.49".into(),
        package_kind: ChargePackType::Market.into(),
        charge_off_date: account_month * 100 + 28,
        charge_off_id: format!("Q{account_month}{account:09}"),
        penalty_from: account_month * 100 + 28,
        ..Default::default()
    }
}

/// The messages of an import: the batch, then the lines in portions.
pub fn import_messages(batch_id: &str, lines: &[ReceivableLine], portion: usize) -> Vec<ImportReceivableLinesRequest> {
    let mut batch = Some(ImportBatch { batch_id: batch_id.into() });
    lines
        .chunks(portion)
        .map(|lines| ImportReceivableLinesRequest { batch: batch.take(), lines: lines.to_vec() })
        .collect()
}

/// What a refused call was refused for.
pub fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    let status = outcome.expect_err("a refusal");
    status.get_error_details().error_info().map(|i| i.reason.clone()).unwrap_or_else(|| panic!("{status:?}"))
}

/// The faulty fields that a refusal names.
pub fn fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().map(|b| b.field_violations.iter().map(|v| v.field.clone()).collect()).unwrap_or_default()
}

/// The words of a refusal.
pub fn words(status: &Status) -> String {
    status.get_error_details().localized_message().map(|m| m.message.clone()).unwrap_or_default()
}

/// Waits until a condition holds, for at most ten seconds.
pub async fn eventually<F: Future<Output = bool>>(mut holds: impl FnMut() -> F) {
    for _ in 0..200 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("did not happen within ten seconds");
}
