//! Requests that must be refused, however they are made.

use bytes::Bytes;
use communal_fixtures::credentials::billing::{OTHER_RETAIL, RETAIL};
use communal_fixtures::credentials::community::{HOME, OTHER};
use communal_fixtures::receivables;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::{
    ApplyPutOnSalesPackageRequest, ImportReceivableLinesRequest, ReceivableLine, UpdateSalePackagePriceRequest,
};
use communal_proto::community::v1::fee_item_service_client::FeeItemServiceClient;
use communal_proto::community::v1::{DeleteFeeConfigRequest, ListFeeConfigsRequest, RegisterPayerObjectsRequest};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::{ANSWER, IMPORT, UPDATE_PRICES};
use crate::abuse::Findings;
use crate::abuse::raw::{self, Ends, Http2, READING};
use crate::abuse::stage::{Signed, Stage, open_line, stored_lines};
use crate::clients::item_update_json;
use crate::deployment::Kind;

const APPLY: &str = "/communal.billing.v1.PackageService/ApplyPutOnSalesPackage";
const REGISTER: &str = "/communal.community.v1.PayerObjectService/RegisterPayerObjects";

/// A message of one kind of row, each empty, up to a size.
fn rows_of(row: &impl Message, bytes: usize) -> Bytes {
    let row = row.encode_to_vec();
    row.repeat(bytes / row.len().max(1)).into()
}

pub(super) async fn empty_rows(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    const MIB: usize = 1024 * 1024;
    let token = stage.token();
    let company = stage.metadata(OTHER_RETAIL);
    let app = stage.metadata_of_app(&token);
    let import = ImportReceivableLinesRequest { batch: None, lines: vec![ReceivableLine::default()] };
    let prices = UpdateSalePackagePriceRequest { rows: vec![Default::default()] };
    let apply = ApplyPutOnSalesPackageRequest { packages: vec![Default::default()] };
    let objects = RegisterPayerObjectsRequest { payer_objects: vec![Default::default()], ..Default::default() };
    for bytes in [MIB / 2, 3 * MIB / 2, 15 * MIB] {
        for (path, slot, metadata, message) in [
            (IMPORT, &stage.billing, &company[..], rows_of(&import, bytes)),
            (UPDATE_PRICES, &stage.billing, &company, rows_of(&prices, bytes)),
            (APPLY, &stage.billing, &company, rows_of(&apply, bytes)),
            (REGISTER, &stage.community, &app, rows_of(&objects, bytes)),
        ] {
            let connection = Http2::open(slot.address, READING).await?;
            let mut answers = Vec::new();
            for _ in 0..4 {
                answers.push(connection.request(raw::grpc(path, metadata)?, raw::framed(&message, None)).await?);
            }
            let ends = Ends::of_all(answers, ANSWER).await;
            let refused: usize = [Code::InvalidArgument, Code::ResourceExhausted, Code::OutOfRange]
                .into_iter()
                .map(|code| ends.of(&raw::name_of(code)))
                .sum();
            let method = path.rsplit('/').next().unwrap_or(path);
            findings.expect(refused == 4, format!("{method} of {} KiB of empty rows: {ends}", bytes / 1024));
        }
    }
    Ok(())
}

/// The reason and the fields of a refusal.
fn refusal(status: &Status) -> String {
    let details = status.get_error_details();
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    let fields =
        details.bad_request().map(|request| request.field_violations.iter().map(|v| v.field.as_str()).collect());
    let fields: Vec<_> = fields.unwrap_or_default();
    format!("{:?} {reason} {}", status.code(), fields.join(", "))
}

pub(super) async fn wrong_roles(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let mut client = ReceivableServiceClient::new(stage.channel(Kind::Billing).await?);
    for (name, network_company) in [("another retail company", RETAIL), ("no company", "N999999999999999")] {
        let line =
            ReceivableLine { network_company_id: network_company.into(), ..open_line(OTHER_RETAIL, 700_000_000) };
        let messages = receivables::import(&format!("wrong-{network_company}"), &[line], 1);
        let request = stage.of_billing(tonic::codegen::tokio_stream::iter(messages), OTHER_RETAIL)?;
        let what = format!("{name} as network company");
        match client.import_receivable_lines(request).await {
            Ok(_) => findings.expect(false, format!("{what}: imported")),
            Err(status) => {
                let named = status.get_error_details().error_info().is_some_and(|info| !info.reason.is_empty());
                findings.expect(named, format!("{what}: {}", refusal(&status)));
            }
        }
        let stored = stored_lines(&stage.databases, network_company).await?;
        findings.expect(stored == 0, format!("{what}: {stored} lines are stored"));
    }
    Ok(())
}

pub(super) async fn captured_signature(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let query = format!("page=1&row=10&communityId={HOME}");
    let signed = Signed::new(&format!("captured-{}", stage.number()), &query)?;
    let status =
        rest(stage, reqwest::Method::GET, &format!("/app/feeConfig.listFeeConfigs?{query}"), &signed, "").await?;
    findings.expect(status.starts_with("200"), format!("the call itself is served: {status}"));
    let mut client = FeeItemServiceClient::new(stage.channel(Kind::Community).await?);
    let list = ListFeeConfigsRequest { page: 1, row: 10, community_id: OTHER.into(), ..Default::default() };
    let listed = client.list_fee_configs(signed.request(list)?).await.map(drop);
    let delete = DeleteFeeConfigRequest { config_id: stage.item.id.clone(), community_id: HOME.into() };
    let deleted = client.delete_fee_config(signed.request(delete)?).await.map(drop);
    for (name, outcome) in [("a list of another community", listed), ("a deletion", deleted)] {
        let refused = outcome.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated);
        let outcome = outcome.map_or_else(|status| refusal(&status), |()| "served".to_owned());
        findings.expect(refused, format!("its signature for {name}: {outcome}"));
    }
    findings.expect(is_there(stage).await?, "the item is still there");
    Ok(())
}

pub(super) async fn moved_body(stage: &Stage, findings: &mut Findings) -> anyhow::Result<()> {
    let body = item_update_json(HOME, &stage.item, "7", "").to_string();
    let signed = Signed::new(&format!("captured-{}", stage.number()), &body)?;
    for (route, refused) in [("updateFeeConfig", false), ("deleteFeeConfig", true)] {
        let answer = rest(stage, reqwest::Method::POST, &format!("/app/feeConfig.{route}"), &signed, &body).await?;
        let done = answer.contains("\"code\":\"0\"");
        findings.expect(done != refused, format!("{route}: {answer}"));
    }
    findings.expect(is_there(stage).await?, "the item is still there");
    Ok(())
}

/// Makes a signed REST call; returns status and body.
async fn rest(
    stage: &Stage,
    method: reqwest::Method,
    path: &str,
    signed: &Signed,
    body: &str,
) -> anyhow::Result<String> {
    let client = reqwest::Client::builder().no_proxy().local_address(raw::ATTACKER).timeout(ANSWER).build()?;
    let mut request = client.request(method, format!("http://{}{path}", stage.gateway.address)).body(body.to_owned());
    for (name, value) in signed.headers() {
        request = request.header(name, value);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    Ok(format!("{status} {}", answer.text().await?.chars().take(100).collect::<String>()))
}

/// Returns whether the attacked item exists.
async fn is_there(stage: &Stage) -> anyhow::Result<bool> {
    let found: Option<String> = sqlx::query_scalar("SELECT config_id FROM pay_fee_config WHERE config_id = $1")
        .bind(&stage.item.id)
        .fetch_optional(&stage.databases.pool("community")?)
        .await?;
    Ok(found.is_some())
}
