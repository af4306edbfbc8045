//! Books, customers, user accounts and meters of the tests, and the calls that make them.

use communal_proto::billing::v1::*;
use tonic::Status;

use super::{Caller, RETAIL, STORE, World, caller};

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
