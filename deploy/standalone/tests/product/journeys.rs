//! Journeys of a client over REST from end to end, as documented.

use std::path::Path;

use communal_fixtures::credentials::billing::{self, NETWORK, OTHER_RETAIL, RETAIL, STORE};
use communal_fixtures::credentials::community::{self, HOME, OPERATOR_NAME};
use communal_fixtures::{fee_items, packages, receivables};
use communal_proto::billing::v1::catalogue_service_client::CatalogueServiceClient;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::supplier_service_client::SupplierServiceClient;
use communal_proto::billing::v1::{ReceivableLine, RegisterStoresRequest, Store};
use communal_proto::community::v1 as pb;
use communal_proto::community::v1::community_service_client::CommunityServiceClient;
use communal_proto::community::v1::payer_object_service_client::PayerObjectServiceClient;
use reqwest::StatusCode;
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
    let (categories, items) = packages::electricity_item("1122.01");
    let mut catalogue = CatalogueServiceClient::new(product.billing().await);
    catalogue.register_category_items(billing::request(NETWORK, categories)).await.unwrap();
    catalogue.register_account_items(billing::request(NETWORK, items)).await.unwrap();
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

/// The answer to a signed call whose time is not now.
const LATE: &str = "鉴权失败：requestTime 与服务器时间相差超过15分钟，应为Asia/Shanghai的当前时间";

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
        ("signed long ago", signed(old, &late), 401, LATE),
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

/// A successful call of HC, as its page makes it.
async fn hc(product: &Product, method: &str, code: &str, request: Value, id: &str) -> Value {
    let reply = product.hc(method, code, &request, id).await;
    assert_eq!((reply.status, &reply.json["code"]), (200, &json!("0")), "{code}: {}", reply.text);
    reply.json
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_charged_owes_and_is_billed_as_the_page_does_it() {
    let product = Product::start().await;
    let room = |id: &str| pb::PayerObject {
        built_up_area: "60".into(),
        owner_id: "O1".into(),
        owner_name: "王五".into(),
        owner_tel: "13800000000".into(),
        ..fee_items::room(id)
    };
    let car = pb::PayerObject { payer_obj_type: pb::PayerObjectType::Car.into(), ..room("C1") };
    let objects =
        pb::RegisterPayerObjectsRequest { community_id: HOME.into(), payer_objects: vec![room("R1"), room("R2"), car] };
    let mut register = PayerObjectServiceClient::new(product.community().await);
    register.register_payer_objects(community::request(objects)).await.unwrap();
    // 60 × 2.5 + 100 a month, sent as the page does: numbers as text, empty strings, its own state.
    let item = async |name: &str, formula: &str, flag: &str, id: &str| {
        let request = json!({
            "configId": "", "feeTypeCd": "888800010001", "feeName": name, "feeFlag": flag,
            "startTime": "2024-01-01", "endTime": "2050-12-31", "computingFormula": formula, "squarePrice": "2.5",
            "additionalAmount": "100", "communityId": HOME, "billType": "002", "paymentCd": "1200",
            "paymentCycle": "1", "state": "Y", "scale": "1", "decimalPlace": "2", "units": "元",
            "prepaymentPeriod": "", "feeTypeCds": [{"statusCd": "888800010001"}],
        });
        hc(&product, "POST", "feeConfig.saveFeeConfig", request, id).await;
        let query = json!({"page": "1", "row": "10", "communityId": HOME, "feeNameEq": name});
        let listed = hc(&product, "GET", "feeConfig.listFeeConfigs", query, &format!("{id}-list")).await;
        listed["feeConfigs"][0]["configId"].as_str().unwrap().to_owned()
    };
    let property = item("物业费", "1001", "1003006", "i1").await;
    let water = item("水费", "5005", "2006012", "i2").await;
    let charge = |room: &str| {
        json!({
            "communityId": HOME, "locationObjId": room, "configId": property, "storeId": "", "startTime": "2024-01-01",
            "endTime": "", "amount": "", "feeFlag": "1003006", "computingFormula": "1001", "rateCycle": "", "rate": "",
            "rateStartTime": "", "feeTypeCds": [], "floorId": "", "roomId": room, "isMore": false,
        })
    };
    let charged = hc(&product, "POST", "fee.saveRoomCreateFee", charge("R1"), "c1").await;
    assert_eq!(
        (&charged["totalRoom"], &charged["successRoom"], &charged["errorRoom"]),
        (&json!(1), &json!(1), &json!(0))
    );
    let again = product.hc("POST", "fee.saveRoomCreateFee", &charge("R1"), "c2").await;
    assert_eq!(again.json["msg"], "付费对象R1已有相同费用项和起始时间的费用");
    let nobody = product.hc("POST", "fee.saveRoomCreateFee", &charge("R9"), "c3").await;
    assert_eq!(nobody.json["msg"], "未查到需要付费的房屋或未绑定业主");
    let car = json!({
        "communityId": HOME, "locationTypeCd": "2000", "locationObjId": "C1", "configId": property, "storeId": "",
        "startTime": "2024-01-01", "endTime": "", "carState": [], "amount": "",
    });
    assert_eq!(hc(&product, "POST", "fee.saveParkingSpaceCreateFee", car, "c4").await["successCar"], 1);
    let reading = json!({
        "communityId": HOME, "configId": water, "objType": "3333", "objId": "R1", "preDegrees": "100",
        "curDegrees": "156.5", "preReadingTime": "2024-02-01 09:00:00", "curReadingTime": "2024-03-01 09:00:00",
        "meterType": "2020", "price": "0", "remark": "",
    });
    assert_eq!(hc(&product, "POST", "meterWater.saveMeterWater", reading, "c5").await["data"], Value::Null);

    let fees =
        json!({"page": 1, "row": 10, "communityId": HOME, "payerObjId": "R1", "state": "2008001", "feeFlag": ""});
    let fees = hc(&product, "GET", "fee.listFee", fees, "l1").await;
    assert_eq!((&fees["total"], &fees["records"]), (&json!(2), &json!(1)));
    let water_fee = &fees["fees"][0];
    assert_eq!((&water_fee["amountOwed"], &water_fee["feePrice"]), (&json!("241.25"), &json!(241.25)));
    let fee_id = fees["fees"][1]["feeId"].as_str().unwrap();
    // The same command by either name.
    for code in ["feeApi/listFeeObj", "feeApi.listFeeObj"] {
        let quote = json!({"communityId": HOME, "feeId": fee_id, "cycle": "3", "page": 1, "row": 1});
        let quote = hc(&product, "GET", code, quote, &format!("q-{code}")).await;
        assert_eq!((&quote["data"]["feeTotalPrice"], &quote["data"]["ownerName"]), (&json!(750.0), &json!("王五")));
    }
    let until = json!({"communityId": HOME, "feeId": fee_id, "cycle": "103", "custEndTime": "2024-02-16"});
    assert_eq!(hc(&product, "GET", "feeApi/listFeeObj", until, "q3").await["data"]["feeTotalPrice"], json!(379.3));
    let owed = json!({"communityId": HOME, "ownerId": "O1", "targetEndTime": "2024-03-31", "payObjId": "", "page": 1, "row": 50});
    let owed = hc(&product, "GET", "feeApi/listOweFees", owed, "o1").await;
    let amounts: Vec<_> = owed["data"].as_array().unwrap().iter().map(|fee| fee["amountOwed"].clone()).collect();
    assert_eq!(amounts, ["750.00", "750.00", "241.25"]);
    let neither = product.hc("GET", "feeApi/listOweFees", &json!({"communityId": HOME}), "o2").await;
    assert_eq!(neither.json["msg"], "费用对象或者业主不能都为空");
    let report = json!({"page": "1", "row": "10", "communityId": HOME, "billType": "00123", "roomNum": ""});
    let report = hc(&product, "GET", "reportOweFee/queryReportOweFee", report, "o3").await;
    assert_eq!((&report["total"], &report["data"][0]["payerObjId"]), (&json!(2), &json!("R1")));

    // A batch is asked to be undone, and by its own applicant in vain.
    let batches = json!({"page": 1, "row": 10, "communityId": HOME, "state": ""});
    let batches = hc(&product, "GET", "payFeeBatch.listPayFeeBatch", batches, "b1").await;
    let batch = batches["data"][0]["batchId"].as_str().unwrap();
    let apply = json!({"batchId": batch, "communityId": HOME, "remark": "录错"});
    hc(&product, "POST", "payFeeBatch.applyDeletePayFeeBatchCmd", apply, "b2").await;
    let approve = json!({"batchId": batch, "communityId": HOME, "state": "1100", "msg": "同意"});
    let own = product.hc("POST", "payFeeBatch.updatePayFeeBatch", &approve, "b3").await;
    assert_eq!(own.json["msg"], "不能审核自己的申请");
    let finish = json!({"communityId": HOME, "feeId": fee_id});
    hc(&product, "POST", "fee.finishFee", finish.clone(), "f1").await;
    assert_eq!(product.hc("POST", "fee.finishFee", &finish, "f2").await.json["msg"], "结束费用失败");

    // In bill mode the same page makes a rule and prorated bills.
    let on = pb::CommunitySetting { key: "PAY_FEE_MONTH".into(), value: "ON".into() };
    let settings = pb::PutCommunitySettingsRequest { community_id: HOME.into(), settings: vec![on] };
    let mut communities = CommunityServiceClient::new(product.community().await);
    communities.put_community_settings(community::request(settings)).await.unwrap();
    let mut charge = charge("R2");
    charge["startTime"] = json!("2024-01-15");
    hc(&product, "POST", "fee.saveRoomCreateFee", charge, "r1").await;
    let rules = json!({"page": 1, "row": 10, "communityId": HOME, "feeId": ""});
    let rules = hc(&product, "GET", "payFeeRule.listPayFeeRule", rules, "r2").await;
    let rule_id = rules["data"][0]["ruleId"].as_str().unwrap();
    let bills = json!({"page": 1, "row": 10, "communityId": HOME, "ruleId": rule_id, "curYearMonth": "2024-01-15"});
    let bills = hc(&product, "GET", "payFeeRule.listPayFeeRuleBill", bills, "r3").await;
    assert_eq!((&bills["total"], &bills["data"][0]["amountOwed"]), (&json!(1), &json!("137.10")));
    let finish = json!({"ruleId": rule_id, "communityId": HOME, "state": "2009001", "oldCurYearMonth": "2024-01-15"});
    hc(&product, "POST", "payFeeRule.updatePayFeeRule", finish, "r4").await;
    hc(&product, "POST", "payFeeRule.deletePayFeeRule", json!({"ruleId": rule_id, "communityId": HOME}), "r5").await;
    product.stop().await;
}

/// The gateway names the first faults that it finds and counts the others; the service tells them as it tells its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_wrong_values_than_a_header_names_are_counted_and_none_is_said_to_be_missing() {
    let product = Product::start().await;
    let row = json!({"CHARGE_PACK_DID": "P1", "ACCOUNT_ITEM_INFO": {}, "NETWORK_TYPE": "9", "CAT_ITEM_PRICE": "1"});
    let body = json!({"SYS_HEAD": sys_head(RETAIL), "COM_SALES_PRICE": vec![row; 400]});
    let url = format!("http://{}/Service/v1/UpdateSalePackagePrice/", product.gateway);
    let reply = product.http.post(url).json(&body).send().await.unwrap();
    assert_eq!((reply.status(), &reply.headers()["x-reason"]), (StatusCode::OK, &"FIELD_MALFORMED".parse().unwrap()));
    let reply: Value = reply.json().await.unwrap();
    let message = reply["MESSAGE"].as_str().unwrap();
    assert_eq!(reply["CODE"], 2002, "{message}");
    assert!(message.contains("COM_SALES_PRICE[0].NETWORK_TYPE 服务类型不在规定的代码范围内"), "{message}");
    assert!(message.ends_with("；等至少1200处错误") && message.len() <= 1_000, "{message}");
    assert!(!message.contains("不能为空"), "{message}");
    product.stop().await;
}
