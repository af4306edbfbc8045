//! What a community owes: the report of 60,000 fees, the stream of all that owe, and the arrears of one owner.

use std::time::Instant;

use anyhow::{Context, ensure};
use bytes::Bytes;
use communal_fixtures::large_community::{OWNERS, fees, items, owner_id, owners, rooms};
use communal_proto::community::v1::{
    ListOweFeesRequest, ListOweFeesResponse, QueryReportOweFeeRequest, QueryReportOweFeeResponse, StreamOweFeesRequest,
};
use prost::Message;

use super::{Run, figure};
use crate::arithmetic::{Figure, Target};
use crate::capture::Script;
use crate::grpc::{Client, drive};
use crate::load::{open, percentiles, pgbench};
use crate::report::Measurement;
use crate::stage::{COMMUNITY, CONNECTIONS, Service, Stage};

const REPORT: &str = "/communal.community.v1.FeeService/QueryReportOweFee";
const STREAM: &str = "/communal.community.v1.FeeService/StreamOweFees";
const OF_OWNER: &str = "/communal.community.v1.FeeService/ListOweFees";
/// Calls of a round, each of which reads the whole community.
const CALLS: u64 = 5;

fn report_request() -> Bytes {
    let request = QueryReportOweFeeRequest {
        page: 1,
        row: 100,
        community_id: COMMUNITY.to_owned(),
        ..QueryReportOweFeeRequest::default()
    };
    request.encode_to_vec().into()
}

fn owner_request(number: u64) -> Bytes {
    let request = ListOweFeesRequest {
        community_id: COMMUNITY.to_owned(),
        owner_id: owner_id(number % OWNERS),
        ..ListOweFeesRequest::default()
    };
    request.encode_to_vec().into()
}

/// Captures the statement that reads the fees of the community, and returns it with the number of statements of the call.
async fn bare_statement(stage: &Stage, service: &Service, client: &Client) -> anyhow::Result<(Script, usize)> {
    let call = async { Ok(client.call(REPORT, &service.metadata, report_request()).await?) };
    let statements = stage.capture(&service.database, call).await?;
    let of_call = |text: &str| !text.contains("platform.") && !text.contains("_sqlx_migrations");
    let statements: Vec<_> = statements.into_iter().filter(|s| of_call(&s.text)).collect();
    let bare: Vec<_> = statements.iter().filter(|s| s.text.contains("FROM fee WHERE community_id")).cloned().collect();
    ensure!(bare.len() == 1, "the fees were read by {} statements", bare.len());
    Ok((Script::of(&bare, &[])?, statements.len()))
}

/// Returns the milliseconds of one of some calls.
async fn time(mut call: impl AsyncFnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = Instant::now();
    for _ in 0..CALLS {
        call().await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e3 / CALLS as f64)
}

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let Run { stage, extent, report } = run;
    let [readings, fees] = fees(COMMUNITY);
    let fill = [owners(COMMUNITY), rooms(COMMUNITY), items(COMMUNITY), readings, fees];
    let service = stage.community("bench_arrears_hc", &fill.each_ref().map(String::as_str)).await?;
    let client = Client::connect(&service.process.address).await?;
    let found = client.call(REPORT, &service.metadata, report_request()).await.context("the report was refused")?;
    let found = QueryReportOweFeeResponse::decode(found)?;
    ensure!(found.fee_price_error_count == 0, "{} fees have no amount", found.fee_price_error_count);
    ensure!(found.data.len() == 100 && found.total > 10_000, "{} rooms owe", found.total);
    let (script, statements) = bare_statement(stage, &service, &client).await?;
    let stream: Bytes = StreamOweFeesRequest { community_id: COMMUNITY.to_owned() }.encode_to_vec().into();

    let (mut reports, mut streams, mut limits, mut owing) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..=extent.rounds {
        let of_report = time(async || {
            client.call(REPORT, &service.metadata, report_request()).await?;
            Ok(())
        });
        let of_report = of_report.await?;
        let of_stream = time(async || {
            owing = 0;
            client.take_stream(STREAM, &service.metadata, stream.clone(), |_| owing += 1).await?;
            Ok(())
        });
        let of_stream = of_stream.await?;
        let limit = pgbench(stage, &service.database, &script, 1, CALLS)?;
        if round > 0 {
            reports.push(of_report);
            streams.push(of_stream);
            limits.push(1e3 / limit.rate);
        }
    }
    let limit = figure(limits.into_iter());
    let bare = "the same rows by one bare SELECT";
    for (measure, found) in [("report of 60,000 fees", reports), ("stream of all that owe", streams)] {
        let ours = figure(found.into_iter());
        report.measurements.push(
            Measurement::alone("community-arrears", measure, "ms", ours, Target::AtMost(2.5)).to_limit(bare, limit),
        );
    }

    let one = client.call(OF_OWNER, &service.metadata, owner_request(0)).await.context("an owner's arrears")?;
    let one = ListOweFeesResponse::decode(one)?;
    ensure!(!one.data.is_empty() && one.data.iter().all(|fee| fee.owner_id == owner_id(0)), "owner 0 owes nothing");
    let metadata = service.metadata.clone();
    let calls = (extent.seconds * 500.0) as u64;
    let closed = drive(&service.process.address, OF_OWNER, CONNECTIONS, calls, move |number| {
        (metadata.clone(), owner_request(number * 7_919))
    });
    let ceiling = closed.await?.rate;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        clients.push(Client::connect(&service.process.address).await?);
    }
    let latencies = open(ceiling / 2.0, extent.seconds.max(2.0), |number| {
        let (client, metadata) = (clients[number as usize % clients.len()].clone(), service.metadata.clone());
        async move { Ok(client.call(OF_OWNER, &metadata, owner_request(number * 7_919)).await.map(drop)?) }
    });
    let (p50, p99) = percentiles(&latencies.await?).context("no latencies")?;
    report.measurements.push(Measurement::alone(
        "community-arrears",
        "one owner's arrears, p99 at half the ceiling",
        "ms",
        Figure::single(p99),
        Target::AtMost(10.0),
    ));
    report.remarks.push(format!(
        "community-arrears: the report takes {statements} statements, BEGIN and ROLLBACK among them; the stream has {owing} \
         fees; owners' arrears: at most {ceiling:.0} a second with the load generator on the same cores, p50 {p50:.2} ms at half of that"
    ));
    Ok(())
}
