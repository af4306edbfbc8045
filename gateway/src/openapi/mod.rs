//! The OpenAPI 3.1 document, made from the descriptors by which calls are served: paths, documented Chinese titles,
//! comments, lengths, codes and examples.

mod comments;
mod envelopes;
mod schemas;

use std::collections::BTreeMap;

use communal_kit::sandbox::Sandbox;
use communal_proto::contract::v1::Dialect;
use http::Method;
use prost_reflect::{MethodDescriptor, ServiceDescriptor};
use serde_json::{Map, Value, json};

use self::comments::Comments;
use self::schemas::{Direction, Schemas};
use crate::dialects::EPEIS_HEAD;
use crate::plan::{Contract, ContractError, Options, Route};

/// Makes the document.
///
/// # Errors
/// Returns an error if an option of the contract cannot be read.
pub fn document(contract: &Contract) -> Result<Value, ContractError> {
    let options = Options::new(contract.pool())?;
    let comments = Comments::new(contract.pool());
    let mut schemas = Schemas::new(&options, &comments);
    let methods = methods(contract);
    let mut paths = Map::new();
    let mut tags = BTreeMap::new();
    for route in contract.routes() {
        let Some((service, method)) = methods.get(route.method.as_str()) else { continue };
        tags.entry(service.name().to_owned()).or_insert_with(|| comments.of_service(service));
        let operation = operation(route, service, method, &comments, &mut schemas)?;
        paths.insert(route.path.to_string(), json!({ route.verb.as_str().to_lowercase(): operation }));
    }
    let tags: Vec<_> = tags.into_iter().map(|(name, text)| json!({ "name": name, "description": text })).collect();
    let mut components = schemas.finish();
    components.extend(envelopes::schemas(contract, &comments));
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Communal",
            "version": env!("CARGO_PKG_VERSION"),
            "description": introduction(Sandbox::of_process().is_some()),
        },
        "servers": [{ "url": "/" }],
        "tags": tags,
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": envelopes::headers(contract),
            "securitySchemes": {
                "hcToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "JWT",
                    "description": "HC: token of the operator (用户认证Token)",
                },
            },
        },
    }))
}

type Methods = BTreeMap<String, (ServiceDescriptor, MethodDescriptor)>;

/// Returns what the page says above all calls.
fn introduction(sandbox: bool) -> String {
    let text = "Billing for the place where people live and work: retail utilities (EPEIS) and community fees (HC), over REST as \
        documented. The same calls are served over gRPC.\n\nThe examples have the credentials of the demo data, which any other installation \
        refuses. EPEIS sends them in `SYS_HEAD`. HC sends the headers `app-id`, `transaction-id` (this page makes a new one for each \
        call) and `req-time`, and the operator's token: print it by `./dev token`, and enter it behind *Authorize*.";
    let of_sandbox = "\n\n**This is a sandbox: its business time is not the machine's.** Each answer has it in the header \
        `x-sandbox-time`, and `./dev clock` moves it. Credentials and request times keep the machine's time.";
    format!("{text}{}", if sandbox { of_sandbox } else { "" })
}

fn methods(contract: &Contract) -> Methods {
    let services = contract.pool().services();
    services
        .flat_map(|service| {
            let methods: Vec<_> = service.methods().collect();
            methods.into_iter().map(move |method| (method.full_name().to_owned(), (service.clone(), method)))
        })
        .collect()
}

fn operation(
    route: &Route,
    service: &ServiceDescriptor,
    method: &MethodDescriptor,
    comments: &Comments,
    schemas: &mut Schemas<'_>,
) -> Result<Value, ContractError> {
    let mut operation = Map::new();
    operation.insert("operationId".into(), route.name.clone().into());
    operation.insert("tags".into(), json!([service.name()]));
    operation.insert("summary".into(), route.title.clone().into());
    let grpc = format!("{}\n\ngRPC: `{}`", comments.of_method(method), route.method);
    operation.insert("description".into(), grpc.into());
    let mut parameters = envelopes::parameters(route.dialect, route.stale);
    let direction = Direction::Request(route.dialect);
    if route.verb == Method::GET {
        parameters.extend(schemas.parameters(&method.input())?);
    } else {
        let mut body = schemas.inline(&method.input(), direction)?;
        if route.dialect == Dialect::Epeis {
            envelopes::add_head(&mut body);
        }
        let mut content = json!({ "application/json": { "schema": body } });
        if let Some(mut example) = schemas.example_of(&method.input())?.filter(|_| !route.no_example) {
            if route.dialect == Dialect::Epeis {
                example.shift_insert(0, EPEIS_HEAD.to_owned(), envelopes::demo_head());
            }
            content["application/json"]["example"] = example.into();
        }
        operation.insert("requestBody".into(), json!({ "required": true, "content": content }));
    }
    operation.insert("parameters".into(), parameters.into());
    if route.dialect == Dialect::Hc {
        operation.insert("security".into(), json!([{ "hcToken": [] }]));
    }
    let reply = match route.dialect {
        Dialect::Hc => envelopes::hc_reply(schemas.inline(&method.output(), Direction::Reply)?),
        _ => envelopes::epeis_reply(schemas.reference(&method.output(), Direction::Reply)?),
    };
    operation.insert("responses".into(), envelopes::responses(route.dialect, route.stale, &reply));
    Ok(operation.into())
}

#[cfg(test)]
mod tests;
