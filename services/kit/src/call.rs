//! A call with its caller, tenant, method and instant.

use chrono::{DateTime, Utc};
use communal_proto::identity::v1::TenantKind;

use crate::telemetry::trace::TraceContext;

/// A party whose data calls read and write: a supplier or a community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Identifier.
    pub id: String,
    /// Kind.
    pub kind: TenantKind,
}

/// An authenticated call for a tenant.
#[derive(Clone, Debug)]
pub struct Call {
    /// The tenant; every query is bound by it.
    pub tenant: Tenant,
    /// The person on whose behalf the call is made.
    pub operator_id: String,
    /// The name of that person.
    pub operator_name: String,
    /// The system that calls.
    pub channel_id: String,
    /// The request id, chosen by the caller: `idempotency-key` in the metadata. The same id again is the
    /// same request. Queries do not read it.
    pub request_id: Option<String>,
    /// The trace id of the request across processes.
    pub trace_id: String,
    /// The gRPC path, like `/communal.billing.v1.PackageService/AddSalePackage`.
    pub method: String,
    /// The instant of the call by the service's clock.
    pub at: DateTime<Utc>,
}

impl Call {
    /// Creates a call of the process itself for a tenant, by a command or for demo data. `name` is
    /// recorded as operator, channel and method.
    #[must_use]
    pub fn internal(tenant: Tenant, name: &str, at: DateTime<Utc>) -> Self {
        Self {
            tenant,
            operator_id: name.to_owned(),
            operator_name: name.to_owned(),
            channel_id: name.to_owned(),
            request_id: None,
            trace_id: TraceContext::root().trace_id(),
            method: name.to_owned(),
            at,
        }
    }
}
