//! Attacks that hold what others need: places, memory, connections, streams. A client that gives nothing is let go.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use communal_fixtures::credentials::billing::OTHER_RETAIL;
use communal_fixtures::receivables;
use communal_proto::billing::v1::{
    ImportReceivableLinesRequest, QueryUserArrearagesRequest, StreamUserArrearagesRequest,
};
use futures::StreamExt as _;
use futures::future::try_join_all;
use futures::stream::FuturesUnordered;
use h2::client::ResponseFuture;
use http::Request;
use prost::Message;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tonic::Code;

use super::{ANSWER, FLOOD, IMPORT, QUERY, ROUTE, UPDATE_PRICES};
use crate::abuse::Findings;
use crate::abuse::raw::{self, CUT_OFF, Ends, Http2, OPEN, READING, UNREAD};
use crate::abuse::stage::{LARGE_RETAIL, LET_GO, Stage, open_line};
use crate::postgres::until;
use crate::transcript::readable;

const STREAM: &str = "/communal.billing.v1.ReceivableService/StreamUserArrearages";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// Time for which imports are begun that do not go on: some times as long as one is waited for.
const IMPORTS: Duration = Duration::from_secs(8);
/// Streams without credentials that a connection may have open.
const STREAMS_OF_A_CONNECTION: usize = 16;
/// The same of an address.
const STREAMS_OF_AN_ADDRESS: usize = 128;

/// Sends heads without bodies on connections, all over again when they have ended.
pub(super) async fn heads(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
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

pub(super) async fn bodies(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
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

pub(super) async fn silent_at_gateway(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    silent(stage.gateway.address, 6_000, findings).await
}

pub(super) async fn silent_at_service(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    silent(stage.billing.address, 4_000, findings).await
}

/// Opens connections, half of which send one byte, and waits until they should be closed.
async fn silent(to: SocketAddr, most: usize, findings: &mut Findings) -> anyhow::Result<()> {
    let count = most.min(descriptors()? / 2);
    let connect = |number: usize| async move {
        let greeting: &[u8] = if number.is_multiple_of(2) { b"" } else { b"P" };
        // One beyond the share of an address may be closed before the byte is written.
        raw::connect(to, greeting).await.ok()
    };
    let connections = futures::stream::iter((0..count).map(connect)).buffer_unordered(64);
    let began = Instant::now();
    let connections: Vec<_> = connections.filter_map(std::future::ready).collect().await;
    let took = began.elapsed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let at_once = count - connections.iter().filter(|connection| !raw::is_closed(connection)).count();
    let open = || connections.iter().filter(|connection| !raw::is_closed(connection)).count();
    let gone = until("connections that say nothing are closed", LET_GO * 2, || async { open() == 0 }).await;
    let let_go = gone.map_or_else(|_| "not all".to_owned(), readable);
    // The kernel drops a connection without a word if the queue of those to be accepted is full.
    findings.expect(
        open() * 50 <= count,
        format!(
            "of {count} connections, opened within {}, {at_once} are closed at once, all others later: {let_go}, {} left",
            readable(took),
            open()
        ),
    );
    Ok(())
}

/// The number of files that this process may have open.
fn descriptors() -> anyhow::Result<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).context("no limit of files")?;
    Ok(line.split_whitespace().next().unwrap_or_default().parse().unwrap_or(usize::MAX))
}

pub(super) async fn unread_streams(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
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

pub(super) async fn calls_without_bodies(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
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

pub(super) async fn half_messages(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let half = raw::framed(&vec![0; 7 * MIB], Some(14 * MIB));
    let (mut connections, mut answers, mut sending) = (Vec::new(), Vec::new(), Vec::new());
    for path in [UPDATE_PRICES, QUERY] {
        let connection = Http2::open(stage.billing.address, READING).await?;
        for _ in 0..25 {
            let (answer, mut body) = connection.head(raw::grpc(path, &stage.metadata(OTHER_RETAIL))?).await?;
            // It may have been refused by its head alone.
            let _ = body.send_data(half.clone(), false);
            answers.push(answer);
            sending.push(body);
        }
        connections.push(connection);
    }
    let ends = Ends::of_all(answers, LET_GO).await;
    findings.expect(ends.of(OPEN) == 0 && !ends.any_done(), format!("each is refused or let go: {ends}"));
    Ok(())
}

pub(super) async fn endless_imports(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let until = Instant::now() + IMPORTS;
    let connection = &Http2::open(stage.billing.address, READING).await?;
    let import = |number: u32| async move {
        let company = if number.is_multiple_of(2) { OTHER_RETAIL } else { LARGE_RETAIL };
        let mut ends = Ends::default();
        while Instant::now() < until {
            let number = stage.number();
            let lines = vec![open_line(company, 710_000_000 + number)];
            let batch = Some(receivables::batch(&format!("endless-{number}"), &lines));
            let first = ImportReceivableLinesRequest { batch, lines };
            let (answer, mut body) = connection.head(raw::grpc(IMPORT, &stage.metadata(company))?).await?;
            // One that is refused already takes nothing.
            let _ = body.send_data(raw::framed(&first.encode_to_vec(), None), false);
            let empty = async {
                loop {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    // One that is ended takes no more.
                    let _ = body.send_data(raw::framed(b"", None), false);
                }
            };
            let end = tokio::select! {
                () = empty => break,
                end = raw::end(answer, ANSWER) => end,
            };
            ends.add(end);
            // One that is refused is tried again, so that each place is taken that becomes free.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok::<_, anyhow::Error>(ends)
    };
    let mut all = Ends::default();
    try_join_all((0..8).map(import)).await?.into_iter().for_each(|ends| all.append(ends));
    findings.expect(all.of(OPEN) == 0 && !all.any_done(), format!("each is refused or let go: {all}"));
    Ok(())
}

pub(super) async fn unread_over_rest(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
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

pub(super) async fn unread_over_grpc(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
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

pub(super) async fn watches(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    const STREAMS: usize = 2_000;
    let until = Instant::now() + FLOOD;
    let open = |number: usize| async move {
        let connection = Http2::open(stage.billing.address, READING).await?;
        let (mut ends, mut open, mut sending) = (Ends::default(), FuturesUnordered::new(), Vec::new());
        let path = if number.is_multiple_of(2) { WATCH } else { REFLECTION };
        while ends.all() + open.len() < STREAMS && Instant::now() < until {
            let (answer, mut body) = connection.head(raw::grpc(path, &[])?).await?;
            if path == WATCH {
                // The name of no service is that of all. A stream of questions waits for the first one. The call may have
                // been refused by its head alone.
                let _ = body.send_data(raw::framed(b"", None), true);
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
