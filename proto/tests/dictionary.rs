//! The build completes a field from the dictionary, and refuses a field that disagrees with it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../build/complete.rs"]
mod complete;
#[path = "../build/dictionary.rs"]
mod dictionary;

use prost_reflect::{DescriptorPool, DynamicMessage};
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver, IncludeFileResolver};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const DICTIONARY: &str = r#"
syntax = "proto3";
package communal.trial.v1;
import "communal/contract/v1/contract.proto";
message Dictionary {
  // The meter.
  string meter_id = 1 [json_name = "DEVICE_DID", (contract.v1.field) = {title: "装置ID" length: 16}];
  // The reading.
  string reading = 2 [json_name = "THE_METER_READ", (contract.v1.field) = {title: "本次表底" length: 16 scale: 6}];
  // The readings.
  Block readings = 3 [json_name = "COM_METER_INFO", (contract.v1.field).title = "表底"];
}
message Block {}
"#;

/// Files of these texts, beside the contract's own.
struct Texts(Vec<(&'static str, String)>);

impl FileResolver for Texts {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        let found = self.0.iter().find(|(path, _)| *path == name);
        let (_, text) = found.ok_or_else(|| protox::Error::file_not_found(name))?;
        File::from_source(name, text)
    }
}

/// The complete descriptors of a request with these lines, or the message of the refusal.
fn build(request: &str) -> Result<DescriptorPool, String> {
    let head = "syntax = \"proto3\"; package communal.trial.v1; import \"communal/contract/v1/contract.proto\";";
    let mut resolver = ChainFileResolver::new();
    resolver.add(Texts(vec![
        ("communal/trial/v1/dictionary.proto", DICTIONARY.to_owned()),
        ("communal/trial/v1/trial.proto", format!("{head}\n{request}")),
    ]));
    resolver.add(IncludeFileResolver::new(env!("CARGO_MANIFEST_DIR").into()));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(resolver);
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(["communal/trial/v1/dictionary.proto", "communal/trial/v1/trial.proto"]).unwrap();
    let descriptors = complete::complete(&compiler.encode_file_descriptor_set()).map_err(|e| e.to_string())?;
    Ok(DescriptorPool::decode(descriptors.as_slice()).unwrap())
}

fn rules(pool: &DescriptorPool, field: &str) -> DynamicMessage {
    let message = pool.get_message_by_name("communal.trial.v1.ReadRequest").unwrap();
    let extension = pool.get_extension_by_name("communal.contract.v1.field").unwrap();
    let options = message.get_field_by_name(field).unwrap().options();
    options.get_extension(&extension).as_message().unwrap().clone()
}

fn text(rules: &DynamicMessage, name: &str) -> String {
    rules.get_field_by_name(name).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn a_field_has_the_rules_of_its_name_and_on_top_its_own() {
    let pool = build(
        r#"
        message ReadRequest {
          string meter_id = 1 [json_name = "DEVICE_DID", (contract.v1.field).required = true];
          string reading = 2 [json_name = "THE_METER_READ", (contract.v1.field).title = "上次表底"];
          repeated ReadRequest readings = 3 [json_name = "COM_METER_INFO"];
        }"#,
    )
    .unwrap();
    let meter = rules(&pool, "meter_id");
    assert_eq!(text(&meter, "title"), "装置ID");
    assert_eq!(meter.get_field_by_name("length").unwrap().as_u32(), Some(16));
    assert_eq!(meter.get_field_by_name("required").unwrap().as_bool(), Some(true));
    assert_eq!(text(&rules(&pool, "reading"), "title"), "上次表底");
    assert_eq!(text(&rules(&pool, "readings"), "title"), "表底");
    assert_eq!(pool.get_message_by_name("communal.trial.v1.Dictionary"), None, "the dictionary itself is left out");
}

#[test]
fn a_message_may_require_all_its_fields() {
    let pool = build(
        r#"
        message ReadRequest {
          option (contract.v1.required) = true;
          string meter_id = 1 [json_name = "DEVICE_DID"];
          string reading = 2 [json_name = "THE_METER_READ"];
        }"#,
    )
    .unwrap();
    for field in ["meter_id", "reading"] {
        assert_eq!(rules(&pool, field).get_field_by_name("required").unwrap().as_bool(), Some(true), "{field}");
    }
}

#[test]
fn a_field_without_a_comment_has_that_of_its_name() {
    let pool = build(r#"message ReadRequest { string meter_id = 1 [json_name = "DEVICE_DID"]; }"#).unwrap();
    let file = pool.get_file_by_name("communal/trial/v1/trial.proto").unwrap();
    let comment = |path: &[i32]| {
        let locations = &file.file_descriptor_proto().source_code_info.as_ref().unwrap().location;
        locations.iter().find(|l| l.path == path).unwrap().leading_comments().trim().to_owned()
    };
    assert_eq!(comment(&[4, 0, 2, 0]), "The meter.");
    assert_eq!(comment(&[4, 0]), "The request of Read.");
}

#[test]
fn a_field_that_disagrees_with_the_dictionary_fails_the_build() {
    let refused = |field: &str| build(&format!("message ReadRequest {{ {field} }}")).unwrap_err();
    let cases = [
        (r#"string x = 1 [json_name = "DEVICE_NAME"];"#, "DEVICE_NAME is not in the dictionary"),
        (r#"int32 x = 1 [json_name = "DEVICE_DID"];"#, "but the dictionary has DEVICE_DID as string"),
        (r#"string x = 1 [json_name = "COM_METER_INFO"];"#, "but the dictionary has COM_METER_INFO as"),
        (r#"string x = 1 [json_name = "DEVICE_DID", (contract.v1.field).title = "装置ID"];"#, "repeats the title"),
        (r#"string x = 1 [json_name = "DEVICE_DID", (contract.v1.field).length = 30];"#, "the length of DEVICE_DID"),
        ("string x = 1;", "has no comment"),
        (
            r#"option (contract.v1.required) = true;
               string x = 1 [json_name = "DEVICE_DID", (contract.v1.field).required = true];"#,
            "do not repeat it",
        ),
    ];
    for (field, expected) in cases {
        let message = refused(field);
        assert!(message.contains(expected), "{field}: {message}");
    }
}

#[test]
fn a_name_beyond_the_dictionary_needs_a_title_of_its_own() {
    build(
        r#"
        message ReadRequest {
          // The name of the meter.
          string name = 1 [json_name = "DEVICE_NAME", (contract.v1.field).title = "装置名称"];
        }"#,
    )
    .unwrap();
}
