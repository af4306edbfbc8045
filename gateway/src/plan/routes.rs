//! The table of routes.

use std::collections::HashSet;
use std::sync::Arc;

use communal_proto::contract::v1::{Dialect, RouteRules, Verb};
use http::Method;
use http::uri::PathAndQuery;
use prost_reflect::{DescriptorPool, MethodDescriptor};

use super::messages::Compiler;
use super::{ContractError, MessageId, Options};

/// The service that answers a route, by the package of the method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// `communal.billing`.
    Billing,
    /// `communal.community`.
    Community,
}

impl Owner {
    /// Every service.
    pub const ALL: [Self; 2] = [Self::Billing, Self::Community];

    /// The protobuf package without its version.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Billing => "communal.billing",
            Self::Community => "communal.community",
        }
    }

    /// The domain that the service writes into its error details.
    #[must_use]
    pub fn domain(self) -> &'static str {
        match self {
            Self::Billing => "billing.communal",
            Self::Community => "community.communal",
        }
    }
}

/// A documented REST call and the method that answers it.
#[derive(Debug)]
pub struct Route {
    /// The name in documents and metrics: the last part of the path.
    pub name: String,
    /// The documented path.
    pub path: Arc<str>,
    /// The family of shapes it speaks.
    pub dialect: Dialect,
    /// The HTTP method it is documented with.
    pub verb: Method,
    /// The document's title, in Chinese.
    pub title: String,
    /// True if its answer may be read from a replica.
    pub stale: bool,
    /// True if the documentation shows no example of a request.
    pub no_example: bool,
    /// The service that answers.
    pub owner: Owner,
    /// Full name of the method.
    pub method: String,
    /// `/package.Service/Method`.
    pub grpc_path: PathAndQuery,
    /// The request message.
    pub input: MessageId,
    /// The reply message.
    pub output: MessageId,
}

pub(crate) fn compile(
    pool: &DescriptorPool,
    options: &Options,
    plans: &mut Compiler<'_>,
) -> Result<Vec<Route>, ContractError> {
    let mut routes = Vec::new();
    let mut paths = HashSet::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        let Some(rules) = options.route(&method)? else { continue };
        let route = route(&method, &rules, plans)?;
        if !paths.insert(route.path.clone()) {
            return Err(ContractError::route(method.full_name(), format!("{} is taken by another method", route.path)));
        }
        routes.push(route);
    }
    Ok(routes)
}

fn route(method: &MethodDescriptor, rules: &RouteRules, plans: &mut Compiler<'_>) -> Result<Route, ContractError> {
    let name = method.full_name();
    let fault = |problem: String| ContractError::route(name, problem);
    if method.is_client_streaming() || method.is_server_streaming() {
        return Err(fault("streams; REST answers one call with one reply".into()));
    }
    let package = method.parent_service().package_name().to_owned();
    let owner = Owner::ALL
        .into_iter()
        .find(|owner| package.strip_prefix(owner.package()).is_some_and(|version| version.starts_with('.')))
        .ok_or_else(|| fault(format!("no service is known to answer package {package}")))?;
    let verb = match rules.verb() {
        Verb::Unspecified | Verb::Post => Method::POST,
        Verb::Get => Method::GET,
    };
    let dialect = rules.dialect();
    let path = rules.path.clone();
    let code = match dialect {
        Dialect::Epeis => {
            path.strip_prefix("/Service/v1/").and_then(|rest| rest.strip_suffix('/')).filter(|_| verb == Method::POST)
        }
        Dialect::Hc => path.strip_prefix("/app/"),
        Dialect::Unspecified => return Err(fault("has no dialect".into())),
    };
    // HC names a command with a dot, like fee.payFee, or as a resource and an action, like feeApi/listFeeObj.
    let parts = |code: &str| if dialect == Dialect::Hc { code.split('/').count() } else { 1 };
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    let code = code
        .filter(|code| parts(code) <= 2 && code.splitn(parts(code), '/').all(word))
        .ok_or_else(|| fault(format!("{verb} {path} is not how the dialect writes a path")))?
        .to_owned();
    let service = method.parent_service();
    let grpc_path = format!("/{}/{}", service.full_name(), method.name())
        .parse()
        .map_err(|_| fault("its gRPC path is no path".into()))?;
    let input = plans.message(&method.input())?;
    let output = plans.message(&method.output())?;
    let reserved: &[&str] = match dialect {
        Dialect::Hc => &["code", "msg"],
        _ => &[],
    };
    if let Some(field) = plans.plans().inline_field(input) {
        return Err(fault(format!("{} is inline; a request has no such shape", field.key)));
    }
    let taken = |id: MessageId, key: &&&str| plans.plans().has_key(id, key);
    let clash = reserved.iter().find(|key| taken(output, key));
    if let Some(key) = clash.or_else(|| [&"SYS_HEAD"].into_iter().find(|key| taken(input, key))) {
        return Err(fault(format!("the envelope and the message both have {key}")));
    }
    Ok(Route {
        name: code,
        path: path.into(),
        dialect,
        verb,
        title: rules.title.clone(),
        stale: rules.stale,
        no_example: rules.no_example,
        owner,
        method: name.to_owned(),
        grpc_path,
        input,
        output,
    })
}
