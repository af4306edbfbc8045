//! User accounts over gRPC: their customer, their place, changes, isolation, races.

use communal_proto::billing::v1::*;

use crate::harness::*;

#[tokio::test]
async fn a_customer_has_one_user_account_of_a_name_and_address() {
    let world = World::start_archive().await;
    let customer = world.customer(&identity_number(1), "王小明").await;
    let new = new_user_account(&customer, "王小明", "长安街 1 号");
    world.add_user_account(caller(RETAIL), new.clone()).await.unwrap();
    let same = NewUserAccount { address: "长安街１号".into(), ..new.clone() };
    assert_eq!(reason(world.add_user_account(caller(RETAIL), same).await), "USER_ACCOUNT_EXISTS");
    world
        .add_user_account(caller(RETAIL), NewUserAccount { address: "长安街 2 号".into(), ..new.clone() })
        .await
        .unwrap();
    let other = world.customer(&identity_number(2), "李四").await;
    world.add_user_account(caller(RETAIL), NewUserAccount { customer_id: other, ..new }).await.unwrap();
    assert_eq!(world.rows("user_account").await.len(), 3);
    let history = world.rows("platform.change").await.concat();
    assert!(!history.contains("长安街") && !history.contains("王小明"), "{history}");
}

#[tokio::test]
async fn a_user_account_belongs_to_a_customer_of_its_company() {
    let world = World::start_archive().await;
    let customer = world.customer(&identity_number(1), "王小明").await;
    let new = new_user_account(&customer, "王小明", "长安街 1 号");
    let refused = world.add_user_account(caller(OTHER_RETAIL), new.clone()).await.unwrap_err();
    assert_eq!(fields(&refused), ["USER_ACCOUNT.CUSTOMER_DID"]);
    assert_eq!(reason::<()>(Err(refused)), "CUSTOMER_NOT_FOUND");
    let nobody = NewUserAccount { customer_id: "K1".into(), ..new.clone() };
    assert_eq!(reason(world.add_user_account(caller(RETAIL), nobody).await), "CUSTOMER_NOT_FOUND");

    world.add_user_account(caller(RETAIL), NewUserAccount { risk_balance: "5".into(), ..new }).await.unwrap();
    let id: String =
        sqlx::query_scalar("SELECT user_account_id FROM user_account").fetch_one(world.pool()).await.unwrap();
    let change = async |tenant, account_id: &str| {
        let account = ChangedUserAccount {
            user_account_id: account_id.into(),
            resident: YesNo::No.into(),
            user_attestation: AttestationType::Attested.into(),
            margin_balance: "-1.5".into(),
            ..ChangedUserAccount::default()
        };
        let request = UpdateUserAccountRequest { account: Some(account) };
        world.user_accounts(caller(tenant)).update_user_account(request).await.map(drop)
    };
    assert_eq!(reason(change(OTHER_RETAIL, &id).await), "USER_ACCOUNT_NOT_FOUND");
    assert_eq!(reason(change(RETAIL, "D1").await), "USER_ACCOUNT_NOT_FOUND");
    change(RETAIL, &id).await.unwrap();
    let stored = world.rows("user_account").await.concat();
    for part in [r#""resident": "1""#, r#""attestation": "3""#, r#""risk_balance": 5.00"#, r#""margin_balance": -1.50"#]
    {
        assert!(stored.contains(part), "{part} in {stored}");
    }
}

#[tokio::test]
async fn of_32_that_add_one_user_account_one_does() {
    let world = World::start_archive().await;
    let customer = world.customer(&identity_number(1), "王小明").await;
    let new = |n: usize| new_user_account(&customer, spelled(n), spelled(n / 4));
    one_of_32(|n| world.add_user_account(caller(RETAIL), new(n)), "USER_ACCOUNT_EXISTS").await;
}
