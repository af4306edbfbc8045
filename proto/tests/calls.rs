//! The table of calls in `docs/grpc.md` is what the contract says.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use communal_proto::FILE_DESCRIPTOR_SET;
use prost_reflect::{DescriptorPool, MethodDescriptor};

const BEGIN: &str = "<!-- calls -->\n";
const END: &str = "<!-- /calls -->\n";

/// How a method sends and answers, if not one message for one message.
fn streams(method: &MethodDescriptor) -> &'static str {
    match (method.is_client_streaming(), method.is_server_streaming()) {
        (false, false) => "",
        (true, false) => " (stream of requests)",
        (false, true) => " (stream of answers)",
        (true, true) => " (both streams)",
    }
}

/// The methods of a service, in the order of the contract. Over REST a method has the name that it has here, or in HC
/// that of its route.
fn rows(pool: &DescriptorPool) -> String {
    let route = pool.get_extension_by_name("communal.contract.v1.route").unwrap();
    let mut services: Vec<_> = pool.services().filter(|s| s.package_name().starts_with("communal.")).collect();
    services.sort_by_key(|service| service.full_name().to_owned());
    let mut rows = String::from("| service | with an interface over REST | gRPC only |\n| --- | --- | --- |\n");
    for service in services {
        let (rest, only): (Vec<_>, Vec<_>) =
            service.methods().partition(|method| method.options().has_extension(&route));
        let list = |methods: Vec<MethodDescriptor>| {
            let named = methods.iter().map(|method| format!("`{}`{}", method.name(), streams(method)));
            named.collect::<Vec<_>>().join(", ")
        };
        let name = service.full_name().trim_start_matches("communal.");
        writeln!(rows, "| `{name}` | {} | {} |", list(rest), list(only)).unwrap();
    }
    rows
}

#[test]
fn the_table_of_calls_is_what_the_contract_says() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/grpc.md");
    let text = std::fs::read_to_string(&place).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (listed, after) = rest.split_once(END).unwrap();
    let table = rows(&DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap());
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(place, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(listed == table, "docs/grpc.md is not what the contract says; run with UPDATE_EXPECT=1");
}
