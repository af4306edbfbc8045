//! The pages beside the interfaces: the OpenAPI document, and the documentation page that shows it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use utoipa_swagger_ui::Config as Swagger;

use crate::openapi;
use crate::plan::Contract;

/// The pages. The OpenAPI document is made once.
pub(crate) struct Pages {
    document: Bytes,
    swagger: Arc<Swagger<'static>>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("document_bytes", &self.document.len()).finish_non_exhaustive()
    }
}

impl Pages {
    pub(crate) fn new(contract: &Contract) -> anyhow::Result<Self> {
        let document = serde_json::to_vec(&openapi::document(contract)?)?.into();
        // Without a validator the page calls no other host.
        let swagger = Swagger::new(["/openapi.json"])
            .validator_url("none")
            .deep_linking(true)
            .doc_expansion("none")
            .display_request_duration(true);
        Ok(Self { document, swagger: Arc::new(swagger) })
    }

    /// Returns the page of a path, if there is one.
    pub(crate) fn find(&self, head: &Parts) -> Option<Response<Full<Bytes>>> {
        let path = head.uri.path();
        let page = match path {
            "/" | "/docs" => moved("/docs/"),
            "/openapi.json" => page("application/json; charset=utf-8", self.document.clone()),
            _ => self.asset(path.strip_prefix("/docs/")?),
        };
        if matches!(head.method, Method::GET | Method::HEAD) {
            return Some(page);
        }
        let mut refused = Response::new(Full::default());
        *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        Some(refused)
    }

    fn asset(&self, path: &str) -> Response<Full<Bytes>> {
        match utoipa_swagger_ui::serve(path, Arc::clone(&self.swagger)) {
            Ok(Some(file)) => {
                let mut response = page(&file.content_type, file.bytes.into_owned().into());
                if file.gzpipped {
                    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                }
                response
            }
            Ok(None) => {
                let mut response = page("text/plain; charset=utf-8", Bytes::from_static(b"not found\n"));
                *response.status_mut() = StatusCode::NOT_FOUND;
                response
            }
            Err(error) => {
                tracing::error!(error = %error, "the documentation cannot be served");
                let mut response = Response::new(Full::default());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                response
            }
        }
    }
}

fn page(content_type: &str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

fn moved(to: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}
