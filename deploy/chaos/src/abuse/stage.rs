//! The deployment that is attacked, and what the attacker has of his own: an address, a channel of billing that acts for
//! two retail companies, an app of community whose signed calls he can make.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use chrono::{TimeZone as _, Utc};
use communal_fixtures::credentials::billing::{OTHER_RETAIL, RETAIL};
use communal_fixtures::credentials::community::{self, HOME, OTHER, OTHER_OPERATOR, SECRET, SIGNING_APP};
use communal_fixtures::receivables;
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::identity::store::{NewChannel, add_channel, register_operator, register_tenant};
use communal_kit::identity::{Proof, TenantKind, signature};
use communal_kit::secret::Secret;
use communal_proto::billing::v1::ReceivableLine;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use crate::accounts::lines_of;
use crate::clients::{Answer, Clients, Item};
use crate::deployment::{Databases, Kind, Process, Slot};
use crate::installation::Installation;

/// A retail company with many open lines.
pub(crate) const LARGE_RETAIL: &str = "S000000000000003";
/// The attacker's channel of billing.
const CHANNEL: &str = "C000000000000066";
/// Its key.
const KEY: &str = "666789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123";
/// The attacker's operator of billing.
const OPERATOR: &str = "R000000000000066";
/// The attacker's app of community, which needs no proof but a token.
const APP: &str = "attackers-app";

/// Open lines of the attacker's company: fewer than the cap of an unpaged answer, so that an answer is as large as any.
const LINES: usize = 3_000;
const LINES_A_MESSAGE: usize = 1_000;
/// Memory of a service, in MiB: that of its pod.
const SERVICE_MEMORY: u64 = 512;
/// Memory of a gateway, in MiB: that of its pod.
const GATEWAY_MEMORY: u64 = 1024;

/// Times of limits, shorter than by default so that the scenario ends in minutes. How much there is of everything is left
/// at its default.
const TIMES: [(&str, &str); 6] = [
    ("greeting_ms", "3000"),
    ("idle_ms", "8000"),
    ("answer_stall_ms", "3000"),
    ("request_window_ms", "2000"),
    ("portion_ms", "3000"),
    ("import_window_ms", "3000"),
];
const GATEWAY_TIMES: [(&str, &str); 4] = [
    ("gateway_greeting_ms", "3000"),
    ("gateway_idle_ms", "8000"),
    ("gateway_answer_stall_ms", "3000"),
    ("gateway_body_window_ms", "2000"),
];
/// The time in which a client that gives nothing has been let go, under the times above.
pub(crate) const LET_GO: Duration = Duration::from_secs(6);

/// See the module.
pub(crate) struct Stage {
    pub(crate) billing: Slot,
    pub(crate) community: Slot,
    pub(crate) gateway: Slot,
    pub(crate) databases: Databases,
    /// A fee item of the community for which the attacker's app acts.
    pub(crate) item: Item,
    /// The lines of the attacker's company and of the large one.
    pub(crate) large_lines: usize,
    processes: Mutex<Vec<Process>>,
    numbers: AtomicU32,
}

/// The measured use of every process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peaks(Vec<Option<u64>>);

impl Stage {
    /// Starts everything; returns two items that the honest clients may change as well.
    pub(crate) async fn set_up(
        installation: &Installation,
        databases: Databases,
        large_lines: usize,
    ) -> anyhow::Result<(Self, [Item; 2])> {
        databases.fill(installation).await?;
        register_attacker(&databases).await?;
        let key = [("gateway_key", community::GATEWAY_KEY)];
        let of_services = [&TIMES[..], &key].concat();
        let of_gateway = [&GATEWAY_TIMES[..], &key].concat();
        let service = |kind| Slot::service(kind, installation, &databases, &of_services);
        let billing = service(Kind::Billing)?.within_memory(SERVICE_MEMORY);
        let community = service(Kind::Community)?.within_memory(SERVICE_MEMORY);
        let gateway = Slot::gateway(installation, &[&billing, &community], &of_gateway)?.within_memory(GATEWAY_MEMORY);
        let processes = vec![billing.start().await?, community.start().await?, gateway.start().await?];

        let clients = Clients::new(&[&billing, &community, &gateway], 1, Duration::from_secs(60))?;
        clients.store(RETAIL).await?;
        let [first, second]: [Item; 2] = clients.items(&databases, 2).await?.try_into().ok().context("two items")?;
        let done = clients.import("quiet", &lines_of(RETAIL, 0, 40)?).await;
        anyhow::ensure!(done == Answer::Done, "the honest lines: {done:?}");
        let item = of_attacker(&databases, &community).await?;
        let stage = Self {
            billing,
            community,
            gateway,
            databases,
            item,
            large_lines,
            processes: Mutex::new(processes),
            numbers: AtomicU32::new(0),
        };
        stage.import(OTHER_RETAIL, 600_000_000, LINES).await?;
        if large_lines > 0 {
            stage.import(LARGE_RETAIL, 610_000_000, large_lines).await?;
        }
        Ok((stage, [first, second]))
    }

    /// Imports open lines of a company of the attacker's.
    pub(crate) async fn import(&self, company: &str, first: u32, count: usize) -> anyhow::Result<()> {
        let lines: Vec<_> = (0..u32::try_from(count)?).map(|number| open_line(company, first + number)).collect();
        let messages = receivables::import(&format!("attacker-{first}"), &lines, LINES_A_MESSAGE);
        let request = self.of_billing(tonic::codegen::tokio_stream::iter(messages), company)?;
        ReceivableServiceClient::new(self.channel(Kind::Billing).await?).import_receivable_lines(request).await?;
        Ok(())
    }

    /// A number that no other call of the attacker's has.
    pub(crate) fn number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn slots(&self) -> [Slot; 3] {
        [self.billing.clone(), self.community.clone(), self.gateway.clone()]
    }

    /// A connection of a client that follows the rules.
    pub(crate) async fn channel(&self, kind: Kind) -> anyhow::Result<Channel> {
        let slot = if kind == Kind::Billing { &self.billing } else { &self.community };
        Ok(Endpoint::from_shared(format!("http://{}", slot.address))?.connect().await?)
    }

    /// Metadata of the attacker's calls to billing.
    pub(crate) fn metadata<'a>(&self, company: &'a str) -> [(&'static str, &'a str); 4] {
        [("x-channel-id", CHANNEL), ("x-channel-key", KEY), ("x-operator-id", OPERATOR), ("x-tenant-id", company)]
    }

    /// A gRPC call of the attacker's to billing.
    pub(crate) fn of_billing<M>(&self, message: M, company: &str) -> anyhow::Result<Request<M>> {
        with(message, &self.metadata(company))
    }

    /// Metadata of the attacker's calls to community.
    pub(crate) fn token(&self) -> String {
        token()
    }

    /// Credentials of the attacker's REST calls to billing.
    pub(crate) fn sys_head(&self) -> serde_json::Value {
        serde_json::json!({
            "CHANNEL_DID": CHANNEL, "DYNAMIC_KEY": KEY, "REGISTER_DID": OPERATOR, "ACCOUNT_DID": OTHER_RETAIL,
        })
    }

    /// Metadata of the attacker's unsigned calls to community.
    pub(crate) fn metadata_of_app<'a>(&self, token: &'a str) -> [(&'static str, &'a str); 2] {
        [("x-channel-id", APP), ("authorization", token)]
    }

    /// Forgets the peaks of memory.
    pub(crate) fn forget_peaks(&self) -> anyhow::Result<()> {
        self.processes().iter().try_for_each(Process::forget_peak)
    }

    /// The peaks of memory since they were forgotten.
    pub(crate) fn peaks(&self) -> Peaks {
        Peaks(self.processes().iter().map(|process| process.peak().ok()).collect())
    }

    /// What each process that needed more than its memory needed.
    pub(crate) fn outgrown(&self) -> Vec<String> {
        let needed =
            |process: &Process| Some(format!("{} needed {} MiB", process.slot.kind.name(), process.outgrown()?));
        self.processes().iter().filter_map(needed).collect()
    }

    /// Replaces processes that ended; returns their names.
    pub(crate) async fn revive(&self) -> anyhow::Result<Vec<&'static str>> {
        let mut gone = Vec::new();
        for process in self.processes().iter_mut() {
            if !process.is_running()? {
                gone.push(process.slot.clone());
            }
        }
        for slot in &gone {
            let started = slot.start().await?;
            let mut processes = self.processes();
            if let Some(place) = processes.iter_mut().find(|process| process.slot.kind == slot.kind) {
                *place = started;
            }
        }
        Ok(gone.iter().map(|slot| slot.kind.name()).collect())
    }

    /// The processes, to be stopped.
    pub(crate) fn into_processes(self) -> Vec<Process> {
        self.processes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn processes(&self) -> std::sync::MutexGuard<'_, Vec<Process>> {
        self.processes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl std::fmt::Display for Peaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let peaks = self.0.iter().map(|peak| peak.map_or_else(|| "gone".to_owned(), |peak| peak.to_string()));
        f.write_str(&peaks.collect::<Vec<_>>().join(" / "))
    }
}

/// An unpaid line of an account of a company.
pub(crate) fn open_line(company: &str, account: u32) -> ReceivableLine {
    ReceivableLine { retail_company_id: company.into(), ..receivables::line(account, 202_401) }
}

fn with<M>(message: M, metadata: &[(&'static str, &str)]) -> anyhow::Result<Request<M>> {
    let mut request = Request::new(message);
    for (name, value) in metadata {
        request.metadata_mut().insert(*name, value.parse()?);
    }
    Ok(request)
}

fn token() -> String {
    format!("Bearer {}", community::token(OTHER_OPERATOR, Utc::now()))
}

/// A call of the signing app as its owner makes it: its headers are what somebody who listens captures.
pub(crate) struct Signed {
    pub(crate) id: String,
    pub(crate) time: String,
    pub(crate) sign: String,
    /// The state of MD5 before the secret, which follows from the request's text.
    pub(crate) state: Vec<u8>,
    token: String,
}

impl Signed {
    /// Signs a payload now.
    pub(crate) fn new(id: &str, payload: &str) -> anyhow::Result<Self> {
        let time = Clock::system(DEFAULT_ZONE).local(Utc::now()).format("%Y%m%d%H%M%S").to_string();
        let state = signature::state(id, &time, SIGNING_APP, payload.as_bytes());
        let sign = signature::finish(&state, &Secret::new(SECRET)).context("the signature")?;
        let token = format!("Bearer {}", community::token(community::OPERATOR, Utc::now()));
        Ok(Self { id: id.to_owned(), time, sign, state, token })
    }

    /// The headers of the REST call.
    pub(crate) fn headers(&self) -> [(&'static str, &str); 5] {
        [
            ("app-id", SIGNING_APP),
            ("transaction-id", &self.id),
            ("req-time", &self.time),
            ("sign", &self.sign),
            ("authorization", &self.token),
        ]
    }

    /// The same as metadata of gRPC, with the state that a gateway would send.
    pub(crate) fn request<M>(&self, message: M) -> anyhow::Result<Request<M>> {
        let mut request = with(
            message,
            &[
                ("x-channel-id", SIGNING_APP),
                ("idempotency-key", &self.id),
                ("x-request-time", &self.time),
                ("x-signature", &self.sign),
                ("authorization", &self.token),
            ],
        )?;
        let state = tonic::metadata::BinaryMetadataValue::from_bytes(&self.state);
        request.metadata_mut().append_bin(communal_kit::identity::vouching::SIGNATURE_STATES, state);
        Ok(request)
    }
}

async fn register_attacker(databases: &Databases) -> anyhow::Result<()> {
    let since = Utc.with_ymd_and_hms(2020, 1, 1, 0, 0, 0).single().context("a date")?;
    let mut billing = databases.pool("billing")?.acquire().await?;
    register_tenant(&mut billing, LARGE_RETAIL, TenantKind::RetailCompany, "large").await?;
    let companies = [OTHER_RETAIL, LARGE_RETAIL].map(str::to_owned);
    let channel = NewChannel {
        channel_id: CHANNEL,
        name: "attacker",
        proof: Proof::Key,
        admin: false,
        tenant_ids: &companies,
        methods: &[],
        key: Some(Secret::new(KEY)),
        valid_for: None,
    };
    add_channel(&mut billing, &channel, None, since).await?;
    register_operator(&mut billing, OPERATOR, "攻击者", &companies).await?;
    let communities = [OTHER.to_owned()];
    let app = NewChannel {
        channel_id: APP,
        name: "attacker",
        proof: Proof::None,
        tenant_ids: &communities,
        key: None,
        ..channel
    };
    add_channel(&mut *databases.pool("community")?.acquire().await?, &app, None, since).await?;
    Ok(())
}

/// Saves a fee item of the signing app's community.
async fn of_attacker(databases: &Databases, community: &Slot) -> anyhow::Result<Item> {
    use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
    let name = "签名费用项";
    let channel = Endpoint::from_shared(format!("http://{}", community.address))?.connect().await?;
    let request = community_request(communal_fixtures::fee_items::save(HOME, name));
    FeeItemServiceClient::new(channel).save_fee_config(request).await?;
    let id = crate::clients::item_id(&databases.pool("community")?, HOME, name).await?;
    Ok(Item { name: name.to_owned(), id })
}

fn community_request<M>(message: M) -> Request<M> {
    community::request(message)
}

/// The number of lines that a company owes or is owed, as the database has it.
pub(crate) async fn stored_lines(databases: &Databases, network_company: &str) -> anyhow::Result<i64> {
    let count = sqlx::query_scalar("SELECT count(*) FROM receivable_line WHERE network_company_id = $1");
    Ok(count.bind(network_company).fetch_one(&databases.pool("billing")?).await?)
}
