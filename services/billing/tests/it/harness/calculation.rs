//! Accounts with a history that are brought along, and the calls that calculate them.

use communal_fixtures::settlement_accounts::verified_household;
use communal_proto::billing::v1::*;
use tonic::Status;

use super::{Caller, NETWORK_STORE, World, caller, new_meter, new_user_account, page};

/// The supply of accounts: whose they are, what prices them and what was billed before.
pub struct Supply {
    pub tenant: &'static str,
    pub utility: NetworkType,
    pub meter_kind: DeviceType,
    pub book_id: String,
    pub node_id: String,
    pub package_id: String,
    /// The registers of the meter with their last readings; without any there is no meter.
    pub registers: Vec<(ReadingsType, &'static str)>,
    pub population: i32,
    pub year_quantity: &'static str,
    pub month_quantity: &'static str,
    /// The month up to which both were billed.
    pub account_month: i32,
    pub parameters: VerifiedMeterPoint,
}

impl Supply {
    /// Electricity of a company by one register, billed up to February.
    pub fn electricity(tenant: &'static str, book_id: &str, node_id: &str, package_id: &str) -> Self {
        Self {
            tenant,
            utility: NetworkType::Electricity,
            meter_kind: DeviceType::Electricity,
            book_id: book_id.into(),
            node_id: node_id.into(),
            package_id: package_id.into(),
            registers: vec![(ReadingsType::Total, "100")],
            population: 0,
            year_quantity: "0",
            month_quantity: "0",
            account_month: 202_402,
            parameters: VerifiedMeterPoint::default(),
        }
    }
}

impl World {
    /// Brings an account along; returns account and meter.
    pub async fn bring_account(&self, number: usize, supply: &Supply) -> (String, String) {
        let (customer, user) = (format!("K{number:015}"), format!("D{number:015}"));
        let (account, meter) = (format!("A{number:015}"), format!("M{number:015}"));
        let metered = if supply.registers.is_empty() { YesNo::No } else { YesNo::Yes };
        let settlement_account = BroughtSettlementAccount {
            user_account_id: user.clone(),
            account: Some(verified_household(&account, "用能", "长安街 1 号")),
            meter_point: Some(VerifiedMeterPoint {
                address: "长安街 1 号".into(),
                book_id: supply.book_id.clone(),
                node_id: supply.node_id.clone(),
                utility: supply.utility.into(),
                metered: metered.into(),
                network_store_id: NETWORK_STORE.into(),
                assessed: YesNo::No.into(),
                stopped_or_vacant: YesNo::No.into(),
                main_package_id: supply.package_id.clone(),
                business_kind: BusCategType::New.into(),
                ..supply.parameters.clone()
            }),
            archived_on: 20_200_101,
            population: supply.population,
            year_quantity: supply.year_quantity.into(),
            month_quantity: supply.month_quantity.into(),
            account_month: supply.account_month,
        };
        let register = |(register, last_reading): &(ReadingsType, &str)| BroughtRegister {
            energy_flow: EnergyFlowType::Forward.into(),
            register: (*register).into(),
            last_reading: (*last_reading).into(),
            last_read_date: 20_240_229,
            old_quantity: String::new(),
        };
        let new = NewMeter {
            store_id: self.store_of(supply.tenant).into(),
            utility: supply.utility.into(),
            meter_kind: supply.meter_kind.into(),
            ..new_meter(&format!("B-{number}"))
        };
        let meters = vec![BroughtMeter {
            meter_id: meter.clone(),
            meter: Some(new),
            settlement_account_id: account.clone(),
            meter_location: "楼道".into(),
            reading_channel: MeterReadChanType::Reader.into(),
            remote_reading: YesNo::No.into(),
            reading_order: 1,
            registers: supply.registers.iter().map(register).collect(),
        }];
        let batch = ImportArchiveRequest {
            batch: Some(ArchiveBatch { batch_id: format!("batch-{number}") }),
            customers: vec![BroughtCustomer {
                customer_id: customer.clone(),
                certificate_number: format!("brought-{number}"),
                certificate_kind: AccCertType::IdentityCard.into(),
                customer_name: "客户".into(),
                mobile_phone: "13900000000".into(),
                customer_kind: CustomerType::Natural.into(),
                ..BroughtCustomer::default()
            }],
            user_accounts: vec![BroughtUserAccount {
                user_account_id: user,
                account: Some(new_user_account(&customer, "客户", "长安街 1 号")),
            }],
            settlement_accounts: vec![settlement_account],
            meters: if supply.registers.is_empty() { Vec::new() } else { meters },
        };
        self.archive(caller(supply.tenant)).import_archive(futures::stream::iter([batch])).await.unwrap();
        (account, meter)
    }

    fn store_of(&self, tenant: &str) -> &'static str {
        if tenant == super::NETWORK { NETWORK_STORE } else { super::STORE }
    }

    pub async fn calculate(&self, by: Caller, points: &[(&str, NormalRetroType)]) -> Result<(), Status> {
        let point = |(account, kind): &(&str, NormalRetroType)| PointToCalculate {
            settlement_account_id: (*account).into(),
            run_kind: (*kind).into(),
        };
        let request = CalculateFeesRequest { points: points.iter().map(point).collect() };
        self.calculations(by).calculate_fees(request).await.map(drop)
    }

    /// Calculates the normal points of accounts.
    pub async fn calculate_normal(&self, by: Caller, accounts: &[&str]) -> Result<(), Status> {
        let points: Vec<_> = accounts.iter().map(|account| (*account, NormalRetroType::Normal)).collect();
        self.calculate(by, &points).await
    }

    pub async fn uncharged_lines(&self, tenant: &'static str, account: &str) -> Vec<UnchargedLine> {
        let filter = UnchargedLineFilter { settlement_account_id: account.into(), fee_kind: 0 };
        let request = QueryUnChargeOffPriceInfoRequest { filter: Some(filter) };
        self.calculations(caller(tenant)).query_un_charge_off_price_info(request).await.unwrap().into_inner().lines
    }

    /// The lines of an account that are not charged off: kind, item, surcharge, tier, period, quantity × price = fee.
    pub async fn shown_lines(&self, tenant: &'static str, account: &str) -> Vec<String> {
        let lines = self.uncharged_lines(tenant, account).await;
        let line = |line: &UnchargedLine| {
            let UnchargedLine { fee_kind, category_item, surcharge_item, tier, quantity, unit_price, fee, .. } = line;
            let period = line.period();
            format!("{fee_kind} {category_item}/{surcharge_item} {tier}/{period:?} {quantity} × {unit_price} = {fee}")
        };
        lines.iter().map(line).collect()
    }

    /// A page of the bills that are not charged off, and how many there are.
    pub async fn uncharged(
        &self,
        tenant: &'static str,
        book_id: &str,
        account: &str,
        of: (i32, i32),
    ) -> (Vec<UnchargedBill>, i64) {
        let filter = UnchargedFilter { book_id: book_id.into(), settlement_account_id: account.into() };
        let request = QueryUnChargeOffInfoRequest { page: page(of.0, of.1), filter: Some(filter) };
        let reply = self.calculations(caller(tenant)).query_un_charge_off_info(request).await.unwrap().into_inner();
        (reply.bills, reply.page.unwrap().total)
    }

    /// A page of the points of a book that can be calculated, and how many there are.
    pub async fn calculable(&self, tenant: &'static str, book_id: &str) -> (Vec<CalculablePoint>, i64) {
        let filter = CalculableFilter { book_id: book_id.into(), settlement_account_id: String::new() };
        let request = QueryPreCalculatedDataRequest { page: page(1, 1000), filter: Some(filter) };
        let reply = self.calculations(caller(tenant)).query_pre_calculated_data(request).await.unwrap().into_inner();
        (reply.points, reply.page.unwrap().total)
    }

    pub async fn point_detail(
        &self,
        tenant: &'static str,
        account: &str,
        kind: NormalRetroType,
    ) -> QueryCalFeesDetaillResponse {
        let point = PointToCalculate { settlement_account_id: account.into(), run_kind: kind.into() };
        let request = QueryCalFeesDetaillRequest { point: Some(point) };
        self.calculations(caller(tenant)).query_cal_fees_detaill(request).await.unwrap().into_inner()
    }
}
