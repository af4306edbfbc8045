//! The stores of the tests, and a client's credentials.

use chrono::Utc;
use communal_billing::suppliers;
use communal_fixtures::credentials::billing::{self, metadata};
pub use communal_fixtures::credentials::billing::{NETWORK, OTHER_NETWORK, OTHER_RETAIL, RETAIL, SEALING_KEY, STORE};
use communal_kit::call::{Call, Tenant};
use communal_kit::identity::TenantKind;
use communal_kit::server::MOST_REPLY;
use communal_kit::write::announce;
use communal_proto::billing::v1::Store;
use sqlx::PgPool;
use tonic::service::Interceptor;
use tonic::{Request, Status};

pub const OTHER_STORE: &str = "H000000000000003";
/// The region of all stores.
pub const REGION: &str = "110101000000";
pub const NETWORK_STORE: &str = "H000000000000009";

/// The tenant that a client calls for, and the request id.
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
        for (name, value) in metadata(self.tenant) {
            request.metadata_mut().insert(name, value.parse().unwrap());
        }
        if let Some(id) = &self.request_id {
            request.metadata_mut().insert("idempotency-key", id.parse().unwrap());
        }
        request.metadata_mut().insert(MOST_REPLY, (64_u32 << 20).into());
        Ok(request)
    }
}

pub async fn register(pool: &PgPool) {
    let mut transaction = pool.begin().await.unwrap();
    billing::register(&mut transaction).await.unwrap();
    let of_retail = [(RETAIL, STORE), (OTHER_RETAIL, OTHER_STORE)].map(|(c, s)| (c, TenantKind::RetailCompany, s));
    for (company, kind, store) in of_retail.into_iter().chain([(NETWORK, TenantKind::NetworkCompany, NETWORK_STORE)]) {
        let stores = [Store { store_id: store.into(), name: "营业厅".into(), region_code: REGION.into() }];
        let tenant = Tenant { id: company.into(), kind };
        let call = Call::internal(tenant, "test", Utc::now());
        announce(&mut transaction, &call).await.unwrap();
        suppliers::store::register(&mut transaction, &call, &stores).await.unwrap();
    }
    transaction.commit().await.unwrap();
}
