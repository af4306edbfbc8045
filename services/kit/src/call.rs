//! One call after it was let in: who makes it, for which tenant, and the request itself with
//! every fault of it gathered.

use std::sync::Arc;

use communal_proto::contract::v1::{Reason as Common, TranscodingFaults};
use communal_proto::{Checked, Checker};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Streaming};

use crate::identity::{Caller, Tenant};
use crate::refusal::Refusal;

/// What the gateway could not carry over, in metadata.
const TRANSCODING_FAULTS: &str = "x-transcoding-faults-bin";

/// Who calls what, for which tenant.
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
}

/// A call that was let in and whose request has been checked by its field rules. Domain rules
/// may add faults before [`Begun::accept`].
#[derive(Debug)]
pub struct Begun<M> {
    /// Who calls; absent where the tenant is named in a field that is itself at fault.
    call: Option<Call>,
    /// The request.
    pub message: M,
    /// The faults so far.
    pub checker: Checker,
}

impl<M> Begun<M> {
    /// The call and its request, if nothing is at fault.
    ///
    /// # Errors
    /// All faults of the request at once.
    pub fn accept(self) -> Result<(Call, M), Refusal> {
        let faults = self.checker.into_faults();
        match self.call {
            Some(call) if faults.is_empty() => Ok((call, self.message)),
            None if faults.is_empty() => Err(tenant_refused()),
            _ => Err(Refusal::for_faults(faults)),
        }
    }
}

/// Begins a call whose tenant is in the metadata.
///
/// # Errors
/// `TENANT_REFUSED` where the channel or operator does not act for the tenant.
pub fn begin<M: Checked>(request: Request<M>) -> Result<Begun<M>, Refusal> {
    let (metadata, extensions, message) = request.into_parts();
    let caller = caller(&extensions)?;
    let call = caller.for_tenant(caller.tenant_id.as_deref().unwrap_or_default())?;
    Ok(check(Some(call), &metadata, message))
}

/// Begins a call whose tenant is named in the request. Where that field is empty the field
/// rules say so; a tenant in the metadata must then be the same.
///
/// # Errors
/// `TENANT_REFUSED` where the channel or operator does not act for the tenant.
pub fn begin_in_tenant<M: Checked>(request: Request<M>, tenant: impl Fn(&M) -> &str) -> Result<Begun<M>, Refusal> {
    let (metadata, extensions, message) = request.into_parts();
    let caller = caller(&extensions)?;
    let named = tenant(&message);
    if caller.tenant_id.as_deref().is_some_and(|id| !named.is_empty() && id != named) {
        return Err(Refusal::new(Common::TenantRefused, caller.wording.tenant));
    }
    let call = if named.is_empty() { None } else { Some(caller.for_tenant(named)?) };
    Ok(check(call, &metadata, message))
}

/// Begins a call whose request is a stream; the tenant is in the metadata.
///
/// # Errors
/// `TENANT_REFUSED` where the channel or operator does not act for the tenant.
pub fn begin_stream<M>(request: Request<Streaming<M>>) -> Result<(Call, Streaming<M>), Refusal> {
    let (_, extensions, stream) = request.into_parts();
    let caller = caller(&extensions)?;
    Ok((caller.for_tenant(caller.tenant_id.as_deref().unwrap_or_default())?, stream))
}

/// Begins a call of no tenant: administration.
///
/// # Errors
/// All faults of the request at once.
pub fn begin_without_tenant<M: Checked>(request: Request<M>) -> Result<(Arc<Caller>, M), Refusal> {
    let (metadata, extensions, message) = request.into_parts();
    let caller = caller(&extensions)?;
    let Begun { checker, message, .. } = check(None, &metadata, message);
    let faults = checker.into_faults();
    if faults.is_empty() { Ok((caller, message)) } else { Err(Refusal::for_faults(faults)) }
}

fn check<M: Checked>(call: Option<Call>, metadata: &MetadataMap, message: M) -> Begun<M> {
    let mut checker = Checker::with_transcoding_faults(transcoding_faults(metadata));
    message.check(&mut checker);
    Begun { call, message, checker }
}

fn transcoding_faults(metadata: &MetadataMap) -> TranscodingFaults {
    metadata
        .get_bin(TRANSCODING_FAULTS)
        .and_then(|value| value.to_bytes().ok())
        .and_then(|bytes| TranscodingFaults::decode(bytes).ok())
        .unwrap_or_default()
}

fn caller(extensions: &Extensions) -> Result<Arc<Caller>, Refusal> {
    extensions
        .get::<Arc<Caller>>()
        .cloned()
        .ok_or_else(|| Refusal::internal("a call reached its handler without having been authenticated"))
}

fn tenant_refused() -> Refusal {
    Refusal::new(Common::TenantRefused, "无权访问")
}
