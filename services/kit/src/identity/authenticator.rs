//! The authenticator: reads the credentials of a call from its metadata and checks them in the
//! documented order, against records that are cached for seconds.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use chrono::NaiveDateTime;
use communal_proto::contract::v1::Reason as Common;
use communal_proto::identity::v1::Proof;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use http::HeaderMap;
use moka::future::Cache;
use tonic::metadata::MetadataMap;

use crate::clock::Clock;
use crate::identity::caller::Caller;
use crate::identity::keys::{self, SealingKey};
use crate::identity::policy::{OperatorSource, Policy};
use crate::identity::store::{self, ChannelRecord, OperatorRecord};
use crate::identity::vouching::{GatewayKeys, SIGNATURE_STATES};
use crate::identity::{signature, token};
use crate::pool::Pool;
use crate::refusal::Refusal;
use crate::telemetry::trace::TraceContext;

/// The metadata keys of a call's credentials.
mod names {
    pub(super) const CHANNEL: &str = "x-channel-id";
    pub(super) const KEY: &str = "x-channel-key";
    pub(super) const OPERATOR: &str = "x-operator-id";
    pub(super) const TENANT: &str = "x-tenant-id";
    pub(super) const REQUEST_ID: &str = "idempotency-key";
    pub(super) const REQUEST_TIME: &str = "x-request-time";
    pub(super) const SIGNATURE: &str = "x-signature";
    pub(super) const AUTHORIZATION: &str = "authorization";

    /// Keys that may have only one value. Otherwise a proxy that appends a value, or reads the last
    /// one, would see another caller than the one that is billed.
    pub(super) const SINGLE: [&str; 7] = [CHANNEL, KEY, OPERATOR, TENANT, REQUEST_TIME, SIGNATURE, AUTHORIZATION];
}

/// The methods that administer credentials, which only administrator channels may call.
const ADMINISTRATION: &str = "/communal.identity.v1.IdentityService/";

/// The most records that are cached. Strangers can make a service look up unknown channels, so this
/// bounds the memory they can use.
const MOST_CACHED: u64 = 10_000;

/// The settings of authentication: the cache, the rate of a channel, and the keys of the gateways.
#[derive(Clone, Debug)]
pub struct AuthenticatorSettings {
    /// The cache lifetime of a credential. A disabled channel can keep calling for up to this long.
    pub cached_for: Duration,
    /// The most calls of one channel a second; `None` for no limit.
    pub calls_per_second: Option<NonZeroU32>,
    /// The keys of the gateways, which alone may send signature states.
    pub gateways: Option<GatewayKeys>,
}

impl Default for AuthenticatorSettings {
    fn default() -> Self {
        Self { cached_for: Duration::from_secs(3), calls_per_second: NonZeroU32::new(5_000), gateways: None }
    }
}

/// Authenticates calls.
#[derive(Debug)]
pub struct Authenticator {
    pool: Pool,
    policy: Policy,
    sealing: Option<SealingKey>,
    clock: Clock,
    channels: Cache<String, Option<Arc<ChannelRecord>>>,
    operators: Cache<String, Option<Arc<OperatorRecord>>>,
    limiter: Option<DefaultKeyedRateLimiter<String>>,
    gateways: Option<GatewayKeys>,
}

impl Authenticator {
    /// Creates an authenticator for a service's own records.
    #[must_use]
    pub fn new(
        pool: Pool,
        policy: Policy,
        sealing: Option<SealingKey>,
        clock: Clock,
        settings: AuthenticatorSettings,
    ) -> Self {
        let cache = || Cache::builder().max_capacity(MOST_CACHED).time_to_live(settings.cached_for);
        Self {
            pool,
            policy,
            sealing,
            clock,
            channels: cache().build(),
            operators: Cache::builder().max_capacity(MOST_CACHED).time_to_live(settings.cached_for).build(),
            limiter: settings.calls_per_second.map(|n| RateLimiter::keyed(Quota::per_second(n))),
            gateways: settings.gateways,
        }
    }

    /// Returns the policy.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Returns the trace of a call: that of its gateway, or a new one.
    #[must_use]
    pub fn trace_of(&self, headers: &HeaderMap) -> TraceContext {
        TraceContext::of(headers, || self.gateways.as_ref().is_some_and(|keys| keys.proves_trace(headers)))
    }

    /// Authenticates a call and returns its caller.
    ///
    /// # Errors
    /// Returns the first refusal in the documented order: channel and its proof, method, operator. The
    /// tenant is checked later, by [`Caller::for_tenant`].
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        method: &str,
        trace: &TraceContext,
    ) -> Result<Caller, Refusal> {
        let outcome = self.check(headers, method, trace).await;
        if let Err(refusal) = &outcome
            && refusal.is_of_credentials()
        {
            metrics::counter!("communal_refused_credentials_total", "reason" => refusal.reason()).increment(1);
        }
        outcome
    }

    async fn check(&self, headers: &HeaderMap, method: &str, trace: &TraceContext) -> Result<Caller, Refusal> {
        let wording = self.policy.wording;
        if names::SINGLE.iter().any(|name| contradicts(headers, name)) {
            return Err(self.refused("a credential with two different values"));
        }
        let Some(channel_id) = text(headers, names::CHANNEL) else {
            return Err(Refusal::new(Common::ChannelMissing, wording.channel_missing));
        };
        let request_id = self.request_id(headers)?;
        let vouched = self.vouched(headers, method)?;
        let channel = self.channel(channel_id).await?.ok_or_else(|| self.refused("unknown channel"))?;
        self.prove(headers, &channel, request_id.as_deref())?;
        // Anybody can name a channel that needs no proof. Its rate is charged only after the operator's
        // token is verified, because a stranger could use it up otherwise.
        let unproved = channel.proof == Proof::None;
        if !unproved {
            self.charge(&channel)?;
        }
        if !may_call(&channel, method, self.policy.administration) {
            return Err(Refusal::new(Common::MethodNotGranted, wording.method.replace("{method}", method)));
        }
        let operator = self.operator(headers).await?;
        if operator.is_none() && !method.starts_with(ADMINISTRATION) {
            return Err(Refusal::new(Common::OperatorRefused, wording.operator));
        }
        if unproved {
            self.charge(&channel)?;
        }
        Ok(Caller {
            channel,
            operator,
            tenant_id: text(headers, names::TENANT).map(str::to_owned),
            request_id,
            trace_id: trace.trace_id(),
            method: method.to_owned(),
            at: self.clock.now(),
            wording,
            vouched,
        })
    }

    /// Charges a call to the channel's rate.
    fn charge(&self, channel: &ChannelRecord) -> Result<(), Refusal> {
        let allowed = self.limiter.as_ref().is_none_or(|limiter| limiter.check_key(&channel.channel_id).is_ok());
        let refused = || Refusal::new(Common::Overloaded, "请求过于频繁，请稍后重试");
        if allowed { Ok(()) } else { Err(refused().retry_after(Duration::from_secs(1))) }
    }

    /// Returns the hash that the message must have, if the call has signature states. Only a gateway
    /// may send states, whatever the channel's proof is: a state that is not bound to its call would
    /// make one captured signature valid for every call.
    fn vouched(&self, headers: &HeaderMap, method: &str) -> Result<Option<[u8; 32]>, Refusal> {
        if !headers.contains_key(SIGNATURE_STATES) {
            return Ok(None);
        }
        let Some(gateways) = &self.gateways else {
            return Err(self.refused("signature states, but COMMUNAL_GATEWAY_KEY is not set"));
        };
        let hash = gateways.check(method, headers);
        hash.map(Some).ok_or_else(|| self.refused("signature states that no gateway vouches for"))
    }

    /// Returns the same refusal for every kind of wrong credentials. The reason goes to the log only.
    fn refused(&self, why: &'static str) -> Refusal {
        Refusal::new(Common::CredentialsRefused, self.policy.wording.credentials).cause(why)
    }

    /// Reads the request id. Its form matters to a write alone, which checks it. An empty one stands for one that the
    /// documents require and the client did not send.
    fn request_id(&self, headers: &HeaderMap) -> Result<Option<String>, Refusal> {
        let Some(value) = headers.get(names::REQUEST_ID) else { return Ok(None) };
        if value.is_empty() {
            return Err(Refusal::new(Common::RequestIdInvalid, self.policy.wording.request_id));
        }
        if contradicts(headers, names::REQUEST_ID) {
            return Err(Refusal::new(Common::RequestIdInvalid, "请求流水号出现多次且取值不同"));
        }
        Ok(Some(String::from_utf8_lossy(value.as_bytes()).into_owned()))
    }

    /// Checks the proof of the channel and the request time.
    fn prove(&self, headers: &HeaderMap, channel: &ChannelRecord, request_id: Option<&str>) -> Result<(), Refusal> {
        if channel.disabled_at.is_some() {
            return Err(self.refused("disabled channel"));
        }
        if !self.policy.proofs.contains(&channel.proof) {
            return Err(self.refused("a proof this service does not take"));
        }
        let key = text(headers, names::KEY);
        let proven = match channel.proof {
            Proof::None => true,
            Proof::Key => key.is_some_and(|key| self.has_key(channel, key)),
            Proof::Signature => match key {
                // A direct caller may send the secret itself instead of a signature.
                Some(key) => self.has_key(channel, key),
                None => self.is_signed(headers, channel),
            },
            Proof::Unspecified => false,
        };
        if !proven {
            return Err(self.refused("wrong, expired or missing key or signature"));
        }
        let signed = channel.proof == Proof::Signature && key.is_none();
        if signed && request_id.is_none() {
            return Err(Refusal::new(Common::RequestIdInvalid, self.policy.wording.request_id));
        }
        self.check_request_time(headers, signed)
    }

    fn has_key(&self, channel: &ChannelRecord, key: &str) -> bool {
        let (fingerprint, now) = (keys::fingerprint(key), self.clock.machine());
        // All keys are compared, so that the time taken does not reveal which one matched.
        channel.keys.iter().fold(false, |found, k| (k.is_valid(now) & keys::equal(&k.sha256, &fingerprint)) | found)
    }

    fn is_signed(&self, headers: &HeaderMap, channel: &ChannelRecord) -> bool {
        let (Some(sealing), Some(signature)) = (&self.sealing, text(headers, names::SIGNATURE)) else {
            return false;
        };
        let metadata = MetadataMap::from_headers(headers.clone());
        let states = metadata.get_all_bin(SIGNATURE_STATES).iter();
        let states: Vec<_> = states.filter_map(|state| Some(state.to_bytes().ok()?.to_vec())).collect();
        let now = self.clock.machine();
        channel.keys.iter().filter(|k| k.is_valid(now)).any(|key| {
            let opened = key.sealed.as_deref().map(|sealed| sealing.open(&channel.channel_id, sealed));
            match opened {
                Some(Ok(secret)) => signature::matches(signature, &states, &secret),
                Some(Err(error)) => {
                    tracing::error!(channel.id = channel.channel_id, error = %error, "a channel's secret cannot be opened");
                    false
                }
                None => false,
            }
        })
    }

    /// Checks the request time, which the documented clients send as `yyyyMMddHHmmss` in their local
    /// time. Its form is always checked if it is sent. It is compared with the clock only if the call
    /// is signed, because without a signature anybody can send any time.
    fn check_request_time(&self, headers: &HeaderMap, signed: bool) -> Result<(), Refusal> {
        let invalid = || Refusal::new(Common::RequestIdInvalid, self.policy.wording.request_time);
        let Some(value) = headers.get(names::REQUEST_TIME) else {
            return if signed { Err(invalid()) } else { Ok(()) };
        };
        let digits = value.to_str().ok().filter(|v| v.len() == 14 && v.bytes().all(|b| b.is_ascii_digit()));
        let time = digits.and_then(|v| NaiveDateTime::parse_from_str(v, "%Y%m%d%H%M%S").ok()).ok_or_else(invalid)?;
        let off = self.clock.instant(time).signed_duration_since(self.clock.machine()).abs();
        let window = self.policy.request_time_window;
        if signed && off > window {
            let (minutes, zone) = (window.num_minutes(), self.clock.zone());
            let text = format!("鉴权失败：requestTime 与服务器时间相差超过{minutes}分钟，应为{zone}的当前时间");
            return Err(Refusal::new(Common::RequestIdInvalid, text));
        }
        Ok(())
    }

    async fn operator(&self, headers: &HeaderMap) -> Result<Option<Arc<OperatorRecord>>, Refusal> {
        let operator_id = match &self.policy.operator {
            OperatorSource::Metadata => text(headers, names::OPERATOR).map(str::to_owned),
            OperatorSource::Token(key) => text(headers, names::AUTHORIZATION)
                .and_then(|value| {
                    let (scheme, token) = value.split_once(' ')?;
                    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
                })
                .and_then(|bearer| token::operator(key, bearer, self.clock.machine())),
        };
        let Some(operator_id) = operator_id else { return Ok(None) };
        let load = async { store::operator(&self.pool, &operator_id).await.map(|o| o.map(Arc::new)) };
        let operator = self.operators.try_get_with_by_ref(&operator_id, load).await.map_err(unavailable)?;
        Ok(operator.filter(|o| o.disabled_at.is_none()))
    }

    async fn channel(&self, channel_id: &str) -> Result<Option<Arc<ChannelRecord>>, Refusal> {
        let load = async { store::channel(&self.pool, channel_id).await.map(|c| c.map(Arc::new)) };
        self.channels.try_get_with_by_ref(channel_id, load).await.map_err(unavailable)
    }
}

fn unavailable(error: Arc<sqlx::Error>) -> Refusal {
    // All callers that waited for the same lookup share the error, so it cannot be taken apart.
    let refusal = Refusal::new(Common::Unavailable, "服务暂时不可用，请稍后重试").retry_after(Duration::from_secs(1));
    refusal.cause(crate::database::errors::StorageFault::from(error))
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok()).filter(|v| !v.is_empty())
}

/// Returns whether a metadata key has two different values.
fn contradicts(headers: &HeaderMap, name: &str) -> bool {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    values.any(|value| Some(value) != first)
}

/// Returns whether the channel may call a method. A grant is the path of a method, or the path of a
/// service followed by `/*`.
fn may_call(channel: &ChannelRecord, method: &str, administration: &[&str]) -> bool {
    if method.starts_with(ADMINISTRATION) || administration.contains(&method) {
        return channel.admin;
    }
    channel.methods.is_empty()
        || channel
            .methods
            .iter()
            .any(|grant| grant == method || grant.strip_suffix('*').is_some_and(|service| method.starts_with(service)))
}
