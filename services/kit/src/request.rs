//! Requests of authenticated calls: each is read once, and all its faults are gathered. Every handler
//! begins with [`begin`] and [`Begun::accept_with`].

use std::sync::Arc;
use std::time::Duration;

use communal_proto::contract::v1::{Reason as Common, TranscodingFaults};
use communal_proto::{Checked, Checker};
use futures::{Stream, StreamExt as _};
use prost::Message;
use tokio::time::timeout;
use tonic::metadata::MetadataMap;
use tonic::{Extensions, Request, Status, Streaming};

use crate::call::Call;
use crate::identity::Caller;
use crate::refusal::Refusal;

/// The metadata in which the gateway sends the faults that it found in transcoding.
const TRANSCODING_FAULTS: &str = "x-transcoding-faults-bin";

/// The longest wait for the next message of a stream. A sender that is silent longer has gone, even if its
/// connection is still open.
pub const LONGEST_SILENCE: Duration = Duration::from_secs(30);

/// An authenticated call whose request has been checked by its field rules. Rules of the domain may add
/// faults before it is accepted.
#[derive(Debug)]
pub struct Begun<M> {
    caller: Arc<Caller>,
    /// `None` if the tenant is named in a field that has a fault.
    call: Option<Call>,
    /// The request.
    pub message: M,
    /// The faults found so far.
    pub checker: Checker,
}

impl<M> Begun<M> {
    /// Returns the call and its request.
    ///
    /// # Errors
    /// Returns all faults of the request at once if there are any, and the service's refusal if the
    /// tenant's kind may not call the method.
    pub fn accept(self) -> Result<(Call, M), Refusal> {
        self.accept_with(|_, _| Some(())).map(|(call, message, ())| (call, message))
    }

    /// Reads the request into the domain's own type, once, and returns both with the call. `read` adds
    /// its faults to the checker, and returns `None` only if there is one.
    ///
    /// ```no_run
    /// # use communal_kit::request::begin;
    /// # use communal_proto::billing::v1::{PutOnSalePackageRequest, SalePackageStart};
    /// # fn f(request: tonic::Request<PutOnSalePackageRequest>) -> Result<(), tonic::Status> {
    /// let (call, message, start) = begin(request)?.accept_with(|message, _faults| message.package.clone())?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Returns the errors of [`Begun::accept`].
    pub fn accept_with<T>(mut self, read: impl FnOnce(&M, &mut Checker) -> Option<T>) -> Result<(Call, M, T), Refusal> {
        let value = read(&self.message, &mut self.checker);
        let left_out = self.checker.left_out();
        let faults = self.checker.into_faults();
        if !faults.is_empty() {
            return Err(Refusal::for_faults(faults).left_out(left_out));
        }
        let call = self.call.ok_or_else(|| Refusal::new(Common::TenantRefused, self.caller.wording.tenant))?;
        self.caller.check_role(&call)?;
        let value = value.ok_or_else(|| Refusal::internal("a request without a fault could not be read"))?;
        Ok((call, self.message, value))
    }
}

/// Begins a call whose tenant is in the metadata.
///
/// # Errors
/// Returns `TENANT_REFUSED` if the channel or operator does not act for the tenant.
pub fn begin<M: Checked>(request: Request<M>) -> Result<Begun<M>, Refusal> {
    let (metadata, extensions, message) = request.into_parts();
    let caller = caller(&extensions)?;
    let call = caller.for_tenant(caller.tenant_id.as_deref().unwrap_or_default())?;
    Ok(check(caller, Some(call), &metadata, message))
}

/// Begins a call whose tenant is named in the request. The field rules report an empty field. If the
/// metadata names a tenant, it must be the same.
///
/// # Errors
/// Returns `TENANT_REFUSED` if the channel or operator does not act for the tenant.
pub fn begin_in_tenant<M: Checked>(request: Request<M>, tenant: impl Fn(&M) -> &str) -> Result<Begun<M>, Refusal> {
    let (metadata, extensions, message) = request.into_parts();
    let caller = caller(&extensions)?;
    let named = tenant(&message);
    if caller.tenant_id.as_deref().is_some_and(|id| !named.is_empty() && id != named) {
        return Err(Refusal::new(Common::TenantRefused, caller.wording.tenant));
    }
    let call = if named.is_empty() { None } else { Some(caller.for_tenant(named)?) };
    Ok(check(caller, call, &metadata, message))
}

/// Begins a call whose request is a stream; the tenant is in the metadata.
///
/// # Errors
/// Returns `TENANT_REFUSED` if the channel or operator does not act for the tenant.
pub fn begin_stream<M>(request: Request<Streaming<M>>) -> Result<(Call, Streaming<M>), Refusal> {
    let (_, extensions, stream) = request.into_parts();
    let caller = caller(&extensions)?;
    let call = caller.for_tenant(caller.tenant_id.as_deref().unwrap_or_default())?;
    caller.check_role(&call)?;
    Ok((call, stream))
}

/// Returns the next message of a stream, or `None` at its end. `broken` is the message for people if the stream
/// breaks.
///
/// # Errors
/// Returns `DEADLINE_EXCEEDED` after [`LONGEST_SILENCE`], and `UNAVAILABLE` if the sender cancelled or lost its
/// connection; it does not read the answer then.
pub async fn next<M>(
    stream: &mut (impl Stream<Item = Result<M, Status>> + Unpin),
    broken: &'static str,
) -> Result<Option<M>, Refusal> {
    match timeout(LONGEST_SILENCE, stream.next()).await {
        Err(silence) => Err(Refusal::new(Common::DeadlineExceeded, broken).cause(silence)),
        Ok(None) => Ok(None),
        Ok(Some(Ok(message))) => Ok(Some(message)),
        Ok(Some(Err(status))) => Err(Refusal::new(Common::Unavailable, broken).cause(status)),
    }
}

/// Begins a call without a tenant, which administers credentials.
///
/// # Errors
/// Returns all faults of the request at once.
pub fn begin_without_tenant<M: Checked>(request: Request<M>) -> Result<(Arc<Caller>, M), Refusal> {
    let (metadata, extensions, message) = request.into_parts();
    let caller = caller(&extensions)?;
    let Begun { caller, checker, message, .. } = check(caller, None, &metadata, message);
    let left_out = checker.left_out();
    let faults = checker.into_faults();
    if faults.is_empty() { Ok((caller, message)) } else { Err(Refusal::for_faults(faults).left_out(left_out)) }
}

fn check<M: Checked>(caller: Arc<Caller>, call: Option<Call>, metadata: &MetadataMap, mut message: M) -> Begun<M> {
    let mut checker = Checker::with_transcoding_faults(transcoding_faults(metadata));
    message.tidy_names();
    message.check(&mut checker);
    Begun { caller, call, message, checker }
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
