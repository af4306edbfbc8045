//! Both databases are dumped while clients write, dropped, and restored, all by the commands of the runbook. Then the same
//! queries must get the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use communal_fixtures::credentials::billing::RETAIL;

use crate::books::{self, Books};
use crate::clients::{Answer, Clients, Item, Protocol};
use crate::deployment::{Databases, Kind, Slot, execute};
use crate::installation::Installation;
use crate::postgres::{Postgres, make_folder};
use crate::runbook;
use crate::tally::{Tallies, Write, table, verdict_on};
use crate::transcript::{Transcript, readable};
use crate::wire::Call;
use crate::workers::Workers;

/// Calls from before the dump that are repeated after the restore.
const REPLAYS: usize = 40;

pub(crate) async fn run(installation: &Installation, transcript: &mut Transcript) -> anyhow::Result<()> {
    for program in ["pg_dump", "pg_restore", "vacuumdb"] {
        ensure!(
            installation.postgres.join(program).is_file(),
            "{program} is not in {}: backups need PostgreSQL's client programs (postgresql-client on Debian)",
            installation.postgres.display()
        );
    }
    let postgres = Postgres::create(installation, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(installation).await?;
    let billing = Slot::service(Kind::Billing, installation, &databases, &[])?;
    let community = Slot::service(Kind::Community, installation, &databases, &[])?;
    let gateway = Slot::gateway(installation, &[&billing, &community], &[])?;
    let slots = [&billing, &community, &gateway];
    let mut processes = Vec::new();
    for slot in slots {
        processes.push(slot.start().await?);
    }
    let clients = Arc::new(Clients::new(&slots, 2, Duration::from_secs(10))?);
    clients.store(RETAIL).await?;
    let books = Books::make(&clients, &gateway, &databases).await?;
    transcript.did(format!("filled through the services: {}", books.what));

    let items = clients.items(&databases, 6).await?;
    let mut workers = Workers::new();
    workers.updates("REST  community feeConfig.updateFeeConfig", &clients, Protocol::Rest, &items[..3], false);
    workers.updates("gRPC  community UpdateFeeConfig", &clients, Protocol::Grpc, &items[3..], false);
    workers.packages("REST  billing   AddSalePackage", &clients, 2, false);
    workers.imports("gRPC  billing   ImportReceivableLines", &clients, 2);
    transcript.did("10 clients write");
    let before = answers(&books.queries, &clients, &gateway).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let backups = installation.folder.join("backups");
    make_folder(None, &backups)?;
    let dump_began = Instant::now();
    runbook::run("dump", installation, &databases, &backups).await?;
    let dumped = dump_began.elapsed();
    transcript.did(format!("dumped both databases while clients wrote ({}, {})", readable(dumped), sizes(&backups)?));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tallies = workers.end().await?;
    for process in processes {
        process.stop().await?;
    }
    let administrator = databases.administrator()?;
    for kind in [Kind::Billing, Kind::Community] {
        execute(&administrator, &format!("DROP DATABASE {} WITH (FORCE)", kind.name())).await?;
    }
    transcript.did("stopped the services and dropped both databases");
    let began = Instant::now();
    runbook::run("restore", installation, &databases, &backups).await?;
    transcript.did(format!("restored both ({})", readable(began.elapsed())));
    runbook::run("check", installation, &databases, &backups).await?;
    transcript.did("billing check and community check succeed");
    let mut processes = Vec::new();
    for slot in slots {
        processes.push(slot.start().await?);
    }
    transcript.did("started the services on them: ready");

    table(transcript, &tallies);
    same_answers(transcript, "after the restore", &books.queries, &before, &clients, &gateway).await?;
    nothing_lost(transcript, &databases, &tallies, dump_began).await?;
    one_snapshot(transcript, &databases).await?;
    replays(transcript, &books, &clients, &gateway, &databases, &items, &tallies, dump_began).await?;
    same_answers(transcript, "and after the repeated calls", &books.queries, &before, &clients, &gateway).await?;
    goes_on(transcript, &clients, &databases).await?;
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}

/// Makes the queries; returns their answers by name.
async fn answers(queries: &[Call], clients: &Clients, gateway: &Slot) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut answers = Vec::new();
    for query in queries {
        let answer = query.make(clients, gateway).await?;
        // An empty answer would be the same after any failure.
        ensure!(answer.len() > 20, "{}: {}", query.name, String::from_utf8_lossy(&answer));
        answers.push((query.name, answer));
    }
    Ok(answers)
}

async fn same_answers(
    transcript: &mut Transcript,
    when: &str,
    queries: &[Call],
    before: &[(&'static str, Vec<u8>)],
    clients: &Clients,
    gateway: &Slot,
) -> anyhow::Result<()> {
    let after = answers(queries, clients, gateway).await?;
    let mut other = Vec::new();
    for ((name, was), (_, is)) in before.iter().zip(&after) {
        if was != is {
            let at = was.iter().zip(is).take_while(|(was, is)| was == is).count();
            other.push(format!("{name} differs from byte {at} on ({} and {} bytes)", was.len(), is.len()));
        }
    }
    for difference in &other {
        transcript.count(difference);
    }
    let bytes: usize = before.iter().map(|(_, answer)| answer.len()).sum();
    transcript.expect(
        other.is_empty(),
        format!(
            "{when} {} of {} queries get the same answer byte for byte ({bytes} bytes)",
            before.len() - other.len(),
            before.len()
        ),
    );
    Ok(())
}

/// Checks that every write that was acknowledged before the dump began is in it, once.
async fn nothing_lost(
    transcript: &mut Transcript,
    databases: &Databases,
    tallies: &Tallies,
    dump_began: Instant,
) -> anyhow::Result<()> {
    let (before, later): (Vec<_>, Vec<_>) =
        tallies.values().flat_map(|tally| &tally.acknowledged).partition(|write| write.at < dump_began);
    let in_dump = verdict_on(databases, later.iter().copied()).await?;
    transcript.count(format!(
        "acknowledged before the dump began: {}; later: {}, of which {} are in it (a dump lacks what is written after its snapshot)",
        before.len(),
        in_dump.acknowledged,
        in_dump.acknowledged - in_dump.lost,
    ));
    let failed: usize = tallies.values().map(|tally| tally.failed() + tally.overloaded.len()).sum();
    transcript.expect(failed == 0, format!("no call failed while the dump was made ({failed})"));
    transcript.expect(before.len() > 20 && in_dump.lost > 0, "clients wrote before, during and after the dump");
    verdict_on(databases, before.into_iter()).await?.tell(transcript, tallies);
    Ok(())
}

/// Checks that a dump is one snapshot: the changes of a transaction are in it whole or not at all.
async fn one_snapshot(transcript: &mut Transcript, databases: &Databases) -> anyhow::Result<()> {
    let community: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM platform.answered_request WHERE method LIKE '%/UpdateFeeConfig')
              - (SELECT count(*) FROM platform.change WHERE noun = 'fee_item' AND operation = 'UPDATE')
              + (SELECT count(*) FROM pay_fee_config c WHERE c.square_price <>
                    (SELECT (h.after ->> 'square_price')::numeric FROM platform.change h
                     WHERE h.tenant_id = c.community_id AND h.noun = 'fee_item' AND h.key = c.config_id
                     ORDER BY h.change_number DESC LIMIT 1))",
    )
    .fetch_one(&databases.pool("community")?)
    .await?;
    let billing: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM receivable_batch b
                 WHERE lines <> (SELECT count(*) FROM receivable_line r WHERE r.batch_id = b.batch_id)
                    OR outstanding_lines <> (
                        SELECT count(*) FROM receivable_line r
                        JOIN receivable_open USING (network_company_id, settlement_account_id, account_month,
                                                    charge_off_id, line_number)
                        WHERE r.batch_id = b.batch_id))
              + (SELECT count(*) FROM receivable_line r WHERE r.batch_id IS NOT NULL AND NOT EXISTS
                    (SELECT FROM receivable_batch b WHERE b.batch_id = r.batch_id))
              + (SELECT count(*) FROM receivable_line r WHERE r.batch_id IS NULL AND NOT EXISTS
                    (SELECT FROM bill i WHERE i.charge_off_id = r.charge_off_id AND i.account_month = r.account_month
                         AND i.settlement_account_id = r.settlement_account_id))
              + (SELECT count(*) FROM receivable_line)
              - (SELECT count(*) FROM receivable_open) - (SELECT count(*) FROM receivable_closing)
              + (SELECT count(*) FROM package p WHERE version <>
                    (SELECT max((c.after ->> 'version')::bigint) FROM platform.change c
                     WHERE c.tenant_id = p.retail_company_id AND c.noun = 'package' AND c.key = p.package_id))",
    )
    .fetch_one(&databases.pool("billing")?)
    .await?;
    transcript.expect(
        (community, billing) == (0, 0),
        format!(
            "each is one snapshot: changes, their history and their request ids, batches and their lines agree ({})",
            community + billing
        ),
    );
    Ok(())
}

/// Checks that a request id from before the dump gets the stored reply and changes nothing.
#[allow(clippy::too_many_arguments, reason = "it compares everything that the scenario has")]
async fn replays(
    transcript: &mut Transcript,
    books: &Books,
    clients: &Clients,
    gateway: &Slot,
    databases: &Databases,
    items: &[Item],
    tallies: &Tallies,
    dump_began: Instant,
) -> anyhow::Result<()> {
    let changes = changes(databases).await?;
    let mut same = 0;
    for (call, answer) in &books.written {
        same += usize::from(call.make(clients, gateway).await? == *answer);
    }
    transcript.expect(
        same == books.written.len(),
        format!("{same} of {} repeated changes get their first answer byte for byte", books.written.len()),
    );
    let items: BTreeMap<_, _> = items.iter().map(|item| (item.id.as_str(), item)).collect();
    let writes = tallies.values().flat_map(|tally| &tally.acknowledged);
    let known: Vec<_> = writes
        .filter(|write| write.at < dump_began)
        .filter_map(|Write { key: (item, number), .. }| Some((*items.get(item.as_str())?, number.parse().ok()?)))
        .collect();
    let mut answered = 0;
    let chosen: Vec<_> = known.iter().step_by((known.len() / REPLAYS).max(1)).collect();
    for (number_of, (item, number)) in chosen.iter().enumerate() {
        // Some are repeated over the other protocol, where the id is the same request.
        let protocol = if number_of % 2 == 0 { Protocol::Rest } else { Protocol::Grpc };
        answered += usize::from(clients.update(protocol, item, *number).await == Answer::Done);
    }
    transcript.expect(
        answered == chosen.len() && answered > 10,
        format!("{answered} of {} changes of the clients that wrote are answered as done", chosen.len()),
    );
    let batch = books::import(clients).await?;
    transcript.expect(batch.replayed, "the repeated batch of lines is recognized");
    let now = self::changes(databases).await?;
    transcript.expect(
        now == changes,
        format!("none of the repeated calls changed anything ({} changes, then {})", changes, now),
    );
    let reused = books.reused.make(clients, gateway).await?;
    let reused = String::from_utf8_lossy(&reused).into_owned();
    transcript.expect(
        reused.contains("请求流水号已被其他请求使用"),
        format!("a used request id with another change is refused: {}", reused.lines().last().unwrap_or_default()),
    );
    Ok(())
}

/// Counts the changes of fee items, and the lines.
async fn changes(databases: &Databases) -> anyhow::Result<i64> {
    let items: i64 =
        sqlx::query_scalar("SELECT count(*) FROM platform.change").fetch_one(&databases.pool("community")?).await?;
    let lines: i64 =
        sqlx::query_scalar("SELECT count(*) FROM receivable_line").fetch_one(&databases.pool("billing")?).await?;
    Ok(items + lines)
}

/// Checks that new identifiers are new, which means that sequences were restored as well.
async fn goes_on(transcript: &mut Transcript, clients: &Arc<Clients>, databases: &Databases) -> anyhow::Result<()> {
    let pool = databases.pool("billing")?;
    let last = "SELECT max(package_id) FROM package";
    let before: Option<String> = sqlx::query_scalar(last).fetch_one(&pool).await?;
    let answer = clients.add_package("恢复之后", false).await;
    let after: Option<String> = sqlx::query_scalar(last).fetch_one(&pool).await?;
    transcript.expect(
        answer == Answer::Done && after > before,
        format!("writing goes on: {answer:?}, {} after {}", after.unwrap_or_default(), before.unwrap_or_default()),
    );
    Ok(())
}

fn sizes(folder: &std::path::Path) -> anyhow::Result<String> {
    let mut sizes = Vec::new();
    for name in ["billing.dump", "community.dump"] {
        let bytes = std::fs::metadata(folder.join(name)).with_context(|| format!("there is no {name}"))?.len();
        sizes.push(format!("{name} {} kB", bytes / 1024));
    }
    Ok(sizes.join(", "))
}
