//! The settings of the gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use communal_kit::config::Reader;
use communal_kit::identity::GatewayKeys;
use communal_kit::limits;
use communal_kit::tls::{Names, PemFiles};

use crate::service_urls::ServiceUrls;

/// Gateway configuration: listeners, upstreams and limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address on which REST is served.
    pub addr: SocketAddr,
    /// The address on which metrics and health are served.
    pub admin_addr: SocketAddr,
    /// The URLs of the billing service.
    pub billing_url: ServiceUrls,
    /// The URLs of the community service.
    pub community_url: ServiceUrls,
    /// For `https`: the authorities of the services, and the client certificate of the gateway.
    pub tls: PemFiles,
    /// The key that proves to the services that signature states were made here; without it no signed call is served.
    pub key: Option<GatewayKeys>,
    /// What happens to a request with keys that the interface does not have.
    pub unknown_keys: OnUnknownKeys,
    /// Connections to each replica of a service.
    pub channels: usize,
    /// The limits.
    pub limits: Limits,
    /// The times of a graceful stop.
    pub drain: Drain,
}

const MIB: u64 = 1024 * 1024;

limits! {
    /// The limits of what the gateway accepts: in all, and of one address, since the gateway does not know who calls.
    Limits, LIMITS: LimitDeclarations {
        connections: count("gateway_connections", 8_192, "connections", "closed at once"),
        connections_per_address: count("gateway_connections_per_address", 4_096, "connections of one address", "closed at once"),
        greeting: time("gateway_greeting_ms", 10_000, "the time until a client has sent its first bytes", "closed"),
        idle: time("gateway_idle_ms", 60_000, "the time of a connection without a call", "told to go away, then closed"),
        stall: time("gateway_answer_stall_ms", 30_000, "the time in which a client takes nothing of an answer", "stream reset (HTTP/2) or connection closed"),
        concurrent_calls: count("gateway_concurrent_calls", 1_024, "calls at once whose body is there", "429"),
        address_calls: count("gateway_address_calls", 512, "calls of one address at once", "429"),
        address_transcodings: count("gateway_address_transcodings", 1, "bodies and replies of one address above 512 KiB that are transcoded at once", "waits `COMMUNAL_GATEWAY_DEADLINE_MS`, then 429"),
        deadline: time("gateway_deadline_ms", 30_000, "the time of a call to a service, whatever the caller asks for", "504"),
        body_bytes: bytes("gateway_body_bytes", 10 * MIB, "one body", "413"),
        body_time: time("gateway_body_time_ms", 30_000, "the time until a head has arrived, and again until its body has", "closed; 408"),
        body_window: time("gateway_body_window_ms", 5_000, "the time within which the next part of a body has to come", "408"),
        body_part: bytes("gateway_body_window_bytes", 64 * 1024, "the part of a body that has to come within that time, or its end", "408"),
        bodies: count("gateway_bodies", 2_048, "bodies that are arriving", "429"),
        address_bodies: count("gateway_address_bodies", 512, "bodies of one address that are arriving", "429"),
        body_memory_bytes: bytes("gateway_body_memory_bytes", 256 * MIB, "all bodies that are arriving or being read", "429"),
        address_body_memory_bytes: bytes("gateway_address_body_memory_bytes", 128 * MIB, "the bodies of one address that are arriving or being read", "429"),
        answer_bytes: bytes("gateway_answer_bytes", 256 * MIB, "answers that have not left yet", "429"),
        address_answer_bytes: bytes("gateway_address_answer_bytes", 128 * MIB, "answers to one address that have not left yet", "429"),
    }
}

/// What happens to a request with keys that the interface does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnknownKeys {
    /// They are ignored, as the documented servers do, and the answer names them in a header.
    #[default]
    Ignore,
    /// The request is refused.
    Refuse,
}

impl FromStr for OnUnknownKeys {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "ignore" => Ok(Self::Ignore),
            "refuse" => Ok(Self::Refuse),
            _ => Err("must be ignore or refuse"),
        }
    }
}

/// The times of a graceful stop.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// Time between "not ready" and the last accepted connection, in which load balancers notice.
    pub notice: Duration,
    /// Longest time that running calls get to end.
    pub limit: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            addr: (Ipv4Addr::LOCALHOST, 8080).into(),
            admin_addr: (Ipv4Addr::LOCALHOST, 9080).into(),
            billing_url: ServiceUrls::of_address((Ipv4Addr::LOCALHOST, 50051).into()),
            community_url: ServiceUrls::of_address((Ipv4Addr::LOCALHOST, 50052).into()),
            tls: PemFiles::default(),
            key: None,
            unknown_keys: OnUnknownKeys::default(),
            channels: 2,
            limits: Limits::default(),
            drain: Drain { notice: Duration::from_millis(500), limit: Duration::from_secs(25) },
        }
    }
}

impl Config {
    /// Reads `COMMUNAL_GATEWAY_…` and the drain times that all processes share. Errors stay in the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        let config = Self {
            addr: reader.parsed("gateway_addr", default.addr),
            admin_addr: reader.parsed("gateway_admin_addr", default.admin_addr),
            billing_url: reader.parsed("gateway_billing_url", default.billing_url),
            community_url: reader.parsed("gateway_community_url", default.community_url),
            tls: PemFiles::read_settings(
                reader,
                Names { certificate: "gateway_tls_certificate", key: "gateway_tls_key", authorities: "gateway_tls_ca" },
            ),
            key: GatewayKeys::read(reader),
            unknown_keys: reader.parsed("gateway_unknown_keys", default.unknown_keys),
            channels: at_least(reader, "gateway_channels", default.channels, 1),
            limits: Limits::read(reader),
            drain: Drain {
                notice: milliseconds(reader, "drain_notice_ms", default.drain.notice),
                limit: milliseconds(reader, "drain_limit_ms", default.drain.limit),
            },
        };
        // Without authorities every certificate would be refused. And somebody who sets certificates but no `https`
        // URL would believe that calls are encrypted.
        let encrypted = config.billing_url.tls() || config.community_url.tls();
        if encrypted && config.tls.authorities.is_none() {
            reader.fault("gateway_tls_ca", "must be set where a service is called by https");
        } else if !encrypted && !config.tls.is_empty() {
            reader.fault("gateway_tls_ca", "is set, but no service is called by https");
        }
        config
    }
}

fn at_least(reader: &mut Reader, key: &'static str, default: usize, least: usize) -> usize {
    let value = reader.parsed(key, default);
    if value < least {
        reader.fault(key, format!("must be at least {least}"));
    }
    value
}

fn milliseconds(reader: &mut Reader, key: &'static str, default: Duration) -> Duration {
    let default = u64::try_from(default.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(reader.parsed(key, default))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Config, String> {
        let mut reader = Reader::new(given.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let config = Config::read(&mut reader);
        reader.finish().map_err(|faults| faults.to_string())?;
        Ok(config)
    }

    #[test]
    fn everything_has_a_default() {
        let config = read(&[]).unwrap();
        assert_eq!(config.addr.to_string(), "127.0.0.1:8080");
        assert_eq!(config.community_url.to_string(), "http://127.0.0.1:50052");
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let faults = read(&[
            ("gateway_billing_url", "https://billing:50051"),
            ("gateway_community_url", "community"),
            ("gateway_tls_key", "/tls/tls.key"),
            ("gateway_concurrent_calls", "0"),
            ("gateway_deadline_ms", "soon"),
        ])
        .err()
        .unwrap();
        for key in ["TLS_CA", "TLS_CERTIFICATE", "COMMUNITY_URL", "CONCURRENT_CALLS", "DEADLINE_MS"] {
            assert!(faults.contains(&format!("COMMUNAL_GATEWAY_{key}")), "{key} in {faults}");
        }
    }
}
