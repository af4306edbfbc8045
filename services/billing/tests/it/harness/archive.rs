//! Books, customers, user accounts and meters of the tests, and the calls that make them.

pub use communal_fixtures::certificates::identity_number;
use communal_fixtures::settlement_accounts::verified_household;
use communal_proto::billing::v1::*;
use tonic::Status;

use super::{Caller, NETWORK, NETWORK_STORE, RETAIL, STORE, World, caller};

/// Spellings that are one name to a person: they differ in width, case and spacing alone.
pub fn spelled(n: usize) -> &'static str {
    ["一段 A1", "一段A1", "一段ａ１", "一　段 a 1"][n % 4]
}

pub fn new_book(name: &str) -> NewBook {
    NewBook {
        utility: NetworkType::Electricity.into(),
        read: YesNo::Yes.into(),
        reading_cycle: ReadPeriodType::Monthly.into(),
        store_id: STORE.into(),
        book_name: name.into(),
        manager_id: "R000000000000008".into(),
        meter_reader_id: "R000000000000009".into(),
    }
}

pub fn new_customer(certificate: &str, name: &str) -> NewCustomer {
    NewCustomer {
        certificate_number: certificate.into(),
        certificate_kind: AccCertType::IdentityCard.into(),
        account_password: "correct horse".into(),
        customer_name: name.into(),
        mobile_phone: "13800138000".into(),
        customer_kind: CustomerType::Natural.into(),
        tax_number: "TAX-110101".into(),
        bank_account: "6222020200112233".into(),
        verification_code: "000000".into(),
        ..NewCustomer::default()
    }
}

pub fn new_user_account(customer_id: &str, name: &str, address: &str) -> NewUserAccount {
    NewUserAccount {
        customer_id: customer_id.into(),
        user_name: name.into(),
        region_code: "110101000000".into(),
        address: address.into(),
        resident: YesNo::Yes.into(),
        ..NewUserAccount::default()
    }
}

pub fn new_meter(factory_number: &str) -> NewMeter {
    NewMeter {
        store_id: STORE.into(),
        factory_number: factory_number.into(),
        utility: NetworkType::Electricity.into(),
        meter_kind: DeviceType::Electricity.into(),
        digits: 6,
        meter_multiplier: "1".into(),
        quantity_unit: "1".into(),
    }
}

pub fn page(page: i32, rows: i32) -> Option<PageRequest> {
    Some(PageRequest { page, rows })
}

impl World {
    /// A service that proves phones by any code.
    pub async fn start_archive() -> Self {
        Self::start_with(&[("billing_verify_codes", "off")]).await
    }

    pub async fn add_books(&self, by: Caller, books: Vec<NewBook>) -> Result<(), Status> {
        self.books(by).add_supplier_book(AddSupplierBookRequest { books }).await.map(drop)
    }

    pub async fn list_books(&self, tenant: &'static str, filter: BookFilter) -> Vec<Book> {
        let request = QuerySupplierBookRequest { page: page(1, 1000), filter: Some(filter) };
        self.books(caller(tenant)).query_supplier_book(request).await.unwrap().into_inner().books
    }

    pub async fn add_customers(&self, by: Caller, customers: Vec<NewCustomer>) -> Result<Vec<AddedCustomer>, Status> {
        let request = SupCreateCustomerAccountRequest { customers };
        let reply = self.customers(by).sup_create_customer_account(request).await?;
        Ok(reply.into_inner().customers)
    }

    /// Adds a customer of the retail company and returns its identifier.
    pub async fn customer(&self, certificate: &str, name: &str) -> String {
        let added = self.add_customers(caller(RETAIL), vec![new_customer(certificate, name)]).await.unwrap();
        added[0].customer_id.clone()
    }

    pub async fn add_user_account(&self, by: Caller, account: NewUserAccount) -> Result<(), Status> {
        let request = CreateUserAccountRequest { account: Some(account) };
        self.user_accounts(by).create_user_account(request).await.map(drop)
    }

    pub async fn add_meters(&self, by: Caller, meters: Vec<NewMeter>) -> Result<(), Status> {
        self.meters(by).add_settle_meter(AddSettleMeterRequest { meters }).await.map(drop)
    }

    pub async fn list_meters(&self, tenant: &'static str, filter: MeterFilter) -> Vec<Meter> {
        let request = QuerySettleMeterRequest { page: page(1, 1000), filter: Some(filter) };
        self.meters(caller(tenant)).query_settle_meter(request).await.unwrap().into_inner().meters
    }

    /// The rows of a table, each as one text.
    pub async fn rows(&self, table: &'static str) -> Vec<String> {
        let statement = sqlx::AssertSqlSafe(format!("SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1"));
        sqlx::query_scalar(statement).fetch_all(self.pool()).await.unwrap()
    }
}

/// The node of the network company in the tests.
pub const NODE: &str = "L000000000000009";

/// A reading of the register of flow 1 at its opening or closing.
pub fn reading(meter_id: &str, register: ReadingsType, reading: &str) -> BoundaryReading {
    BoundaryReading {
        meter_id: meter_id.into(),
        run_kind: NormalRetroType::Normal.into(),
        energy_flow: EnergyFlowType::Forward.into(),
        register: register.into(),
        reading: reading.into(),
        turn: 0,
    }
}

pub fn installed(meter_id: &str) -> InstalledMeter {
    InstalledMeter {
        meter_id: meter_id.into(),
        meter_kind: DeviceType::Electricity.into(),
        meter_location: "楼道表箱 3 层".into(),
        reading_channel: MeterReadChanType::Reader.into(),
        remote_reading: YesNo::No.into(),
        reading_order: 7,
    }
}

pub fn served(account: &str, kind: BusCategType) -> ServedSettlementAccount {
    ServedSettlementAccount {
        settlement_account_id: account.into(),
        connection_kind: ConnectModeType::PhaseA.into(),
        business_kind: kind.into(),
    }
}

/// What a test connects accounts with: a book, a package on sale, a node.
pub struct Network {
    pub book_id: String,
    pub package_id: String,
}

impl Network {
    /// The parameters of an account in a process of a kind.
    pub fn parameters(&self, account: &str, kind: BusCategType, metered: YesNo) -> UserSettleVerifyRequest {
        UserSettleVerifyRequest {
            settlement_account: Some(VerifiedSettlementAccount {
                business_kind: kind.into(),
                ..verified_household(account, "王小明用电", "长安街 1 号")
            }),
            meter_point: Some(VerifiedMeterPoint {
                address: "长安街 1 号".into(),
                book_id: self.book_id.clone(),
                node_id: NODE.into(),
                utility: NetworkType::Electricity.into(),
                metered: metered.into(),
                network_store_id: NETWORK_STORE.into(),
                assessed: YesNo::No.into(),
                stopped_or_vacant: YesNo::No.into(),
                main_package_id: self.package_id.clone(),
                fixed_quantity: "-1.5".into(),
                area_factor: "1".into(),
                area: "89.5".into(),
                business_kind: kind.into(),
                ..VerifiedMeterPoint::default()
            }),
        }
    }
}

impl World {
    /// A book of electricity, a package on sale and a node.
    pub async fn network(&self) -> Network {
        let node = Node {
            node_id: NODE.into(),
            name: "台区".into(),
            store_id: NETWORK_STORE.into(),
            utility: NetworkType::Electricity.into(),
        };
        let request = RegisterNodesRequest { nodes: vec![node] };
        self.suppliers(caller(NETWORK)).register_nodes(request).await.unwrap();
        self.add_books(caller(RETAIL), vec![new_book("一段")]).await.unwrap();
        let book_id = self.list_books(RETAIL, BookFilter::default()).await.remove(0).book_id;
        Network { book_id, package_id: self.on_sale("居民电价").await }
    }

    /// A user account of a new customer; returns both.
    pub async fn user_account(&self, person: usize, name: &str) -> (String, String) {
        let customer = self.customer(&identity_number(person), name).await;
        let new = new_user_account(&customer, name, "长安街 1 号");
        self.add_user_account(caller(RETAIL), new).await.unwrap();
        let statement = "SELECT user_account_id FROM user_account WHERE customer_id = $1";
        let account: String = sqlx::query_scalar(statement).bind(&customer).fetch_one(self.pool()).await.unwrap();
        (customer, account)
    }

    pub async fn apply(&self, by: Caller, applications: Vec<BusinessApplication>) -> Result<(), Status> {
        let request = SupApplyBusinessRequest { applications };
        self.settlement_accounts(by).sup_apply_business(request).await.map(drop)
    }

    /// Applies for a new connection and returns its settlement account.
    pub async fn connect(&self, user_account: &str, name: &str) -> String {
        self.apply(caller(RETAIL), vec![connection(user_account, name)]).await.unwrap();
        let statement = "SELECT settlement_account_id FROM settlement_account WHERE user_account_id = $1 AND name = $2";
        sqlx::query_scalar(statement).bind(user_account).bind(name).fetch_one(self.pool()).await.unwrap()
    }

    /// Applies for a process of an account.
    pub async fn process(&self, account: &str, kind: BusCategType) -> Result<(), Status> {
        self.apply(caller(RETAIL), vec![of_account(account, kind)]).await
    }

    pub async fn verify(&self, tenant: &'static str, request: UserSettleVerifyRequest) -> Result<(), Status> {
        self.verification(caller(tenant)).user_settle_verify(request).await.map(drop)
    }

    pub async fn serve_meter(
        &self,
        served: ServedSettlementAccount,
        meters: Vec<InstalledMeter>,
        readings: Vec<BoundaryReading>,
    ) -> Result<(), Status> {
        let request = SettleDeviceVerifyRequest { settlement_account: Some(served), meters, readings };
        self.verification(caller(RETAIL)).settle_device_verify(request).await.map(drop)
    }

    /// Registers a meter and returns its identifier.
    pub async fn meter(&self, meter: NewMeter) -> String {
        let factory_number = meter.factory_number.clone();
        self.add_meters(caller(RETAIL), vec![meter]).await.unwrap();
        self.list_meters(RETAIL, MeterFilter { factory_number, ..MeterFilter::default() }).await.remove(0).meter_id
    }

    /// An archived account with a meter whose register stands at 100; returns account and meter.
    pub async fn archived(&self, network: &Network, number: usize) -> (String, String) {
        let (_, user) = self.user_account(number, &format!("客户{number}")).await;
        let account = self.connect(&user, "王小明用电").await;
        self.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::Yes)).await.unwrap();
        let meter = self.meter(new_meter(&format!("E-{number}"))).await;
        let readings = vec![reading(&meter, ReadingsType::Total, "100")];
        self.serve_meter(served(&account, BusCategType::New), vec![installed(&meter)], readings).await.unwrap();
        (account, meter)
    }

    pub async fn unverified(
        &self,
        tenant: &'static str,
        filter: PersonFilter,
    ) -> QueryUnverifiedUserAndSettlesResponse {
        let request = QueryUnverifiedUserAndSettlesRequest { filter: Some(filter), page: page(1, 1000) };
        self.settlement_accounts(caller(tenant)).query_unverified_user_and_settles(request).await.unwrap().into_inner()
    }

    pub async fn verified(&self, tenant: &'static str, filter: PersonFilter) -> QueryVerifiedUserAndSettlesResponse {
        let request = QueryVerifiedUserAndSettlesRequest { filter: Some(filter), page: page(1, 1000) };
        self.settlement_accounts(caller(tenant)).query_verified_user_and_settles(request).await.unwrap().into_inner()
    }
}

pub fn connection(user_account: &str, name: &str) -> BusinessApplication {
    BusinessApplication {
        business_kind: BusCategType::New.into(),
        user_account_id: user_account.into(),
        utility: NetworkType::Electricity.into(),
        settlement_account_name: name.into(),
        address: "长安街 1 号".into(),
        ..BusinessApplication::default()
    }
}

pub fn of_account(account: &str, kind: BusCategType) -> BusinessApplication {
    BusinessApplication {
        business_kind: kind.into(),
        settlement_account_id: account.into(),
        ..BusinessApplication::default()
    }
}
