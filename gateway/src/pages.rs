//! The pages beside the interfaces: the OpenAPI document, and the documentation page that shows it.
//!
//! They are open to all, so they must cost nothing: every file is compressed once, at the start, and served from memory.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use anyhow::Context as _;
use bytes::Bytes;
use flate2::write::GzEncoder;
use flate2::{Compression, Crc};
use http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use utoipa_swagger_ui::Config as Swagger;

use crate::openapi;
use crate::plan::Contract;

/// The files that the documentation page is made of.
const ASSETS: [&str; 10] = [
    "index.html",
    "index.css",
    "swagger-ui.css",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-initializer.js",
    "favicon-16x16.png",
    "favicon-32x32.png",
    "oauth2-redirect.html",
    "oauth2-redirect.js",
];

/// The files of the documentation page. They depend on no contract, so a process makes them once.
static FILES: LazyLock<Result<HashMap<&'static str, Page>, String>> =
    LazyLock::new(|| files().map_err(|error| format!("{error:#}")));

/// The pages.
pub(crate) struct Pages {
    document: Page,
    files: &'static HashMap<&'static str, Page>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("document_bytes", &self.document.plain.len()).finish_non_exhaustive()
    }
}

/// A page as it is served.
struct Page {
    content_type: HeaderValue,
    tag: HeaderValue,
    plain: Bytes,
    /// The same compressed, where that is smaller.
    compressed: Option<Bytes>,
}

impl Pages {
    pub(crate) fn new(contract: &Contract) -> anyhow::Result<Self> {
        let document = serde_json::to_vec(&openapi::document(contract)?)?;
        let files = FILES.as_ref().map_err(|error| anyhow::anyhow!("the documentation cannot be served: {error}"))?;
        Ok(Self { document: Page::new("application/json; charset=utf-8", document.into())?, files })
    }

    /// Returns the page of a path, if there is one.
    pub(crate) fn find(&self, head: &Parts) -> Option<Response<Bytes>> {
        let path = head.uri.path();
        let page = match path {
            "/" | "/docs" => moved("/docs/"),
            "/openapi.json" => self.document.answer(&head.headers),
            _ => self.file(path.strip_prefix("/docs/")?, &head.headers),
        };
        if matches!(head.method, Method::GET | Method::HEAD) {
            return Some(page);
        }
        let mut refused = Response::new(Bytes::new());
        *refused.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        Some(refused)
    }

    fn file(&self, path: &str, headers: &HeaderMap) -> Response<Bytes> {
        let path = if path.is_empty() { "index.html" } else { path };
        if let Some(page) = self.files.get(path) {
            return page.answer(headers);
        }
        let mut response = Response::new(Bytes::from_static(b"not found\n"));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    }
}

impl Page {
    fn new(content_type: &str, plain: Bytes) -> anyhow::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain)?;
        let compressed = Some(encoder.finish()?).filter(|compressed| compressed.len() < plain.len());
        let mut sum = Crc::new();
        sum.update(&plain);
        Ok(Self {
            content_type: HeaderValue::from_str(content_type)?,
            tag: HeaderValue::from_str(&format!("\"{:08x}-{:x}\"", sum.sum(), plain.len()))?,
            plain,
            compressed: compressed.map(Bytes::from),
        })
    }

    fn answer(&self, headers: &HeaderMap) -> Response<Bytes> {
        let compressed = self.compressed.as_ref().filter(|_| takes_gzip(headers));
        let unchanged = headers.get_all(IF_NONE_MATCH).iter().any(|known| known == self.tag);
        let mut response = Response::new(Bytes::new());
        if unchanged {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            *response.body_mut() = compressed.unwrap_or(&self.plain).clone();
        }
        let headers = response.headers_mut();
        if compressed.is_some() && !unchanged {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        headers.insert(CONTENT_TYPE, self.content_type.clone());
        headers.insert(ETAG, self.tag.clone());
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
        response
    }
}

/// Tells whether a client takes gzip: it is named, and not with the weight 0.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).unwrap_or("1");
        named && weight.bytes().any(|digit| matches!(digit, b'1'..=b'9'))
    })
}

/// Where the page's configuration of Swagger takes more of it, and what is added there: a call that is made again from the page is
/// a new one, so it gets a request id and time of its own unless somebody typed one.
const PRESETS: &str = "    presets: [";
const NEW_ID_AND_TIME: &str = r#"    requestInterceptor: (request) => {
      const two = (number) => String(number).padStart(2, "0");
      if (request.headers["transaction-id"] === "1000000000202403010830000001") {
        request.headers["transaction-id"] = `${Date.now()}${String(Math.random()).slice(2).padEnd(15, "0").slice(0, 15)}`;
        const now = new Date(Date.now() + 8 * 3600 * 1000);
        request.headers["req-time"] = [now.getUTCFullYear(), now.getUTCMonth() + 1, now.getUTCDate(), now.getUTCHours(),
          now.getUTCMinutes(), now.getUTCSeconds()].map(two).join("");
      }
      return request;
    },
"#;

fn files() -> anyhow::Result<HashMap<&'static str, Page>> {
    // Without a validator the page calls no other host.
    let swagger = Swagger::new(["/openapi.json"])
        .validator_url("none")
        .deep_linking(true)
        .doc_expansion("none")
        // Colouring an answer of some megabytes would keep the browser busy for minutes.
        .with_syntax_highlight(false)
        .display_request_duration(true);
    let swagger = Arc::new(swagger);
    let mut files = HashMap::new();
    for name in ASSETS {
        let file = utoipa_swagger_ui::serve(name, Arc::clone(&swagger)).map_err(|error| anyhow::anyhow!("{error}"))?;
        let file = file.with_context(|| format!("{name} is missing"))?;
        let mut bytes = file.bytes.into_owned();
        if name == "swagger-initializer.js" {
            let text = String::from_utf8(bytes)?;
            anyhow::ensure!(
                text.contains(PRESETS),
                "{name} is not what it was: requests of the page would all have one id"
            );
            bytes = text.replacen(PRESETS, &format!("{NEW_ID_AND_TIME}{PRESETS}"), 1).into_bytes();
        }
        files.insert(name, Page::new(&file.content_type, bytes.into())?);
    }
    Ok(files)
}

fn moved(to: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, HeaderValue::from_static(to));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn gzip_is_for_those_who_name_it() {
        for (value, takes) in
            [("gzip", true), ("br, GZIP;q=0.5", true), ("gzip;q=0", false), ("gzip; q=0.0, br", false), ("br", false)]
        {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, value.parse().unwrap())]);
            assert_eq!(takes_gzip(&headers), takes, "{value}");
        }
    }
}
