//! The catalogue and the nodes over gRPC and by the command line: registered, changed within their utility, listed by
//! their company.

use clap::Parser as _;
use communal_billing::cli::{Arguments, run};
use communal_kit::config::Reader;
use communal_proto::billing::v1::*;
use tonic::Status;

use crate::harness::*;

fn category_item(number: i64, utility: NetworkType, surcharge: YesNo) -> CategoryItem {
    let (utility, surcharge) = (utility.into(), surcharge.into());
    CategoryItem { category_item: number, name: "电费".into(), utility, surcharge, kind: "1".into() }
}

fn account_item(code: &str, utility: NetworkType, main_category_item: i64) -> AccountItem {
    AccountItem { account_item: code.into(), name: "居民".into(), utility: utility.into(), main_category_item }
}

fn node(id: &str, store: &str, utility: NetworkType) -> Node {
    Node { node_id: id.into(), name: "台区".into(), store_id: store.into(), utility: utility.into() }
}

async fn register(world: &World, tenant: &'static str, items: Vec<CategoryItem>) -> Result<(), Status> {
    world.catalogue(caller(tenant)).register_category_items(RegisterCategoryItemsRequest { items }).await.map(drop)
}

async fn register_accounts(world: &World, tenant: &'static str, items: Vec<AccountItem>) -> Result<(), Status> {
    world.catalogue(caller(tenant)).register_account_items(RegisterAccountItemsRequest { items }).await.map(drop)
}

async fn register_nodes(world: &World, tenant: &'static str, nodes: Vec<Node>) -> Result<(), Status> {
    world.suppliers(caller(tenant)).register_nodes(RegisterNodesRequest { nodes }).await.map(drop)
}

async fn items(world: &World, tenant: &'static str) -> (Vec<CategoryItem>, Vec<AccountItem>) {
    let mut catalogue = world.catalogue(caller(tenant));
    let categories = catalogue.list_category_items(ListCategoryItemsRequest {}).await.unwrap().into_inner().items;
    let accounts = catalogue.list_account_items(ListAccountItemsRequest {}).await.unwrap().into_inner().items;
    (categories, accounts)
}

#[tokio::test]
async fn items_are_registered_renamed_and_listed_by_their_company() {
    use NetworkType::{Electricity, Water};
    let world = World::start().await;
    let energy = category_item(1001, Electricity, YesNo::No);
    let fund = category_item(1101, Electricity, YesNo::Yes);
    register(&world, RETAIL, vec![fund.clone(), energy.clone()]).await.unwrap();
    let renamed = CategoryItem { name: "基金".into(), ..fund };
    register(&world, RETAIL, vec![renamed.clone()]).await.unwrap();
    let homes = account_item("101001", Electricity, 1001);
    register_accounts(&world, RETAIL, vec![homes.clone()]).await.unwrap();
    assert_eq!(items(&world, RETAIL).await, (vec![energy, renamed], vec![homes]));
    assert_eq!(items(&world, OTHER_RETAIL).await, (vec![], vec![]));

    // Neither its utility nor whether it is a surcharge changes; all or nothing.
    for changed in [category_item(1001, Water, YesNo::No), category_item(1001, Electricity, YesNo::Yes)] {
        let refused = register(&world, RETAIL, vec![category_item(7, Water, YesNo::No), changed]).await.unwrap_err();
        assert_eq!(fields(&refused), ["items[1].category_item"]);
        assert_eq!(reason::<()>(Err(refused)), "IDENTIFIER_TAKEN");
    }
    assert_eq!(
        reason(register_accounts(&world, RETAIL, vec![account_item("101001", Water, 1001)]).await),
        "IDENTIFIER_TAKEN"
    );
    // A main item is one of the company, of the same utility, and no surcharge.
    for (code, utility, main) in [("1", Electricity, 9), ("1", Water, 1001), ("1", Electricity, 1101)] {
        let refused = register_accounts(&world, RETAIL, vec![account_item(code, utility, main)]).await.unwrap_err();
        assert_eq!(fields(&refused), ["items[0].main_category_item"]);
        assert_eq!(reason::<()>(Err(refused)), "CATEGORY_ITEM_NOT_FOUND");
    }
    let foreign = vec![account_item("101001", Electricity, 1001)];
    assert_eq!(reason(register_accounts(&world, OTHER_RETAIL, foreign).await), "CATEGORY_ITEM_NOT_FOUND");
}

#[tokio::test]
async fn nodes_are_those_of_a_network_company() {
    use NetworkType::{Electricity, Water};
    let world = World::start().await;
    let given = node("G1", NETWORK_STORE, Electricity);
    register_nodes(&world, NETWORK, vec![given.clone()]).await.unwrap();
    assert_eq!(reason(register_nodes(&world, RETAIL, vec![node("G2", STORE, Water)]).await), "NOT_A_NETWORK_COMPANY");
    let refused = register_nodes(&world, NETWORK, vec![node("G2", STORE, Water)]).await.unwrap_err();
    assert_eq!(fields(&refused), ["nodes[0].store_id"]);
    assert_eq!(reason::<()>(Err(refused)), "SUPPLIER_NOT_FOUND");
    assert_eq!(
        reason(register_nodes(&world, NETWORK, vec![node("G1", NETWORK_STORE, Water)]).await),
        "IDENTIFIER_TAKEN"
    );
    let list = |tenant| {
        let mut suppliers = world.suppliers(caller(tenant));
        async move { suppliers.list_nodes(ListNodesRequest {}).await.unwrap().into_inner().nodes }
    };
    assert_eq!(list(NETWORK).await, [given]);
    assert_eq!(list(OTHER_NETWORK).await, []);
    // An identifier is of one company: another one's node stands at row 1.
    let store = Store { store_id: "H8".into(), name: "营业厅".into(), region_code: "110101000000".into() };
    let mut suppliers = world.suppliers(caller(OTHER_NETWORK));
    suppliers.register_stores(RegisterStoresRequest { stores: vec![store] }).await.unwrap();
    let nodes = vec![node("G3", "H8", Water), node("G1", "H8", Water)];
    let taken = register_nodes(&world, OTHER_NETWORK, nodes).await.unwrap_err();
    assert_eq!(fields(&taken), ["nodes[1].node_id"]);
    assert_eq!(reason::<()>(Err(taken)), "IDENTIFIER_TAKEN");
    assert_eq!(list(OTHER_NETWORK).await, [], "all or nothing");
}

#[tokio::test]
async fn of_two_companies_that_register_one_store_at_once_one_does() {
    let world = World::start().await;
    for number in 0..8 {
        let register = async |tenant| {
            let (name, region_code) = ("营业厅".into(), "110101000000".into());
            let stores = vec![Store { store_id: format!("H{number}"), name, region_code }];
            world.suppliers(caller(tenant)).register_stores(RegisterStoresRequest { stores }).await.map(drop)
        };
        let (one, other) = tokio::join!(register(RETAIL), register(OTHER_RETAIL));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        assert_eq!(reason(one.and(other)), "IDENTIFIER_TAKEN");
    }
}

#[tokio::test]
async fn the_command_line_registers_what_the_calls_register() {
    let world = World::start().await;
    let command = |line: &str| {
        let arguments = Arguments::parse_from(std::iter::once("billing").chain(line.split_whitespace()));
        let settings = [("billing_database_url".to_owned(), world.database.url.clone())];
        run(arguments, Reader::new(settings.into()))
    };
    for line in [
        "catalogue add-category-item N000000000000001 1001 --name 电费 --utility 2",
        "catalogue add-category-item N000000000000001 1101 --name 基金 --utility 2 --surcharge",
        "catalogue add-account-item N000000000000001 101001 --name 居民 --utility 2 --category-item 1001",
        "store add N000000000000001 H000000000000009 --name 新名 --region 310101000000",
        "node add N000000000000001 G1 --name 台区 --store H000000000000009 --utility 2",
    ] {
        command(line).await.unwrap();
    }
    let listed = command("catalogue list N000000000000001").await.unwrap();
    assert_eq!(
        listed.text(),
        "category item\t1001\t2\tmain\t电费\ncategory item\t1101\t2\tsurcharge\t基金\naccount item\t101001\t2\t1001\t居民\n"
    );
    assert_eq!(command("node list N000000000000001").await.unwrap().text(), "G1\tH000000000000009\t2\t台区\n");
    assert_eq!(command("store list N000000000000001").await.unwrap().text(), "H000000000000009\t310101000000\t新名\n");
    for (line, words) in [
        ("catalogue add-category-item N000000000000001 1001 --name 水费 --utility 1", "another utility"),
        ("node add S000000000000001 G1 --name 台区 --store H000000000000001 --utility 2", "only a network company"),
        ("node add N000000000000009 G1 --name 台区 --store H000000000000001 --utility 2", "there is no company"),
        ("store add N000000000000001 H --name 店 --region 1234567890123456789012", "region_code"),
    ] {
        let error = command(line).await.unwrap_err().to_string();
        assert!(error.contains(words), "{line}: {error}");
    }
}
