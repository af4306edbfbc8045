//! Contracts that are served, and contracts that are refused when the process starts.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{Contract, Owner};
use communal_proto::contract::v1::Dialect;

#[test]
fn the_contract_of_this_build_compiles() {
    let contract = Contract::load().unwrap();
    let update = contract.routes().iter().find(|route| route.name == "feeConfig.updateFeeConfig").unwrap();
    assert_eq!((update.dialect, update.owner), (Dialect::Hc, Owner::Community));
    assert_eq!(update.grpc_path, "/communal.community.v1.FeeItemService/UpdateFeeConfig");
}

#[test]
fn a_service_reason_goes_before_the_common_one_and_has_fallbacks() {
    let contract = Contract::load().unwrap();
    let reasons = contract.reasons();
    let codes = |domain, reason| reasons.codes(domain, reason).map(|codes| (codes.epeis, codes.hc.as_str()));
    assert_eq!(codes("billing.communal", "PACKAGE_STATE"), Some((3002, "404")));
    assert_eq!(codes("community.communal", "FEE_ITEM_NOT_FOUND"), Some((9000, "404")));
    assert_eq!(codes("community.communal", "OPERATOR_REFUSED"), Some((1004, "1401")));
    assert_eq!(codes("gateway.communal", "OVERLOADED"), Some((9001, "429")));
    assert_eq!(codes("community.communal", "PACKAGE_STATE"), None);
}

/// The error of a contract that consists of this declaration.
fn refusal(declaration: &str) -> String {
    let folder = std::env::temp_dir().join(format!(
        "communal-contract-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    ));
    let package = folder.join("communal/billing/v9");
    std::fs::create_dir_all(&package).unwrap();
    let head = "syntax = \"proto3\"; package communal.billing.v9; import \"communal/contract/v1/contract.proto\";";
    std::fs::write(package.join("wrong.proto"), format!("{head}\n{declaration}")).unwrap();
    let set = crate::test_contract::compile_below(&folder, &["communal/billing/v9/wrong.proto"]);
    std::fs::remove_dir_all(&folder).unwrap();
    Contract::compile(&set).err().map(|error| error.to_string()).unwrap_or_default()
}

fn refusal_of_message(fields: &str, more: &str) -> String {
    refusal(&format!(
        r#"service S {{ rpc M(Wrong) returns (Wrong) {{ option (communal.contract.v1.route) = {{path: "/Service/v1/M/" dialect: DIALECT_EPEIS}}; }} }}
           message Wrong {{ {fields} }} {more}"#
    ))
}

#[test]
fn shapes_that_cannot_be_served_faithfully_are_named_at_the_start() {
    for (fields, more, named) in [
        ("double rate = 1;", "", "Wrong.rate: is of type double"),
        ("bytes blob = 1;", "", "Wrong.blob: is of type bytes"),
        ("map<string, string> names = 1;", "", "Wrong.names: is a map"),
        ("oneof either { string a = 1; string b = 2; }", "", "Wrong.a: is in a oneof"),
        ("Wrong inner = 1;", "", "Wrong: contains itself"),
        ("Other other = 1;", "message Other { repeated Wrong back = 1; }", "Wrong: contains itself"),
        (
            "int32 count = 1 [(communal.contract.v1.field) = {scale: 2}];",
            "",
            "Wrong.count: has a scale but is no string",
        ),
        (
            "string a = 1 [(communal.contract.v1.field) = {inline: true}];",
            "",
            "Wrong.a: is inline but is no single message",
        ),
        (
            r#"string a = 1; Other other = 2 [(communal.contract.v1.field) = {inline: true}];"#,
            "message Other { string a = 1; }",
            "Wrong: has two fields of the documented name a",
        ),
        (
            "Other other = 2 [(communal.contract.v1.field) = {inline: true}];",
            "message Other { string a = 1; }",
            "other is inline; a request has no such shape",
        ),
        ("string far = 5000;", "", "Wrong.far: has too high a number"),
        (r#"string a = 1 [json_name = "X"]; string b = 2 [json_name = "SYS_HEAD"];"#, "", "both have SYS_HEAD"),
        ("E e = 1;", "enum E { E_UNSPECIFIED = 0; E_A = 1; }", "E_A: has no documented code"),
        (
            "E e = 1;",
            r#"enum E { E_UNSPECIFIED = 0; E_A = 1 [(communal.contract.v1.code) = {code: "1"}]; E_B = 2 [(communal.contract.v1.code) = {code: "2" alias: "1"}]; }"#,
            "the code 1 stands for two values",
        ),
    ] {
        let message = refusal_of_message(fields, more);
        assert!(message.contains(named), "{fields}: {message}");
    }
}

#[test]
fn routes_that_cannot_be_served_are_named_at_the_start() {
    for (method, named) in [
        (
            r#"rpc M(A) returns (stream A) { option (communal.contract.v1.route) = {path: "/Service/v1/M/" dialect: DIALECT_EPEIS}; }"#,
            "streams",
        ),
        (
            r#"rpc M(A) returns (A) { option (communal.contract.v1.route) = {path: "/Service/v1/M/"}; }"#,
            "has no dialect",
        ),
        (
            r#"rpc M(A) returns (A) { option (communal.contract.v1.route) = {path: "/Service/v1/M" dialect: DIALECT_EPEIS}; }"#,
            "not how the dialect writes a path",
        ),
        (
            r#"rpc M(A) returns (A) { option (communal.contract.v1.route) = {path: "/Service/v1/M/" dialect: DIALECT_EPEIS verb: VERB_GET}; }"#,
            "not how the dialect writes a path",
        ),
        (
            r#"rpc M(A) returns (A) { option (communal.contract.v1.route) = {path: "/app/a/../b" dialect: DIALECT_HC}; }"#,
            "not how the dialect writes a path",
        ),
        (
            r#"rpc M(A) returns (A) { option (communal.contract.v1.route) = {path: "/app/a.b" dialect: DIALECT_HC}; }
               rpc N(A) returns (A) { option (communal.contract.v1.route) = {path: "/app/a.b" dialect: DIALECT_HC}; }"#,
            "is taken by another method",
        ),
        (
            r#"rpc M(A) returns (B) { option (communal.contract.v1.route) = {path: "/app/a.b" dialect: DIALECT_HC}; }"#,
            "both have code",
        ),
    ] {
        let message = refusal(&format!("service S {{ {method} }} message A {{}} message B {{ string code = 1; }}"));
        assert!(message.contains(named), "{method}: {message}");
    }
}

#[test]
fn a_descriptor_set_without_the_options_is_refused() {
    assert!(Contract::compile(&[]).is_err());
    assert!(Contract::compile(b"not a descriptor set").is_err());
}

#[test]
fn what_is_for_grpc_alone_is_no_part_of_a_shape() {
    let fields = r#"bytes blob = 1 [(communal.contract.v1.field) = {grpc_only: true}]; string a = 2;"#;
    assert_eq!(refusal_of_message(fields, ""), "", "a type that no documented shape has is not looked at");
}
