//! The gRPC services of one port.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

use super::reflection::{self, Described};

/// Services and their names, gathered with [`Services::with`].
#[derive(Debug, Default)]
pub struct Services {
    routes: Routes,
    names: Vec<&'static str>,
}

/// A service that tonic generated.
pub trait Serves:
    tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
    + NamedService
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Serves for S where
    S: tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send + 'static>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static
{
}

impl Services {
    /// Adds a service.
    #[must_use]
    pub fn with<S: Serves>(mut self, service: S) -> Self {
        self.names.push(S::NAME);
        Self { routes: self.routes.add_service(service), ..self }
    }

    /// Adds reflection of what was added so far, and of itself.
    pub(super) fn reflected(self) -> Self {
        let mut names = self.names();
        names.extend(reflection::NAMES);
        let described = Arc::new(Described::new(&names));
        self.with(reflection::v1::service(&described)).with(reflection::v1alpha::service(&described))
    }

    /// The names of the services.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.names.clone()
    }

    pub(super) fn into_routes(self) -> Routes {
        self.routes.prepare()
    }
}
