//! Clients that do not follow the rules: connections that say nothing or half of something, and HTTP/2 below the
//! libraries that would prevent it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use bytes::{BufMut as _, Bytes, BytesMut};
use h2::SendStream;
use h2::client::{Builder, ResponseFuture, SendRequest};
use http::{HeaderMap, Request, StatusCode};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::Code;

/// The address of the attacker, who has a share of his own where shares go by address. Honest clients have another one.
pub(crate) const ATTACKER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 66));
/// Window of streams whose answers are read.
pub(crate) const READING: u32 = 1024 * 1024;
/// Window of streams whose answers are never read.
pub(crate) const UNREAD: u32 = 0;
/// Longest wait for a place on a connection.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects from the attacker's address and sends some bytes.
pub(crate) async fn connect(to: SocketAddr, greeting: &[u8]) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((ATTACKER, 0).into())?;
    let mut stream = socket.connect(to).await?;
    stream.write_all(greeting).await?;
    Ok(stream)
}

/// Returns whether the other side has closed a connection on which nothing was sent to us.
pub(crate) fn is_closed(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 1024]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    }
}

/// A connection of HTTP/2. It ends with this value.
pub(crate) struct Http2 {
    client: SendRequest<Bytes>,
    driver: JoinHandle<()>,
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Http2 {
    /// Connects; each stream of the connection has this window.
    pub(crate) async fn open(to: SocketAddr, window: u32) -> anyhow::Result<Self> {
        let stream = connect(to, b"").await?;
        stream.set_nodelay(true)?;
        let mut builder = Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(16 * READING);
        // The server may refuse by the head while a body is being sent; the library would take many of those for an attack.
        builder.max_local_error_reset_streams(None);
        let (client, connection) = tokio::time::timeout(PATIENCE, builder.handshake(stream)).await??;
        let driver = tokio::spawn(async move { drop(connection.await) });
        Ok(Self { client, driver })
    }

    /// Sends a head.
    pub(crate) async fn head(&self, head: Request<()>) -> anyhow::Result<(ResponseFuture, SendStream<Bytes>)> {
        let ready = tokio::time::timeout(PATIENCE, self.client.clone().ready()).await;
        Ok(ready.context("the connection has no place for a stream")??.send_request(head, false)?)
    }

    /// Sends a request whole.
    pub(crate) async fn request(&self, head: Request<()>, body: Bytes) -> anyhow::Result<ResponseFuture> {
        let (answer, mut sending) = self.head(head).await?;
        // The call may have been refused by its head alone; then the answer says so.
        let _ = sending.send_data(body, true);
        Ok(answer)
    }
}

/// The head of a gRPC call.
pub(crate) fn grpc(path: &str, metadata: &[(&str, &str)]) -> anyhow::Result<Request<()>> {
    let mut head = Request::post(format!("http://x{path}"));
    for (name, value) in [("te", "trailers"), ("content-type", "application/grpc")].iter().chain(metadata) {
        head = head.header(*name, *value);
    }
    Ok(head.body(())?)
}

/// The head of a REST call with a body.
pub(crate) fn post(path: &str) -> anyhow::Result<Request<()>> {
    Ok(Request::post(format!("http://x{path}")).header("content-type", "application/json").body(())?)
}

/// A message of gRPC, with another length before it if one is given.
pub(crate) fn framed(message: &[u8], declared: Option<usize>) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(declared.unwrap_or(message.len())).unwrap_or(u32::MAX));
    frame.extend_from_slice(message);
    frame.freeze()
}

/// Waits for the end of a call and names it: the code of gRPC, the HTTP status, or that it was cut off. The answer is
/// read and given back to flow control, unless the connection has no window.
pub(crate) async fn end(answer: ResponseFuture, within: Duration) -> String {
    let whole = async {
        let mut answer = answer.await?;
        if let Some(code) = code(answer.headers()) {
            return Ok(code);
        }
        let status = answer.status();
        if status != StatusCode::OK {
            return Ok(status.as_u16().to_string());
        }
        let body = answer.body_mut();
        while let Some(data) = body.data().await {
            let length = data?.len();
            body.flow_control().release_capacity(length)?;
        }
        let trailers = body.trailers().await?;
        Ok::<_, h2::Error>(trailers.and_then(|trailers| code(&trailers)).unwrap_or_else(|| status.as_u16().to_string()))
    };
    match tokio::time::timeout(within, whole).await {
        Ok(Ok(end)) => end,
        Ok(Err(_)) => CUT_OFF.to_owned(),
        Err(_) => OPEN.to_owned(),
    }
}

/// A call that the server cut off, or whose connection it closed.
pub(crate) const CUT_OFF: &str = "cut off";
/// A call that has not ended.
pub(crate) const OPEN: &str = "still open";

fn code(headers: &HeaderMap) -> Option<String> {
    Some(name_of(Code::from_bytes(headers.get("grpc-status")?.as_bytes())))
}

/// The name of a code, as [`end`] has it.
pub(crate) fn name_of(code: Code) -> String {
    format!("{code:?}")
}

/// Ends of calls, counted.
#[derive(Debug, Default)]
pub(crate) struct Ends(BTreeMap<String, usize>);

impl Ends {
    pub(crate) fn add(&mut self, end: String) {
        *self.0.entry(end).or_default() += 1;
    }

    /// The number of calls that ended so.
    pub(crate) fn of(&self, end: &str) -> usize {
        self.0.get(end).copied().unwrap_or_default()
    }

    /// Adds those of other calls.
    pub(crate) fn append(&mut self, others: Self) {
        for (end, count) in others.0 {
            *self.0.entry(end).or_default() += count;
        }
    }

    /// Returns whether a call was served.
    pub(crate) fn any_done(&self) -> bool {
        self.of(&name_of(Code::Ok)) > 0 || self.of("200") > 0
    }

    /// The number of calls.
    pub(crate) fn all(&self) -> usize {
        self.0.values().sum()
    }

    /// Waits for all of these calls at once.
    pub(crate) async fn of_all(answers: impl IntoIterator<Item = ResponseFuture>, within: Duration) -> Self {
        let mut ends = Self::default();
        for end in futures::future::join_all(answers.into_iter().map(|answer| end(answer, within))).await {
            ends.add(end);
        }
        ends
    }
}

impl fmt::Display for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (end, count)) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}{count} × {end}")?;
        }
        if self.0.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}
