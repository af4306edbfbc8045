//! The attacks.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use communal_fixtures::credentials::billing::{OTHER_RETAIL, RETAIL};
use communal_fixtures::credentials::community::{HOME, OTHER};
use communal_fixtures::receivables;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::{
    ApplyPutOnSalesPackageRequest, ImportBatch, ImportReceivableLinesRequest, QueryUserArrearagesRequest,
    ReceivableLine, StreamUserArrearagesRequest, UpdateSalePackagePriceRequest,
};
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::{DeleteFeeConfigRequest, ListFeeConfigsRequest, RegisterPayerObjectsRequest};
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use h2::client::ResponseFuture;
use http::Request;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::raw::{self, CUT_OFF, Ends, Http2, OPEN, READING, UNREAD};
use super::stage::{LARGE_RETAIL, LET_GO, Signed, Stage, open_line, stored_lines};
use super::{Attack, Findings};
use crate::clients::item_update_json;
use crate::deployment::Kind;

/// Longest stop of a process while connections are open that say nothing: without them it takes half of it.
pub(super) const LONGEST_STOP: Duration = Duration::from_secs(5);

/// Time for which a flood goes on.
const FLOOD: Duration = Duration::from_secs(4);
/// The time after which an import that does not go on has been ended.
const IMPORT_FLOOR: Duration = Duration::from_secs(20);
/// Streams without credentials that a connection may have open.
const STREAMS_OF_A_CONNECTION: usize = 16;
/// The same of an address.
const STREAMS_OF_AN_ADDRESS: usize = 128;
/// Lines that a process writes of refused calls in a second, and as many for whatever else it says.
const LINES_A_SECOND: usize = 100;
/// Longest wait for the answer to a whole request.
const ANSWER: Duration = Duration::from_secs(20);

const QUERY: &str = "/communal.billing.v1.ReceivableService/QueryUserArrearages";
const STREAM: &str = "/communal.billing.v1.ReceivableService/StreamUserArrearages";
const IMPORT: &str = "/communal.billing.v1.ReceivableService/ImportReceivableLines";
const UPDATE_PRICES: &str = "/communal.billing.v1.PackagePriceService/UpdateSalePackagePrice";
const APPLY: &str = "/communal.billing.v1.PackageService/ApplyPutOnSalesPackage";
const REGISTER: &str = "/communal.community.v1.PayerObjectService/RegisterPayerObjects";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// A route of the gateway with a body.
const ROUTE: &str = "/Service/v1/QueryUserArrearages/";

/// A carry-out of the table below.
macro_rules! by {
    ($attack:path) => {
        |stage, findings| $attack(stage, findings).boxed()
    };
}

/// All attacks but that on the stop of a process.
pub(super) const ALL: [Attack; 18] = [
    Attack { id: "H1", what: "messages of empty rows", cheap: true, reaches: &[], carry_out: by!(empty_rows) },
    Attack {
        id: "H2a",
        what: "REST: 1,200 heads without bodies, again and again",
        cheap: true,
        reaches: &["gateway_address_bodies"],
        carry_out: by!(heads),
    },
    Attack {
        id: "H2b",
        what: "REST: 31 bodies that lack one byte",
        cheap: false,
        reaches: &["gateway_address_body_memory_bytes"],
        carry_out: by!(bodies),
    },
    Attack {
        id: "H2c",
        what: "REST: connections that say nothing",
        cheap: false,
        reaches: &["gateway_connections_per_address", "gateway_greeting_ms"],
        carry_out: by!(silent_at_gateway),
    },
    Attack {
        id: "H3",
        what: "40 streams of arrears that nobody reads",
        cheap: true,
        reaches: &["channel_concurrent_streams"],
        carry_out: by!(unread_streams),
    },
    Attack {
        id: "H4",
        what: "lines that name a company in a wrong role",
        cheap: true,
        reaches: &[],
        carry_out: by!(wrong_roles),
    },
    Attack {
        id: "H5",
        what: "a captured signature over gRPC",
        cheap: true,
        reaches: &[],
        carry_out: by!(captured_signature),
    },
    Attack {
        id: "H6a",
        what: "600 calls without a body",
        cheap: true,
        reaches: &["channel_concurrent_calls"],
        carry_out: by!(calls_without_bodies),
    },
    Attack { id: "H6b", what: "50 messages half sent", cheap: true, reaches: &[], carry_out: by!(half_messages) },
    Attack { id: "M1", what: "imports that do not go on", cheap: false, reaches: &[], carry_out: by!(endless_imports) },
    Attack {
        id: "M2",
        what: "a signed update sent to the route that deletes",
        cheap: true,
        reaches: &[],
        carry_out: by!(moved_body),
    },
    Attack {
        id: "M3a",
        what: "REST: 120 answers that nobody reads",
        cheap: false,
        reaches: &["gateway_address_answer_bytes"],
        carry_out: by!(unread_over_rest),
    },
    Attack {
        id: "M3b",
        what: "gRPC: 120 answers that nobody reads",
        cheap: false,
        reaches: &[],
        carry_out: by!(unread_over_grpc),
    },
    Attack {
        id: "M4a",
        what: "gRPC: connections that say nothing",
        cheap: false,
        reaches: &["connections_per_address", "greeting_ms"],
        carry_out: by!(silent_at_service),
    },
    Attack {
        id: "M4b",
        what: "gRPC: open streams without credentials",
        cheap: true,
        reaches: &["connection_open_streams"],
        carry_out: by!(watches),
    },
    Attack {
        id: "M5",
        what: "the documentation, compressed, again and again",
        cheap: false,
        reaches: &[],
        carry_out: by!(pages),
    },
    Attack {
        id: "M6",
        what: "imports of a line beside a large company",
        cheap: false,
        reaches: &[],
        carry_out: by!(single_lines),
    },
    Attack { id: "L12", what: "calls without credentials", cheap: true, reaches: &[], carry_out: by!(refusals) },
];

/// A message of one kind of row, each empty, up to a size.
fn rows_of(row: &impl Message, bytes: usize) -> Bytes {
    let row = row.encode_to_vec();
    row.repeat(bytes / row.len().max(1)).into()
}

async fn empty_rows(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let token = stage.token();
    let company = stage.metadata(OTHER_RETAIL);
    let app = stage.metadata_of_app(&token);
    let import = ImportReceivableLinesRequest { batch: None, lines: vec![ReceivableLine::default()] };
    let prices = UpdateSalePackagePriceRequest { rows: vec![Default::default()] };
    let apply = ApplyPutOnSalesPackageRequest { packages: vec![Default::default()] };
    let objects = RegisterPayerObjectsRequest { payer_objects: vec![Default::default()], ..Default::default() };
    for bytes in [MIB / 2, 3 * MIB / 2, 15 * MIB] {
        for (path, slot, metadata, message) in [
            (IMPORT, &stage.billing, &company[..], rows_of(&import, bytes)),
            (UPDATE_PRICES, &stage.billing, &company, rows_of(&prices, bytes)),
            (APPLY, &stage.billing, &company, rows_of(&apply, bytes)),
            (REGISTER, &stage.community, &app, rows_of(&objects, bytes)),
        ] {
            let connection = Http2::open(slot.address, READING).await?;
            let mut answers = Vec::new();
            for _ in 0..4 {
                answers.push(connection.request(raw::grpc(path, metadata)?, raw::framed(&message, None)).await?);
            }
            let ends = Ends::of_all(answers, ANSWER).await;
            let refused: usize = [Code::InvalidArgument, Code::ResourceExhausted, Code::OutOfRange]
                .into_iter()
                .map(|code| ends.of(&raw::name_of(code)))
                .sum();
            let method = path.rsplit('/').next().unwrap_or(path);
            findings.expect(refused == 4, format!("{method} of {} KiB of empty rows: {ends}", bytes / 1024));
        }
    }
    Ok(())
}

/// Sends heads without bodies on connections, all over again when they have ended.
async fn heads(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let until = Instant::now() + FLOOD;
    let connection = || async move {
        let mut ends = Ends::default();
        while Instant::now() < until {
            let connection = Http2::open(stage.gateway.address, READING).await?;
            let (answers, _sending): (Vec<_>, Vec<_>) = heads_on(&connection, 200, || raw::post(ROUTE)).await?;
            ends.append(Ends::of_all(answers, LET_GO).await);
        }
        Ok::<_, anyhow::Error>(ends)
    };
    let mut all = Ends::default();
    try_join_all((0..6).map(|_| connection())).await?.into_iter().for_each(|ends| all.append(ends));
    let let_go = all.of("408") + all.of("429");
    findings.expect(let_go == all.all() && let_go >= 1_200, format!("each is refused or let go: {all}"));
    Ok(())
}

/// Sends heads without their bodies; returns the answers to come, and what keeps the requests open.
async fn heads_on(
    connection: &Http2,
    count: usize,
    head: impl Fn() -> anyhow::Result<Request<()>>,
) -> anyhow::Result<(Vec<ResponseFuture>, Vec<h2::SendStream<Bytes>>)> {
    let mut heads = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (answer, sending) = connection.head(head()?).await?;
        heads.0.push(answer);
        heads.1.push(sending);
    }
    Ok(heads)
}

async fn bodies(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    const BYTES: usize = 8_500_000;
    let body = Arc::new(vec![b' '; BYTES - 1]);
    let send = |_| {
        let body = Arc::clone(&body);
        async move {
            let head = format!("POST {ROUTE} HTTP/1.1\r\nhost: x\r\ncontent-length: {BYTES}\r\n\r\n");
            let mut stream = raw::connect(stage.gateway.address, head.as_bytes()).await?;
            // One that is refused need not take the rest.
            let (mut reading, mut writing) = stream.split();
            let (mut answer, writing) = ([0; 12], async { drop(writing.write_all(&body).await) });
            let reading = tokio::time::timeout(ANSWER, reading.read_exact(&mut answer));
            let (_, read) = futures::future::join(writing, reading).await;
            Ok::<_, anyhow::Error>(match read {
                Ok(Ok(_)) => String::from_utf8_lossy(&answer[9..]).into_owned(),
                Ok(Err(_)) => CUT_OFF.to_owned(),
                Err(_) => OPEN.to_owned(),
            })
        }
    };
    let mut ends = Ends::default();
    try_join_all((0..31).map(send)).await?.into_iter().for_each(|end| ends.add(end));
    findings.expect(ends.of(OPEN) == 0 && ends.of("200") == 0, format!("each is refused or let go: {ends}"));
    Ok(())
}

async fn silent_at_gateway(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    silent(stage.gateway.address, 6_000, findings).await
}

async fn silent_at_service(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    silent(stage.billing.address, 4_000, findings).await
}

/// Opens connections, half of which send one byte, and waits until they should be closed.
async fn silent(to: std::net::SocketAddr, most: usize, findings: &mut Findings) -> anyhow::Result<()> {
    let count = most.min(descriptors()? / 2);
    let connect = |number: usize| async move {
        let greeting: &[u8] = if number.is_multiple_of(2) { b"" } else { b"P" };
        // One beyond the share of an address may be closed before the byte is written.
        raw::connect(to, greeting).await.ok()
    };
    let connections = futures::stream::iter((0..count).map(connect)).buffer_unordered(64);
    let connections: Vec<_> = connections.filter_map(std::future::ready).collect().await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let at_once = count - connections.iter().filter(|connection| !raw::is_closed(connection)).count();
    tokio::time::sleep(LET_GO).await;
    let open = connections.iter().filter(|connection| !raw::is_closed(connection)).count();
    findings.expect(
        open == 0,
        format!("of {count} connections {at_once} are closed at once, and {open} are open after {LET_GO:?}"),
    );
    Ok(())
}

/// The number of files that this process may have open.
fn descriptors() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of files")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse().unwrap_or(usize::MAX))
}

async fn unread_streams(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let message = raw::framed(&StreamUserArrearagesRequest::default().encode_to_vec(), None);
    let (mut connections, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let connection = Http2::open(stage.billing.address, UNREAD).await?;
        for _ in 0..20 {
            let head = raw::grpc(STREAM, &stage.metadata(OTHER_RETAIL))?;
            answers.push(connection.request(head, message.clone()).await?);
        }
        connections.push(connection);
    }
    let ends = Ends::of_all(answers, LET_GO * 2).await;
    let refused = ends.of(&raw::name_of(Code::ResourceExhausted));
    findings.expect(ends.of(OPEN) == 0 && refused >= 20, format!("some are refused, the others cut off: {ends}"));
    Ok(())
}

/// The reason and the fields of a refusal.
fn refusal(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    let fields =
        details.bad_request().map(|request| request.field_violations.iter().map(|v| v.field.as_str()).collect());
    let fields: Vec<_> = fields.unwrap_or_default();
    format!("{:?} {reason} {}", status.code(), fields.join(", "))
}

async fn wrong_roles(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let mut client = ReceivableServiceClient::new(stage.channel(Kind::Billing).await?);
    for (name, network_company) in [("another retail company", RETAIL), ("no company", "N999999999999999")] {
        let line =
            ReceivableLine { network_company_id: network_company.into(), ..open_line(OTHER_RETAIL, 700_000_000) };
        let messages = receivables::import(&format!("wrong-{network_company}"), &[line], 1);
        let request = stage.of_billing(tonic::codegen::tokio_stream::iter(messages), OTHER_RETAIL)?;
        let what = format!("{name} as network company");
        match client.import_receivable_lines(request).await {
            Ok(_) => findings.expect(false, format!("{what}: imported")),
            Err(status) => {
                let named = status.get_error_details().error_info().is_some_and(|info| !info.reason.is_empty());
                findings.expect(named, format!("{what}: {}", refusal(&status)));
            }
        }
        let stored = stored_lines(&stage.databases, network_company).await?;
        findings.expect(stored == 0, format!("{what}: {stored} lines are stored"));
    }
    Ok(())
}

async fn captured_signature(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let query = format!("page=1&row=10&communityId={HOME}");
    let signed = Signed::new(&format!("captured-{}", stage.number()), &query)?;
    let status =
        rest(stage, reqwest::Method::GET, &format!("/app/feeConfig.listFeeConfigs?{query}"), &signed, "").await?;
    findings.expect(status.starts_with("200"), format!("the call itself is served: {status}"));
    let mut client = FeeItemServiceClient::new(stage.channel(Kind::Community).await?);
    let list = ListFeeConfigsRequest { page: 1, row: 10, community_id: OTHER.into(), ..Default::default() };
    let listed = client.list_fee_configs(signed.request(list)?).await.map(drop);
    let delete = DeleteFeeConfigRequest { config_id: stage.item.id.clone(), community_id: HOME.into() };
    let deleted = client.delete_fee_config(signed.request(delete)?).await.map(drop);
    for (name, outcome) in [("a list of another community", listed), ("a deletion", deleted)] {
        let refused = outcome.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated);
        let outcome = outcome.map_or_else(|status| refusal(&status), |()| "served".to_owned());
        findings.expect(refused, format!("its signature for {name}: {outcome}"));
    }
    findings.expect(is_there(stage).await?, "the item is still there");
    Ok(())
}

async fn moved_body(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let body = item_update_json(HOME, &stage.item, "7", "").to_string();
    let signed = Signed::new(&format!("captured-{}", stage.number()), &body)?;
    for (route, refused) in [("updateFeeConfig", false), ("deleteFeeConfig", true)] {
        let answer = rest(stage, reqwest::Method::POST, &format!("/app/feeConfig.{route}"), &signed, &body).await?;
        let done = answer.contains("\"code\":\"0\"");
        findings.expect(done != refused, format!("{route}: {answer}"));
    }
    findings.expect(is_there(stage).await?, "the item is still there");
    Ok(())
}

/// Makes a signed REST call; returns status and body.
async fn rest(
    stage: &Stage,
    method: reqwest::Method,
    path: &str,
    signed: &Signed,
    body: &str,
) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().no_proxy().local_address(raw::ATTACKER).timeout(ANSWER).build()?;
    let mut request = client.request(method, format!("http://{}{path}", stage.gateway.address)).body(body.to_owned());
    for (name, value) in signed.headers() {
        request = request.header(name, value);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    Ok(format!("{status} {}", answer.text().await?.chars().take(100).collect::<String>()))
}

/// Returns whether the attacked item exists.
async fn is_there(stage: &Stage) -> anyhow::Result<bool> {
    let found: Option<String> = sqlx::query_scalar("SELECT config_id FROM pay_fee_config WHERE config_id = $1")
        .bind(&stage.item.id)
        .fetch_optional(&stage.databases.pool("community")?)
        .await?;
    Ok(found.is_some())
}

async fn calls_without_bodies(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let connection = Http2::open(stage.billing.address, READING).await?;
    let head = || {
        let mut metadata = stage.metadata(OTHER_RETAIL).to_vec();
        metadata.push(("grpc-timeout", "99999999H"));
        raw::grpc(QUERY, &metadata)
    };
    let (answers, _sending) = heads_on(&connection, 600, head).await?;
    let ends = Ends::of_all(answers, LET_GO).await;
    let refused = ends.of(&raw::name_of(Code::ResourceExhausted));
    let late = ends.of(&raw::name_of(Code::DeadlineExceeded));
    findings.expect(refused >= 300 && refused + late == 600, format!("each is refused or let go: {ends}"));
    Ok(())
}

async fn half_messages(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let half = raw::framed(&vec![0; 7 * MIB], Some(14 * MIB));
    let (mut connections, mut answers, mut sending) = (Vec::new(), Vec::new(), Vec::new());
    for path in [UPDATE_PRICES, QUERY] {
        let connection = Http2::open(stage.billing.address, READING).await?;
        for _ in 0..25 {
            let (answer, mut body) = connection.head(raw::grpc(path, &stage.metadata(OTHER_RETAIL))?).await?;
            body.send_data(half.clone(), false)?;
            answers.push(answer);
            sending.push(body);
        }
        connections.push(connection);
    }
    let ends = Ends::of_all(answers, LET_GO).await;
    findings.expect(ends.of(OPEN) == 0 && !ends.any_done(), format!("each is refused or let go: {ends}"));
    Ok(())
}

async fn endless_imports(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let connection = Http2::open(stage.billing.address, READING).await?;
    let (mut answers, mut sending) = (Vec::new(), Vec::new());
    for number in 0..8 {
        let (answer, mut body) = connection.head(raw::grpc(IMPORT, &stage.metadata(OTHER_RETAIL))?).await?;
        let first = ImportReceivableLinesRequest {
            batch: Some(ImportBatch { batch_id: format!("endless-{number}") }),
            lines: vec![open_line(OTHER_RETAIL, 710_000_000 + number)],
        };
        body.send_data(raw::framed(&first.encode_to_vec(), None), false)?;
        answers.push(answer);
        sending.push(body);
    }
    let empty = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            for body in &mut sending {
                // One that is ended takes no more.
                let _ = body.send_data(raw::framed(b"", None), false);
            }
        }
    };
    let ends = tokio::select! {
        () = empty => Ends::default(),
        ends = Ends::of_all(answers, IMPORT_FLOOR) => ends,
    };
    findings.expect(ends.of(OPEN) == 0 && !ends.any_done(), format!("each is refused or let go: {ends}"));
    Ok(())
}

async fn unread_over_rest(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let body = Bytes::from(json!({"SYS_HEAD": stage.sys_head(), "ACC_VOLPRICE_OWE": {}}).to_string());
    let (mut connections, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let connection = Http2::open(stage.gateway.address, UNREAD).await?;
        for _ in 0..60 {
            answers.push(connection.request(raw::post(ROUTE)?, body.clone()).await?);
        }
        connections.push(connection);
    }
    let ends = Ends::of_all(answers, ANSWER).await;
    findings.expect(ends.of(OPEN) == 0 && ends.of("429") > 0, format!("some are refused, the others cut off: {ends}"));
    Ok(())
}

async fn unread_over_grpc(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let message = raw::framed(&QueryUserArrearagesRequest::default().encode_to_vec(), None);
    let (mut connections, mut answers) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let connection = Http2::open(stage.billing.address, UNREAD).await?;
        for _ in 0..60 {
            let head = raw::grpc(QUERY, &stage.metadata(OTHER_RETAIL))?;
            answers.push(connection.request(head, message.clone()).await?);
        }
        connections.push(connection);
    }
    let ends = Ends::of_all(answers, ANSWER).await;
    let refused = ends.of(&raw::name_of(Code::ResourceExhausted));
    findings.expect(ends.of(OPEN) == 0 && refused > 0, format!("some are refused, the others cut off: {ends}"));
    Ok(())
}

async fn watches(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    const STREAMS: usize = 2_000;
    let until = Instant::now() + FLOOD;
    let open = |number: usize| async move {
        let connection = Http2::open(stage.billing.address, READING).await?;
        let (mut ends, mut open, mut sending) = (Ends::default(), FuturesUnordered::new(), Vec::new());
        let path = if number.is_multiple_of(2) { WATCH } else { REFLECTION };
        while ends.all() + open.len() < STREAMS && Instant::now() < until {
            let (answer, mut body) = connection.head(raw::grpc(path, &[])?).await?;
            if path == WATCH {
                // The name of no service is that of all. A stream of questions waits for the first one.
                body.send_data(raw::framed(b"", None), true)?;
            }
            open.push(raw::end(answer, FLOOD * 3));
            sending.push(body);
            while open.len() > STREAMS_OF_A_CONNECTION
                && let Some(end) = open.next().await
            {
                ends.add(end);
            }
        }
        let answered = tokio::time::Instant::from_std(until + Duration::from_secs(1));
        while let Ok(Some(end)) = tokio::time::timeout_at(answered, open.next()).await {
            ends.add(end);
        }
        Ok::<_, anyhow::Error>((ends, open.len()))
    };
    let (mut all, mut opened) = (Ends::default(), 0);
    for (ends, open) in try_join_all((0..10).map(open)).await? {
        all.append(ends);
        opened += open;
    }
    findings.expect(
        opened <= STREAMS_OF_AN_ADDRESS && all.of(&raw::name_of(Code::ResourceExhausted)) == all.all(),
        format!("{opened} are open, the others are refused: {all}"),
    );
    Ok(())
}

async fn pages(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let until = Instant::now() + FLOOD;
    let connections =
        [Http2::open(stage.gateway.address, READING).await?, Http2::open(stage.gateway.address, READING).await?];
    let ask = |number: usize| {
        let connection = &connections[number % 2];
        let path = if number % 4 < 2 { "/docs/swagger-ui-bundle.js" } else { "/openapi.json" };
        async move {
            let mut ends = Ends::default();
            while Instant::now() < until {
                let head = Request::get(format!("http://x{path}")).header("accept-encoding", "gzip").body(())?;
                ends.add(raw::end(connection.request(head, Bytes::new()).await?, ANSWER).await);
            }
            Ok::<_, anyhow::Error>(ends)
        }
    };
    let mut all = Ends::default();
    try_join_all((0..40).map(ask)).await?.into_iter().for_each(|ends| all.append(ends));
    findings.expect(all.of(OPEN) == 0, format!("answers: {all}"));
    Ok(())
}

async fn single_lines(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let until = Instant::now() + FLOOD;
    let done = AtomicUsize::new(0);
    let import = || async {
        let mut longest = Duration::ZERO;
        while Instant::now() < until {
            let account = 800_000_000 + stage.number();
            done.fetch_add(1, Ordering::Relaxed);
            let began = Instant::now();
            stage.import(LARGE_RETAIL, account, 1).await?;
            longest = longest.max(began.elapsed());
        }
        Ok::<_, anyhow::Error>(longest)
    };
    let longest = try_join_all((0..3).map(|_| import())).await?.into_iter().max().unwrap_or_default();
    let count = done.load(Ordering::Relaxed);
    findings.expect(
        count > 20,
        format!("{count} lines beside {} were imported one by one, the slowest within {longest:?}", stage.large_lines),
    );
    Ok(())
}

async fn refusals(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let (began, until) = (Instant::now(), Instant::now() + FLOOD);
    let lines = |slot: &crate::deployment::Slot| slot.logged().lines().count();
    let before: Vec<_> = stage.slots().iter().map(lines).collect();
    let connections =
        [Http2::open(stage.billing.address, READING).await?, Http2::open(stage.gateway.address, READING).await?];
    let ask = |number: usize| {
        let connection = &connections[number % 2];
        async move {
            let mut ends = Ends::default();
            while Instant::now() < until {
                let head = if number.is_multiple_of(2) { raw::grpc(QUERY, &[])? } else { raw::post(ROUTE)? };
                ends.add(raw::end(connection.request(head, raw::framed(b"", None)).await?, ANSWER).await);
            }
            Ok::<_, anyhow::Error>(ends)
        }
    };
    let mut all = Ends::default();
    try_join_all((0..20).map(ask)).await?.into_iter().for_each(|ends| all.append(ends));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seconds = usize::try_from(began.elapsed().as_secs())? + 1;
    let written = stage.slots().iter().zip(before).map(|(slot, before)| lines(slot) - before).max().unwrap_or_default();
    // The lines that say how many were left out are lines as well.
    findings.expect(
        written <= seconds * LINES_A_SECOND && !all.any_done(),
        format!("{all}: at most {written} lines in the log of a process in {seconds} s"),
    );
    Ok(())
}
