//! Both services and the gateway in one process, for evaluation and for the end-to-end tests. In production each is a
//! process of its own and does not depend on this crate.
//!
//! The parts call each other over their ports, exactly as between machines. They stop in the order of a request: first
//! the gateway waits for its calls, then the services.

use std::net::SocketAddr;

use communal_gateway::ServiceUrls;
use communal_kit::config::{ConfigurationFaults, Reader};
use communal_kit::identity::GatewayKeys;
use communal_kit::telemetry::TelemetrySettings;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The settings of all parts.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The billing service.
    pub billing: communal_billing::Config,
    /// The community service.
    pub community: communal_community::Config,
    /// The gateway; it calls the services at their actual addresses, whatever its URLs are.
    pub gateway: communal_gateway::Config,
    /// Logs, traces and metrics of the process.
    pub telemetry: TelemetrySettings,
}

impl Settings {
    /// Reads all settings.
    ///
    /// # Errors
    /// Returns all faults of all parts at once.
    pub fn read(mut reader: Reader) -> Result<Self, ConfigurationFaults> {
        let settings = Self {
            billing: communal_billing::Config::read(&mut reader),
            community: communal_community::Config::read(&mut reader),
            gateway: communal_gateway::Config::read(&mut reader),
            telemetry: TelemetrySettings::read(&mut reader),
        };
        // The parts call each other within one machine, in plain text.
        if !settings.billing.server.tls.is_empty() {
            reader.fault("tls_certificate", "is for services that run by themselves");
        }
        reader.finish().map(|()| settings)
    }
}

type Serving = JoinHandle<anyhow::Result<()>>;

/// A process whose parts are all being served.
#[derive(Debug)]
pub struct Running {
    /// The address of REST.
    pub gateway: SocketAddr,
    /// The address of billing's gRPC port.
    pub billing: SocketAddr,
    /// The address of community's gRPC port.
    pub community: SocketAddr,
    parts: [(&'static str, oneshot::Sender<()>, Serving); 3],
}

/// Opens all ports, then serves.
///
/// # Errors
/// Returns an error if a port is taken; then none is left open.
pub async fn start(settings: Settings) -> anyhow::Result<Running> {
    let (mut billing, mut community, mut gateway) = (settings.billing, settings.community, settings.gateway);
    // The parts start and end together, so a generated key is enough if none is configured.
    let key = gateway.key.get_or_insert_with(GatewayKeys::generate);
    for server in [&mut billing.server, &mut community.server] {
        server.authenticator.gateways.get_or_insert_with(|| key.clone());
    }
    let billing = communal_billing::bind(billing).await?;
    let community = communal_community::bind(&community).await?;
    gateway.billing_url = ServiceUrls::of_address(billing.address);
    gateway.community_url = ServiceUrls::of_address(community.address);
    let gateway = communal_gateway::bind(gateway).await?;
    let addresses = (gateway.addr, billing.address, community.address);

    let (stop_gateway, gateway_stopped) = oneshot::channel::<()>();
    let (stop_billing, billing_stopped) = oneshot::channel::<()>();
    let (stop_community, community_stopped) = oneshot::channel::<()>();
    let gateway = tokio::spawn(gateway.serve(async move { drop(gateway_stopped.await) }));
    let billing = tokio::spawn(billing.serve(async move { drop(billing_stopped.await) }));
    let community = tokio::spawn(community.serve(async move { drop(community_stopped.await) }));
    Ok(Running {
        gateway: addresses.0,
        billing: addresses.1,
        community: addresses.2,
        parts: [
            ("gateway", stop_gateway, gateway),
            ("billing", stop_billing, billing),
            ("community", stop_community, community),
        ],
    })
}

impl Running {
    /// Waits for `shutdown`, or for a part to fail, and then stops all parts in order.
    ///
    /// # Errors
    /// Returns the error of the part that failed.
    pub async fn until(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let [(_, _, gateway), (_, _, billing), (_, _, community)] = &mut self.parts;
        let failed = tokio::select! {
            () = shutdown => None,
            ended = gateway => Some(("gateway", ended)),
            ended = billing => Some(("billing", ended)),
            ended = community => Some(("community", ended)),
        };
        let mut outcome = match failed {
            Some((part, ended)) => {
                Err(anyhow::anyhow!("{part} ended by itself: {:?}", ended.map(|e| e.map_err(|e| e.to_string()))))
            }
            None => Ok(()),
        };
        for (part, stop, serving) in self.parts {
            if serving.is_finished() {
                continue;
            }
            // The part may be ending already; then it no longer receives the signal.
            let _ = stop.send(());
            if let Err(error) = serving.await? {
                tracing::error!(part, error = %error, "a part did not end well");
                outcome = outcome.and(Err(error));
            }
        }
        outcome
    }
}
