//! Calls that a port does not serve: the status says which service was meant, and where it is served.

use tonic::Status;

use super::methods::Method;

const ADMINISTRATION: &str = "communal.identity.v1.IdentityService";
/// The longest part of a path that a status repeats, in characters.
const LONGEST_NAME: usize = 100;

/// Returns UNIMPLEMENTED for a path that is none of the services `served` on a port of `here`.
pub(super) fn status(path: &str, method: Method, here: &str, served: &[&str]) -> Option<Status> {
    let (service, name) = path.strip_prefix('/').and_then(|path| path.split_once('/')).unwrap_or((path, ""));
    let is_served = served.contains(&service);
    if is_served && (method.is_known() || !service.starts_with("communal.")) {
        return None;
    }
    let setting = here.to_uppercase();
    let text = if is_served {
        format!("{service} has no method {}.", short(name))
    } else if service == ADMINISTRATION {
        format!("{service} is not served on this port of {here}, but on that of COMMUNAL_{setting}_IDENTITY_ADDR.")
    } else {
        match package_of(service) {
            Some(owner) if owner == here && method.is_known() => {
                format!(
                    "{} is not served on this port of {here}, but on that of COMMUNAL_{setting}_ADDR.",
                    short(service)
                )
            }
            Some(owner) if method.is_known() => format!("{service} is served by {owner}; this is {here}."),
            _ => format!("{here} has no service {}; reflection lists those of this port.", short(service)),
        }
    };
    Some(Status::unimplemented(text))
}

/// Returns the service whose package a name is in, like `billing`.
fn package_of(service: &str) -> Option<&str> {
    service.strip_prefix("communal.").and_then(|rest| rest.split_once('.')).map(|(package, _)| package)
}

fn short(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn text(path: &str, served: &[&str]) -> Option<String> {
        status(path, Method::of(path), "billing", served).map(|status| status.message().to_owned())
    }

    #[test]
    fn a_call_that_is_not_served_says_where_it_is() {
        let served = ["communal.billing.v1.PackageService", "grpc.health.v1.Health"];
        for (path, expected) in [
            (
                "/communal.community.v1.FeeService/ListFee",
                "communal.community.v1.FeeService is served by community; this is billing.",
            ),
            ("/communal.billing.v1.PackageService/Paint", "communal.billing.v1.PackageService has no method Paint."),
            (
                "/communal.billing.v2.PackageService/AddSalePackage",
                "billing has no service communal.billing.v2.PackageService; reflection lists those of this port.",
            ),
            (
                "/communal.identity.v1.IdentityService/ListChannels",
                "communal.identity.v1.IdentityService is not served on this port of billing, but on that of COMMUNAL_BILLING_IDENTITY_ADDR.",
            ),
            ("/x", "billing has no service /x; reflection lists those of this port."),
        ] {
            assert_eq!(text(path, &served).as_deref(), Some(expected));
        }
        let administration = text("/communal.billing.v1.PackageService/AddSalePackage", &[ADMINISTRATION]).unwrap();
        assert!(administration.ends_with("but on that of COMMUNAL_BILLING_ADDR."), "{administration}");
        for path in ["/communal.billing.v1.PackageService/AddSalePackage", "/grpc.health.v1.Health/Check"] {
            assert_eq!(text(path, &served), None);
        }
    }
}
