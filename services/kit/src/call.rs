//! A call: who makes it, for which tenant, and when.

use chrono::{DateTime, Utc};
use communal_proto::identity::v1::TenantKind;

use crate::telemetry::trace::TraceContext;

/// A party that is billed for: a supplier, a community.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Identifier.
    pub id: String,
    /// Kind.
    pub kind: TenantKind,
}

/// Who calls which method, for which tenant, and when.
#[derive(Clone, Debug)]
pub struct Call {
    /// The tenant acted for; every query is bound by it.
    pub tenant: Tenant,
    /// The person in whose name the call is made.
    pub operator_id: String,
    /// That person's name.
    pub operator_name: String,
    /// The system that calls.
    pub channel_id: String,
    /// Chosen by the caller; the same id twice is the same request.
    pub request_id: Option<String>,
    /// Identity of the request across processes.
    pub trace_id: String,
    /// gRPC path, like `/communal.billing.v1.PackageService/AddSalePackage`.
    pub method: String,
    /// The instant of the call, by the service's clock.
    pub at: DateTime<Utc>,
}

impl Call {
    /// What the process itself does for a tenant: a command line, demo data. `name` stands in the
    /// history as operator, channel and method.
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
