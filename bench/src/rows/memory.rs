//! The resident memory of each process after work, and the peak during streams of different lengths.

use std::time::Duration;

use anyhow::{Context, ensure};
use communal_proto::billing::v1::{StreamUserArrearagesRequest, StreamUserArrearagesResponse};
use prost::Message;

use super::Run;
use super::arrears::{LINES, request, with_books};
use super::fee_items::{SAVE, save_request};
use super::gateway::load;
use super::table_size::with_lines;
use crate::arithmetic::{Figure, Target};
use crate::grpc::{Client, drive};
use crate::report::Measurement;
use crate::stage::{CLIENTS, CONNECTIONS};

/// Time between the work and the measurement.
const SETTLING: Duration = Duration::from_secs(3);
const STREAM: &str = "/communal.billing.v1.ReceivableService/StreamUserArrearages";

pub(super) async fn measure(run: Run<'_>) -> anyhow::Result<()> {
    let stage = run.stage;
    let billing = with_books(stage, "bench_memory_billing").await?;
    let community = stage.community("bench_memory_community", &[]).await?;
    let gateway = stage.gateway(&billing.process.address, &community.process.address)?;
    for (book, calls) in [(1, 10_000), (LINES, 5_000), (5_000, 500)] {
        load(stage, &gateway, &billing, book)?.closed(CLIENTS, calls)?;
    }
    let metadata = community.metadata.clone();
    let make = move |number: u64| {
        let mut metadata = metadata.clone();
        metadata.push(("idempotency-key".to_owned(), format!("memory-{number}")));
        (metadata, save_request(&format!("物业费-{number}")))
    };
    drive(&community.process.address, SAVE, CONNECTIONS, 2_000, make).await?;
    // Memory is returned within a second after the work, not immediately.
    tokio::time::sleep(SETTLING).await;
    for (name, process, most) in
        [("gateway", &gateway, 40.0), ("billing", &billing.process, 80.0), ("community", &community.process, 80.0)]
    {
        let resident = Figure::single(process.group.resident()? as f64 / 1e6);
        let measure = format!("{name}: resident after work");
        run.report.measurements.push(Measurement::alone("memory", measure, "MB", resident, Target::AtMost(most)));
    }
    drop((billing, community, gateway));

    // Every line is open, so the stream carries all of them.
    let rows = run.extent.stream_lines;
    let mut peaks = Vec::new();
    for rows in [rows / 10, rows] {
        let service = with_lines(stage, "bench_stream", rows, 1).await?;
        let client = Client::connect(&service.process.address).await?;
        client.call(super::arrears::QUERY, &service.metadata, request(1)).await?;
        let before = service.process.group.peak_resident()?;
        let mut lines = 0;
        let message = StreamUserArrearagesRequest::default().encode_to_vec().into();
        let take = |portion: bytes::Bytes| {
            lines += StreamUserArrearagesResponse::decode(portion).map_or(0, |portion| portion.lines.len() as u64);
        };
        client.take_stream(STREAM, &service.metadata, message, take).await.context("the stream broke off")?;
        ensure!(lines == rows + LINES, "{lines} of {} lines", rows + LINES);
        let peak = service.process.group.peak_resident()?;
        run.report.remarks.push(format!(
            "stream of {rows} lines: the service had at most {:.1} MB resident, {:.1} MB before it",
            peak as f64 / 1e6,
            before as f64 / 1e6
        ));
        peaks.push(Figure::single(peak as f64 / 1e6));
    }
    run.report.measurements.push(
        Measurement::alone(
            "memory",
            format!("peak of the service, stream of {rows} lines"),
            "MB",
            peaks[1],
            Target::AtMost(1.1),
        )
        .to_limit("a tenth of the lines", peaks[0]),
    );
    Ok(())
}
