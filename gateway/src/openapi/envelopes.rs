//! The parts around the messages of each dialect: credentials, envelopes and refusals.

use communal_proto::contract::v1::Dialect;
use prost_reflect::EnumValueDescriptor;
use serde_json::{Map, Value, json};

use super::comments::Comments;
use crate::dialects::{EPEIS_HEAD, EPEIS_HEAD_FIELDS, NotDispatched};
use crate::plan::{Contract, Owner, ReasonCodes};

const HEAD_TITLES: [&str; 4] = ["渠道号", "动态请求密钥", "注册ID", "账户ID"];

/// The headers of a dialect.
pub(super) fn parameters(dialect: Dialect, stale: bool) -> Vec<Value> {
    let header = |name: &str, required: bool, description: &str, example: &str| {
        let mut parameter = json!({
            "name": name,
            "in": "header",
            "required": required,
            "description": description,
            "schema": { "type": "string" },
        });
        if !example.is_empty() {
            parameter["example"] = example.into();
        }
        parameter
    };
    match dialect {
        Dialect::Hc => vec![
            header("app-id", true, "应用ID; also as app_id or as a URL parameter", "micro-community"),
            header(
                "transaction-id",
                true,
                "请求流水号: a repeated request with the same id gets the same answer",
                "1000000000202403010830000001",
            ),
            header("req-time", true, "请求时间 yyyyMMddHHmmss", "20240301083000"),
            header(
                "sign",
                false,
                "请求签名: lower-case hex of MD5(transaction-id + req-time + app-id + payload + secret); \
                 the payload is the body, or the query of a GET. Only for apps that have a secret.",
                "",
            ),
        ],
        _ => [
            Some(header(
                "idempotency-key",
                false,
                "An id of 1 to 64 visible characters: the same request with the same id is carried out once, and gets the \
                 same answer, with the header idempotent-replayed. Queries ignore it",
                "",
            )),
            stale.then(|| header(
                "x-max-staleness-ms",
                false,
                "The greatest age of the answer in milliseconds, 1 to 86400000, which allows it to be read from a replica; \
                 the header x-data-staleness-ms of the answer gives its actual greatest age, 0 for current data",
                "",
            )),
        ]
        .into_iter()
        .flatten()
        .collect(),
    }
}

/// The credentials of the demo data, in the order of the fields of SYS_HEAD.
const DEMO_HEAD: [&str; 4] = [
    "C000000000000001",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "R000000000000001",
    "S000000000000001",
];

/// SYS_HEAD of an example.
pub(super) fn demo_head() -> Value {
    let fields = EPEIS_HEAD_FIELDS.iter().zip(DEMO_HEAD);
    fields.map(|((name, _), value)| ((*name).to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

/// Adds SYS_HEAD to the schema of a request.
pub(super) fn add_head(body: &mut Value) {
    if let Some(required) = body["required"].as_array_mut() {
        required.insert(0, EPEIS_HEAD.into());
    }
    if let Some(properties) = body["properties"].as_object_mut() {
        properties.shift_insert(0, EPEIS_HEAD.to_owned(), json!({ "$ref": "#/components/schemas/epeis.SYS_HEAD" }));
    }
}

pub(super) fn epeis_reply(data: Value) -> Value {
    json!({
        "type": "object",
        "required": ["CODE", "MESSAGE", "DATA"],
        "properties": {
            "CODE": { "const": 0, "description": "响应代码，0为成功" },
            "MESSAGE": { "type": "string", "description": "响应信息", "examples": ["成功"] },
            "DATA": data,
        },
    })
}

/// Adds `code` and `msg` beside the fields of the reply; a reply without fields has `data`.
pub(super) fn hc_reply(mut message: Value) -> Value {
    let none = message["properties"].as_object().is_none_or(Map::is_empty);
    let mut properties = Map::new();
    properties.insert("code".into(), json!({ "const": "0", "description": "响应代码，0为成功" }));
    properties.insert("msg".into(), json!({ "type": "string", "description": "响应信息", "examples": ["成功"] }));
    let mut required = vec![Value::from("code"), Value::from("msg")];
    if none {
        properties.insert("data".into(), json!({ "type": "null" }));
        required.push("data".into());
    } else {
        if let Some(own) = message["properties"].as_object_mut() {
            properties.append(own);
        }
        required.extend(message["required"].as_array().cloned().unwrap_or_default());
    }
    json!({ "type": "object", "required": required, "properties": properties })
}

/// The answers of an operation by HTTP status.
pub(super) fn responses(dialect: Dialect, stale: bool, reply: &Value) -> Value {
    let (refusal, business): (&str, &str) = match dialect {
        Dialect::Hc => ("hc.Refusal", "成功, or a refusal: code and msg say why"),
        _ => ("epeis.Refusal", "成功, or a refusal: CODE and MESSAGE say why"),
    };
    let reference = json!({ "$ref": format!("#/components/schemas/{refusal}") });
    let answer = |description: &str, headers: Vec<&str>, schema: &Value| {
        let headers: Map<_, _> = headers
            .into_iter()
            .map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") })))
            .collect();
        json!({ "description": description, "headers": headers, "content": { "application/json": { "schema": schema } } })
    };
    let mut responses = Map::new();
    let mut told = vec!["x-trace-id", "x-reason", "x-ignored-keys", "idempotent-replayed", "x-sandbox-time"];
    if stale {
        told.push("x-data-staleness-ms");
    }
    responses.insert("200".into(), answer(business, told, &json!({ "oneOf": [reply, reference] })));
    let mut refused = vec![("400", "The request is not a JSON object, or a header of it is malformed")];
    match dialect {
        Dialect::Hc => {
            refused.extend([("401", "The app, its signature or the token is not accepted, or is given twice")])
        }
        _ => refused.extend([("401", "A credential is given twice"), ("405", "The method is not POST")]),
    }
    refused.extend([
        ("408", "The body did not arrive in time"),
        ("413", "The request is too large"),
        ("415", "The body is encoded by something else than gzip"),
        ("431", "The credentials are too large"),
        ("429", "Too many calls; repeat after Retry-After"),
        ("500", "An internal error"),
        ("503", "The service cannot be reached"),
        ("504", "The deadline was exceeded; a change may have been made: repeat with the same request id"),
    ]);
    for (status, description) in refused {
        let mut told = vec!["x-trace-id", "x-reason"];
        if matches!(status, "429" | "503") {
            told.push("retry-after");
        }
        responses.insert(status.into(), answer(description, told, &reference));
    }
    responses.into()
}

/// The headers of answers.
pub(super) fn headers(contract: &Contract) -> Map<String, Value> {
    let header = |description: &str, schema: Value| json!({ "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    let mut reasons: Vec<_> = [Owner::Billing, Owner::Community]
        .into_iter()
        .flat_map(|owner| named(contract, owner).into_iter().map(|(_, reason, _)| reason))
        .chain(NotDispatched::TOLD.iter().map(|(reason, _)| (*reason).to_owned()))
        .collect();
    reasons.sort();
    reasons.dedup();
    let headers = [
        ("x-trace-id", header("The call in log lines and stored rows", text())),
        (
            "x-reason",
            header(
                "Of a refusal: its stable reason, by which programs tell refusals apart",
                json!({ "type": "string", "enum": reasons }),
            ),
        ),
        ("x-ignored-keys", header("The keys of the request that the interface does not have", text())),
        (
            "idempotent-replayed",
            header("Of a repeated write: this is the answer of the first attempt", json!({ "const": "true" })),
        ),
        (
            "x-data-staleness-ms",
            header("The greatest age of the answer, in milliseconds", json!({ "type": "integer" })),
        ),
        ("x-sandbox-time", header("The business time, where it is not the machine's", text())),
        ("retry-after", header("Seconds after which the call may be repeated", json!({ "type": "integer" }))),
    ];
    headers.into_iter().map(|(name, header)| (name.to_owned(), header)).collect()
}

/// The schemas that no descriptor has: the envelopes, with the table of their codes.
pub(super) fn schemas(contract: &Contract, comments: &Comments) -> Map<String, Value> {
    let mut fields = Map::new();
    for ((name, length), title) in EPEIS_HEAD_FIELDS.iter().zip(HEAD_TITLES) {
        fields.insert((*name).into(), json!({ "type": "string", "maxLength": length, "description": title }));
    }
    let required: Vec<_> = EPEIS_HEAD_FIELDS.iter().map(|(name, _)| *name).collect();
    let head = json!({ "type": "object", "description": "Credentials", "required": required, "properties": fields });
    let epeis = json!({
        "type": "object",
        "description": "A refusal",
        "required": ["CODE", "MESSAGE", "DATA"],
        "properties": {
            "CODE": {
                "type": "integer",
                "enum": codes_of(contract, Owner::Billing, |codes| codes.epeis.into()),
                "description": reasons(contract, comments, Owner::Billing, |codes| codes.epeis.to_string()),
            },
            "MESSAGE": { "type": "string", "description": "The error in Chinese, with every violating field" },
            "DATA": { "type": "object", "maxProperties": 0 },
        },
    });
    let hc = json!({
        "type": "object",
        "description": "A refusal",
        "required": ["code", "msg", "data"],
        "properties": {
            "code": {
                "type": "string",
                "enum": codes_of(contract, Owner::Community, |codes| codes.hc.clone().into()),
                "description": reasons(contract, comments, Owner::Community, |codes| codes.hc.clone()),
            },
            "msg": { "type": "string", "description": "The error in Chinese: the first violation" },
            "data": { "type": "null" },
        },
    });
    let named = [("epeis.SYS_HEAD", head), ("epeis.Refusal", epeis), ("hc.Refusal", hc)];
    named.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect()
}

/// The codes of refusals, by which generated clients tell a refusal from a reply: those of reasons, and the HTTP statuses of
/// requests that do not become a call.
fn codes_of(contract: &Contract, owner: Owner, code: impl Fn(&ReasonCodes) -> Value) -> Vec<Value> {
    let of_statuses = NotDispatched::TOLD.iter().map(|(_, status)| match owner {
        Owner::Billing => Value::from(status.as_u16()),
        Owner::Community => status.as_str().into(),
    });
    let mut codes: Vec<_> = named(contract, owner).iter().map(|(.., codes)| code(codes)).chain(of_statuses).collect();
    codes.sort_by_key(|code| code.as_i64().map_or_else(|| code.to_string(), |number| format!("{number:08}")));
    codes.dedup();
    codes
}

/// The reasons of a service with their names and codes, those that all services share among them.
fn named(contract: &Contract, owner: Owner) -> Vec<(EnumValueDescriptor, String, ReasonCodes)> {
    let mut found = Vec::new();
    for package in [owner.package(), "communal.contract"] {
        let Some(reasons) = contract.pool().get_enum_by_name(&format!("{package}.v1.Reason")) else { continue };
        for value in reasons.values().filter(|value| value.number() != 0) {
            let reason = value.name().trim_start_matches("REASON_").to_owned();
            if let Some(codes) = contract.reasons().codes(owner.domain(), &reason) {
                let codes = codes.clone();
                found.push((value, reason, codes));
            }
        }
    }
    found
}

/// The table of reasons, by code.
fn reasons(contract: &Contract, comments: &Comments, owner: Owner, code: impl Fn(&ReasonCodes) -> String) -> String {
    let line = |(value, reason, codes): (EnumValueDescriptor, String, ReasonCodes)| {
        format!("- `{}` {reason}: {}", code(&codes), comments.of_value(&value))
    };
    let mut lines: Vec<_> = named(contract, owner).into_iter().map(line).collect();
    lines.sort();
    lines.join("\n")
}
