//! Bad values for every field of every documented interface: missing, empty, null, too long, of the wrong type, with
//! an unknown code, with too many decimals. Each is refused with the documented kind of error and a message that names
//! the field, and nothing is written.
//!
//! The bad requests are generated from the contract files and the descriptors, so they include a new interface as soon
//! as its file exists.

use std::path::Path;

use communal_fixtures::credentials::billing::RETAIL;
use communal_proto::FILE_DESCRIPTOR_SET;
use communal_proto::contract::v1::Format;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::harness::{Product, sys_head};

fn contracts(folder: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/contracts").join(folder);
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files.iter().map(|f| serde_json::from_str(&std::fs::read_to_string(f).unwrap()).unwrap()).collect()
}

/// The contract options of a field.
struct Field {
    name: String,
    title: String,
    kind: Kind,
    required: bool,
    length: usize,
    scale: Option<usize>,
    format: i32,
    example: String,
    missing_text: String,
    is_list: bool,
}

impl Field {
    fn is_number(&self) -> bool {
        self.scale.is_some() || matches!(self.kind, Kind::Int32 | Kind::Int64)
    }

    fn is_code(&self) -> bool {
        matches!(self.kind, Kind::Enum(_))
    }

    /// Returns a value that breaks no rule: the contract's example, or a value of the field's form.
    fn good(&self) -> Value {
        let code = |codes: &EnumDescriptor| {
            let extension = codes.parent_pool().get_extension_by_name("communal.contract.v1.code").unwrap();
            let options = codes.values().find(|v| v.number() == 1).unwrap().options();
            let code = options.get_extension(&extension);
            json!(code.as_message().unwrap().get_field_by_name("code").unwrap().as_str().unwrap())
        };
        match (&self.kind, Format::try_from(self.format).unwrap()) {
            _ if self.is_list && self.required => json!(["x"]),
            _ if self.is_list => json!([]),
            _ if self.is_number() && !self.example.is_empty() => serde_json::from_str(&self.example).unwrap(),
            _ if !self.example.is_empty() => json!(self.example),
            (Kind::Enum(codes), _) => code(codes),
            (_, Format::DateNumber) => json!(20_990_101),
            (_, Format::MonthNumber) => json!(209_901),
            (_, Format::DateOrTime) => json!("2099-01-01"),
            (_, Format::Digits) => json!("1"),
            (_, Format::Phone) => json!("13800138000"),
            (_, Format::Region) => json!("110101000000"),
            _ if self.scale.is_some() => json!(1.5),
            _ if self.is_number() => json!(1),
            _ => json!("x"),
        }
    }

    /// Returns bad values, with a description of each and the EPEIS code of its refusal.
    fn bad(&self, is_epeis: bool, in_query: bool) -> Vec<(&'static str, Option<Value>, i64)> {
        let mut bad = Vec::new();
        if self.required {
            bad.push(("missing", None, 2001));
            if !in_query {
                bad.push(("null", Some(Value::Null), 2001));
            }
            if self.is_list {
                bad.push(("without rows", Some(json!([])), 2001));
            } else if !self.is_number() || !is_epeis {
                bad.push(("empty", Some(json!("")), 2001));
            }
        }
        if self.is_number() {
            bad.push(("not a number", Some(json!("abc")), 2002));
            if self.length > 0 {
                let whole = self.length - self.scale.unwrap_or(0);
                let digits = "9".repeat(whole + 1);
                bad.push(("too long", Some(serde_json::from_str(&digits).unwrap()), 2002));
            }
            let decimals = format!("0.{}1", "0".repeat(self.scale.unwrap_or(0)));
            bad.push(("with too many decimals", Some(serde_json::from_str(&decimals).unwrap()), 2002));
            if is_epeis {
                bad.push(("a number as text", Some(json!("1")), 2002));
            }
        } else if self.is_code() {
            bad.push(("an unknown code", Some(json!("77")), 2003));
        } else if self.length > 0 {
            let long = json!("x".repeat(self.length + 1));
            bad.push(("too long", Some(if self.is_list { json!([long]) } else { long }), 2002));
        }
        if !in_query {
            if is_epeis && !self.is_number() {
                bad.push(("a number", Some(json!(5)), 2002));
            }
            bad.push(("an object", Some(json!({"a": 1})), 2002));
            bad.push(if self.is_list {
                ("an array of objects", Some(json!([{}])), 2002)
            } else {
                ("an array", Some(json!([1])), 2002)
            });
            bad.push(("a boolean", Some(json!(true)), 2002));
        }
        bad
    }
}

fn fields(message: &MessageDescriptor) -> Vec<Field> {
    let extension = message.parent_pool().get_extension_by_name("communal.contract.v1.field").unwrap();
    let of = |field: FieldDescriptor| {
        let options = field.options();
        let rules = options.get_extension(&extension);
        let rules = rules.as_message().unwrap();
        // REST does not know it.
        if rules.get_field_by_name("grpc_only").unwrap().as_bool().unwrap() {
            return None;
        }
        let text = |name: &str| rules.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
        let number = |name: &str| rules.get_field_by_name(name).unwrap().as_u32().unwrap() as usize;
        Some(Field {
            name: field.json_name().to_owned(),
            title: text("title"),
            kind: field.kind(),
            required: rules.get_field_by_name("required").unwrap().as_bool().unwrap(),
            length: number("length"),
            scale: rules.has_field_by_name("scale").then(|| number("scale")),
            format: rules.get_field_by_name("format").unwrap().as_enum_number().unwrap(),
            example: text("example"),
            missing_text: text("missing_text"),
            is_list: field.is_list(),
        })
    };
    message.fields().filter_map(of).collect()
}

fn input_of(pool: &DescriptorPool, path: &str) -> MessageDescriptor {
    let route = pool.get_extension_by_name("communal.contract.v1.route").unwrap();
    let routed = |method: &prost_reflect::MethodDescriptor| {
        let options = method.options();
        let rules = options.get_extension(&route);
        rules.as_message().unwrap().get_field_by_name("path").unwrap().as_str() == Some(path)
    };
    pool.services().flat_map(|s| s.methods().collect::<Vec<_>>()).find(routed).expect(path).input()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_epeis_field_is_refused_by_name_and_nothing_is_written() {
    let product = Product::start().await;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let before = product.databases.digest().await;
    let mut tried = 0;
    for contract in contracts("epeis") {
        let path = contract["path"].as_str().unwrap();
        let input = input_of(&pool, path);
        let blocks: Vec<_> = input
            .fields()
            .map(|block| {
                let Kind::Message(message) = block.kind() else { panic!("{}", block.full_name()) };
                (block.json_name().to_owned(), block.is_list(), fields(&message))
            })
            .collect();
        let good_block = |fields: &[Field]| -> Map<String, Value> {
            fields.iter().map(|field| (field.name.clone(), field.good())).collect()
        };
        let request = |changed: Option<(&str, &str, &Option<Value>)>| {
            let mut body = Map::from_iter([("SYS_HEAD".to_owned(), sys_head(RETAIL))]);
            for (name, is_list, fields) in &blocks {
                let mut block = good_block(fields);
                if let Some((changed_block, field, value)) = changed.filter(|(b, ..)| b == name) {
                    assert_eq!(changed_block, name);
                    match value {
                        Some(value) => block.insert(field.to_owned(), value.clone()),
                        None => block.remove(field),
                    };
                }
                body.insert(name.clone(), if *is_list { json!([block]) } else { json!(block) });
            }
            Value::Object(body)
        };
        for (block, is_list, fields) in &blocks {
            for field in fields {
                let path_of_field = format!("{block}{}.{}", if *is_list { "[0]" } else { "" }, field.name);
                for (what, value, code) in field.bad(true, false) {
                    let reply = product.epeis(path, &request(Some((block, &field.name, &value)))).await;
                    let case = format!("{path} {path_of_field} {what}: {}", reply.text);
                    let message = reply.json["MESSAGE"].as_str().unwrap();
                    // Pages have their own code for numbers out of range.
                    let expected = reply.json["CODE"] == code || block == "SYS_PAGE" && reply.json["CODE"] == 2004;
                    assert!(expected && reply.status == 200, "{case}");
                    assert!(message.contains(&path_of_field) && message.contains(&field.title), "{case}");
                    assert_eq!(reply.json["DATA"], json!({}), "{case}");
                    tried += 1;
                }
            }
            // The block itself, with a wrong shape.
            for wrong in [json!("text"), json!(1), if *is_list { json!({}) } else { json!([]) }] {
                let mut body = request(None);
                body[block] = wrong.clone();
                let reply = product.epeis(path, &body).await;
                assert_eq!(reply.json["CODE"], 2002, "{path} {block} {wrong}: {}", reply.text);
                assert!(reply.json["MESSAGE"].as_str().unwrap().contains(block.as_str()), "{}", reply.text);
                tried += 1;
            }
        }
        for credential in ["CHANNEL_DID", "DYNAMIC_KEY", "REGISTER_DID", "ACCOUNT_DID"] {
            for (what, value) in [
                ("missing", None),
                ("empty", Some(json!(""))),
                ("null", Some(Value::Null)),
                ("too long", Some(json!("x".repeat(65)))),
                ("a number", Some(json!(5))),
                ("wrong", Some(json!("nobody"))),
                ("not ASCII", Some(json!("渠道"))),
            ] {
                let mut body = request(None);
                match value {
                    Some(value) => body["SYS_HEAD"][credential] = value,
                    None => drop(body["SYS_HEAD"].as_object_mut().unwrap().remove(credential)),
                }
                let reply = product.epeis(path, &body).await;
                let code = reply.json["CODE"].as_i64().unwrap();
                let expected = match credential {
                    "CHANNEL_DID" => code == 1001 || code == 1002,
                    "DYNAMIC_KEY" => code == 1002,
                    "REGISTER_DID" => code == 1004,
                    _ => code == 1005,
                };
                assert!(expected && reply.status == 200, "{path} {credential} {what}: {}", reply.text);
                tried += 1;
            }
        }
    }
    assert!(tried > 800, "only {tried} bad requests were tried");
    assert_eq!(product.databases.digest().await, before, "something was written");
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_hc_field_is_refused_by_name_and_nothing_is_written() {
    let product = Product::start().await;
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let before = product.databases.digest().await;
    let mut tried = 0;
    for contract in contracts("hc") {
        let code = contract["service_code"].as_str().unwrap().trim_start_matches('/');
        let method = contract["method"].as_str().unwrap();
        let fields = fields(&input_of(&pool, contract["path"].as_str().unwrap()));
        let good: Map<String, Value> = fields.iter().map(|f| (f.name.clone(), f.good())).collect();
        for field in &fields {
            for (what, value, _) in field.bad(false, method == "GET") {
                let mut request = good.clone();
                match value {
                    Some(value) => drop(request.insert(field.name.clone(), value)),
                    None => drop(request.remove(&field.name)),
                }
                tried += 1;
                let reply = product.hc(method, code, &Value::Object(request), &format!("bad-{tried}")).await;
                let case = format!("{code} {} {what}: {}", field.name, reply.text);
                // A community that is not named cannot be one of the caller's.
                let message = reply.json["msg"].as_str().unwrap();
                assert_eq!((reply.status, reply.json["code"].as_str()), (200, Some("404")), "{case}");
                assert_eq!(reply.json.get("data"), Some(&Value::Null), "{case}");
                let is_missing = matches!(what, "missing" | "null" | "empty" | "without rows");
                let is_tenant = field.name == "communityId" && !is_missing;
                if is_missing && !field.missing_text.is_empty() {
                    assert_eq!(message, field.missing_text, "{case}");
                } else if !is_tenant {
                    assert!(message.contains(&field.title), "{case}");
                }
            }
        }
        // The first fault in documented order gives the message.
        let reply = product.hc(method, code, &json!({}), "nothing").await;
        let first = fields.iter().find(|f| f.required).unwrap();
        let message = reply.json["msg"].as_str().unwrap();
        let named = if first.missing_text.is_empty() { &first.title } else { &first.missing_text };
        assert!(message.starts_with(named.as_str()), "{code}: {message}");
    }
    assert!(tried > 200, "only {tried} bad requests were tried");
    assert_eq!(product.databases.digest().await, before, "something was written");
    product.stop().await;
}
