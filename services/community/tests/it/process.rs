//! The binary as an operator runs it: configuration, demo data, signals.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use communal_community::MIGRATOR;
use communal_fixtures::TestDatabase;
use communal_proto::community::v1::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::harness::*;

fn command(settings: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_community"));
    for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("COMMUNAL_")) {
        command.env_remove(key);
    }
    for (key, value) in settings {
        command.env(format!("COMMUNAL_{}", key.to_uppercase()), value);
    }
    command.args(arguments);
    command
}

async fn run(settings: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = command(settings, arguments);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A `community serve` of its own.
pub(crate) struct Process {
    child: Child,
    channel: Channel,
    admin: SocketAddr,
}

impl Process {
    pub(crate) async fn start(database_url: &str) -> Self {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, admin): (SocketAddr, SocketAddr) = (free(), free());
        let (address_text, admin_text) = (address.to_string(), admin.to_string());
        let settings = [
            ("community_database_url", database_url),
            ("community_addr", &address_text),
            ("community_admin_addr", &admin_text),
            ("token_key", TOKEN_KEY),
            ("sealing_key", SEALING_KEY),
            ("drain_notice_ms", "10"),
            ("log", "warn"),
        ];
        let child = command(&settings, &["serve"]).stdout(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        let channel = loop {
            match Channel::from_shared(format!("http://{address}")).unwrap().connect().await {
                Ok(channel) => break channel,
                Err(_) if began.elapsed() < Duration::from_secs(20) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("the service does not listen: {error}"),
            }
        };
        Self { child, channel, admin }
    }

    /// How often each statement ran, by its name.
    pub(crate) async fn statements(&self) -> BTreeMap<String, i64> {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let counted =
            answer.lines().filter_map(|line| line.strip_prefix("communal_statement_seconds_count{statement=\""));
        counted
            .filter_map(|line| line.split_once("\"} "))
            .map(|(name, n)| (name.to_owned(), n.parse().unwrap()))
            .collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub(crate) async fn exit_code(mut self) -> Option<i32> {
        tokio::task::spawn_blocking(move || self.child.wait().unwrap().code()).await.unwrap()
    }

    pub(crate) fn caller(&self) -> Caller {
        let (key, now) = (communal_kit::secret::Secret::new(TOKEN_KEY), chrono::Utc::now());
        let life = chrono::TimeDelta::hours(1);
        let token = communal_kit::identity::token::issue(&key, OPERATOR, now, life).unwrap();
        Caller::new(self.channel.clone(), token)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn all_configuration_errors_are_reported_before_a_port_opens() {
    for arguments in [["serve"], ["check"]] {
        let output = run(&[("token_key", "short"), ("time_zone", "Mars/Olympus")], &arguments).await;
        assert_eq!(output.status.code(), Some(64));
        let reported = text(&output.stderr);
        for name in ["COMMUNITY_DATABASE_URL", "TOKEN_KEY", "TIME_ZONE"] {
            assert!(reported.contains(&format!("COMMUNAL_{name}")), "{reported}");
        }
    }
}

#[tokio::test]
async fn the_check_reports_a_schema_that_is_behind() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    let settings = [("community_database_url", database.url.as_str()), ("token_key", TOKEN_KEY)];
    let output = run(&settings, &["check"]).await;
    assert!(output.status.success() && text(&output.stdout).contains("in order"), "{}", text(&output.stderr));
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version = 3").execute(&database.pool).await.unwrap();
    let output = run(&settings, &["check"]).await;
    assert!(output.status.code() == Some(1) && text(&output.stderr).contains("migrate"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn the_migrate_of_an_older_release_leaves_a_newer_schema_alone() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    let settings = [("community_database_url", database.owner_url.as_str()), ("token_key", TOKEN_KEY)];
    for table in ["_sqlx_migrations", "_platform_migrations"] {
        let newer = format!(
            "INSERT INTO {table} (version, description, success, checksum, execution_time)
             VALUES (9001, 'of the next release', true, '', 0)"
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(newer)).execute(&database.pool).await.unwrap();
    }
    for command in ["migrate", "check"] {
        let output = run(&settings, &[command]).await;
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
    }
}

#[tokio::test]
async fn a_bill_run_follows_a_sandbox_clock_over_demo_data_alone() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    let settings = [("community_database_url", database.url.as_str()), ("sandbox_clock", "/nonexistent")];
    let output = run(&settings, &["bills", "run"]).await;
    assert!(!output.status.success() && text(&output.stderr).contains("no demo data"), "{}", text(&output.stderr));
}

#[tokio::test]
async fn demo_data_is_loaded_once_and_fits_the_documents_own_example() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    let url = database.owner_url.clone();
    let settings = [("community_database_url", url.as_str()), ("token_key", TOKEN_KEY), ("sealing_key", SEALING_KEY)];
    // Migrations were applied already; applying them again does nothing.
    assert!(run(&settings, &["migrate"]).await.status.success());
    let unsealed = run(&settings[..2], &["seed", "--demo"]).await;
    assert!(!unsealed.status.success() && text(&unsealed.stderr).contains("COMMUNAL_SEALING_KEY"));
    let first = run(&settings, &["seed", "--demo"]).await;
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(text(&first.stdout), "demo data loaded\n");
    let counts = "SELECT concat_ws(' ', (SELECT count(*) FROM payer_object), (SELECT count(*) FROM pay_fee_config),
                         (SELECT count(*) FROM fee WHERE is_open), (SELECT count(DISTINCT config_id) FROM bill_rule),
                         (SELECT max(changed_at) FROM platform.change))";
    let loaded: String = sqlx::query_scalar(counts).fetch_one(&database.pool).await.unwrap();
    assert!(loaded.starts_with("2904 24 35544 6 2023-12-01"), "{loaded}");
    let second = run(&settings, &["seed", "--demo"]).await;
    assert_eq!(text(&second.stdout), "demo data is there already\n");
    assert_eq!(sqlx::query_scalar::<_, String>(counts).fetch_one(&database.pool).await.unwrap(), loaded);

    // The second community is in bill mode: its rules have bills of two years, and a run makes those since, once.
    let bills = ["bills", "run", "--community", "10002"];
    let (ran, again) = (run(&settings, &bills).await, run(&settings, &bills).await);
    assert!(text(&ran.stdout).starts_with("10002: 720 rules, ") && ran.status.success(), "{}", text(&ran.stderr));
    assert_eq!(text(&again.stdout), "10002: 720 rules, 0 bills made, 0 rules ended\n");
    // In a sandbox a run has the sandbox's time: two months ahead, each rule has bills to make.
    let clock = std::env::temp_dir().join(format!("communal-bills-{}", std::process::id()));
    std::fs::write(&clock, format!("{}\n", 62 * 86_400)).unwrap();
    let in_sandbox = [settings[0], settings[1], settings[2], ("sandbox_clock", clock.to_str().unwrap())];
    let ahead = run(&in_sandbox, &bills).await;
    let made = text(&ahead.stdout);
    assert!(made.starts_with("10002: 720 rules, ") && !made.contains(" 0 bills"), "{made}");
    std::fs::remove_file(&clock).unwrap();
    let nowhere = run(&settings, &["bills", "run", "--community", "10009"]).await;
    assert!(!nowhere.status.success() && text(&nowhere.stderr).contains("no such community"));

    let token = run(&settings, &["token", "--operator", OPERATOR]).await;
    let token = text(&token.stdout);
    assert_eq!(token.lines().count(), 1);
    let process = Process::start(&url).await;
    let caller = Caller::new(process.channel.clone(), token.trim().to_owned());
    let open = caller.all_fees("123456", FeeState::Charging).await;
    assert_eq!(open.len(), 1_200);
    let example = UpdateFeeConfigRequest {
        computing_formula: "面积 * 单价 + 附加费".into(),
        end_time: "2024-12-31".into(),
        state: ItemState::Stopped.into(),
        ..update("123456", "物业费")
    };
    caller.update(example).await.unwrap();
    assert_eq!(caller.all_fees("123456", FeeState::Ended).await.len(), 1_200);
    let signing = caller.with("x-channel-id", SIGNING_APP).with("x-channel-key", SECRET);
    assert_eq!(signing.list(list()).await.unwrap().total, 12);
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit_code().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_runs_when_the_service_is_told_to_stop_is_finished() {
    let database = TestDatabase::create("community", &MIGRATOR).await;
    register(&database.pool).await;
    let process = Process::start(&database.url).await;
    let caller = process.caller();
    let rooms: Vec<_> = (0..5_000).map(|n| room(&format!("R{n:04}"))).collect();
    let ids: Vec<_> = rooms.iter().map(|r| r.payer_obj_id.clone()).collect();
    caller.register(HOME, rooms).await.unwrap();
    caller.save(save("物业费")).await.unwrap();
    let config_id = caller.named("物业费").await.config_id;

    // The item is locked, so that the call is certainly on its way when the signal comes.
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("SELECT FROM pay_fee_config FOR UPDATE").execute(&mut *lock).await.unwrap();
    let running = {
        let (caller, config_id) = (caller.clone(), config_id.clone());
        tokio::spawn(async move { caller.charge(&config_id, &ids).await })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!running.is_finished());
    lock.rollback().await.unwrap();
    assert_eq!(running.await.unwrap().unwrap().len(), 5_000);
    assert_eq!(process.exit_code().await, Some(0));
    let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM fee").fetch_one(&database.pool).await.unwrap();
    assert_eq!(stored, 5_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_killed_leaves_nothing_half_done() {
    const ROOMS: i64 = 20;
    let database = TestDatabase::create("community", &MIGRATOR).await;
    register(&database.pool).await;
    let process = Process::start(&database.url).await;
    let caller = process.caller();
    let rooms: Vec<_> = (0..ROOMS).map(|n| room(&format!("R{n:04}"))).collect();
    let ids: Vec<_> = rooms.iter().map(|r| r.payer_obj_id.clone()).collect();
    caller.register(HOME, rooms).await.unwrap();
    let mut work = JoinSet::new();
    for number in 0..8 {
        let name = format!("费用{number}");
        caller.save(save(&name)).await.unwrap();
        let config_id = caller.named(&name).await.config_id;
        let (caller, ids) = (caller.clone(), ids.clone());
        // Until the connection breaks.
        work.spawn(async move {
            for round in 0.. {
                let id = |what: &str| caller.id(&format!("{what}-{number}-{round}"));
                let charged = id("charge").charge(&config_id, &ids).await.is_ok();
                let stopped = id("stop").update(stop(&config_id, &name)).await.is_ok();
                let reopened = id("reopen").update(reopen(&config_id, &name)).await.is_ok();
                if !(charged && stopped && reopened) {
                    return round;
                }
            }
            0
        });
    }
    tokio::time::sleep(Duration::from_millis(700)).await;
    process.signal(Signal::SIGKILL);
    assert_eq!(process.exit_code().await, None);
    let rounds: i32 = work.join_all().await.into_iter().sum();
    assert!(rounds > 0, "nothing was done before the kill");

    until_rolled_back(&database).await;
    let broken = "SELECT count(*) FROM pay_fee_config c
        WHERE (SELECT count(*) FROM fee f WHERE f.config_id = c.config_id) % $1 <> 0
           -- A closure has its row, its changes and its reply.
           OR closures <> (SELECT count(*) FROM fee_item_closure k WHERE k.config_id = c.config_id)
           OR closures <> (SELECT count(*) FROM platform.change h WHERE h.key = c.config_id
                           AND h.before ->> 'state' = 'N' AND h.after ->> 'state' = 'NA')
           OR (SELECT count(*) FROM platform.change h WHERE h.key = c.config_id AND operation = 'INSERT') <> 1
           OR (SELECT count(DISTINCT is_open) FROM fee f WHERE f.config_id = c.config_id AND f.epoch = c.closures) > 1";
    assert_eq!(sqlx::query_scalar::<_, i64>(broken).bind(ROOMS).fetch_one(&database.pool).await.unwrap(), 0);
    let unanswered = "SELECT (SELECT count(*) FROM platform.answered_request WHERE request_id LIKE 'charge-%') * $1
                             - (SELECT count(*) FROM fee)
                           + (SELECT count(*) FROM platform.answered_request WHERE request_id ~ '^(stop|reopen)-')
                             - (SELECT count(*) FROM platform.change WHERE operation = 'UPDATE')";
    assert_eq!(sqlx::query_scalar::<_, i64>(unanswered).bind(ROOMS).fetch_one(&database.pool).await.unwrap(), 0);

    // A service that is started again goes on.
    let process = Process::start(&database.url).await;
    let config_id = process.caller().named("费用0").await.config_id;
    process.caller().update(stop(&config_id, "费用0")).await.unwrap();
    assert!(process.caller().all_fees(&config_id, FeeState::Charging).await.is_empty());
    process.signal(Signal::SIGTERM);
    assert_eq!(process.exit_code().await, Some(0));
}

/// Waits until the server has noticed the broken connections and rolled back what they had begun.
async fn until_rolled_back(database: &TestDatabase) {
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle'
                   AND pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(running).fetch_one(&database.pool).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A `community bills run` of the home community.
fn bill_run(database_url: &str) -> Child {
    let settings = [("community_database_url", database_url), ("database_connections", "2")];
    let mut run = command(&settings, &["bills", "run", "--community", HOME]);
    run.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bill_run_that_is_killed_again_and_again_bills_each_span_once_and_leaves_none_out() {
    const BILLS: &str = "SELECT count(*) FROM pay_fee WHERE rule_id IS NOT NULL";
    const BLOCKED: &str = "SELECT count(*) FROM pg_stat_activity
                           WHERE datname = current_database() AND wait_event_type = 'Lock'";
    // A run takes as many rules at a time.
    const CHUNK: i64 = 1_000;
    const CHUNKS: i64 = 8;
    let service = Service::start().await;
    let database = &service.database;
    let rooms = service.rooms(1_000).await;
    let caller = service.caller();
    // The process has the time of the machine.
    let start = (chrono::Utc::now() - chrono::TimeDelta::days(75)).format("%Y-%m-%d").to_string();
    let mut items = Vec::new();
    for number in 0..CHUNKS {
        let item = service.item(&format!("费用{number}")).await;
        caller.bill_from(&item, &rooms, &start).await.unwrap();
        items.push(item);
    }
    let rules_with_bills = "SELECT count(DISTINCT rule_id) FROM fee WHERE rule_id IS NOT NULL";
    // Killed within a chunk after each of the first: bills refer to their item, which somebody holds.
    for (chunks, item) in (1..4).zip(&items[1..]) {
        let mut lock = database.pool.begin().await.unwrap();
        let hold = "SELECT FROM pay_fee_config WHERE config_id = $1 FOR UPDATE";
        sqlx::query(hold).bind(item).execute(&mut *lock).await.unwrap();
        let mut run = bill_run(&database.url);
        let began = Instant::now();
        while service.count(BLOCKED).await == 0 {
            assert!(began.elapsed() < Duration::from_secs(60) && run.try_wait().unwrap().is_none());
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        run.kill().unwrap();
        run.wait().unwrap();
        assert_eq!(service.count(rules_with_bills).await, CHUNK * chunks);
        lock.rollback().await.unwrap();
        // What the killed one held would be passed by the next.
        until_rolled_back(database).await;
    }
    // Killed at any moment.
    for pause in [40, 90, 150] {
        let mut run = bill_run(&database.url);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        run.kill().unwrap();
        run.wait().unwrap();
    }

    // Two go on at once; what a killed one still holds, they wait for.
    let (total, before) = (CHUNKS * CHUNK, service.count(BILLS).await);
    let runs = [bill_run(&database.url), bill_run(&database.url)];
    let mut made = 0;
    for run in runs.map(|run| tokio::task::spawn_blocking(move || run.wait_with_output().unwrap())) {
        let output = run.await.unwrap();
        let said = text(&output.stdout);
        assert!(output.status.success() && said.starts_with(&format!("{HOME}: {total} rules, ")), "{said}");
        made += said.split([',', ' ']).nth(4).and_then(|number| number.parse::<i64>().ok()).expect(&said);
    }
    let after = service.count(BILLS).await;
    // A killed one may have committed its last chunk since they were counted.
    assert!(after >= before + made && made > 0, "{before} + {made} is not {after}");
    let again = run_bills_again(&database.url).await;
    assert_eq!(again, format!("{HOME}: {total} rules, 0 bills made, 0 rules ended\n"));
    assert_eq!(service.count(BILLS).await, after);

    // All rules are alike, so they have the same bills: the first begins with the rule, the last ends at the cursor, and
    // between them no day is left out or billed twice.
    let alike = "SELECT count(DISTINCT spans) FROM (
                     SELECT array_agg((start_time, bill_until) ORDER BY start_time) AS spans FROM fee GROUP BY rule_id) x";
    assert_eq!(service.count(alike).await, 1);
    assert_eq!(service.count(rules_with_bills).await, total);
    let misplaced = "SELECT count(*) FROM bill_rule r JOIN LATERAL (
                         SELECT min(start_time)::date AS first, max(bill_until) AS last,
                                sum(bill_until - start_time::date) AS days
                         FROM fee f WHERE f.rule_id = r.rule_id) bills ON true
                     WHERE first <> r.start_time::date OR last <> r.cur_year_month OR days <> last - first";
    assert_eq!(service.count(misplaced).await, 0);
}

async fn run_bills_again(database_url: &str) -> String {
    let run = bill_run(database_url);
    text(&tokio::task::spawn_blocking(move || run.wait_with_output().unwrap()).await.unwrap().stdout)
}
