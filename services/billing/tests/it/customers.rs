//! Customers over gRPC: what is stored of them and what is not, certificates, codes, isolation, races.

use communal_proto::billing::v1::*;
use futures::future::join_all;

use crate::harness::*;

const CERTIFICATE: &str = "11010519491231002X";

/// Makes the channel of the tests an administrator.
async fn administrator(world: &World) {
    sqlx::query("UPDATE platform.channel SET admin = true").execute(world.pool()).await.unwrap();
}

async fn code(world: &World, phone: &str) -> Result<String, tonic::Status> {
    let request = IssueVerifyCodeRequest { phone: phone.into() };
    Ok(world.customers(caller(RETAIL)).issue_verify_code(request).await?.into_inner().code)
}

fn with_code(certificate: &str, code: &str) -> NewCustomer {
    NewCustomer { verification_code: code.into(), ..new_customer(certificate, "王小明") }
}

#[tokio::test]
async fn what_identifies_a_customer_is_stored_and_logged_by_nobody() {
    let world = World::start_archive().await;
    let added = world.add_customers(caller(RETAIL), vec![new_customer(CERTIFICATE, "王小明")]).await.unwrap();
    let expected = AddedCustomer {
        customer_id: added[0].customer_id.clone(),
        customer_attestation: AttestationType::Attested.into(),
        customer_name: "王小明".into(),
        customer_kind: CustomerType::Natural.into(),
    };
    assert_eq!(added, [expected]);
    assert!(added[0].customer_id.starts_with("K5"), "{added:?}");
    let stored = world.rows("customer").await.concat();
    assert!(stored.contains("王小明") && stored.contains("13800138000") && stored.contains("$argon2id$"), "{stored}");
    for secret in [CERTIFICATE, "correct horse", "TAX-110101", "6222020200112233"] {
        assert!(!stored.contains(secret) && !stored.contains(&hex::encode(secret)), "{secret} in {stored}");
    }
    let history =
        world.rows("platform.change").await.into_iter().filter(|c| c.contains("customer")).collect::<String>();
    assert!(history.contains("\"personal\""), "{history}");
    for personal in ["王小明", "13800138000", "argon2id", "\"certificate_hash\":"] {
        assert!(!history.contains(personal), "{personal} in {history}");
    }
}

#[tokio::test]
async fn a_certificate_has_one_customer_of_a_company() {
    let world = World::start_archive().await;
    world.customer(CERTIFICATE, "王小明").await;
    let lower = new_customer(&CERTIFICATE.to_lowercase(), "李四");
    let refused =
        world.add_customers(caller(RETAIL), vec![new_customer(&identity_number(1), "张三"), lower]).await.unwrap_err();
    assert_eq!(fields(&refused), ["CUS_ACCOUNT[1].ACC_CERT_INFO"]);
    assert_eq!(reason::<()>(Err(refused)), "CERTIFICATE_TAKEN");
    let twice = vec![new_customer(&identity_number(2), "张三"), new_customer(&identity_number(2), "李四")];
    assert_eq!(reason(world.add_customers(caller(RETAIL), twice).await), "CERTIFICATE_TAKEN");
    assert_eq!(world.rows("customer").await.len(), 1, "all or nothing");
    // The certificate of a company, and the same one in another company, are others.
    let kind = AccCertType::CreditCode.into();
    let firm = NewCustomer { certificate_kind: kind, ..new_customer("91350100M000100Y43", "某公司") };
    world.add_customers(caller(RETAIL), vec![firm]).await.unwrap();
    world.add_customers(caller(OTHER_RETAIL), vec![new_customer(CERTIFICATE, "王小明")]).await.unwrap();
    let hashes: i64 = sqlx::query_scalar("SELECT count(DISTINCT certificate_hash) FROM customer")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(hashes, 3, "a hash tells nothing across companies");
}

#[tokio::test]
async fn a_mistyped_certificate_and_a_short_password_are_refused_by_row() {
    let world = World::start_archive().await;
    let short = NewCustomer { account_password: "12345".into(), ..new_customer(CERTIFICATE, "王小明") };
    let mistyped = new_customer("110105194912310021", "李四");
    let kind =
        NewCustomer { certificate_kind: AccCertType::CreditCode.into(), ..new_customer(CERTIFICATE, "某公司") };
    let refused = world.add_customers(caller(RETAIL), vec![short, mistyped, kind]).await.unwrap_err();
    let expected = ["CUS_ACCOUNT[0].ACCOUNT_PASSWORD", "CUS_ACCOUNT[1].ACC_CERT_INFO", "CUS_ACCOUNT[2].ACC_CERT_INFO"];
    assert_eq!(fields(&refused), expected);
    assert_eq!(world.rows("customer").await.len(), 0);
}

#[tokio::test]
async fn of_32_that_open_one_customer_one_does() {
    let world = World::start_archive().await;
    let add = async |n: usize| {
        let own = new_customer(&identity_number(n), "张三");
        let added = world.add_customers(caller(RETAIL), vec![own, new_customer(CERTIFICATE, &format!("客户{n}"))]);
        added.await.map(drop)
    };
    let named = one_of_32(add, "CERTIFICATE_TAKEN").await;
    assert_eq!(named, [vec!["CUS_ACCOUNT[1].ACC_CERT_INFO".to_owned()]].into());
}

#[tokio::test]
async fn a_code_proves_its_phone_once_within_five_minutes() {
    let world = World::start().await;
    assert_eq!(reason(code(&world, "13800138000").await), "METHOD_NOT_GRANTED", "for administrators alone");
    administrator(&world).await;
    // The channel is cached without its new right for a moment.
    eventually(async || code(&world, "13800138000").await.is_ok()).await;
    let first = code(&world, "13800138000").await.unwrap();
    let issued = code(&world, "13800138000").await.unwrap();
    assert!(issued.len() == 6 && issued.bytes().all(|b| b.is_ascii_digit()), "{issued}");
    let add = async |certificate: &str, code: &str| {
        world.add_customers(caller(RETAIL), vec![with_code(certificate, code)]).await
    };
    if first != issued {
        let refused = add(&identity_number(1), &first).await.unwrap_err();
        assert_eq!(fields(&refused), ["CUS_ACCOUNT[0].VERIFY_CODE"]);
        assert_eq!(reason::<()>(Err(refused)), "VERIFY_CODE_REFUSED");
    }
    // Several customers of one request may share a phone.
    let two = vec![with_code(&identity_number(1), &issued), with_code(&identity_number(2), &issued)];
    let by = || with_request_id(RETAIL, "two");
    let added = world.add_customers(by(), two.clone()).await.unwrap();
    assert_eq!(world.add_customers(by(), two).await.unwrap(), added, "the same request again needs no other code");
    assert_eq!(reason(add(&identity_number(3), &issued).await), "VERIFY_CODE_REFUSED", "used");
    let issued = code(&world, "13800138000").await.unwrap();
    let other_phone = NewCustomer { mobile_phone: "13900139000".into(), ..with_code(&identity_number(3), &issued) };
    assert_eq!(reason(world.add_customers(caller(RETAIL), vec![other_phone]).await), "VERIFY_CODE_REFUSED");
    world.clock.set(world.clock.now() + chrono::TimeDelta::minutes(5));
    assert_eq!(reason(add(&identity_number(3), &issued).await), "VERIFY_CODE_REFUSED", "expired");
    let stored = world.rows("verify_code").await.concat();
    assert!(!stored.contains("13800138000") && !stored.contains(&issued), "{stored}");
}

#[tokio::test]
async fn of_five_that_use_one_code_one_does() {
    let world = World::start().await;
    administrator(&world).await;
    eventually(async || code(&world, "13800138000").await.is_ok()).await;
    for round in 0..4 {
        let issued = code(&world, "13800138000").await.unwrap();
        let add = |n: usize| {
            let (world, first) = (&world, 10 * round + 2 * n);
            let two = [first, first + 1].map(|person| with_code(&identity_number(person), &issued));
            async move { world.add_customers(caller(RETAIL), two.into()).await }
        };
        let outcomes = join_all((0..5).map(add)).await;
        let losers: Vec<_> = outcomes.into_iter().filter_map(Result::err).collect();
        assert_eq!(losers.len(), 4);
        for loser in losers {
            assert_eq!(fields(&loser), ["CUS_ACCOUNT[0].VERIFY_CODE", "CUS_ACCOUNT[1].VERIFY_CODE"]);
            assert_eq!(reason::<()>(Err(loser)), "VERIFY_CODE_REFUSED");
        }
    }
}

#[tokio::test]
async fn a_code_has_five_tries_also_of_32_at_once() {
    let world = World::start().await;
    administrator(&world).await;
    eventually(async || code(&world, "13800138000").await.is_ok()).await;
    let issued = code(&world, "13800138000").await.unwrap();
    let wrong = if issued == "111111" { "222222" } else { "111111" };
    let guess = |n: usize| world.add_customers(caller(RETAIL), vec![with_code(&identity_number(n), wrong)]);
    assert!(join_all((0..32).map(guess)).await.into_iter().all(|o| reason(o) == "VERIFY_CODE_REFUSED"));
    let right = world.add_customers(caller(RETAIL), vec![with_code(&identity_number(1), &issued)]).await;
    assert_eq!(reason(right), "VERIFY_CODE_REFUSED", "no try is left");
    assert_eq!(world.rows("customer").await.len(), 0);
}
