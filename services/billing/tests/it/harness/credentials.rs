//! The companies, stores, channel and operator of the tests, and a client's credentials.

use chrono::{TimeZone, Utc};
use communal_kit::call::Call;
use communal_kit::call::Tenant;
use communal_kit::identity::store::{NewChannel, add_channel, register_operator, register_tenant};
use communal_kit::identity::{Proof, TenantKind};
use communal_kit::secret::Secret;
use communal_proto::billing::v1::Store;
use sqlx::PgPool;
use tonic::service::Interceptor;
use tonic::{Request, Status};

pub const NETWORK: &str = "N000000000000001";
pub const OTHER_NETWORK: &str = "N000000000000002";
pub const RETAIL: &str = "S000000000000001";
pub const OTHER_RETAIL: &str = "S000000000000002";
pub const STORE: &str = "H000000000000001";
pub const OTHER_STORE: &str = "H000000000000003";
const CHANNEL: &str = "C000000000000001";
const KEY: &str = "6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b6b";
const OPERATOR: &str = "R000000000000001";

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

/// A call as the methods know it, for tests of the stores.
pub fn call(tenant: &str, kind: TenantKind) -> Call {
    Call {
        tenant: Tenant { id: tenant.into(), kind },
        operator_id: OPERATOR.into(),
        operator_name: "操作员".into(),
        channel_id: CHANNEL.into(),
        request_id: None,
        trace_id: "test".into(),
        method: "test".into(),
        at: chrono::Utc::now(),
    }
}

pub async fn register(pool: &PgPool) {
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
