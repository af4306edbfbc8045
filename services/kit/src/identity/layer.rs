//! The authenticator in front of a server's services.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::identity::{Authenticator, vouching};
use crate::telemetry::trace::TraceContext;

/// Health and reflection are open: probes and `grpcurl list` have no credentials, and what
/// they learn is in the documentation.
const OPEN: [&str; 2] = ["/grpc.health.v1.Health/", "/grpc.reflection."];

/// Authenticates every call before its handler runs.
#[derive(Clone, Debug)]
pub struct AuthenticationLayer(Arc<Authenticator>);

impl AuthenticationLayer {
    /// A layer over an authenticator.
    #[must_use]
    pub fn new(authenticator: Arc<Authenticator>) -> Self {
        Self(authenticator)
    }
}

impl<S> Layer<S> for AuthenticationLayer {
    type Service = Authentication<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authentication { inner, authenticator: self.0.clone() }
    }
}

/// See [`AuthenticationLayer`].
#[derive(Clone, Debug)]
pub struct Authentication<S> {
    inner: S,
    authenticator: Arc<Authenticator>,
}

impl<S> Service<Request<Body>> for Authentication<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The clone keeps its own readiness; the one that was polled ready is used now.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if OPEN.iter().any(|open| request.uri().path().starts_with(open)) {
            return Box::pin(inner.call(request));
        }
        let authenticator = self.authenticator.clone();
        Box::pin(async move {
            let trace = request.extensions().get::<TraceContext>().copied().unwrap_or_else(TraceContext::root);
            let path = request.uri().path().to_owned();
            match authenticator.authenticate(request.headers(), &path, &trace).await {
                Ok(caller) => {
                    if let Some(hash) = caller.vouched {
                        let refused = caller.wording.credentials;
                        request = request.map(|body| vouching::proved(body, hash, refused));
                    }
                    request.extensions_mut().insert(Arc::new(caller));
                    inner.call(request).await
                }
                Err(refusal) => Ok(Status::from(refusal).into_http()),
            }
        })
    }
}
