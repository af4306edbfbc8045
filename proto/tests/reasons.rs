//! `docs/reasons.md` is printed from the contract.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fmt::Write as _;
use std::path::Path;

use communal_proto::FILE_DESCRIPTOR_SET;
use communal_proto::contract::v1::ReasonRules;
use prost_reflect::{DescriptorPool, EnumDescriptor};

const HEAD: &str =
    "| reason | of | gRPC code | `CODE` of EPEIS | `code` of HC | means |\n| --- | --- | --- | --- | --- | --- |\n";

/// The rows of the reasons of one enum.
fn rows(reasons: &EnumDescriptor, owner: &str) -> String {
    let extension = reasons.parent_pool().get_extension_by_name("communal.contract.v1.reason").unwrap();
    let file = reasons.parent_file();
    let locations = &file.file_descriptor_proto().source_code_info.as_ref().unwrap().location;
    let mut rows = String::new();
    for value in reasons.values().filter(|value| value.number() != 0) {
        let options = value.options();
        let rules: ReasonRules = options.get_extension(&extension).as_message().unwrap().transcode_to().unwrap();
        let comment = locations.iter().find(|location| location.path == value.path()).unwrap().leading_comments();
        let code = |code: String| if code.is_empty() || code == "0" { String::new() } else { format!("`{code}`") };
        writeln!(
            rows,
            "| `{}` | {owner} | `{}` | {} | {} | {} |",
            value.name().trim_start_matches("REASON_"),
            rules.grpc().as_str_name().trim_start_matches("GRPC_"),
            code(rules.epeis.to_string()),
            code(rules.hc.clone()),
            comment.split_whitespace().collect::<Vec<_>>().join(" "),
        )
        .unwrap();
    }
    rows
}

#[test]
fn the_list_of_reasons_is_what_the_contract_says() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reasons.md");
    let listed = std::fs::read_to_string(&place).unwrap();
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut table = HEAD.to_owned();
    for (owner, package) in [("every service", "contract"), ("billing", "billing"), ("community", "community")] {
        table += &rows(&pool.get_enum_by_name(&format!("communal.{package}.v1.Reason")).unwrap(), owner);
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        let text = listed.split("| reason |").next().unwrap();
        std::fs::write(place, format!("{text}{table}")).unwrap();
        return;
    }
    assert!(listed.ends_with(&table), "docs/reasons.md is not what the contract says; run with UPDATE_EXPECT=1");
}
