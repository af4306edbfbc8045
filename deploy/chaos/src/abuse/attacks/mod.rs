//! The attacks.

mod floods;
mod holding;
mod requests;

use std::time::Duration;

use futures::FutureExt as _;

use super::Attack;

/// Longest stop of a process while connections are open that say nothing: without them it takes half of it.
pub(super) const LONGEST_STOP: Duration = Duration::from_secs(5);
/// Time for which a flood goes on.
const FLOOD: Duration = Duration::from_secs(4);
/// Longest wait for the answer to a whole request.
const ANSWER: Duration = Duration::from_secs(20);

const QUERY: &str = "/communal.billing.v1.ReceivableService/QueryUserArrearages";
const IMPORT: &str = "/communal.billing.v1.ReceivableService/ImportReceivableLines";
const UPDATE_PRICES: &str = "/communal.billing.v1.PackagePriceService/UpdateSalePackagePrice";
/// A route of the gateway with a body.
const ROUTE: &str = "/Service/v1/QueryUserArrearages/";

/// An attack that is carried out by a function.
macro_rules! by {
    ($id:literal, $what:literal, $attack:path) => {
        Attack::new($id, $what, |stage, findings| $attack(stage, findings).boxed())
    };
}

/// All attacks but that on the stop of a process.
pub(super) const ALL: [Attack; 18] = [
    by!("H1", "messages of empty rows", requests::empty_rows).cheap(),
    by!("H2a", "REST: 1,200 heads without bodies, again and again", holding::heads)
        .cheap()
        .reaches(&["gateway_address_bodies"]),
    by!("H2b", "REST: 31 bodies that lack one byte", holding::bodies).reaches(&["gateway_address_body_memory_bytes"]),
    by!("H2c", "REST: connections that say nothing", holding::silent_at_gateway).reaches(&["gateway_greeting_ms"]),
    by!("H3", "40 streams of arrears that nobody reads", holding::unread_streams)
        .cheap()
        .reaches(&["channel_concurrent_streams"]),
    by!("H4", "lines that name a company in a wrong role", requests::wrong_roles).cheap(),
    by!("H5", "a captured signature over gRPC", requests::captured_signature).cheap(),
    by!("H6a", "600 calls without a body", holding::calls_without_bodies)
        .cheap()
        .reaches(&["channel_concurrent_calls", "address_unproved_calls"]),
    by!("H6b", "50 messages half sent", holding::half_messages).cheap(),
    by!("M1", "imports that do not go on", holding::endless_imports).reaches(&["import_window_ms"]),
    by!("M2", "a signed update sent to the route that deletes", requests::moved_body).cheap(),
    by!("M3a", "REST: 120 answers that nobody reads", holding::unread_over_rest)
        .reaches(&["gateway_address_answer_bytes"]),
    by!("M3b", "gRPC: 120 answers that nobody reads", holding::unread_over_grpc),
    by!("M4a", "gRPC: connections that say nothing", holding::silent_at_service).reaches(&["greeting_ms"]),
    by!("M4b", "gRPC: open streams without credentials", holding::watches)
        .cheap()
        .reaches(&["connection_open_streams"]),
    by!("M5", "the documentation, compressed, again and again", floods::pages),
    by!("M6", "imports of a line beside a large company", floods::single_lines),
    by!("L12", "calls without credentials", floods::refusals).cheap(),
];
