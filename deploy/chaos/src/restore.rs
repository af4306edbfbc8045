//! Both databases are dumped while clients write, dropped, and restored, by the commands of the
//! runbook; then the same questions get the same answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::Place;
use crate::books::{self, Books};
use crate::clients::{Answer, Clients, Door, Item};
use crate::load::Load;
use crate::postgres::{Postgres, make_folder};
use crate::report::{Report, readable};
use crate::runbook;
use crate::stage::{Databases, Kind, RETAIL, Slot, execute};
use crate::tally::{Tallies, Write, table, verdict_on};
use crate::wire::Call;

/// Calls of clients from before the dump that are made again after the restore.
const REPLAYS: usize = 40;

pub(crate) async fn run(place: &Place, report: &mut Report) -> anyhow::Result<()> {
    for program in ["pg_dump", "pg_restore", "vacuumdb"] {
        ensure!(
            place.postgres.join(program).is_file(),
            "{program} is not in {}: backups need PostgreSQL's client programs (postgresql-client on Debian)",
            place.postgres.display()
        );
    }
    let postgres = Postgres::create(place, "primary")?;
    let databases = Databases::at(&postgres.socket());
    databases.fill(place).await?;
    let billing = Slot::service(Kind::Billing, place, &databases, &[])?;
    let community = Slot::service(Kind::Community, place, &databases, &[])?;
    let gateway = Slot::gateway(place, &[&billing, &community], &[])?;
    let slots = [&billing, &community, &gateway];
    let mut processes = Vec::new();
    for slot in slots {
        processes.push(slot.start().await?);
    }
    let clients = Arc::new(Clients::new(&slots, 2, Duration::from_secs(10))?);
    clients.store(RETAIL).await?;
    let books = Books::make(&clients, &gateway, &databases).await?;
    report.did(format!("filled through the services: {}", books.what));

    let items = clients.items(&databases, 6).await?;
    let mut load = Load::new();
    load.updates("REST  community feeConfig.updateFeeConfig", &clients, Door::Rest, &items[..3], false);
    load.updates("gRPC  community UpdateFeeConfig", &clients, Door::Grpc, &items[3..], false);
    load.packages("REST  billing   AddSalePackage", &clients, 2, false);
    load.imports("gRPC  billing   ImportReceivableLines", &clients, 2);
    report.did("10 clients write");
    let before = answers(&books.questions, &clients, &gateway).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;

    let backups = place.folder.join("backups");
    make_folder(None, &backups)?;
    let dump_began = Instant::now();
    runbook::carry_out("dump", place, &databases, &backups).await?;
    let dumped = dump_began.elapsed();
    report.did(format!("dumped both databases while they wrote ({}, {})", readable(dumped), sizes(&backups)?));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let tallies = load.end().await?;
    for process in processes {
        process.stop().await?;
    }
    let administrator = databases.administrator()?;
    for kind in [Kind::Billing, Kind::Community] {
        execute(&administrator, &format!("DROP DATABASE {} WITH (FORCE)", kind.name())).await?;
    }
    report.did("stopped the services and dropped both databases");
    let began = Instant::now();
    runbook::carry_out("restore", place, &databases, &backups).await?;
    report.did(format!("restored both ({})", readable(began.elapsed())));
    runbook::carry_out("check", place, &databases, &backups).await?;
    report.did("billing check and community check: in order");
    let mut processes = Vec::new();
    for slot in slots {
        processes.push(slot.start().await?);
    }
    report.did("started the services on them: ready");

    table(report, &tallies);
    same_answers(report, "after the restore", &books.questions, &before, &clients, &gateway).await?;
    nothing_lost(report, &databases, &tallies, dump_began).await?;
    one_moment(report, &databases).await?;
    replays(report, &books, &clients, &gateway, &databases, &items, &tallies, dump_began).await?;
    same_answers(report, "and after the repeated calls", &books.questions, &before, &clients, &gateway).await?;
    goes_on(report, &clients, &databases).await?;
    for process in processes {
        process.stop().await?;
    }
    Ok(())
}

/// The questions with their answers.
async fn answers(
    questions: &[Call],
    clients: &Clients,
    gateway: &Slot,
) -> anyhow::Result<Vec<(&'static str, Vec<u8>)>> {
    let mut answers = Vec::new();
    for question in questions {
        let answer = question.make(clients, gateway).await?;
        // An empty answer would be the same whatever happened.
        ensure!(answer.len() > 20, "{}: {}", question.name, String::from_utf8_lossy(&answer));
        answers.push((question.name, answer));
    }
    Ok(answers)
}

async fn same_answers(
    report: &mut Report,
    when: &str,
    questions: &[Call],
    before: &[(&'static str, Vec<u8>)],
    clients: &Clients,
    gateway: &Slot,
) -> anyhow::Result<()> {
    let after = answers(questions, clients, gateway).await?;
    let mut other = Vec::new();
    for ((name, was), (_, is)) in before.iter().zip(&after) {
        if was != is {
            let at = was.iter().zip(is).take_while(|(was, is)| was == is).count();
            other.push(format!("{name} differs from byte {at} on ({} and {} bytes)", was.len(), is.len()));
        }
    }
    for difference in &other {
        report.count(difference);
    }
    let bytes: usize = before.iter().map(|(_, answer)| answer.len()).sum();
    report.expect(
        other.is_empty(),
        format!(
            "{when} {} of {} questions are answered byte for byte as before ({bytes} bytes)",
            before.len() - other.len(),
            before.len()
        ),
    );
    Ok(())
}

/// What was acknowledged before the dump began is in it, once.
async fn nothing_lost(
    report: &mut Report,
    databases: &Databases,
    tallies: &Tallies,
    dump_began: Instant,
) -> anyhow::Result<()> {
    let (before, later): (Vec<_>, Vec<_>) =
        tallies.values().flat_map(|tally| &tally.acknowledged).partition(|write| write.at < dump_began);
    let in_it = verdict_on(databases, later.iter().copied()).await?;
    report.count(format!(
        "acknowledged before the dump began: {}; later: {}, of which {} are in it: what comes after a dump is not",
        before.len(),
        in_it.acknowledged,
        in_it.acknowledged - in_it.lost,
    ));
    let failed: usize = tallies.values().map(|tally| tally.failed() + tally.overloaded.len()).sum();
    report.expect(failed == 0, format!("no call failed while the dump was made ({failed})"));
    report.expect(before.len() > 20 && in_it.lost > 0, "clients wrote before, during and after the dump");
    verdict_on(databases, before.into_iter()).await?.tell(report, tallies);
    Ok(())
}

/// A dump is of one moment: what one transaction wrote is in it whole or not at all.
async fn one_moment(report: &mut Report, databases: &Databases) -> anyhow::Result<()> {
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
                 WHERE lines <> (SELECT count(*) FROM receivable r WHERE r.batch_id = b.batch_id))
              + (SELECT count(*) FROM receivable r WHERE NOT EXISTS
                    (SELECT FROM receivable_batch b WHERE b.batch_id = r.batch_id))
              + (SELECT count(*) FROM package p WHERE version <>
                    (SELECT max((c.after ->> 'version')::bigint) FROM platform.change c
                     WHERE c.tenant_id = p.retail_company_id AND c.noun = 'package' AND c.key = p.package_id))",
    )
    .fetch_one(&databases.pool("billing")?)
    .await?;
    report.expect(
        (community, billing) == (0, 0),
        format!(
            "each is of one moment: changes, their history and their request ids, batches and their lines agree ({})",
            community + billing
        ),
    );
    Ok(())
}

/// A request id from before the dump gets the stored reply and changes nothing.
#[allow(clippy::too_many_arguments, reason = "it looks at all that there is")]
async fn replays(
    report: &mut Report,
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
    report.expect(
        same == books.written.len(),
        format!("{same} of {} changes, sent again, get their first answer byte for byte", books.written.len()),
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
        // Over the other door than the first time, now and then: the id is the same request there.
        let door = if number_of % 2 == 0 { Door::Rest } else { Door::Grpc };
        answered += usize::from(clients.update(door, item, *number).await == Answer::Done);
    }
    report.expect(
        answered == chosen.len() && answered > 10,
        format!("{answered} of {} changes of the clients that wrote are answered as done", chosen.len()),
    );
    let batch = books::import(clients).await?;
    report.expect(batch.replayed, "the batch of lines, sent again, is known");
    let now = self::changes(databases).await?;
    report.expect(now == changes, format!("none of it changed anything ({} changes, then {})", changes, now));
    let reused = books.reused.make(clients, gateway).await?;
    let reused = String::from_utf8_lossy(&reused).into_owned();
    report.expect(
        reused.contains("请求流水号已被其他请求使用"),
        format!("a used request id with another change is refused: {}", reused.lines().last().unwrap_or_default()),
    );
    Ok(())
}

/// How many changes of fee items and lines there are.
async fn changes(databases: &Databases) -> anyhow::Result<i64> {
    let items: i64 =
        sqlx::query_scalar("SELECT count(*) FROM platform.change").fetch_one(&databases.pool("community")?).await?;
    let lines: i64 =
        sqlx::query_scalar("SELECT count(*) FROM receivable").fetch_one(&databases.pool("billing")?).await?;
    Ok(items + lines)
}

/// New identifiers are new: sequences were restored as well.
async fn goes_on(report: &mut Report, clients: &Arc<Clients>, databases: &Databases) -> anyhow::Result<()> {
    let pool = databases.pool("billing")?;
    let last = "SELECT max(package_id) FROM package";
    let before: Option<String> = sqlx::query_scalar(last).fetch_one(&pool).await?;
    let answer = clients.add_package("恢复之后", false).await;
    let after: Option<String> = sqlx::query_scalar(last).fetch_one(&pool).await?;
    report.expect(
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
