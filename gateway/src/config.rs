//! The settings of the gateway.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use communal_kit::config::Reader;
use communal_kit::identity::GatewayKeys;
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
    /// The limits.
    pub limits: Limits,
    /// The times of a graceful stop.
    pub drain: Drain,
}

/// The limits of what the gateway accepts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Largest body in bytes.
    pub body_bytes: usize,
    /// Most bytes of all bodies that are being read or served. Beyond it requests are refused, so that many large
    /// ones at once do not fill the memory.
    pub body_memory_bytes: usize,
    /// Longest time until a request head has arrived, and again until its body has.
    pub body_time: Duration,
    /// Most concurrent calls.
    pub concurrent_calls: usize,
    /// Most concurrent connections; further ones wait in the listener's queue.
    pub connections: usize,
    /// Deadline of a call to a service. A caller can ask for a shorter one.
    pub deadline: Duration,
    /// Connections to each replica of a service.
    pub channels: usize,
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
            limits: Limits::default(),
            drain: Drain { notice: Duration::from_millis(500), limit: Duration::from_secs(25) },
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 10 * 1024 * 1024,
            body_memory_bytes: 256 * 1024 * 1024,
            body_time: Duration::from_secs(30),
            concurrent_calls: 1024,
            connections: 8192,
            deadline: Duration::from_secs(30),
            channels: 2,
        }
    }
}

impl Config {
    /// Reads `COMMUNAL_GATEWAY_…` and the drain times that all processes share. Errors stay in the reader.
    pub fn read(reader: &mut Reader) -> Self {
        let default = Self::default();
        let limits = default.limits;
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
            limits: Limits {
                body_bytes: at_least(reader, "gateway_body_bytes", limits.body_bytes, 1024),
                body_memory_bytes: at_least(reader, "gateway_body_memory_bytes", limits.body_memory_bytes, 1024),
                body_time: milliseconds(reader, "gateway_body_time_ms", limits.body_time),
                concurrent_calls: at_least(reader, "gateway_concurrent_calls", limits.concurrent_calls, 1),
                connections: at_least(reader, "gateway_connections", limits.connections, 1),
                deadline: milliseconds(reader, "gateway_deadline_ms", limits.deadline),
                channels: at_least(reader, "gateway_channels", limits.channels, 1),
            },
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
