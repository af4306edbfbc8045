//! The OpenAPI document and the documentation page.

use communal_gateway::plan::Contract;
use communal_proto::billing::v1::UpdateSalePackagePriceResponse;
use serde_json::Value;

use crate::harness::Rig;

#[tokio::test]
async fn the_document_is_served() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    let reply = rig.get("/openapi.json").await;
    assert_eq!(reply.header("content-type"), "application/json; charset=utf-8");
    let document: Value = serde_json::from_str(&reply.text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let contract = Contract::load().unwrap();
    for route in contract.routes() {
        assert!(document["paths"][&*route.path][route.verb.as_str().to_lowercase()].is_object(), "{}", route.path);
    }
}

#[tokio::test]
async fn the_page_is_served_from_the_binary_and_calls_no_other_host() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    for (path, to) in [("/", "/docs/"), ("/docs", "/docs/")] {
        let reply = rig.get(path).await;
        assert_eq!((reply.status, reply.header("location")), (307, to));
    }
    let page = rig.get("/docs/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html"));
    let mut assets = Vec::new();
    for part in page.text.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
        assert!(!part.contains("//"), "{part} is on another host");
        let asset = rig.get(&format!("/docs/{}", part.trim_start_matches("./"))).await;
        assert_eq!(asset.status, 200, "{part}");
        assets.push(part.to_owned());
    }
    assert!(assets.len() >= 4, "{assets:?}");
    let start = rig.get("/docs/swagger-initializer.js").await.text;
    assert!(start.contains("/openapi.json") && start.contains(r#""validatorUrl": "none""#), "{start}");
    assert_eq!(rig.get("/docs/nothing.js").await.status, 404);
}

#[tokio::test]
async fn a_page_that_is_known_is_not_sent_again() {
    let rig = Rig::replying(UpdateSalePackagePriceResponse::default()).await;
    for path in ["/openapi.json", "/docs/swagger-ui-bundle.js"] {
        let ask = || rig.client.get(format!("{}{path}", rig.url)).header("accept-encoding", "gzip");
        let first = ask().send().await.unwrap();
        assert_eq!(first.headers()["content-encoding"], "gzip", "{path}");
        let tag = first.headers()["etag"].clone();
        let again = ask().header("if-none-match", tag).send().await.unwrap();
        assert_eq!(again.status(), 304, "{path}");
        assert!(again.bytes().await.unwrap().is_empty());
    }
}
