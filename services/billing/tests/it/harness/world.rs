//! A billing service over real gRPC in this process, on a PostgreSQL database of its own, with a
//! clock that the test sets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, Days, NaiveDate, TimeZone, Utc};
use communal_billing::{Config, MIGRATOR};
use communal_fixtures::TestDatabase;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::config::Reader;
use communal_kit::dates;
use communal_proto::billing::v1::adjust_ratio_service_client::AdjustRatioServiceClient;
use communal_proto::billing::v1::adjustment_service_client::AdjustmentServiceClient;
use communal_proto::billing::v1::approval_ratio_service_client::ApprovalRatioServiceClient;
use communal_proto::billing::v1::archive_service_client::ArchiveServiceClient;
use communal_proto::billing::v1::billing_point_service_client::BillingPointServiceClient;
use communal_proto::billing::v1::book_service_client::BookServiceClient;
use communal_proto::billing::v1::calculation_service_client::CalculationServiceClient;
use communal_proto::billing::v1::catalogue_price_service_client::CataloguePriceServiceClient;
use communal_proto::billing::v1::catalogue_service_client::CatalogueServiceClient;
use communal_proto::billing::v1::charge_off_service_client::ChargeOffServiceClient;
use communal_proto::billing::v1::customer_service_client::CustomerServiceClient;
use communal_proto::billing::v1::delivery_price_service_client::DeliveryPriceServiceClient;
use communal_proto::billing::v1::guaranteed_package_service_client::GuaranteedPackageServiceClient;
use communal_proto::billing::v1::ladder_population_service_client::LadderPopulationServiceClient;
use communal_proto::billing::v1::meter_service_client::MeterServiceClient;
use communal_proto::billing::v1::month_control_service_client::MonthControlServiceClient;
use communal_proto::billing::v1::package_price_service_client::PackagePriceServiceClient;
use communal_proto::billing::v1::package_service_client::PackageServiceClient;
use communal_proto::billing::v1::quote_service_client::QuoteServiceClient;
use communal_proto::billing::v1::reading_service_client::ReadingServiceClient;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::run_service_client::RunServiceClient;
use communal_proto::billing::v1::season_month_service_client::SeasonMonthServiceClient;
use communal_proto::billing::v1::settlement_account_service_client::SettlementAccountServiceClient;
use communal_proto::billing::v1::supplier_service_client::SupplierServiceClient;
use communal_proto::billing::v1::user_account_service_client::UserAccountServiceClient;
use communal_proto::billing::v1::verification_service_client::VerificationServiceClient;
use sqlx::PgPool;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic_types::StatusExt;

use super::{Caller, SEALING_KEY, register};

/// A running service.
pub struct World {
    pub database: TestDatabase,
    pub clock: Clock,
    pub address: SocketAddr,
    channel: Channel,
    stop: Option<oneshot::Sender<()>>,
    serving: Option<JoinHandle<()>>,
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
            ("sealing_key", SEALING_KEY),
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

    pub fn catalogue(&self, caller: Caller) -> CatalogueServiceClient<Intercepted> {
        CatalogueServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn guaranteed_packages(&self, caller: Caller) -> GuaranteedPackageServiceClient<Intercepted> {
        GuaranteedPackageServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn catalogue_prices(&self, caller: Caller) -> CataloguePriceServiceClient<Intercepted> {
        CataloguePriceServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn adjust_ratios(&self, caller: Caller) -> AdjustRatioServiceClient<Intercepted> {
        AdjustRatioServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn approval_ratios(&self, caller: Caller) -> ApprovalRatioServiceClient<Intercepted> {
        ApprovalRatioServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn delivery_prices(&self, caller: Caller) -> DeliveryPriceServiceClient<Intercepted> {
        DeliveryPriceServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn ladder_populations(&self, caller: Caller) -> LadderPopulationServiceClient<Intercepted> {
        LadderPopulationServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn season_months(&self, caller: Caller) -> SeasonMonthServiceClient<Intercepted> {
        SeasonMonthServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn month_controls(&self, caller: Caller) -> MonthControlServiceClient<Intercepted> {
        MonthControlServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn receivables(&self, caller: Caller) -> ReceivableServiceClient<Intercepted> {
        ReceivableServiceClient::with_interceptor(self.channel.clone(), caller)
            .max_decoding_message_size(64 * 1024 * 1024)
    }

    pub fn suppliers(&self, caller: Caller) -> SupplierServiceClient<Intercepted> {
        SupplierServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn billing_points(&self, caller: Caller) -> BillingPointServiceClient<Intercepted> {
        BillingPointServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn adjustments(&self, caller: Caller) -> AdjustmentServiceClient<Intercepted> {
        AdjustmentServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn calculations(&self, caller: Caller) -> CalculationServiceClient<Intercepted> {
        CalculationServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn charge_offs(&self, caller: Caller) -> ChargeOffServiceClient<Intercepted> {
        ChargeOffServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn runs(&self, caller: Caller) -> RunServiceClient<Intercepted> {
        RunServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn readings(&self, caller: Caller) -> ReadingServiceClient<Intercepted> {
        ReadingServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn books(&self, caller: Caller) -> BookServiceClient<Intercepted> {
        BookServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn customers(&self, caller: Caller) -> CustomerServiceClient<Intercepted> {
        CustomerServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn user_accounts(&self, caller: Caller) -> UserAccountServiceClient<Intercepted> {
        UserAccountServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn archive(&self, caller: Caller) -> ArchiveServiceClient<Intercepted> {
        ArchiveServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn settlement_accounts(&self, caller: Caller) -> SettlementAccountServiceClient<Intercepted> {
        SettlementAccountServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn quotes(&self, caller: Caller) -> QuoteServiceClient<Intercepted> {
        QuoteServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn verification(&self, caller: Caller) -> VerificationServiceClient<Intercepted> {
        VerificationServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    pub fn meters(&self, caller: Caller) -> MeterServiceClient<Intercepted> {
        MeterServiceClient::with_interceptor(self.channel.clone(), caller)
    }

    /// The operations in the history of a noun, from the oldest.
    pub async fn history(&self, noun: &str) -> Vec<String> {
        let statement = "SELECT operation FROM platform.change WHERE noun = $1 ORDER BY change_number";
        sqlx::query_scalar(statement).bind(noun).fetch_all(self.pool()).await.unwrap()
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
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

/// The reason of a refused call.
pub fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> String {
    let status = outcome.expect_err("a refusal");
    status.get_error_details().error_info().map(|i| i.reason.clone()).unwrap_or_else(|| panic!("{status:?}"))
}

/// The one field that a refusal names, and its reason.
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, Status>) -> (String, String) {
    let status = outcome.expect_err("a refusal");
    (fields(&status).join(" "), reason::<()>(Err(status)))
}

/// Checks that of 32 calls at once one succeeds, and that the others are refused for a reason. Returns the fields that these
/// name: one list if all name the same.
pub async fn one_of_32<F: Future<Output = Result<(), Status>>>(
    call: impl Fn(usize) -> F,
    refusal: &str,
) -> BTreeSet<Vec<String>> {
    let outcomes = futures::future::join_all((0..32).map(call)).await;
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
    let losers: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
    let named = losers.iter().map(fields).collect();
    assert!(losers.into_iter().all(|loser| reason::<()>(Err(loser)) == refusal));
    named
}

/// The faulty fields that a refusal names by their protobuf names.
pub fn proto_fields(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    details.bad_request().map(|b| b.field_violations.iter().map(|v| v.field.clone()).collect()).unwrap_or_default()
}

/// The faulty fields that a refusal names: by the documented names that its message for people has, and by their protobuf
/// names where no document names them.
pub fn fields(status: &Status) -> Vec<String> {
    let words = words(status);
    let mut documented = words
        .split('；')
        .filter_map(|fault| fault.split_once(' '))
        .map(|(field, _)| field.to_owned())
        .filter(|field| field.starts_with(|first: char| first.is_ascii_uppercase()));
    let named = |field: String| if field.starts_with("x-") { field } else { documented.next().unwrap_or(field) };
    proto_fields(status).into_iter().map(named).collect()
}

/// The reasons of the fields that a refusal names.
pub fn reasons(status: &Status) -> Vec<String> {
    let details = status.get_error_details();
    let violations = details.bad_request().map(|request| request.field_violations.clone()).unwrap_or_default();
    violations.into_iter().map(|violation| violation.reason).collect()
}

/// The Chinese text of a refusal.
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
