//! The content of the OpenAPI document, and its form.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::Value;

use super::document;
use crate::plan::Contract;

fn of_this_build() -> Value {
    document(&Contract::load().unwrap()).unwrap()
}

/// Every value of a document, with its path.
fn walk(value: &Value, path: &str, visit: &mut impl FnMut(&str, &Value)) {
    visit(path, value);
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| walk(value, &format!("{path}/{key}"), visit)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| walk(value, &format!("{path}/{index}"), visit));
        }
        _ => {}
    }
}

#[test]
fn every_reference_has_a_target() {
    let document = of_this_build();
    let mut references = 0;
    walk(&document, "", &mut |path, value| {
        if let Some(reference) = value.get("$ref") {
            let pointer = reference.as_str().unwrap().strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{path}: {pointer}");
            references += 1;
        }
    });
    assert!(references > 50);
}

#[test]
fn every_schema_and_operation_is_well_formed() {
    let document = of_this_build();
    let mut identifiers = std::collections::HashSet::new();
    walk(&document["paths"], "", &mut |path, value| {
        if let Some(identifier) = value.get("operationId").and_then(Value::as_str) {
            assert!(identifiers.insert(identifier.to_owned()), "{identifier} twice");
            assert!(value["summary"].as_str().is_some_and(|text| !text.is_empty()), "{path}");
            assert!(value["responses"]["200"]["content"]["application/json"]["schema"].is_object(), "{path}");
        }
    });
    let types = ["object", "array", "string", "number", "integer", "null"];
    walk(&document, "", &mut |path, value| {
        let Some(given) =
            value.get("type").filter(|_| !path.ends_with("/properties") && !path.contains("securitySchemes"))
        else {
            return;
        };
        let given: Vec<_> = given.as_array().cloned().unwrap_or_else(|| vec![given.clone()]);
        assert!(given.iter().all(|kind| types.contains(&kind.as_str().unwrap())), "{path}: {given:?}");
        if let (Some(required), Some(properties)) = (value.get("required"), value.get("properties")) {
            for key in required.as_array().unwrap() {
                assert!(properties.get(key.as_str().unwrap()).is_some(), "{path}: {key}");
            }
        }
        if given.contains(&"array".into()) {
            assert!(value["items"].is_object(), "{path}");
        }
    });
    assert!(!document.to_string().contains("multipleOf"));
}

#[test]
fn documented_names_lengths_and_codes_are_described() {
    let document = of_this_build();
    let update = &document["paths"]["/Service/v1/UpdateSalePackagePrice/"]["post"];
    assert_eq!(update["summary"], "销售公司修改零售套餐价格");
    let body = &update["requestBody"]["content"]["application/json"]["schema"];
    let keys: Vec<_> = body["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["SYS_HEAD", "COM_SALES_PRICE"]);
    assert_eq!(body["properties"]["COM_SALES_PRICE"]["maxItems"], 1000);
    let row = &document["components"]["schemas"]["billing.SalePackagePriceRow.Request"]["properties"];
    assert_eq!(row["CHARGE_PACK_DID"]["maxLength"], 16);
    assert!(row["CAT_ITEM_PRICE"]["description"].as_str().unwrap().contains("分类项目单价"));
    assert!(row["CAT_ITEM_PRICE"]["description"].as_str().unwrap().contains("14 digits, 6 after the point"));
    assert_eq!(row["CAT_ITEM_PRICE"]["type"], "number");
    assert!(row["NETWORK_TYPE"]["description"].as_str().unwrap().contains("`2` 电"));
    let head = &document["components"]["schemas"]["epeis.SYS_HEAD"];
    assert_eq!(head["properties"]["DYNAMIC_KEY"]["maxLength"], 64);
    let refusal = &document["components"]["schemas"]["epeis.Refusal"]["properties"]["CODE"]["description"];
    assert!(refusal.as_str().unwrap().contains("- `3002` PACKAGE_STATE"));
}

#[test]
fn a_refusal_is_told_from_a_reply_by_its_code_and_from_others_by_a_header() {
    let document = of_this_build();
    let code = |schema: &str, key: &str| document["components"]["schemas"][schema]["properties"][key]["enum"].clone();
    let (epeis, hc) = (code("epeis.Refusal", "CODE"), code("hc.Refusal", "code"));
    for (codes, known) in [(&epeis, [Value::from(3002), 415.into()]), (&hc, ["404".into(), "415".into()])] {
        let codes = codes.as_array().unwrap();
        assert!(known.iter().all(|code| codes.contains(code)), "{codes:?}");
        assert!(!codes.contains(&0.into()) && !codes.contains(&"0".into()));
    }
    let headers = &document["components"]["headers"];
    let reasons = headers["x-reason"]["schema"]["enum"].as_array().unwrap();
    for reason in ["PACKAGE_STATE", "FEE_ENDED", "REQUEST_ID_REUSED", "BODY_ENCODED"] {
        assert!(reasons.contains(&reason.into()), "{reason}");
    }
    let arrears = &document["paths"]["/Service/v1/QueryUserArrearages/"]["post"];
    let books = &document["paths"]["/Service/v1/QuerySupplierBook/"]["post"];
    let asks = |operation: &Value| operation["parameters"].to_string().contains("x-max-staleness-ms");
    assert_eq!((asks(arrears), asks(books)), (true, false), "staleness is offered where it is supported");
    let example = &arrears["requestBody"]["content"]["application/json"]["example"]["ACC_VOLPRICE_OWE"];
    assert_eq!(example, &serde_json::json!({ "BOOK_AID": "B000000000000001" }), "all arrears are no example");
    assert_eq!(books["responses"]["415"]["headers"].as_object().unwrap().len(), 2);
    // EPEIS queries leave out a coded filter by sending an empty text.
    let filter = &document["components"]["schemas"]["billing.BookFilter.Request"]["properties"]["NETWORK_TYPE"];
    assert!(filter["enum"].as_array().unwrap().contains(&"".into()), "{filter}");
}

#[test]
fn headers_aliases_and_legacy_lists_of_hc_are_described() {
    let document = of_this_build();
    let list = &document["paths"]["/app/feeConfig.listFeeConfigs"]["get"];
    let names: Vec<_> = list["parameters"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names[..6], ["app-id", "transaction-id", "req-time", "sign", "page", "row"]);
    let types = list["parameters"].as_array().unwrap().iter().map(|parameter| &parameter["schema"]["type"]);
    assert!(types.clone().all(Value::is_string), "the page fills in no other: {:?}", types.collect::<Vec<_>>());
    let filled = list["parameters"].as_array().unwrap().iter().filter(|parameter| parameter.get("example").is_some());
    let filled: Vec<_> = filled.map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert_eq!(filled, ["app-id", "transaction-id", "req-time", "page", "row", "communityId"], "and no filter");
    let reply = &list["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"][0];
    let keys: Vec<_> = reply["properties"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "msg", "feeConfigs", "page", "records", "rows", "total"]);
    let update = &document["paths"]["/app/feeConfig.updateFeeConfig"]["post"];
    let body = &update["requestBody"]["content"]["application/json"]["schema"]["properties"];
    let taken = body["billType"]["enum"].as_array().unwrap();
    assert!(taken.contains(&"002".into()) && taken.contains(&"MONTHLY".into()));
    let reply = &update["responses"]["200"]["content"]["application/json"]["schema"]["oneOf"][0];
    assert_eq!(reply["properties"]["data"]["type"], "null");
    // An unset optional field is left out of an answer, so it is not required there.
    let item = &document["components"]["schemas"]["community.FeeConfig"];
    assert!(item["properties"].get("prepaymentPeriod").is_some());
    assert!(!item["required"].as_array().unwrap().contains(&"prepaymentPeriod".into()));
}

/// Queries of EPEIS are POST, those of HC are GET.
#[test]
fn each_query_has_an_example_that_can_be_sent() {
    let document = of_this_build();
    let mut queries = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let get = &operations["get"];
        if get.is_object() {
            let required =
                get["parameters"].as_array().unwrap().iter().filter(|parameter| parameter["required"] == true);
            let without: Vec<_> = required.filter(|parameter| parameter.get("example").is_none()).collect();
            assert!(without.is_empty(), "{path}: {without:?}");
        } else if path.starts_with("/Service/v1/Query") {
            let body = &operations["post"]["requestBody"]["content"]["application/json"];
            assert!(body["example"].is_object(), "{path}");
        } else {
            continue;
        }
        queries += 1;
    }
    assert!(queries > 40, "{queries}");
}

#[test]
fn the_keys_of_an_inline_message_stand_beside_the_others() {
    let document = of_this_build();
    let image = &document["components"]["schemas"]["community.FeeConfigImage"];
    let properties = image["properties"].as_object().unwrap();
    assert!(properties.contains_key("feeName") && properties.contains_key("operate"));
    assert!(!properties.contains_key("item"));
}
