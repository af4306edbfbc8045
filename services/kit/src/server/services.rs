//! The gRPC services of one port.

use std::convert::Infallible;

use http::{Request, Response};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;

use super::reflection;

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

    /// Adds reflection of what was added so far.
    pub(super) fn reflected(self) -> anyhow::Result<Self> {
        let descriptors = reflection::descriptors(&self.names);
        let (v1, v1alpha) = (reflection::of(&descriptors).build_v1()?, reflection::of(&descriptors).build_v1alpha()?);
        Ok(self.with(v1).with(v1alpha))
    }

    /// The names of the services.
    pub(super) fn names(&self) -> Vec<&'static str> {
        self.names.clone()
    }

    pub(super) fn into_routes(self) -> Routes {
        self.routes.prepare()
    }
}
