//! One trace leads from the REST request to each SQL statement.

use communal_fixtures::credentials::billing;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;

use super::{Watched, arrears, fee_item};
use crate::receiver::Span;

/// Returns the only span of this name in a trace.
fn one<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found.as_slice() else { panic!("{name}: {} of it in {spans:#?}", found.len()) };
    span
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_trace_leads_from_the_rest_request_to_each_statement() {
    let mut product = Watched::start("trace").await;
    let sent = "0af7651916cd43dd8448eb211c80319c";
    let read = product.epeis("QueryUserArrearages", &arrears(billing::KEY));
    let read = read.header("traceparent", format!("00-{sent}-b7ad6b7169203331-01"));
    let (of_read, body) = product.send(read).await;
    assert!(body.contains("ACC_VOLPRICE_OWE"), "{body}");
    assert_ne!(of_read, sent, "a caller does not choose the trace id");
    let (of_write, body) = product.send(product.hc("feeConfig.saveFeeConfig", &fee_item("物业费"), "t1")).await;
    assert!(body.contains(r#""code":"0""#), "{body}");
    // Long before the exporter would export by itself.
    product.stop().await;

    let spans = product.received.trace(&of_read);
    let request = one(&spans, "POST /Service/v1/QueryUserArrearages/");
    let call = one(&spans, "/communal.billing.v1.ReceivableService/QueryUserArrearages");
    let statement = one(&spans, "arrears_read");
    assert_eq!((request.parent_id.as_str(), &request.links), ("", &vec![sent.to_owned()]), "the caller's is linked");
    assert_eq!(call.parent_id, request.span_id);
    assert_eq!(statement.parent_id, call.span_id);
    assert_eq!((request.kind, call.kind, statement.kind), (SpanKind::Server, SpanKind::Server, SpanKind::Client));
    for (span, key, value) in [
        (request, "service", "gateway"),
        (request, "http.route", "/Service/v1/QueryUserArrearages/"),
        (request, "http.request.method", "POST"),
        (request, "http.response.status_code", "200"),
        (call, "service", "billing"),
        (call, "rpc.response.status_code", "Ok"),
        (statement, "db.system.name", "postgresql"),
        (statement, "db.operation.name", "arrears_read"),
        (statement, "db.response.returned_rows", "0"),
    ] {
        assert_eq!(span.attributes.get(key).map(String::as_str), Some(value), "{key} of {span:#?}");
    }

    let spans = product.received.trace(&of_write);
    let request = one(&spans, "POST /app/feeConfig.saveFeeConfig");
    let call = one(&spans, "/communal.community.v1.FeeItemService/SaveFeeConfig");
    let statement = one(&spans, "fee_item_insert");
    assert_eq!(request.parent_id, "", "a trace that began here has a root");
    assert_eq!(call.parent_id, request.span_id);
    assert_eq!(statement.parent_id, call.span_id);
    assert_eq!(call.attributes["service"], "community");
    assert_eq!(statement.attributes["db.response.affected_rows"], "1");
    // The lookup of the caller belongs to the call as well.
    assert_eq!(one(&spans, "operator_load").parent_id, call.span_id);

    // The change log has the trace that wrote it.
    let written = "SELECT trace_id FROM platform.change WHERE after ->> 'fee_name' = '物业费'";
    let written: String = sqlx::query_scalar(written).fetch_one(&product.databases.community.pool).await.unwrap();
    assert_eq!(written, of_write);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_callers_are_trusted_their_traces_are_continued() {
    let mut product = Watched::start_with("followed", &[("COMMUNAL_TRACE_CALLERS", "followed")]).await;
    let (sampled, unsampled) = ("0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c");
    for (trace, flag) in [(sampled, "01"), (unsampled, "00")] {
        let call = product.epeis("QueryUserArrearages", &arrears(billing::KEY));
        let call = call.header("traceparent", format!("00-{trace}-b7ad6b7169203331-{flag}"));
        assert_eq!(product.send(call).await.0, trace);
    }
    product.stop().await;
    let spans = product.received.trace(sampled);
    assert_eq!(one(&spans, "POST /Service/v1/QueryUserArrearages/").parent_id, "b7ad6b7169203331");
    one(&spans, "arrears_read");
    assert_eq!(product.received.trace(unsampled).len(), 0, "a caller who does not sample is followed");
}
