//! The books of a company and of a community: made through the services' calls and not changed afterwards, so that the
//! same query must get the same answer.

use anyhow::{Context, ensure};
use communal_fixtures::credentials::billing::OTHER_RETAIL;
use communal_fixtures::credentials::community::OTHER;
use communal_fixtures::{fee_items, receivables};
use communal_kit::clock::{Clock, DEFAULT_ZONE};
use communal_kit::dates;
use communal_proto::Coded;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::{
    ArrearsFilter, ImportReceivableLinesResponse, ListStoresRequest, QueryUserArrearagesRequest,
    StreamUserArrearagesRequest,
};
use communal_proto::community::v1::bill_rule_service_client::BillRuleServiceClient;
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::fee_service_client::FeeServiceClient;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use communal_proto::community::v1::{
    CreateBillRulesRequest, CreateFeesRequest, ItemState, ListBillRulesRequest, ListFeeConfigsRequest, ListFeesRequest,
    ListPayerObjectsRequest, NewBillRule, NewFee, QueryHisFeeConfigRequest, RegisterPayerObjectsRequest,
};
use serde_json::{Value, json};

use crate::accounts::{book_of, lines_of};
use crate::clients::{ACCOUNT_ITEM, Clients, Item, item_id, item_update_json, new_package_json, sys_head};
use crate::deployment::{Databases, Kind, Slot};
use crate::wire::Call;

/// Lines on the books: fewer than the cap of an unpaged answer.
const LINES: usize = 6_000;
const LINES_A_MESSAGE: usize = 1_000;
/// Rooms with a fee and a bill rule each.
const ROOMS: usize = 400;
/// Far from those of any other workers.
const FIRST_ACCOUNT: usize = 500_000_000;
const BATCH: &str = "quiet-batch";

const UPDATE: &str = "/app/feeConfig.updateFeeConfig";

/// The books, and the calls that read and write them.
pub(crate) struct Books {
    /// Calls that read.
    pub(crate) queries: Vec<Call>,
    /// Calls that wrote, each under a request id of its own, with their answers.
    pub(crate) written: Vec<(Call, Vec<u8>)>,
    /// Another call under the request id of the first one.
    pub(crate) reused: Call,
    /// A description: the numbers of lines, packages, prices and changes.
    pub(crate) what: String,
}

impl Books {
    /// Makes the books.
    pub(crate) async fn make(clients: &Clients, gateway: &Slot, databases: &Databases) -> anyhow::Result<Self> {
        clients.store(OTHER_RETAIL).await?;
        let reply = import(clients).await?;
        ensure!(!reply.replayed, "the lines had been imported already");
        let package = package(clients, gateway, databases).await?;
        let (written, items) = fee_items(clients, gateway, databases).await?;
        let [item, stopped] = &items;
        let first = item_update_json(OTHER, item, "99", "");
        let reused =
            Call::post("another change under a request id that was used", UPDATE, &clients.hc_head(&id(0)), &first);
        let what = format!(
            "{LINES} lines ({} open), a package with 3 prices and a change of one, {ROOMS} rooms with a fee and a bill \
             rule each, 2 fee items with {} changes",
            reply.outstanding_lines,
            written.len(),
        );
        Ok(Self { queries: queries(clients, &package, [item, stopped])?, written, reused, what })
    }
}

/// Imports the lines; a second import is a replay.
pub(crate) async fn import(clients: &Clients) -> anyhow::Result<ImportReceivableLinesResponse> {
    let lines = lines_of(OTHER_RETAIL, FIRST_ACCOUNT, LINES)?;
    let messages = receivables::import(BATCH, &lines, LINES_A_MESSAGE);
    let request = clients.of_billing(tonic::codegen::tokio_stream::iter(messages), OTHER_RETAIL)?;
    let mut client = ReceivableServiceClient::new(clients.channel(Kind::Billing)?);
    Ok(client.import_receivable_lines(request).await?.into_inner())
}

/// An EPEIS call that must succeed.
async fn epeis(clients: &Clients, gateway: &Slot, name: &'static str, mut body: Value) -> anyhow::Result<()> {
    let answer = call_of_epeis(name, &mut body).make(clients, gateway).await?;
    let text = String::from_utf8_lossy(&answer);
    ensure!(text.contains("\"CODE\":0"), "{name}: {text}");
    Ok(())
}

fn call_of_epeis(name: &'static str, body: &mut Value) -> Call {
    body["SYS_HEAD"] = sys_head(OTHER_RETAIL);
    Call::post(name, &format!("/Service/v1/{name}/"), &[], body)
}

/// Puts a package on sale and changes one of its prices, so that it has versions.
async fn package(clients: &Clients, gateway: &Slot, databases: &Databases) -> anyhow::Result<String> {
    let name = "静默套餐";
    epeis(clients, gateway, "AddSalePackage", json!({"COM_SALES_PACK": new_package_json(name)})).await?;
    let id: String = sqlx::query_scalar("SELECT package_id FROM package WHERE retail_company_id = $1 AND name = $2")
        .bind(OTHER_RETAIL)
        .bind(name)
        .fetch_one(&databases.pool("billing")?)
        .await?;
    let price = |tier: i32, price: f64, lower: i64, upper: i64| {
        json!({
            "CHARGE_PACK_DID": id, "ACCOUNT_ITEM_INFO": ACCOUNT_ITEM, "NETWORK_TYPE": "2", "AGREE_PRICE_YESNO": "1",
            "CAT_ITEM_PRICE": price, "PRICE_UNIT_NAME": "元/千瓦时", "TIME_FEES_TYPE": "1", "LADDER_TYPE": "2",
            "LADDER_LEVEL_TYPE": tier.to_string(), "LADDER_LOWER_LIMIT": lower, "LADDER_UPPER_LIMIT": upper,
        })
    };
    let rows = json!([price(1, 0.4883, 0, 2880), price(2, 0.5383, 2880, 4800), price(3, 0.7883, 4800, 0)]);
    epeis(clients, gateway, "AddSalePackagePrice", json!({"COM_SALES_PRICE": rows})).await?;
    clients.account_item().await?;
    epeis(clients, gateway, "ApplyPutOnSalesPackage", json!({"COM_SALES_PACK": [{"CHARGE_PACK_DID": id}]})).await?;
    let today = dates::to_number(Clock::system(DEFAULT_ZONE).today());
    let start = json!({"CHARGE_PACK_DID": id, "STARTUP_DATE": today});
    epeis(clients, gateway, "PutOnSalePackage", json!({"COM_SALES_PACK": start})).await?;
    let row = price(2, 0.5555, 2880, 4800);
    epeis(clients, gateway, "UpdateSalePackagePrice", json!({"COM_SALES_PRICE": [row]})).await?;
    Ok(id)
}

/// The request id of a change.
fn id(number: usize) -> String {
    format!("7{number:031}")
}

/// Makes items with a history: changed prices, one item stopped and reopened. Returns the calls that changed them, with
/// their answers.
async fn fee_items(
    clients: &Clients,
    gateway: &Slot,
    databases: &Databases,
) -> anyhow::Result<(Vec<(Call, Vec<u8>)>, [Item; 2])> {
    let community = || OTHER.to_owned();
    let channel = clients.channel(Kind::Community)?;
    let rooms: Vec<_> = (0..ROOMS).map(|number| format!("R{number:05}")).collect();
    let payer_objects = rooms.iter().map(|room| fee_items::room(room));
    let request = RegisterPayerObjectsRequest { community_id: community(), payer_objects: payer_objects.collect() };
    let request = clients.of_community(request, "quiet-rooms")?;
    PayerObjectServiceClient::new(channel.clone()).register_payer_objects(request).await?;

    let pool = databases.pool("community")?;
    let mut items = Vec::new();
    for name in ["物业费", "车位费"] {
        let request = clients.of_community(fee_items::save(OTHER, name), &format!("quiet-{}", items.len()))?;
        FeeItemServiceClient::new(channel.clone()).save_fee_config(request).await?;
        let id = item_id(&pool, OTHER, name).await?;
        items.push(Item { name: name.to_owned(), id });
    }
    let [item, stopped]: [Item; 2] = items.try_into().ok().context("two items")?;
    for config_id in [&item.id, &stopped.id] {
        let fees = rooms.iter().map(|room| NewFee {
            payer_obj_id: room.clone(),
            start_time: "2024-01-01".to_owned(),
            ..NewFee::default()
        });
        let request = CreateFeesRequest {
            community_id: community(),
            config_id: config_id.clone(),
            fees: fees.collect(),
            ..Default::default()
        };
        let request = clients.of_community(request, &format!("quiet-fees-{config_id}"))?;
        FeeServiceClient::new(channel.clone()).create_fees(request).await?;
        let rules = rooms.iter().map(|room| NewBillRule {
            payer_obj_id: room.clone(),
            // From the same day on, it would be the same charge.
            start_time: "2024-01-02".to_owned(),
            ..NewBillRule::default()
        });
        let request = CreateBillRulesRequest {
            community_id: community(),
            config_id: config_id.clone(),
            rules: rules.collect(),
            ..Default::default()
        };
        let request = clients.of_community(request, &format!("quiet-rules-{config_id}"))?;
        BillRuleServiceClient::new(channel.clone()).create_bill_rules(request).await?;
    }
    // Stopping an item ends its fees and rules; those of the other item stay open.
    let (stop, reopen) = (ItemState::Stopped.code(), ItemState::InUse.code());
    let changes =
        [(&item, "1.1", ""), (&item, "1.25", ""), (&stopped, "2", stop), (&stopped, "3", reopen), (&item, "1.5", "")];
    let mut written = Vec::new();
    for (number, (item, price, state)) in changes.into_iter().enumerate() {
        let body = item_update_json(OTHER, item, price, state);
        let call = Call::post("a change of a fee item", UPDATE, &clients.hc_head(&id(number)), &body);
        let answer = call.make(clients, gateway).await?;
        let text = String::from_utf8_lossy(&answer).into_owned();
        ensure!(text.contains("\"code\":\"0\""), "{text}");
        written.push((call, answer));
    }
    Ok((written, [item, stopped]))
}

fn queries(clients: &Clients, package: &str, items: [&Item; 2]) -> anyhow::Result<Vec<Call>> {
    let community = || OTHER.to_owned();
    let book = book_of(FIRST_ACCOUNT);
    let of_package = json!({"CHARGE_PACK_DID": package});
    let page = json!({"PAGE_NO": 1, "PAGE_ROWS": 100});
    let mut queries = Vec::new();
    for (name, body) in [
        ("QueryUserArrearages", json!({"ACC_VOLPRICE_OWE": {"BOOK_AID": book}})),
        ("QuerySalePackage", json!({})),
        ("QuerySalePackDetails", json!({"COM_SALES_PACK": of_package})),
        ("QuerySalePackagePrice", json!({"SYS_PAGE": page, "COM_SALES_PACK": of_package})),
        ("QuerySalePackageTags", json!({"COM_SALES_PACK": of_package})),
    ] {
        queries.push(call_of_epeis(name, &mut body.clone()));
    }
    let head = clients.hc_head("quiet-query");
    for (name, item) in
        [("feeConfig.listFeeConfigs", None), ("fee.queryHisFeeConfig", None), ("fee.queryHisFeeConfig", Some(items[1]))]
    {
        let mut path = format!("/app/{name}?page=1&row=100&communityId={OTHER}");
        if let Some(item) = item {
            path.push_str(&format!("&configId={}", item.id));
        }
        queries.push(Call::get(name, path, &head));
    }
    // These query all books.
    let filter = Some(ArrearsFilter::default());
    let message = QueryUserArrearagesRequest { filter: filter.clone() };
    queries.push(Call::grpc(
        "QueryUserArrearages over gRPC",
        Kind::Billing,
        "/communal.billing.v1.ReceivableService/QueryUserArrearages",
        clients.of_billing(message, OTHER_RETAIL),
    )?);
    let stream = Call::grpc(
        "StreamUserArrearages",
        Kind::Billing,
        "/communal.billing.v1.ReceivableService/StreamUserArrearages",
        clients.of_billing(StreamUserArrearagesRequest { filter }, OTHER_RETAIL),
    )?;
    queries.push(stream.streaming());
    queries.push(Call::grpc(
        "ListStores",
        Kind::Billing,
        "/communal.billing.v1.SupplierService/ListStores",
        clients.of_billing(ListStoresRequest::default(), OTHER_RETAIL),
    )?);
    let list = ListFeeConfigsRequest { page: 1, row: 100, community_id: community(), ..Default::default() };
    queries.push(Call::grpc(
        "ListFeeConfigs over gRPC",
        Kind::Community,
        "/communal.community.v1.FeeItemService/ListFeeConfigs",
        clients.of_community(list, "quiet-query"),
    )?);
    let history = QueryHisFeeConfigRequest { page: 1, row: 100, community_id: community(), ..Default::default() };
    queries.push(Call::grpc(
        "QueryHisFeeConfig over gRPC",
        Kind::Community,
        "/communal.community.v1.FeeItemService/QueryHisFeeConfig",
        clients.of_community(history, "quiet-query"),
    )?);
    let fees = ListFeesRequest { community_id: community(), page_size: 1_000, ..Default::default() };
    queries.push(Call::grpc(
        "ListFees",
        Kind::Community,
        "/communal.community.v1.FeeService/ListFees",
        clients.of_community(fees, "quiet-query"),
    )?);
    let rules = ListBillRulesRequest { community_id: community(), page_size: 1_000, ..Default::default() };
    queries.push(Call::grpc(
        "ListBillRules",
        Kind::Community,
        "/communal.community.v1.BillRuleService/ListBillRules",
        clients.of_community(rules, "quiet-query"),
    )?);
    let rooms = ListPayerObjectsRequest { community_id: community(), page_size: 1_000, ..Default::default() };
    queries.push(Call::grpc(
        "ListPayerObjects",
        Kind::Community,
        "/communal.community.v1.PayerObjectService/ListPayerObjects",
        clients.of_community(rooms, "quiet-query"),
    )?);
    Ok(queries)
}
