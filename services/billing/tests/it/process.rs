//! The binary: its commands, and its state after a stop or kill in the middle of an import.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use communal_billing::MIGRATOR;
use communal_fixtures::TestDatabase;
use communal_proto::billing::v1::receivable_service_client::ReceivableServiceClient;
use communal_proto::billing::v1::*;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Endpoint;
use tonic::{Response, Status};

use crate::harness::*;

fn billing(arguments: &[&str], settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_billing"));
    command.args(arguments).env_clear().envs(settings.iter().copied());
    command
}

fn ran(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn all_configuration_errors_are_reported_at_once_with_exit_code_64() {
    let settings = [
        ("COMMUNAL_BILLING_ADDR", "nonsense"),
        ("COMMUNAL_ARREARS_CAP", "-1"),
        ("COMMUNAL_TIME_ZONE", "Mars"),
        ("COMMUNAL_BILLING_VERIFY_CODES", "perhaps"),
    ];
    let (code, printed, complaint) = ran(billing(&["serve"], &settings));
    assert_eq!((code, printed.as_str()), (Some(64), ""));
    for setting in [
        "COMMUNAL_SEALING_KEY",
        "COMMUNAL_BILLING_VERIFY_CODES",
        "COMMUNAL_BILLING_DATABASE_URL",
        "COMMUNAL_BILLING_ADDR",
        "COMMUNAL_ARREARS_CAP",
        "COMMUNAL_TIME_ZONE",
    ] {
        assert!(complaint.contains(setting), "{setting} in {complaint}");
    }
}

#[tokio::test]
async fn an_operator_sets_a_service_up_from_the_command_line() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    let settings =
        [("COMMUNAL_BILLING_DATABASE_URL", database.owner_url.as_str()), ("COMMUNAL_SEALING_KEY", SEALING_KEY)];
    let run = |arguments: &[&str]| {
        let (code, printed, complaint) = ran(billing(arguments, &settings));
        assert_eq!(code, Some(0), "{arguments:?}: {complaint}");
        printed
    };
    run(&["migrate"]);
    assert!(run(&["check"]).contains("in order"));
    run(&["tenant", "add", RETAIL, "--kind", "retail", "--name", "销售公司"]);
    run(&["store", "add", RETAIL, STORE, "--name", "一店", "--region", "110101000000"]);
    run(&["store", "add", RETAIL, STORE, "--name", "改名", "--region", "110101000000"]);
    assert_eq!(run(&["store", "list", RETAIL]), format!("{STORE}\t110101000000\t改名\n"));
    let refused = |arguments: &[&str]| {
        let (code, printed, complaint) = ran(billing(arguments, &settings));
        assert_eq!((code, printed.as_str()), (Some(1), ""), "{arguments:?}: {complaint}");
        complaint
    };
    let names = |arguments: &[&str], named: &[&str]| {
        let complaint = refused(arguments);
        assert!(named.iter().all(|named| complaint.contains(named)), "{arguments:?}: {complaint}");
    };
    let (store, region) = (["--name", "一店"], ["--region", "110101000000"]);
    let add_store = |company, id| [["store", "add", company, id], [store[0], store[1], region[0], region[1]]].concat();
    names(&add_store("S9", STORE), &["S9", "tenant add"]);

    // Adding a company again changes nothing; what differs is named, with the command that changes it.
    let again = run(&["tenant", "add", RETAIL, "--kind", "retail", "--name", " 销售公司"]);
    assert!(again.contains("exists already"), "{again}");
    let renaming = ["tenant", "add", RETAIL, "--kind", "retail", "--name", "另一公司"];
    names(&renaming, &[RETAIL, "销售公司", "tenant rename"]);
    names(&["tenant", "add", RETAIL, "--kind", "network", "--name", "销售公司"], &[RETAIL, "retail_company"]);
    assert_eq!(run(&["tenant", "list"]), format!("{RETAIL}\tretail_company\t销售公司\n"));
    run(&["tenant", "rename", RETAIL, "--name", "新名"]);
    assert_eq!(run(&["tenant", "list"]), format!("{RETAIL}\tretail_company\t新名\n"));
    names(&["tenant", "rename", "S9", "--name", "新名"], &["S9"]);

    // Identifiers and names are those of the wire, and are of one company.
    names(&["tenant", "add", "S 1", "--kind", "retail", "--name", "公司"], &["tenant_id"]);
    names(&["tenant", "add", "S1", "--kind", "retail", "--name", " "], &["name"]);
    // What is longer than ACCOUNT_DID, REGISTER_DID and CHANNEL_DID could be named by no call.
    names(&["tenant", "add", "S0000000000000001", "--kind", "retail", "--name", "公司"], &["S0000000000000001", "16"]);
    names(&["operator", "add", "R0000000000000001", "--name", "周敏"], &["R0000000000000001", "16"]);
    names(&["channel", "add", "C0000000000000001", "--name", "柜台", "--proof", "key"], &["C0000000000000001", "16"]);
    names(&add_store(RETAIL, "H00000000000000001"), &["store_id"]);
    names(&["store", "add", RETAIL, STORE, "--name", "一店", "--region", "99"], &["region_code"]);
    run(&["tenant", "add", NETWORK, "--kind", "network", "--name", "管网公司"]);
    run(&["tenant", "add", OTHER_NETWORK, "--kind", "network", "--name", "管网公司"]);
    names(&add_store(NETWORK, STORE), &[STORE, RETAIL]);
    run(&add_store(NETWORK, NETWORK_STORE));
    run(&add_store(OTHER_NETWORK, OTHER_STORE));
    let add_node =
        |company, id, store| ["node", "add", company, id, "--name", "台区", "--utility", "2", "--store", store];
    names(&add_node(NETWORK, "L1", STORE), &[NETWORK, STORE]);
    run(&add_node(NETWORK, "L1", NETWORK_STORE));
    run(&add_node(NETWORK, "L1", NETWORK_STORE));
    names(&add_node(OTHER_NETWORK, "L1", OTHER_STORE), &["L1", NETWORK]);
    let item = ["catalogue", "add-account-item", NETWORK, "101001", "--name", "居民", "--utility", "2"];
    names(&[&item as &[&str], &["--category-item", "1001"]].concat(), &[NETWORK, "1001"]);
    for noun in ["store", "node", "catalogue"] {
        names(&[noun, "list", "S9"], &["S9"]);
    }
}

#[tokio::test]
async fn check_reports_a_schema_that_is_behind() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    sqlx::raw_sql("DELETE FROM _sqlx_migrations WHERE version = 2").execute(&database.pool).await.unwrap();
    let settings = [("COMMUNAL_BILLING_DATABASE_URL", database.url.as_str()), ("COMMUNAL_SEALING_KEY", SEALING_KEY)];
    let (code, _, complaint) = ran(billing(&["check"], &settings));
    assert!(code == Some(1) && complaint.contains("migrate"), "{complaint}");
}

#[tokio::test]
async fn check_proves_the_books_of_a_company_or_of_a_month_alone() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    register(&database.pool).await;
    // An open row without its line, of the retail company, in January.
    sqlx::raw_sql(
        "INSERT INTO receivable_open (network_company_id, book_id, settlement_account_id, account_month, charge_off_id,
             line_number, retail_company_id, retail_store_id, package_kind, fee, issued)
         VALUES ('N000000000000001', 'B1', 'A1', 202401, 'E1', 1, 'S000000000000001', 'H1', '3', 1, '')",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let settings = [("COMMUNAL_BILLING_DATABASE_URL", database.url.as_str()), ("COMMUNAL_SEALING_KEY", SEALING_KEY)];
    let check = |arguments: &[&str]| {
        let (code, _, complaint) = ran(billing(&[&["check"], arguments].concat(), &settings));
        (code, complaint)
    };
    for wrong in [&[] as &[&str], &["--company", RETAIL], &["--company", NETWORK, "--month", "202401"]] {
        let (code, complaint) = check(wrong);
        assert!(code == Some(1) && complaint.contains("what is open or closed is a line: A1 E1 1"), "{complaint}");
    }
    assert_eq!(check(&["--company", OTHER_RETAIL]).0, Some(0));
    // A month that nobody has proves nothing.
    for arguments in [&["--month", "202402"] as &[&str], &["--company", OTHER_RETAIL, "--month", "202401"]] {
        let (code, complaint) = check(arguments);
        assert!(code == Some(1) && complaint.contains("there is no account month"), "{complaint}");
    }
    let (code, complaint) = check(&["--company", "S9"]);
    assert!(code == Some(1) && complaint.contains("there is no company S9"), "{complaint}");
    let (code, complaint) = check(&["--month", "202413"]);
    assert!(code == Some(2) && complaint.contains("is no account month"), "{complaint}");
}

#[tokio::test]
async fn check_reports_a_server_that_is_no_replica() {
    let database = TestDatabase::create("billing", &MIGRATOR).await;
    let url = database.url.as_str();
    let settings = |replica| {
        let url = ("COMMUNAL_BILLING_DATABASE_URL", url);
        [url, ("COMMUNAL_SEALING_KEY", SEALING_KEY), ("COMMUNAL_BILLING_REPLICA_URL", replica)]
    };
    let (code, _, complaint) = ran(billing(&["check"], &settings(url)));
    assert!(code == Some(1) && complaint.contains("replica 1 cannot be used: it is not a standby"), "{complaint}");
    let nobody = "postgres://nobody:s3cret@127.0.0.1:1/billing";
    let (code, _, complaint) = ran(billing(&["check"], &settings(nobody)));
    assert!(code == Some(1) && complaint.contains("replica 1: it does not answer"), "{complaint}");
    for no_url in ["postgres://nobody:s3cret@127.0.0.1:port/billing", "postgres://nobody:s3cret@127.0.0.1/billing,"] {
        let (code, _, complaint) = ran(billing(&["serve"], &settings(no_url)));
        assert!(code == Some(64) && complaint.contains("COMMUNAL_BILLING_REPLICA_URL"), "{complaint}");
        assert!(!complaint.contains("s3cret"), "{complaint}");
    }
}

/// A service process, with its database.
struct Process {
    child: Child,
    world: World,
    address: SocketAddr,
}

impl Process {
    async fn start(drain_limit_ms: &str) -> Self {
        // The database with its companies and credentials comes from a service in this process.
        let world = World::start().await;
        let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (address, admin) = (free(), free());
        let child = billing(
            &["serve"],
            &[
                ("COMMUNAL_BILLING_DATABASE_URL", &world.database.url),
                ("COMMUNAL_SEALING_KEY", SEALING_KEY),
                ("COMMUNAL_BILLING_ADDR", &address.to_string()),
                ("COMMUNAL_BILLING_ADMIN_ADDR", &admin.to_string()),
                ("COMMUNAL_DRAIN_NOTICE_MS", "0"),
                ("COMMUNAL_DRAIN_LIMIT_MS", drain_limit_ms),
            ],
        )
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        eventually(|| async { tokio::net::TcpStream::connect(address).await.is_ok() }).await;
        Self { child, world, address }
    }

    /// Begins an import and sends the first half of its lines.
    async fn half_an_import(&self, lines: u32) -> HalfImport {
        let channel = Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap();
        let (send, receive) = mpsc::channel(1);
        let mut client = ReceivableServiceClient::with_interceptor(channel, caller(NETWORK));
        let call = tokio::spawn(async move { client.import_receivable_lines(ReceiverStream::new(receive)).await });
        let lines: Vec<_> = (1..=lines).map(|n| line(n, 202_401)).collect();
        let mut messages = import_messages("half", &lines, 500);
        let rest = messages.split_off(messages.len() / 2);
        for message in messages {
            send.send(message).await.unwrap();
        }
        // The transaction is open and has begun to write.
        eventually(|| async { busy(self.world.pool()).await > 0 }).await;
        HalfImport { call, send, rest }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    async fn lines_stored(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM receivable_line").fetch_one(self.world.pool()).await.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct HalfImport {
    call: JoinHandle<Result<Response<ImportReceivableLinesResponse>, Status>>,
    send: mpsc::Sender<ImportReceivableLinesRequest>,
    rest: Vec<ImportReceivableLinesRequest>,
}

/// The number of open transactions of the database, without this one.
async fn busy(pool: &PgPool) -> i64 {
    sqlx::query_scalar(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL",
    )
    .fetch_one(pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn an_import_that_runs_when_the_service_stops_may_finish() {
    let mut process = Process::start("20000").await;
    let HalfImport { call, send, rest } = process.half_an_import(12_000).await;
    process.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(200)).await;
    for message in rest {
        send.send(message).await.unwrap();
    }
    drop(send);
    assert_eq!(call.await.unwrap().unwrap().get_ref().lines, 12_000);
    assert!(process.child.wait().unwrap().success());
    assert_eq!(process.lines_stored().await, 12_000);
}

#[tokio::test]
async fn an_import_that_does_not_finish_in_time_leaves_nothing() {
    let mut process = Process::start("300").await;
    let import = process.half_an_import(12_000).await;
    process.signal(Signal::SIGTERM);
    import.call.await.unwrap().expect_err("dropped at the end of the drain");
    assert!(process.child.wait().unwrap().success(), "and the service ends well");
    assert_eq!(process.lines_stored().await, 0);
}

#[tokio::test]
async fn an_import_in_a_service_that_is_killed_leaves_nothing() {
    let mut process = Process::start("20000").await;
    let import = process.half_an_import(12_000).await;
    process.signal(Signal::SIGKILL);
    process.child.wait().unwrap();
    import.call.await.unwrap().expect_err("cut off");
    eventually(|| async { busy(process.world.pool()).await == 0 }).await;
    assert_eq!(process.lines_stored().await, 0);
    let lines: Vec<_> = (1..=12_000).map(|n| line(n, 202_401)).collect();
    let again = process.world.import_as(NETWORK, "half", &lines).await.unwrap();
    assert_eq!((again.lines, again.replayed), (12_000, false), "sent again it is written");
}
