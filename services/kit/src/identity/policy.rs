//! The requirements of a service for its callers, and the messages of its refusals.

use chrono::TimeDelta;
use communal_proto::identity::v1::{Proof, TenantKind};

use super::store::IdentityError;
use crate::refusal::Refusal;
use crate::secret::Secret;

/// The documented messages for refused credentials.
#[derive(Debug)]
pub struct Wording {
    /// No channel is named.
    pub channel_missing: &'static str,
    /// The channel, its key or its signature is not accepted, for whatever reason.
    pub credentials: &'static str,
    /// The request id is empty or malformed.
    pub request_id: &'static str,
    /// The request time is missing or malformed.
    pub request_time: &'static str,
    /// The operator or its token is not accepted.
    pub operator: &'static str,
    /// The channel or the operator does not act for the tenant.
    pub tenant: &'static str,
    /// The channel may not call this method; `{method}` is replaced by its name.
    pub method: &'static str,
    /// Returns the service's own refusal of a call whose tenant is not of this kind, which the method requires.
    pub role: fn(TenantKind) -> Refusal,
}

/// The source of the operator of a call.
#[derive(Clone, Debug)]
pub enum OperatorSource {
    /// Metadata `x-operator-id`, set by the channel.
    Metadata,
    /// A bearer token that is signed with this key (HS256).
    Token(Secret),
}

/// The requirements of a service for its callers.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The proofs that channels of this service may have.
    pub proofs: &'static [Proof],
    /// The kinds of tenant that this service has.
    pub tenant_kinds: &'static [TenantKind],
    /// The source of the operator.
    pub operator: OperatorSource,
    /// The most characters that an identifier of a tenant, channel or operator has in the service's calls.
    pub longest_identifier: usize,
    /// The largest difference between a signed request's time and the clock.
    pub request_time_window: TimeDelta,
    /// Methods that only a channel which is an administrator may call, besides the administration of credentials.
    pub administration: &'static [&'static str],
    /// The messages of refusals.
    pub wording: &'static Wording,
}

impl Policy {
    /// Refuses an identifier that is longer than the service's calls can name. `field` is its place in the request.
    ///
    /// # Errors
    /// Returns [`IdentityError::TooLong`].
    pub fn check_length(&self, field: &'static str, identifier: &str) -> Result<(), IdentityError> {
        let most = self.longest_identifier;
        if identifier.chars().count() <= most {
            return Ok(());
        }
        Err(IdentityError::TooLong { field, identifier: identifier.to_owned(), most })
    }
}
