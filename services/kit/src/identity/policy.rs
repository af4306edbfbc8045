//! What a service requires of its callers, and the messages with which it refuses them.

use chrono::TimeDelta;
use communal_proto::identity::v1::{Proof, TenantKind};

use crate::refusal::Refusal;
use crate::secret::Secret;

/// The documented message of each refusal of credentials.
#[derive(Debug)]
pub struct Wording {
    /// No channel was named.
    pub channel_missing: &'static str,
    /// The channel, its key or its signature is not accepted, whatever is wrong.
    pub credentials: &'static str,
    /// The request id is empty or malformed.
    pub request_id: &'static str,
    /// The request time is missing, malformed or too far off.
    pub request_time: &'static str,
    /// The operator or its token is not accepted.
    pub operator: &'static str,
    /// The tenant is not one that channel and operator act for.
    pub tenant: &'static str,
    /// The channel may not call this method; `{method}` stands for it.
    pub method: &'static str,
    /// The method is for tenants of this kind, which the caller's is not: the service's own refusal.
    pub role: fn(TenantKind) -> Refusal,
}

/// How the operator of a call is known.
#[derive(Clone, Debug)]
pub enum OperatorSource {
    /// Metadata `x-operator-id`; the channel speaks for it.
    Metadata,
    /// A bearer token signed with this key (HS256).
    Token(Secret),
}

/// What a service requires of its callers.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Proofs that channels of this service may have.
    pub proofs: &'static [Proof],
    /// Kinds of tenant that this service bills for.
    pub tenant_kinds: &'static [TenantKind],
    /// Where the operator comes from.
    pub operator: OperatorSource,
    /// How far a signed request's time may be off.
    pub request_time_window: TimeDelta,
    /// Messages.
    pub wording: &'static Wording,
}
