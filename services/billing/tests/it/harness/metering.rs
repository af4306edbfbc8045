//! Account months and billing points of the tests, and the calls that make them.

use communal_billing::metering::points::snapshot::Snapshot;
use communal_proto::billing::v1::*;
use prost::Message as _;
use tonic::Status;

use super::{Caller, NETWORK, NETWORK_STORE, World, caller};

/// An account month of electricity.
pub fn account_month(account_month: i32, start_date: i32, stop_date: i32) -> MonthControl {
    MonthControl {
        network_company_id: NETWORK.into(),
        network_store_id: NETWORK_STORE.into(),
        utility: NetworkType::Electricity.into(),
        account_month,
        part_month_rule: ChargeRuleType::ByDays.into(),
        start_date,
        stop_date,
    }
}

impl World {
    /// Opens an account month.
    pub async fn open_month(&self, tenant: &'static str, month: MonthControl) {
        let request = AddExpendMonthControlRequest { month: Some(month) };
        self.month_controls(caller(tenant)).add_expend_month_control(request).await.unwrap();
    }

    /// Opens March and April of 2024 for electricity.
    pub async fn open_spring(&self, tenant: &'static str) {
        self.open_month(tenant, account_month(202_403, 20_240_301, 20_240_401)).await;
        self.open_month(tenant, account_month(202_404, 20_240_401, 20_240_501)).await;
    }

    pub async fn create_points(&self, by: Caller, accounts: &[&str]) -> Result<(), Status> {
        let account = |id: &&str| AccountToBill { settlement_account_id: (*id).into() };
        let request = CreateBillingInfoRequest { accounts: accounts.iter().map(account).collect() };
        self.billing_points(by).create_billing_info(request).await.map(drop)
    }

    /// The account months and snapshots of an account's points, from the oldest.
    pub async fn points(&self, account: &str) -> Vec<(i32, Snapshot)> {
        let rows: Vec<(i32, Vec<u8>)> = sqlx::query_as(
            "SELECT account_month, snapshot FROM billing_point WHERE settlement_account_id = $1 ORDER BY 1, kind, number",
        )
        .bind(account)
        .fetch_all(self.pool())
        .await
        .unwrap();
        rows.into_iter().map(|(month, snapshot)| (month, Snapshot::decode(snapshot.as_slice()).unwrap())).collect()
    }

    /// Takes accounts for charged off: what charge-off leaves of their open points.
    pub async fn take_for_charged_off(&self, account: &str) {
        let delete = "DELETE FROM point_open WHERE settlement_account_id = $1";
        sqlx::query(delete).bind(account).execute(self.pool()).await.unwrap();
    }

    /// Gives an account's open points a calculation.
    pub async fn take_for_calculated(&self, account: &str) {
        let update = "UPDATE point_open SET lines = 1 WHERE settlement_account_id = $1";
        sqlx::query(update).bind(account).execute(self.pool()).await.unwrap();
        sqlx::query(
            "INSERT INTO point_calculation (company_id, settlement_account_id, account_month, kind, number, calculation,
                 operator_id, channel_id, trace_id, written_at)
             SELECT company_id, settlement_account_id, account_month, kind, number, '', '', '', '', now()
             FROM point_open WHERE settlement_account_id = $1",
        )
        .bind(account)
        .execute(self.pool())
        .await
        .unwrap();
    }
}

/// A reading of the register of flow 1 in a normal run.
pub fn read(meter_id: &str, register: ReadingsType, reading: &str) -> RegisterReading {
    RegisterReading {
        meter_id: meter_id.into(),
        run_kind: NormalRetroType::Normal.into(),
        energy_flow: EnergyFlowType::Forward.into(),
        register: register.into(),
        reading: reading.into(),
        turn: 0,
    }
}

impl World {
    pub async fn enter(&self, by: Caller, readings: Vec<RegisterReading>) -> Result<(), Status> {
        self.readings(by).meter_reading(MeterReadingRequest { readings }).await.map(drop)
    }

    /// A page of the registers to read in a book, and how many there are.
    pub async fn pending(&self, tenant: &'static str, book_id: &str, page: PageRequest) -> (Vec<PendingReading>, i64) {
        let book = Some(BookId { book_id: book_id.into() });
        let request = QueryPreMeterReadingsRequest { page: Some(page), book };
        let reply = self.readings(caller(tenant)).query_pre_meter_readings(request).await.unwrap().into_inner();
        (reply.readings, reply.page.unwrap().total)
    }

    /// A page of the registers that are read in a book or of a meter, and how many there are.
    pub async fn measured(
        &self,
        tenant: &'static str,
        filter: MeasuredFilter,
        page: PageRequest,
    ) -> (Vec<MeasuredRegister>, i64) {
        let request = QueryMeterConsAnalysisRequest { page: Some(page), filter: Some(filter) };
        let reply = self.readings(caller(tenant)).query_meter_cons_analysis(request).await.unwrap().into_inner();
        (reply.readings, reply.page.unwrap().total)
    }
}

impl World {
    pub async fn read_meters(
        &self,
        tenant: &'static str,
        scope: ReadMetersScope,
        messages: Vec<Vec<RegisterReading>>,
    ) -> Result<ReadMetersResponse, Status> {
        let mut scope = Some(scope);
        let messages: Vec<_> =
            messages.into_iter().map(|readings| ReadMetersRequest { scope: scope.take(), readings }).collect();
        Ok(self.readings(caller(tenant)).read_meters(futures::stream::iter(messages)).await?.into_inner())
    }

    /// All pages of faulty readings, as "kind account".
    pub async fn faults(&self, tenant: &'static str, book_id: &str, page_size: i32) -> Vec<String> {
        let (mut found, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListReadingFaultsRequest { book_id: book_id.into(), page_size, page_token };
            let page = self.readings(caller(tenant)).list_reading_faults(request).await.unwrap().into_inner();
            assert!(page.faults.len() <= usize::try_from(page_size).unwrap());
            let row = |fault: &ReadingFault| {
                format!("{:?} {} {:?}", fault.kind(), fault.settlement_account_id, fault.register())
            };
            found.extend(page.faults.iter().map(row));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return found;
            }
        }
    }
}
