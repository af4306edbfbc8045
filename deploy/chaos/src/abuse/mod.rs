//! One bad caller beside honest ones: every attack of a list is carried out while clients of both services and both
//! protocols go on, and what they notice of it is counted.
//!
//! An attack must not cost an honest client an answer; it must not make the calls of honest clients slow, end a process
//! that has the memory of its pod, or leave anything in use behind it.

mod attacks;
mod honest;
mod raw;
mod stage;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::BoxFuture;

use crate::deployment::{Databases, PROBE};
use crate::installation::Installation;
use crate::postgres::{Postgres, until};
use crate::tally::{Verdict, verdict_on};
use crate::transcript::{Counts, Transcript, readable};
use honest::Honest;
use stage::{Peaks, Stage};

/// The attacks that are carried out.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Chosen {
    /// `abuse` alone: only these attacks, by their number
    attacks: Vec<String>,
    /// `abuse` alone: only attacks that take little time and memory
    #[arg(long)]
    cheap: bool,
}

/// Time after an attack in which nothing of it may be in use any more.
const RECOVERY: Duration = Duration::from_secs(10);
/// The slowest p99 that is no complaint, since that of a quiet machine is so small that any other work of the machine
/// multiplies it. A build without optimization takes so much of it itself that its times say nothing below what a working
/// attack costs: seconds.
const FLOOR: Duration = Duration::from_millis(if cfg!(debug_assertions) { 2_000 } else { 25 });
/// The time before now whose calls say whether honest clients have recovered.
const LATE: Duration = Duration::from_millis(500);
/// Quiet times by which an attack is judged: those before it, of which the last is its own.
const QUIET_TIMES: usize = 5;
/// How often an attack is carried out that seems to make calls slow. Other work of the machine does so too, but not each
/// time.
const TRIES: usize = 3;
/// Open lines of the large company.
const LARGE: usize = 60_000;
/// Longest time of an attack.
const LONGEST: Duration = Duration::from_secs(40);

/// An attack.
struct Attack {
    /// Its number in the list of known attacks.
    id: &'static str,
    what: &'static str,
    /// Whether it takes little time and memory.
    cheap: bool,
    /// Limits of which it must reach one, by their setting: what the alert on a bad caller goes by.
    reaches: &'static [&'static str],
    carry_out: CarryOut,
}

type CarryOut = for<'a> fn(&'a Stage, &'a mut Findings) -> BoxFuture<'a, anyhow::Result<()>>;

impl Attack {
    const fn new(id: &'static str, what: &'static str, carry_out: CarryOut) -> Self {
        Self { id, what, cheap: false, reaches: &[], carry_out }
    }

    const fn cheap(self) -> Self {
        Self { cheap: true, ..self }
    }

    const fn reaches(self, limits: &'static [&'static str]) -> Self {
        Self { reaches: limits, ..self }
    }
}

/// What the attacker noticed.
#[derive(Debug, Default)]
struct Findings(Vec<(bool, String)>);

impl Findings {
    /// Notes something that must hold.
    fn expect(&mut self, holds: bool, what: impl Into<String>) {
        self.0.push((holds, what.into()));
    }
}

/// A row of the table.
struct Row {
    id: &'static str,
    what: &'static str,
    errors: usize,
    call_p99: [Duration; 2],
    import_p99: [Duration; 2],
    peaks: Peaks,
    recovery: Option<Duration>,
    met: bool,
}

impl Chosen {
    fn has(&self, attack: &Attack) -> bool {
        (self.attacks.is_empty() || self.attacks.iter().any(|id| attack.id.eq_ignore_ascii_case(id)))
            && (attack.cheap || !self.cheap)
    }

    /// The time in which honest clients are alone before an attack.
    fn quiet(&self) -> Duration {
        Duration::from_secs(if self.cheap { 1 } else { 2 })
    }
}

/// The attacks, and the honest clients beside them.
struct Siege<'a> {
    stage: &'a Stage,
    honest: &'a Honest,
    quiet: Duration,
    /// Times in which honest clients were alone.
    alone: Vec<Range<Instant>>,
    counts: Counts,
}

pub(crate) async fn run(
    installation: &Installation,
    chosen: &Chosen,
    transcript: &mut Transcript,
) -> anyhow::Result<()> {
    let attacks: Vec<_> = attacks::ALL.iter().filter(|attack| chosen.has(attack)).collect();
    ensure!(!attacks.is_empty(), "there is no such attack");
    let postgres = Postgres::create(installation, "primary")?;
    let databases = Databases::at(&postgres.socket());
    let large_lines = if chosen.cheap { 0 } else { LARGE };
    let (stage, items) = Stage::set_up(installation, databases, large_lines).await?;
    transcript.did("billing and community with 512 MiB each, a gateway with 1 GiB: all ready");
    let honest = Honest::begin(stage.slots(), items);
    let begun = Instant::now();
    // The first calls open connections and fill caches.
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(honest.within(&[begun..Instant::now()]).errors == 0, "honest clients are refused without an attack");
    let mut siege =
        Siege { stage: &stage, honest: &honest, quiet: chosen.quiet(), alone: Vec::new(), counts: Counts::default() };
    let mut rows = Vec::new();
    for attack in attacks {
        rows.push(siege.attacked(attack, transcript).await?);
    }
    let counts = siege.counts;
    let writes = honest.end().await?;
    let found = verdict_on(&stage.databases, writes.iter()).await?;
    let Verdict { acknowledged, lost, doubled } = found;
    transcript.expect(
        lost == 0 && doubled == 0,
        format!("{acknowledged} writes of honest clients were acknowledged, {lost} of them lost, {doubled} done twice"),
    );
    rows.push(stop(stage, transcript).await?);
    table(transcript, &rows);
    transcript.total(Counts { acknowledged, lost, doubled, ..counts });
    Ok(())
}

impl Siege<'_> {
    /// Carries out an attack, again if calls seem to be slow and all else holds.
    async fn attacked(&mut self, attack: &Attack, transcript: &mut Transcript) -> anyhow::Result<Row> {
        let mut tries = 1;
        let (mut row, findings, detail) = loop {
            let (row, findings, detail) = self.once(attack).await?;
            if tries == TRIES || !row.is_slow() || !findings.hold() {
                break (row, findings, detail);
            }
            tries += 1;
        };
        transcript.did(format!("{} {}:", attack.id, attack.what));
        row.met = findings.hold() && !row.is_slow();
        for (holds, what) in findings.0 {
            transcript.expect(holds, what);
        }
        let ([was, is], [imports_were, imports_are]) = (row.call_p99, row.import_p99);
        transcript.expect(
            !row.is_slow(),
            format!(
                "p99 {} → {}, of imports {} → {} (at most twice, or {}{})",
                readable(was),
                readable(is),
                readable(imports_were),
                readable(imports_are),
                readable(FLOOR),
                if tries > 1 { format!("; tried {tries} times") } else { String::new() },
            ),
        );
        detail.iter().for_each(|detail| transcript.count(format!("    detail: {detail}")));
        Ok(row)
    }

    fn last_alone(&self) -> &[Range<Instant>] {
        self.alone.get(self.alone.len().saturating_sub(QUIET_TIMES)..).unwrap_or_default()
    }

    /// Carries out an attack after a quiet time.
    async fn once(&mut self, attack: &Attack) -> anyhow::Result<(Row, Findings, Vec<String>)> {
        let Self { stage, honest, .. } = *self;
        let before = InUse::read(stage).await?;
        let alone = Instant::now();
        tokio::time::sleep(self.quiet).await;
        stage.forget_peaks()?;
        let began = Instant::now();
        self.alone.push(alone..began);
        let mut findings = Findings::default();
        match tokio::time::timeout(LONGEST, (attack.carry_out)(stage, &mut findings)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => findings.expect(false, format!("the attack could not be carried out: {error:#}")),
            Err(_) => findings.expect(false, format!("the attack did not end within {LONGEST:?}")),
        }
        let peaks = stage.peaks();
        for process in stage.outgrown() {
            findings.expect(false, format!("{process}, more than its pod has"));
        }
        let mut gone = stage.revive().await?;
        let after = Instant::now();
        let quick = (honest.within(&[alone..began]).call_p99 * 2).max(FLOOR);
        let calm = || async {
            let now = InUse::read(stage).await;
            let of_late = honest.within(&[Instant::now() - LATE..Instant::now()]);
            now.is_ok_and(|now| now.beyond(&before).is_empty()) && of_late.calls > 0 && of_late.call_p99 <= quick
        };
        let recovery = until("nothing of the attack is in use", RECOVERY, calm).await.ok();
        gone.extend(stage.revive().await?);
        for process in gone {
            findings.expect(false, format!("{process} ended and was started again"));
        }
        let now = InUse::read(stage).await?;
        match recovery {
            Some(time) => findings.expect(true, format!("nothing of it is noticed {} later", readable(time))),
            None => findings.expect(false, format!("slow or in use {RECOVERY:?} later: {}", now.beyond(&before))),
        }
        let reached = now.reached_since(&before);
        let named = attack.reaches.is_empty() || attack.reaches.iter().any(|limit| reached.contains_key(*limit));
        let counted: Vec<_> = reached.iter().map(|(limit, times)| format!("{limit} × {times}")).collect();
        findings.expect(named, format!("limits that it reached: {}", counted.join(", ")));
        // As long as before it at the least, so that there are calls to judge by.
        let ended = after.max(began + self.quiet);
        tokio::time::sleep_until(ended.into()).await;
        let waits = || async { !honest.waits_since(ended) };
        until("calls that began during the attack have ended", honest::DEADLINE * 3, waits).await?;

        let attacked = honest.within(&[began..ended]);
        let (quiet, always) = (honest.within(&[alone..began]), honest.within(self.last_alone()));
        let (calls, errors) = (attacked.calls + attacked.imports, attacked.errors);
        findings.expect(errors == 0, format!("{calls} calls of honest clients, {errors} refused or failed"));
        self.counts.calls += calls;
        self.counts.failed += errors;
        let row = Row {
            id: attack.id,
            what: attack.what,
            errors,
            call_p99: [quiet.call_p99.max(always.call_p99), attacked.call_p99],
            import_p99: [quiet.import_p99.max(always.import_p99), attacked.import_p99],
            peaks,
            recovery,
            met: false,
        };
        Ok((row, findings, attacked.detail))
    }
}

impl Findings {
    fn hold(&self) -> bool {
        self.0.iter().all(|(holds, _)| *holds)
    }
}

impl Row {
    /// Returns whether honest calls took more than twice their time.
    fn is_slow(&self) -> bool {
        [self.call_p99, self.import_p99].into_iter().any(|[was, is]| is > (was * 2).max(FLOOR))
    }
}

/// What the metrics of the processes say of limits, by service and limit.
#[derive(Debug, Default)]
struct InUse {
    used: BTreeMap<String, u64>,
    reached: BTreeMap<String, u64>,
}

/// Limits of which more is in use than before, with what is in use.
#[derive(Debug)]
struct Beyond(Vec<(String, u64)>);

impl Beyond {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (limit, used) in &self.0 {
            write!(f, "{limit} {used} ")?;
        }
        Ok(())
    }
}

impl InUse {
    async fn read(stage: &Stage) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for slot in stage.slots() {
            let client = reqwest::Client::builder().no_proxy().timeout(PROBE).build()?;
            let text = client.get(format!("http://{}/metrics", slot.admin)).send().await?.text().await?;
            for line in text.lines() {
                let Some((metric, value)) = line.rsplit_once("} ") else { continue };
                let Some((name, labels)) = metric.split_once('{') else { continue };
                let Some((_, limit)) = labels.split_once("limit=\"") else { continue };
                let into = match name {
                    "communal_limit_used" => &mut all.used,
                    "communal_limit_reached_total" => &mut all.reached,
                    _ => continue,
                };
                let key = format!("{}: {}", slot.kind.name(), limit.trim_end_matches('"'));
                *into.entry(key).or_default() += value.parse::<u64>()?;
            }
        }
        Ok(all)
    }

    /// More than honest clients use.
    fn beyond(&self, before: &Self) -> Beyond {
        let theirs = |limit: &str| if limit.contains("bytes") { 1024 * 1024 } else { 16 };
        let was = |limit: &String| before.used.get(limit).copied().unwrap_or_default();
        let more = self.used.iter().filter(|(limit, used)| **used > was(limit) + theirs(limit));
        Beyond(more.map(|(limit, used)| (limit.clone(), *used)).collect())
    }

    /// How often each limit was reached since.
    fn reached_since(&self, before: &Self) -> BTreeMap<String, u64> {
        let mut since = BTreeMap::new();
        for (limit, reached) in &self.reached {
            // A process that was started again counts from zero.
            let more = reached.saturating_sub(before.reached.get(limit).copied().unwrap_or_default());
            if more > 0 {
                let limit = limit.split_once(": ").map_or(limit.as_str(), |(_, limit)| limit);
                *since.entry(limit.to_owned()).or_default() += more;
            }
        }
        since
    }
}

/// Stops every process while connections are open that say nothing.
async fn stop(stage: Stage, transcript: &mut Transcript) -> anyhow::Result<Row> {
    let (peaks, mut longest, mut silent) = (stage.peaks(), Duration::ZERO, Vec::new());
    for slot in stage.slots() {
        for greeting in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
            silent.push(raw::connect(slot.address, greeting).await?);
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    for process in stage.into_processes() {
        let began = Instant::now();
        process.stop().await?;
        longest = longest.max(began.elapsed());
    }
    let what = "silent connections and a stop";
    transcript.did(format!("L3 {what}:"));
    let met = longest < attacks::LONGEST_STOP;
    transcript.expect(met, format!("the slowest of three processes stopped within {}", readable(longest)));
    let none = [Duration::ZERO; 2];
    let recovery = Some(longest);
    Ok(Row { id: "L3", what, errors: 0, call_p99: none, import_p99: none, peaks, recovery, met })
}

fn table(transcript: &Transcript, rows: &[Row]) {
    transcript
        .did("attacks, and what honest clients noticed (times: quiet → attacked; MiB: billing / community / gateway):");
    transcript.count(format!(
        "{:<4} {:<52} {:>6} {:>18} {:>18} {:>17} {:>9}  met",
        "", "", "errors", "p99 of calls", "p99 of imports", "peak MiB", "recovery"
    ));
    for row in rows {
        let times = |[was, is]: [Duration; 2]| match is.is_zero() {
            true => "-".to_owned(),
            false => format!("{} → {}", readable(was), readable(is)),
        };
        transcript.count(format!(
            "{:<4} {:<52} {:>6} {:>18} {:>18} {:>17} {:>9}  {}",
            row.id,
            row.what,
            row.errors,
            times(row.call_p99),
            times(row.import_p99),
            row.peaks.to_string(),
            row.recovery.map_or_else(|| "never".to_owned(), readable),
            if row.met { "yes" } else { "NO" },
        ));
    }
}
