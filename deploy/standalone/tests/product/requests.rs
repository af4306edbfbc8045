//! Requests that are small on the wire and large once decoded, to every method over real gRPC, against a process that may
//! use 512 MiB: refused with the field, and the process lives. They are made from the descriptors, so a new repeated field is in
//! here as soon as it is in the contract.

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use chrono::Utc;
use communal_fixtures::credentials::{billing, community};
use communal_kit::identity::store::{NewChannel, add_channel};
use communal_kit::identity::{Proof, SealingKey};
use communal_kit::secret::Secret;
use communal_proto::raw_codec::RawCodec;
use communal_proto::{FILE_DESCRIPTOR_SET, REQUESTS};
use prost::encoding::encode_varint;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::harness::process::Process;
use crate::harness::{Databases, connect};

/// The memory of a pod, which counts what is resident.
const MEMORY: u64 = 512 * 1024 * 1024;
/// What the process may map, so that one that breaks the rule does not take the machine's memory. It is more than
/// [`MEMORY`]: the allocator keeps addresses whose memory it gave back.
const MAPPED: u64 = 4 * MEMORY;

/// A repeated field of a request, with the fields that lead to it.
struct Rows {
    method: MethodDescriptor,
    path: Vec<FieldDescriptor>,
}

impl Rows {
    /// By protobuf names, as a refusal names it when each message on the way is the first.
    fn name(&self) -> String {
        let step = |(index, field): (usize, &FieldDescriptor)| {
            let row = if field.is_list() && index + 1 < self.path.len() { "[0]" } else { "" };
            format!("{}{row}", field.name())
        };
        self.path.iter().enumerate().map(step).collect::<Vec<_>>().join(".")
    }

    /// A request with this many empty rows.
    fn request(&self, count: usize) -> Bytes {
        let (last, around) = self.path.split_last().unwrap();
        let mut message = prefix(last, 0).repeat(count);
        for field in around.iter().rev() {
            let mut outer = prefix(field, message.len());
            outer.append(&mut message);
            message = outer;
        }
        message.into()
    }

    /// As many as fit into this size.
    fn fill(&self, bytes: usize) -> Bytes {
        let on_the_way = 10 * self.path.len();
        self.request((bytes - on_the_way) / prefix(self.path.last().unwrap(), 0).len())
    }
}

/// The tag of a field that has a length, and the length.
fn prefix(field: &FieldDescriptor, length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_varint(u64::from(field.number() << 3 | 2), &mut bytes);
    encode_varint(length as u64, &mut bytes);
    bytes
}

fn all_rows() -> Vec<Rows> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut found = Vec::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        find(&method, &method.input(), &mut Vec::new(), &mut found);
    }
    found
}

fn find(
    method: &MethodDescriptor,
    message: &MessageDescriptor,
    path: &mut Vec<FieldDescriptor>,
    found: &mut Vec<Rows>,
) {
    for field in message.fields() {
        path.push(field.clone());
        if field.is_list() {
            found.push(Rows { method: method.clone(), path: path.clone() });
        }
        if let Kind::Message(inner) = field.kind() {
            find(method, &inner, path, found);
        }
        path.pop();
    }
}

/// A process that may not map more than [`MAPPED`], and clients of its ports.
struct Small {
    process: Process,
    channels: Vec<(SocketAddr, Channel)>,
}

impl Small {
    async fn start(databases: &Databases) -> Self {
        administrators(databases).await;
        let process = Process::start(databases, |command| {
            // More at once than one channel may have, so that nothing is refused for that.
            command.env("COMMUNAL_LOG", "warn").env("COMMUNAL_CHANNEL_CALLS_PER_SECOND", "0").stdout(Stdio::null());
        })
        .await;
        let limit = ["--pid", &process.id().to_string(), &format!("--data={MAPPED}")].map(str::to_owned);
        assert!(Command::new("prlimit").args(limit).status().unwrap().success());
        let mut channels = Vec::new();
        for address in [process.billing, process.community, process.identity[0], process.identity[1]] {
            channels.push((address, connect(address).await));
        }
        Self { process, channels }
    }

    /// The most memory that it had so far.
    fn peak(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Sends the one message, to a port that serves the method and with credentials that may call it. To the server a
    /// stream of one message is the same.
    async fn send(&self, method: &MethodDescriptor, message: Bytes) -> Result<Bytes, Status> {
        let (package, path) = (method.parent_service().package_name().to_owned(), path_of(method));
        let (address, metadata) = match package.as_str() {
            "communal.billing.v1" => (self.process.billing, billing::request(billing::RETAIL, ()).into_parts().0),
            "communal.community.v1" => (self.process.community, resident()),
            _ => (self.process.identity[0], administrator()),
        };
        let channel = self.channels.iter().find(|(of, _)| *of == address).unwrap().1.clone();
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.unwrap();
        let mut request = Request::new(message);
        *request.metadata_mut() = metadata;
        let call = client.unary(request, path.parse().unwrap(), RawCodec);
        tokio::time::timeout(Duration::from_secs(30), call).await.unwrap().map(tonic::Response::into_inner)
    }
}

fn path_of(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

const ADMINISTRATOR: &str = "C000000000000099";

async fn administrators(databases: &Databases) {
    let sealing = SealingKey::parse(&Secret::new(community::SEALING_KEY)).unwrap();
    let channel = NewChannel {
        channel_id: ADMINISTRATOR,
        name: "administrator",
        proof: Proof::Key,
        admin: true,
        tenant_ids: &[],
        methods: &[],
        key: Some(Secret::new(billing::KEY)),
        valid_for: None,
    };
    for database in [&databases.billing, &databases.community] {
        let mut connection = database.pool.acquire().await.unwrap();
        add_channel(&mut connection, &channel, Some(&sealing), Utc::now() - chrono::TimeDelta::hours(1)).await.unwrap();
    }
}

fn resident() -> MetadataMap {
    let mut metadata = community::request(()).into_parts().0;
    // A stream of requests is for one community.
    metadata.insert("x-tenant-id", community::HOME.parse().unwrap());
    metadata
}

fn administrator() -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("x-channel-id", ADMINISTRATOR.parse().unwrap());
    metadata.insert("x-channel-key", billing::KEY.parse().unwrap());
    metadata
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_costs_much_more_than_it_weighs() {
    let databases = Databases::create().await;
    let small = Small::start(&databases).await;
    let before = small.peak();
    let all = all_rows();
    assert!(all.len() > 10 && all.iter().any(|rows| rows.path.len() > 1));
    for rows in &all {
        let path = path_of(&rows.method);
        let largest = REQUESTS.iter().find(|(of, _)| *of == path).unwrap().1.largest;
        let attack = rows.fill(largest);
        // Many at once, as one who means harm would.
        let sent = futures::future::join_all((0..16).map(|_| small.send(&rows.method, attack.clone()))).await;
        for refused in sent {
            let refused = refused.unwrap_err();
            let named = refused.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
            let named: Vec<_> = named.into_iter().map(|violation| violation.field).collect();
            assert!(
                refused.code() == Code::InvalidArgument && named == [rows.name()]
                    // Some of the largest ones find no room beside the others, and some streams no place: few are
                    // imported at once.
                    || refused.code() == Code::ResourceExhausted
                        && (attack.len() > 1_000_000 || rows.method.is_client_streaming()),
                "{path} {}: {refused:?}",
                rows.name()
            );
        }
        let larger = Bytes::from(vec![0x0a; largest + 1]);
        let refused = small.send(&rows.method, larger).await.unwrap_err();
        let reason = refused.get_details_error_info().map(|info| info.reason).unwrap_or_default();
        assert_eq!(
            (refused.code(), reason.as_str()),
            (Code::InvalidArgument, "REQUEST_TOO_LARGE"),
            "{path}: {refused:?}"
        );
    }
    let peak = small.peak();
    print_memory(before, peak);
    assert!(peak < MEMORY, "{before} → {peak}");
    // What is no message of the method is the sender's mistake, in a stream as well.
    for (path, _) in REQUESTS {
        let rows = all.iter().find(|rows| path_of(&rows.method) == *path);
        let Some(rows) = rows else { continue };
        let refused = small.send(&rows.method, Bytes::from_static(b"this is no protobuf")).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{path}: {refused:?}");
    }
    let list = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let list = list.get_service_by_name("communal.identity.v1.IdentityService").unwrap();
    let list = list.methods().find(|method| method.name() == "ListChannels").unwrap();
    assert!(!small.send(&list, Bytes::new()).await.unwrap().is_empty(), "it lives");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_port_of_calls_knows_no_administration() {
    let databases = Databases::create().await;
    administrators(&databases).await;
    let process = Process::start(&databases, |command| {
        command.env("COMMUNAL_LOG", "warn").stdout(Stdio::null());
    })
    .await;
    let path = "/communal.identity.v1.IdentityService/ListChannels";
    for (address, expected) in [
        (process.billing, Err(Code::Unimplemented)),
        (process.community, Err(Code::Unimplemented)),
        (process.identity[0], Ok(())),
    ] {
        let mut client = tonic::client::Grpc::new(connect(address).await);
        client.ready().await.unwrap();
        let mut request = Request::new(Bytes::new());
        *request.metadata_mut() = administrator();
        let answered = client.unary(request, path.parse().unwrap(), RawCodec).await;
        assert_eq!(answered.map(drop).map_err(|status| status.code()), expected, "{address}");
    }
}

/// Prints the memory of the process: the figure is worth reading, whether or not the test holds.
#[allow(clippy::print_stdout)]
fn print_memory(before: u64, peak: u64) {
    println!("memory: {} MiB before, {} MiB at most", before >> 20, peak >> 20);
}
