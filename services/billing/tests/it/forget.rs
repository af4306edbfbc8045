//! A customer is forgotten by the command line: what is personal goes, what the money refers to stays.

use std::process::Command;

use communal_proto::billing::v1::*;

use crate::harness::*;

/// Runs the command; returns its exit code and everything it wrote.
fn forget(world: &World, company: &str, customer: &str) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_billing"))
        .args(["forget-customer", company, customer])
        .env_clear()
        .env("COMMUNAL_BILLING_DATABASE_URL", &world.database.owner_url)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_customer_leaves_identifiers_and_nothing_else() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, meter) = world.archived(&network, 1).await;
    let customer: String =
        sqlx::query_scalar("SELECT customer_id FROM customer").fetch_one(world.pool()).await.unwrap();
    let (code, said) = forget(&world, RETAIL, &customer);
    assert!(code == Some(1) && said.contains("not closed"), "{said}");
    assert!(forget(&world, RETAIL, "K1").1.contains("has no customer K1"));
    assert!(forget(&world, OTHER_RETAIL, &customer).1.contains("has no customer"));

    world.process(&account, BusCategType::Close).await.unwrap();
    let closing = vec![reading(&meter, ReadingsType::Total, "100")];
    world.serve_meter(served(&account, BusCategType::Close), vec![], closing).await.unwrap();
    let (code, said) = forget(&world, RETAIL, &customer);
    assert!(code == Some(0) && !said.contains("客户1"), "{said}");
    assert!(forget(&world, RETAIL, &customer).1.contains("already"));

    let mut left = String::new();
    for table in ["customer", "user_account", "settlement_account", "meter_point", "meter", "platform.change"] {
        left.push_str(&world.rows(table).await.concat());
    }
    for personal in ["客户1", "13800138000", &identity_number(1), "长安街", "王小明", "argon2id", "楼道表箱"]
    {
        assert!(!left.contains(personal), "{personal} is left in {left}");
    }
    assert!(left.contains(&customer) && left.contains(&account));
    assert_eq!(world.rows("boundary_reading").await.len(), 2);
    // Who is forgotten gets no new user account, and the certificate is free.
    let new = new_user_account(&customer, "某人", "某处");
    assert_eq!(reason(world.add_user_account(caller(RETAIL), new).await), "CUSTOMER_NOT_FOUND");
    world.customer(&identity_number(1), "另一人").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_owes_for_an_account_that_another_has_now_is_not_forgotten() {
    let world = World::start_archive().await;
    let customer = world.customer(&identity_number(1), "王小明").await;
    let owes = "INSERT INTO balance (company_id, customer_id, fund, entry, balance) VALUES ($1, $2, '2', 1, 120)";
    sqlx::query(owes).bind(RETAIL).bind(&customer).execute(world.pool()).await.unwrap();
    let (code, said) = forget(&world, RETAIL, &customer);
    assert!(code == Some(1) && said.contains("120.00 in all its funds"), "{said}");
    let pays = "UPDATE balance SET balance = 0, entry = 2 WHERE customer_id = $1";
    sqlx::query(pays).bind(&customer).execute(world.pool()).await.unwrap();
    assert_eq!(forget(&world, RETAIL, &customer).0, Some(0));
}

/// A line stays the debt of the customer to whom it was issued, and a line of another system is in no fund.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_named_by_an_open_line_that_was_brought_along_is_not_forgotten() {
    let world = World::start_archive().await;
    let (customer, _) = world.user_account(1, "王小明").await;
    let other = world.customer(&identity_number(2), "李芳").await;
    // The account is nobody's of the archive; the line alone says whose debt it is.
    let line = ReceivableLine { customer_id: customer.clone(), ..line(7, 202_401) };
    world.import_as(RETAIL, "b1", &[line]).await.unwrap();
    let (code, said) = forget(&world, RETAIL, &customer);
    assert!(code == Some(1) && said.contains("is named by 1 open lines"), "{said}");
    assert_eq!(forget(&world, RETAIL, &other).0, Some(0), "the debt is not hers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forgotten_customer_gets_no_account_again() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (gone, user) = world.user_account(1, "王小明").await;
    let (account, _) = world.archived(&network, 2).await;
    // A transfer that is under way leads to it.
    let transfer = || BusinessApplication {
        settlement_account_id: account.clone(),
        user_account_id: user.clone(),
        business_kind: BusCategType::Transfer.into(),
        ..BusinessApplication::default()
    };
    assert_eq!(forget(&world, RETAIL, &gone).0, Some(0), "a user account without settlement accounts");
    let outcome = world.apply(caller(RETAIL), vec![transfer()]).await;
    assert_eq!(reason(outcome), "USER_ACCOUNT_NOT_FOUND");
    let connection = BusinessApplication {
        user_account_id: user.clone(),
        business_kind: BusCategType::New.into(),
        utility: NetworkType::Water.into(),
        settlement_account_name: "忘".into(),
        address: "某处".into(),
        ..BusinessApplication::default()
    };
    assert_eq!(reason(world.apply(caller(RETAIL), vec![connection]).await), "USER_ACCOUNT_NOT_FOUND");
}
