//! Journeys of a client over REST from end to end, as documented.

use std::path::Path;

use communal_fixtures::credentials::billing::{self, NETWORK, OTHER_RETAIL, RETAIL, STORE};
use communal_fixtures::credentials::community::OPERATOR_NAME;
use communal_fixtures::receivables;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::supplier_service_client::SupplierServiceClient;
use communal_proto::billing::v1::{ReceivableLine, RegisterStoresRequest, Store};
use serde_json::{Value, json};

use crate::harness::{Product, sys_head};

fn contract(path: &str) -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/contracts").join(path);
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

fn documented_keys(interface: &str, block: &str) -> Vec<String> {
    let fields = contract(&format!("epeis/{interface}.json"))["response"][block]["fields"].clone();
    fields.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap().to_owned()).collect()
}

fn keys(row: &Value) -> Vec<String> {
    row.as_object().unwrap().keys().cloned().collect()
}

async fn post(product: &Product, tenant: &str, interface: &str, blocks: Value) -> Value {
    let mut body = blocks;
    body["SYS_HEAD"] = sys_head(tenant);
    let reply = product.epeis(&format!("/Service/v1/{interface}/"), &body).await;
    assert_eq!((reply.status, &reply.json["CODE"]), (200, &json!(0)), "{interface}: {}", reply.text);
    assert_eq!(keys(&reply.json), ["CODE", "MESSAGE", "DATA"], "{interface}");
    reply.json["DATA"].clone()
}

fn price(package: &str, tier: &str, price: &str, lower: i64, upper: i64) -> Value {
    json!({
        "CHARGE_PACK_DID": package, "ACCOUNT_ITEM_INFO": "1122.01", "NETWORK_TYPE": "2", "AGREE_PRICE_YESNO": "1",
        "CAT_ITEM_PRICE": serde_json::from_str::<Value>(price).unwrap(), "PRICE_UNIT_NAME": "元/千瓦时",
        "TIME_FEES_TYPE": "1", "LADDER_TYPE": "2", "LADDER_LEVEL_TYPE": tier,
        "LADDER_LOWER_LIMIT": lower, "LADDER_UPPER_LIMIT": upper,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_package_from_draft_to_a_second_price() {
    let product = Product::start().await;
    let store = Store { store_id: STORE.into(), name: "营业厅".into(), region_code: "110101000000".into() };
    SupplierServiceClient::new(product.billing().await)
        .register_stores(billing::request(RETAIL, RegisterStoresRequest { stores: vec![store] }))
        .await
        .unwrap();
    let package = json!({
        "NETWORK_CO_DID": NETWORK, "RET_STORES_AID": STORE, "CHARGE_PACK_NAME": "居民阶梯",
        "PACK_REMARK": "北京居民年阶梯", "ACCOUNT_ITEM_INFO": "1122.01", "NETWORK_TYPE": "2",
        "COMP_DEVIATION_YESNO": "1", "AGREE_PRICE_YESNO": "1", "TIME_FEES_TYPE": "1", "LADDER_TYPE": "2",
        "LADDER_NUM_TYPE": "3", "ALLOW_CANCELL_YESNO": "2", "RETAIL_VOLTAGE_GRADE_TYPE": "1",
        "TRANS_VOLTAGE_TYPE": "9",
    });
    assert_eq!(post(&product, RETAIL, "AddSalePackage", json!({"COM_SALES_PACK": package})).await, json!({}));
    let again = json!({"SYS_HEAD": sys_head(RETAIL), "COM_SALES_PACK": package});
    // Without the trailing slash as well.
    let refused = product.epeis("/Service/v1/AddSalePackage", &again).await;
    assert_eq!(refused.json["CODE"], 3003, "{}", refused.text);

    let listed = post(&product, RETAIL, "QuerySalePackage", json!({"COM_SALES_PACK": {"NETWORK_TYPE": "2"}})).await;
    let row = &listed["COM_SALES_PACK"][0];
    assert_eq!(keys(row), documented_keys("QuerySalePackage", "COM_SALES_PACK"));
    assert_eq!((&row["CHARGE_PACK_NAME"], &row["PACK_STATE_TYPE"]), (&json!("居民阶梯"), &json!("1")));
    let id = row["CHARGE_PACK_DID"].as_str().unwrap().to_owned();

    let rows = json!([price(&id, "1", "0.4883", 0, 2880), price(&id, "2", "0.5383", 2880, 4800)]);
    post(&product, RETAIL, "AddSalePackagePrice", json!({"COM_SALES_PRICE": rows})).await;
    let named = json!({"COM_SALES_PACK": [{"CHARGE_PACK_DID": id}]});
    // The third tier has no price yet.
    let early = json!({"SYS_HEAD": sys_head(RETAIL), "COM_SALES_PACK": named["COM_SALES_PACK"]});
    let refused = product.epeis("/Service/v1/ApplyPutOnSalesPackage/", &early).await;
    assert_eq!(refused.json["CODE"], 3005, "{}", refused.text);
    let rows = json!([price(&id, "3", "0.7883", 4800, 0)]);
    post(&product, RETAIL, "AddSalePackagePrice", json!({"COM_SALES_PRICE": rows})).await;
    post(&product, RETAIL, "ApplyPutOnSalesPackage", named.clone()).await;
    let today = chrono::Utc::now().with_timezone(&chrono::FixedOffset::east_opt(8 * 3600).unwrap());
    let today: i64 = today.format("%Y%m%d").to_string().parse().unwrap();
    let start = json!({"COM_SALES_PACK": {"CHARGE_PACK_DID": id, "STARTUP_DATE": today}});
    post(&product, RETAIL, "PutOnSalePackage", start).await;

    // One row is faulty, so none changes; the faulty one is named.
    let mut rows = json!([price(&id, "1", "0.5", 0, 2880), price(&id, "2", "0.6000001", 2880, 4800)]);
    let bad = json!({"SYS_HEAD": sys_head(RETAIL), "COM_SALES_PRICE": rows});
    let refused = product.epeis("/Service/v1/UpdateSalePackagePrice/", &bad).await;
    assert!(refused.json["MESSAGE"].as_str().unwrap().contains("COM_SALES_PRICE[1].CAT_ITEM_PRICE"));
    rows[1] = price(&id, "2", "0.6", 2880, 4800);
    post(&product, RETAIL, "UpdateSalePackagePrice", json!({"COM_SALES_PRICE": rows})).await;

    let page = json!({"SYS_PAGE": {"PAGE_NO": 1, "PAGE_ROWS": 2}, "COM_SALES_PACK": {"CHARGE_PACK_DID": id}});
    let prices = post(&product, RETAIL, "QuerySalePackagePrice", page).await;
    assert_eq!(prices["SYS_PAGE"], json!({"PAGE_NO": 1, "PAGE_ROWS": 2, "NEXT_YESNO": "2", "TOTAL": 3}));
    assert_eq!(keys(&prices["COM_SALES_PRICE"][0]), documented_keys("QuerySalePackagePrice", "COM_SALES_PRICE"));
    // Decimals are bare numbers with all documented digits.
    let body = json!({"SYS_HEAD": sys_head(RETAIL), "SYS_PAGE": {"PAGE_NO": 1, "PAGE_ROWS": 9}, "COM_SALES_PACK": {"CHARGE_PACK_DID": id}});
    let reply = product.epeis("/Service/v1/QuerySalePackagePrice/", &body).await;
    for printed in ["\"CAT_ITEM_PRICE\":0.500000", "\"CAT_ITEM_PRICE\":0.600000", "\"CAT_ITEM_PRICE\":0.788300"] {
        assert!(reply.text.contains(printed), "{printed} in {}", reply.text);
    }

    let one = json!({"COM_SALES_PACK": {"CHARGE_PACK_DID": id}});
    let tags = post(&product, RETAIL, "QuerySalePackageTags", one.clone()).await;
    let tags = tags["INOUT_COM_PRO_PRICE"].as_array().unwrap();
    assert_eq!(keys(&tags[0]), documented_keys("QuerySalePackageTags", "INOUT_COM_PRO_PRICE"));
    let closed = tags.iter().filter(|t| t["OUTAGE_DATE"] == today).count();
    let open = tags.iter().filter(|t| t["OUTAGE_DATE"] == 0).count();
    assert_eq!((closed, open), (2, 3), "two closed versions, three in force");

    let details = post(&product, RETAIL, "QuerySalePackDetails", one.clone()).await;
    assert_eq!(keys(&details), ["COM_SALES_PACK", "COM_SALES_PACK_TMPMONTH"]);
    assert_eq!(keys(&details["COM_SALES_PACK"][0]), documented_keys("QuerySalePackDetails", "COM_SALES_PACK"));
    // A package of another company is answered as one that does not exist.
    let mut foreign = one;
    foreign["SYS_HEAD"] = sys_head(OTHER_RETAIL);
    let theirs = product.epeis("/Service/v1/QuerySalePackDetails/", &foreign).await;
    foreign["COM_SALES_PACK"]["CHARGE_PACK_DID"] = json!("P999999999999999");
    let nobodys = product.epeis("/Service/v1/QuerySalePackDetails/", &foreign).await;
    assert_eq!((&theirs.json["CODE"], &theirs.json["MESSAGE"]), (&json!(3001), &nobodys.json["MESSAGE"]));

    post(&product, RETAIL, "CancelSalesPackage", named).await;
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arrears_have_all_sixty_one_keys_in_documented_order() {
    let product = Product::start().await;
    let line = ReceivableLine {
        node_id: String::new(),
        quantity: "220".into(),
        unit_price: "0.5383".into(),
        fee: "118.43".into(),
        paid_total: "18.4".into(),
        latest_paid: "18.4".into(),
        latest_paid_date: 20_240_210,
        latest_payment_id: "Y000000000000001".into(),
        ..receivables::line(1, 202_401)
    };
    let mut settled = receivables::paid(line.clone());
    settled.settlement_account_id = "A000000000000002".into();
    let stream = tokio_stream::iter(receivables::import("b1", &[line, settled], 2));
    let imported = ReceivableServiceClient::new(product.billing().await)
        .import_receivable_lines(billing::request(RETAIL, stream))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((imported.lines, imported.outstanding_lines), (2, 1));

    let filter = json!({"ACC_VOLPRICE_OWE": {"BOOK_AID": "B000000000000001"}});
    for (tenant, rows) in [(NETWORK, 1), (RETAIL, 1), (OTHER_RETAIL, 0)] {
        let data = post(&product, tenant, "QueryUserArrearages", filter.clone()).await;
        assert_eq!(data["ACC_VOLPRICE_OWE"].as_array().unwrap().len(), rows, "{tenant}");
    }
    let mut body = filter;
    body["SYS_HEAD"] = sys_head(RETAIL);
    let reply = product.epeis("/Service/v1/QueryUserArrearages/", &body).await;
    let row = &reply.json["DATA"]["ACC_VOLPRICE_OWE"][0];
    let documented = documented_keys("QueryUserArrearages", "ACC_VOLPRICE_OWE");
    assert_eq!((keys(row).len(), keys(row)), (61, documented));
    for printed in [
        "\"CHARGE_PRICE\":0.538300",
        "\"CALC_FEE\":118.43",
        "\"ACCU_PAID_IN_FEE\":18.40",
        "\"THE_CHARGE_CONS\":220.00",
        "\"CHARGE_PACK_TYPE\":\"3\"",
        "\"NODE_AID\":\"\"",
        "\"LAST_PAID_IN_DATE\":0",
        "\"THE_PAID_IN_DATE\":20240210",
    ] {
        assert!(reply.text.contains(printed), "{printed} in {}", reply.text);
    }
    // A call without any block asks for everything that is visible.
    let bare = product.epeis("/Service/v1/QueryUserArrearages", &json!({"SYS_HEAD": sys_head(NETWORK)})).await;
    assert_eq!(bare.json["DATA"]["ACC_VOLPRICE_OWE"].as_array().unwrap().len(), 1, "{}", bare.text);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fee_item_from_save_to_its_history() {
    let product = Product::start().await;
    let ok = json!({"code": "0", "msg": "成功", "data": null});
    // As in the documented save request, aliases included.
    let save = json!({
        "feeTypeCd": "888800010001", "feeName": "物业费", "feeFlag": "Y", "startTime": "2024-01-01",
        "endTime": "2050-01-01", "computingFormula": "面积*单价", "squarePrice": "2.5", "additionalAmount": 0,
        "communityId": "10001", "billType": "MONTHLY", "paymentCd": "PREPAID", "paymentCycle": "MONTH",
        "state": "ENABLED", "prepaymentPeriod": "15", "feeTypeCds": [], "configId": "",
    });
    let saved = product.hc("POST", "feeConfig.saveFeeConfig", &save, "t1").await;
    assert_eq!(saved.json, ok, "{}", saved.text);
    assert_eq!(saved.text, r#"{"code":"0","msg":"成功","data":null}"#);
    // The same request again is the same request; another under its id is not.
    assert_eq!(product.hc("POST", "feeConfig.saveFeeConfig", &save, "t1").await.json, ok);
    let mut other = save.clone();
    other["feeName"] = json!("别的");
    let reused = product.hc("POST", "feeConfig.saveFeeConfig", &other, "t1").await;
    assert_eq!(reused.json["code"], "404", "{}", reused.text);
    let taken = product.hc("POST", "feeConfig/saveFeeConfig", &save, "t2").await;
    assert_eq!(taken.json, json!({"code": "404", "msg": "物业费已存在", "data": null}));

    let list = json!({"page": 1, "row": 10, "communityId": "10001", "feeName": "物", "state": ""});
    let listed = product.hc("GET", "feeConfig.listFeeConfigs", &list, "q1").await;
    assert_eq!(keys(&listed.json), ["code", "msg", "feeConfigs", "page", "records", "rows", "total"]);
    let row = &listed.json["feeConfigs"][0];
    for (key, value) in [
        ("feeFlag", "1003006"),
        ("feeFlagName", "周期性费用"),
        ("computingFormula", "1001"),
        ("billType", "002"),
        ("paymentCd", "1200"),
        ("paymentCycle", "1"),
        ("squarePrice", "2.5"),
        ("additionalAmount", "0.0"),
        ("startTime", "2024-01-01 00:00:00"),
        ("endTime", "2050-01-01 23:59:59"),
        ("isDefault", "F"),
        ("state", "N"),
        ("prepaymentPeriod", "15"),
        ("scale", "1"),
        ("decimalPlace", "2"),
        ("statusCd", "0"),
    ] {
        assert_eq!(row[key], value, "{key} in {}", listed.text);
    }
    let config_id = row["configId"].as_str().unwrap().to_owned();
    assert!(config_id.starts_with("92"));

    // As in the documented update request.
    let mut update = json!({
        "configId": config_id, "feeTypeCd": "1001", "feeName": "物业费", "feeFlag": "Y", "startTime": "2024-01-01",
        "endTime": "2024-12-31", "computingFormula": "面积 * 单价 + 附加费", "squarePrice": 2.5,
        "additionalAmount": 100.0, "communityId": "10001", "billType": "MONTHLY", "state": "NA",
        "prepaymentPeriod": "",
    });
    let updated = product.hc("POST", "feeConfig.updateFeeConfig", &update, "t3").await;
    assert_eq!(updated.json, ok, "{}", updated.text);
    let listed = product.hc("GET", "feeConfig.listFeeConfigs", &list, "q2").await;
    let row = &listed.json["feeConfigs"][0];
    assert_eq!((&row["state"], &row["additionalAmount"]), (&json!("NA"), &json!("100.0")));
    assert_eq!(row.get("prepaymentPeriod"), None, "cleared by an empty text");

    let history = json!({"page": 1, "row": 10, "communityId": "10001", "configId": config_id});
    let history = product.hc("GET", "fee.queryHisFeeConfig", &history, "q3").await;
    let operations: Vec<_> =
        history.json["data"].as_array().unwrap().iter().map(|r| r["operate"].as_str().unwrap()).collect();
    assert_eq!(operations, ["ADD", "DEL", "ADD"], "{}", history.text);
    assert_eq!((&history.json["total"], &history.json["data"][0]["userName"]), (&json!(3), &json!(OPERATOR_NAME)));

    // Another community's operator channel sees nothing of it; a wrong community is refused.
    update["communityId"] = json!("10002");
    let missing = product.hc("POST", "feeConfig.updateFeeConfig", &update, "t4").await;
    assert_eq!(missing.json["msg"], "未找到该费用项");
    update["communityId"] = json!("99999");
    let refused = product.hc("POST", "feeConfig.updateFeeConfig", &update, "t5").await;
    assert_eq!((refused.status, &refused.json["msg"]), (200, &json!("传入小区ID非法，请正常操作")));
    let delete = json!({"configId": config_id, "communityId": "10001", "feeName": "ignored"});
    assert_eq!(product.hc("POST", "feeConfig.deleteFeeConfig", &delete, "t6").await.json, ok);
    product.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hc_call_is_accepted_with_its_documented_credentials_only() {
    let product = Product::start().await;
    let url = format!("http://{}/app/feeConfig.listFeeConfigs?page=1&row=10&communityId=10001", product.gateway);
    let now = chrono::Utc::now().with_timezone(&chrono::FixedOffset::east_opt(8 * 3600).unwrap());
    let time = now.format("%Y%m%d%H%M%S").to_string();
    let sign = |time: &str, payload: &str| {
        use md5::Digest;
        hex::encode(md5::Md5::digest(format!("100000000020231201143456123456{time}demo-app{payload}SECRET123")))
    };
    let query = "page=1&row=10&communityId=10001";
    let old = "20231201143456";
    let bearer = format!("Bearer {}", product.token);
    let tid = ("transaction-id", "100000000020231201143456123456");
    let browser = [("app-id", "micro-community"), tid, ("req-time", old), ("authorization", bearer.as_str())];
    let without = |name: &str| browser.iter().filter(|(key, _)| *key != name).copied().collect::<Vec<_>>();
    let (plain, asked, late) = (sign(&time, query), sign(&time, &format!("?{query}")), sign(old, query));
    let signed = |time: &'static str, sign: &'static str| {
        vec![("app-id", "demo-app"), tid, ("req-time", time), ("sign", sign), ("authorization", "")]
    };
    let leak = |text: &str| -> &'static str { text.to_owned().leak() };
    let (time, bearer) = (leak(&time), leak(&bearer));
    let signed = |when: &'static str, sign: &str| -> Vec<(&str, &str)> {
        let mut headers = signed(when, leak(sign));
        headers.last_mut().unwrap().1 = bearer;
        headers
    };
    for (what, headers, status, words) in [
        ("a browser", browser.to_vec(), 200, "成功"),
        ("no app", without("app-id"), 401, "鉴权失败：APP_ID 为空或不正确"),
        ("no transaction", without("transaction-id"), 401, "鉴权失败：TRANSACTION_ID 不能为空"),
        ("no time", without("req-time"), 401, "鉴权失败：requestTime 格式不对，遵循yyyyMMddHHmmss格式"),
        ("no token", without("authorization"), 401, "您还没有登录，请先登录"),
        ("signed", signed(time, &plain), 200, "成功"),
        ("signed with the question mark", signed(time, &asked), 200, "成功"),
        ("signed otherwise", signed(time, &"0".repeat(32)), 401, "鉴权失败：签名失败"),
        ("signed long ago", signed(old, &late), 401, "鉴权失败：requestTime 格式不对，遵循yyyyMMddHHmmss格式"),
    ] {
        let mut request = product.http.get(&url);
        for (key, value) in headers {
            request = request.header(key, value);
        }
        let reply = request.send().await.unwrap();
        let (answered, json): (u16, Value) = (reply.status().as_u16(), reply.json().await.unwrap());
        assert_eq!((answered, json["msg"].as_str()), (status, Some(words)), "{what}: {json}");
        assert_eq!(json["code"] == "0", status == 200, "{what}: {json}");
    }
    product.stop().await;
}
