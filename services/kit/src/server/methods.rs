//! The methods of a server by their paths, with the properties of each.

use std::collections::HashMap;
use std::sync::LazyLock;

use communal_proto::{request_of, wire};
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// A method of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    pub(super) path: &'static str,
    pub(super) shape: Shape,
}

/// The properties of a method.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shape {
    /// True if it answers with a stream.
    pub(super) streams: bool,
    /// True if its request is a stream.
    pub(super) uploads: bool,
    /// True if it needs no credentials: health and reflection. Probes and `grpcurl list` have none, and
    /// the answers are public in the documentation.
    pub(super) open: bool,
    /// Its request as the contract has it; `None` for health and reflection.
    pub(super) request: Option<&'static wire::Request>,
}

/// Services that need no credentials.
const OPEN: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];

/// Stands in labels for paths that are no method.
const UNKNOWN: &str = "unknown";

impl Method {
    /// Returns the method of a path. A caller can send any path; only those of existing methods appear
    /// in labels, spans and logs.
    pub(super) fn of(path: &str) -> Self {
        match KNOWN.get_key_value(path) {
            Some((path, shape)) => Self { path, shape: *shape },
            None => Self { path: UNKNOWN, shape: Shape { open: is_open(path), ..Shape::default() } },
        }
    }

    /// Returns whether a method of this path exists.
    pub(super) fn is_known(self) -> bool {
        self.path != UNKNOWN
    }

    /// Reads the methods now, so that the first call does not have to.
    pub(super) fn load() {
        LazyLock::force(&KNOWN);
    }
}

fn is_open(path: &str) -> bool {
    OPEN.iter().any(|open| path.starts_with(open))
}

static KNOWN: LazyLock<HashMap<String, Shape>> = LazyLock::new(methods);

/// Returns the methods by their paths.
fn methods() -> HashMap<String, Shape> {
    let mut methods = HashMap::new();
    for set in [
        communal_proto::FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        // They are part of this binary; a test sees that they can be read.
        let set = FileDescriptorSet::decode(set).unwrap_or_default();
        for file in &set.file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let (streams, uploads) = (method.server_streaming(), method.client_streaming());
                    let (open, request) = (is_open(&path), request_of(&path));
                    methods.insert(path, Shape { streams, uploads, open, request });
                }
            }
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_methods_that_exist_are_named() {
        let path = "/communal.billing.v1.ReceivableService/StreamUserArrearages";
        assert_eq!(Method::of(path).path, path);
        assert!(Method::of(path).shape.streams);
        assert!(!Method::of("/grpc.health.v1.Health/Check").shape.streams);
        assert_eq!(Method::of("/grpc.health.v1.Health/Check").path, "/grpc.health.v1.Health/Check");
        assert!(Method::of("/grpc.health.v1.Health/Watch").shape.open && !Method::of(path).shape.open);
        assert!(Method::of("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo").shape.uploads);
        assert!(KNOWN.values().all(|shape| shape.open != shape.request.is_some()));
        for invented in ["/communal.billing.v1.ReceivableService/13800138000", "/", ""] {
            assert_eq!(Method::of(invented).path, "unknown", "{invented}");
        }
    }
}
