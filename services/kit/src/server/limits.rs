//! The limits of the gRPC port of a service.

use crate::edge::{EdgeLimits, Patience};
use crate::limits;

const MIB: u64 = 1024 * 1024;

limits! {
    /// The limits of the gRPC port of a service: in all, and of one channel (of one address until the
    /// channel is known).
    ServerLimits, LIMITS: ServerLimitDeclarations {
        connections: count("connections", 4_096, "connections", "closed at once"),
        connections_per_address: count("connections_per_address", 2_048, "connections of one address", "closed at once"),
        greeting: time("greeting_ms", 10_000, "the time until a client has greeted (TLS, first bytes of HTTP/2)", "closed"),
        idle: time("idle_ms", 60_000, "the time of a connection without a call", "told to go away, then closed"),
        stall: time("answer_stall_ms", 30_000, "the time in which a client takes nothing of an answer", "stream reset; where nothing is taken at all, connection closed"),
        calls: count("concurrent_calls", 512, "calls carried out at once", "RESOURCE_EXHAUSTED"),
        channel_calls: count("channel_concurrent_calls", 256, "calls of one channel carried out at once", "RESOURCE_EXHAUSTED"),
        unproved_calls: count("address_unproved_calls", 256, "calls of one address whose credentials are being checked", "RESOURCE_EXHAUSTED"),
        streams: count("concurrent_streams", 64, "streams of answers at once", "RESOURCE_EXHAUSTED"),
        channel_streams: count("channel_concurrent_streams", 16, "streams of answers of one channel at once", "RESOURCE_EXHAUSTED"),
        watches: count("open_streams", 512, "streams without credentials at once (health, reflection)", "RESOURCE_EXHAUSTED"),
        address_watches: count("address_open_streams", 128, "streams without credentials of one address at once", "RESOURCE_EXHAUSTED"),
        connection_watches: count("connection_open_streams", 16, "calls without credentials on one connection at once", "RESOURCE_EXHAUSTED"),
        channel_connections: count("channel_connections_percent", 75, "database connections that one channel may use at once, percent of all", "waits `COMMUNAL_ACQUIRE_TIMEOUT_MS`, then RESOURCE_EXHAUSTED"),
        channel_large_queries: count("channel_large_queries", 2, "queries of one channel at once that read the lines of a whole company", "waits `COMMUNAL_ACQUIRE_TIMEOUT_MS`, then RESOURCE_EXHAUSTED"),
        deadline: time("default_deadline_ms", 60_000, "the time of a call that names no deadline", "DEADLINE_EXCEEDED"),
        longest_call: time("longest_call_ms", 120_000, "the time of a call, whatever deadline it names", "DEADLINE_EXCEEDED"),
        longest_stream: time("longest_stream_ms", 900_000, "the time of a call that sends or answers a stream, whatever deadline it names", "DEADLINE_EXCEEDED"),
        request_bytes: bytes("request_bytes", 128 * MIB, "requests that are arriving or carried out, and what their rows take in memory", "RESOURCE_EXHAUSTED"),
        channel_request_bytes: bytes("channel_request_bytes", 64 * MIB, "the same of one channel", "RESOURCE_EXHAUSTED"),
        request_window: time("request_window_ms", 5_000, "the time within which the next part of a request has to come", "DEADLINE_EXCEEDED"),
        request_part: bytes("request_window_bytes", 64 * 1024, "the part of a request that has to come within that time, or its end", "DEADLINE_EXCEEDED"),
        answer_bytes: bytes("answer_bytes", 192 * MIB, "answers that have not left yet", "RESOURCE_EXHAUSTED"),
        channel_answer_bytes: bytes("channel_answer_bytes", 96 * MIB, "answers of one channel that have not left yet", "RESOURCE_EXHAUSTED"),
    }
}

impl ServerLimits {
    pub(super) fn patience(&self, age: Option<std::time::Duration>) -> Patience {
        Patience { greeting: self.greeting, idle: self.idle, stall: self.stall, age }
    }
}

pub(super) fn of_edge() -> EdgeLimits {
    EdgeLimits {
        connections: &LIMITS.connections,
        connections_per_address: &LIMITS.connections_per_address,
        greeting: &LIMITS.greeting,
        stall: &LIMITS.stall,
    }
}
