//! Settlement accounts over gRPC: applications, the two lists, changes, isolation, races.

use communal_proto::Coded as _;
use communal_proto::billing::v1::*;
use futures::future::join_all;

use crate::harness::*;

fn by_name(name: &str) -> PersonFilter {
    PersonFilter { customer_name: name.into(), ..PersonFilter::default() }
}

#[tokio::test]
async fn a_new_user_account_waits_for_its_settlement_account_and_that_for_its_parameters() {
    let world = World::start_archive().await;
    let (customer, user) = world.user_account(1, "王小明").await;
    let found = world.unverified(RETAIL, by_name("王 小明")).await;
    assert_eq!(found.user_accounts.iter().map(|u| u.user_account_id.as_str()).collect::<Vec<_>>(), [&user]);
    assert_eq!((found.settlement_accounts.len(), found.meter_points.len()), (0, 0));

    let account = world.connect(&user, "王小明用电").await;
    let found = world.unverified(RETAIL, PersonFilter::default()).await;
    let shown = &found.settlement_accounts[0];
    assert_eq!(
        (shown.settlement_account_id.as_str(), shown.customer_id.as_str()),
        (account.as_str(), customer.as_str())
    );
    assert_eq!((shown.customer_id_name.as_str(), shown.using_customer_name.as_str()), ("王小明", "王小明"));
    assert_eq!(shown.outstanding_balance, "0.00");
    let point = &found.meter_points[0];
    assert!(point.process_id.starts_with("Y5"), "{point:?}");
    assert_eq!((point.business_kind(), point.process_state()), (BusCategType::New, BusStateType::Parameters));

    let network = world.network().await;
    world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::No)).await.unwrap();
    assert_eq!(
        world.unverified(RETAIL, PersonFilter::default()).await,
        QueryUnverifiedUserAndSettlesResponse::default()
    );
    let found = world.verified(RETAIL, PersonFilter::default()).await;
    assert_eq!(found.user_accounts[0].user_account_id, user);
    let shown = &found.settlement_accounts[0];
    assert_eq!(shown.settlement_attestation(), AttestationType::Attested);
    assert_eq!((shown.inspection_cycle, shown.industry_code.as_str()), (12, "T0000"));
    let point = &found.meter_points[0];
    assert_eq!((point.area.as_str(), point.fixed_quantity.as_str(), point.meter_id.as_str()), ("89.50", "-1.50", ""));
    assert_eq!((point.retail_company_id.as_str(), point.network_company_id.as_str()), (RETAIL, NETWORK));
    assert_eq!((point.ladder(), point.account_item.as_str()), (LadderType::Year, "101001"));

    // A change makes it wait again, and it stays in the archive meanwhile.
    world.process(&account, BusCategType::Change).await.unwrap();
    let waiting = world.unverified(RETAIL, PersonFilter::default()).await;
    assert_eq!(waiting.meter_points[0].business_kind(), BusCategType::Change);
    assert_eq!(world.verified(RETAIL, PersonFilter::default()).await.settlement_accounts.len(), 1);
    // Another company sees none of it.
    for tenant in [OTHER_RETAIL, NETWORK] {
        assert_eq!(world.unverified(tenant, PersonFilter::default()).await.user_accounts, []);
        assert_eq!(world.verified(tenant, by_name("王小明")).await.user_accounts, []);
    }
}

#[tokio::test]
async fn accounts_are_found_by_certificate_phone_name_and_the_beginning_of_the_address() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let mut accounts = Vec::new();
    // These end in X.
    let [first, second, third] = [5, 13, 21].map(identity_number);
    for (certificate, phone, name, address) in [
        (&first, "13900139000", "王小明", "长安街 1 号"),
        (&second, "13800138000", "李四", "长安街 10 号"),
        (&third, "13800138000", "李四", "和平路 1 号"),
    ] {
        let customer = NewCustomer { mobile_phone: phone.into(), ..new_customer(certificate, name) };
        let customer = world.add_customers(caller(RETAIL), vec![customer]).await.unwrap().remove(0).customer_id;
        world.add_user_account(caller(RETAIL), new_user_account(&customer, name, address)).await.unwrap();
        let user: String = sqlx::query_scalar("SELECT user_account_id FROM user_account WHERE customer_id = $1")
            .bind(&customer)
            .fetch_one(world.pool())
            .await
            .unwrap();
        let account = world.connect(&user, name).await;
        world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::No)).await.unwrap();
        accounts.push((user, account));
    }
    let filter = PersonFilter::default();
    let cases = [
        (PersonFilter { certificate_number: first.to_lowercase(), ..filter.clone() }, vec![0]),
        (PersonFilter { identity_number: second.clone(), ..filter.clone() }, vec![1]),
        (
            PersonFilter {
                identity_number: second.clone(),
                certificate_number: second.to_lowercase(),
                ..filter.clone()
            },
            vec![1],
        ),
        (PersonFilter { identity_number: second.clone(), certificate_number: first.clone(), ..filter.clone() }, vec![]),
        (PersonFilter { mobile_phone: "13800138000".into(), ..filter.clone() }, vec![1, 2]),
        (by_name("李 四"), vec![1, 2]),
        (by_name("李"), vec![]),
        (PersonFilter { address: "长安街１".into(), ..filter.clone() }, vec![0, 1]),
        (PersonFilter { address: "长安街 1 号".into(), ..filter.clone() }, vec![0]),
        (PersonFilter { address: "安街".into(), ..filter.clone() }, vec![]),
        (PersonFilter { mobile_phone: "13800138000".into(), address: "和平".into(), ..filter.clone() }, vec![2]),
        (filter, vec![0, 1, 2]),
    ];
    for (filter, expected) in cases {
        let case = format!("{filter:?}");
        let found = world.verified(RETAIL, filter.clone()).await;
        let users: Vec<_> = found.user_accounts.iter().map(|u| u.user_account_id.as_str()).collect();
        assert_eq!(users, expected.iter().map(|n: &usize| accounts[*n].0.as_str()).collect::<Vec<_>>(), "{case}");
        assert_eq!(found.meter_points.len(), expected.len(), "{case}");
        let request = QuerySettleAccountsRequest {
            page: page(1, 10),
            filter: Some(SettlementAccountFilter {
                identity_number: filter.identity_number,
                mobile_phone: filter.mobile_phone,
                certificate_number: filter.certificate_number,
                customer_name: filter.customer_name,
                address: filter.address,
                ..SettlementAccountFilter::default()
            }),
        };
        let listed =
            world.settlement_accounts(caller(RETAIL)).query_settle_accounts(request).await.unwrap().into_inner();
        let ids: Vec<_> = listed.settlement_accounts.iter().map(|a| a.settlement_account_id.as_str()).collect();
        assert_eq!(ids, expected.iter().map(|n| accounts[*n].1.as_str()).collect::<Vec<_>>(), "{case}");
        assert_eq!(listed.page.unwrap().total, i64::try_from(expected.len()).unwrap(), "{case}");
    }
    let list = async |filter: SettlementAccountFilter, asked: Option<PageRequest>| {
        let request = QuerySettleAccountsRequest { page: asked, filter: Some(filter) };
        let reply =
            world.settlement_accounts(caller(RETAIL)).query_settle_accounts(request).await.unwrap().into_inner();
        (reply.settlement_accounts.len(), reply.page.unwrap().total)
    };
    let of_user = SettlementAccountFilter { user_account_id: accounts[2].0.clone(), ..Default::default() };
    assert_eq!(list(of_user, page(1, 10)).await, (1, 1));
    let water = SettlementAccountFilter { utility: NetworkType::Water.into(), ..Default::default() };
    assert_eq!(list(water, page(1, 10)).await, (0, 0));
    assert_eq!(list(SettlementAccountFilter::default(), page(2, 2)).await, (1, 3));
}

#[tokio::test]
async fn an_application_fits_its_account_and_all_or_none_are_opened() {
    let world = World::start_archive().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let account = world.connect(&user, "用电").await;
    let refuse = async |by, applications| world.apply(by, applications).await.unwrap_err();
    let same = || connection(&user, "用 电");
    let water = BusinessApplication { utility: NetworkType::Water.into(), ..same() };
    let cases = [
        (vec![water.clone(), connection("D1", "用水")], "SETTLE_ACCOUNT[1].USER_ACCOUNT_AID", "USER_ACCOUNT_NOT_FOUND"),
        (vec![water.clone(), same()], "SETTLE_ACCOUNT[1].SETTLEMENT_NAME", "ACCOUNT_NAME_TAKEN"),
        (vec![water.clone(), water.clone()], "SETTLE_ACCOUNT[1].SETTLEMENT_NAME", "ACCOUNT_NAME_TAKEN"),
        (
            vec![water.clone(), of_account("A1", BusCategType::Close)],
            "SETTLE_ACCOUNT[1].SETTLEMENT_AID",
            "SETTLEMENT_ACCOUNT_NOT_FOUND",
        ),
        (
            vec![water.clone(), of_account(&account, BusCategType::Change)],
            "SETTLE_ACCOUNT[1].SETTLEMENT_AID",
            "ACCOUNT_STATE",
        ),
    ];
    for (applications, field, expected) in cases {
        let refused = refuse(caller(RETAIL), applications).await;
        assert_eq!(fields(&refused), [field]);
        assert_eq!(reason::<()>(Err(refused)), expected);
    }
    let foreign = refuse(caller(OTHER_RETAIL), vec![of_account(&account, BusCategType::Close)]).await;
    assert_eq!(reason::<()>(Err(foreign)), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    assert_eq!(world.rows("business_process").await.len(), 1);
    world.apply(caller(RETAIL), vec![water]).await.unwrap();

    let network = world.network().await;
    world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::No)).await.unwrap();
    // Without a meter there is nothing to swap; and one process at a time, also within a request.
    let swap = refuse(caller(RETAIL), vec![of_account(&account, BusCategType::MeterSwap)]).await;
    assert_eq!(reason::<()>(Err(swap)), "ACCOUNT_STATE");
    let two = vec![of_account(&account, BusCategType::Change), of_account(&account, BusCategType::Close)];
    assert_eq!(fields(&refuse(caller(RETAIL), two).await), ["SETTLE_ACCOUNT[1].SETTLEMENT_AID"]);
}

/// The total of all accounts is kept by counters: it is right however many callers add accounts at once.
#[tokio::test]
async fn accounts_count_themselves_by_company_and_utility() {
    let world = World::start_archive().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let utilities = [NetworkType::Electricity, NetworkType::Water];
    let many: Vec<_> = (0..40)
        .map(|n| BusinessApplication { utility: utilities[n % 2].into(), ..connection(&user, &format!("第{n}户")) })
        .collect();
    for applied in join_all(many.chunks(4).map(|chunk| world.apply(caller(RETAIL), chunk.to_vec()))).await {
        applied.unwrap();
    }
    let twice = vec![connection(&user, "新户"), many[0].clone()];
    assert_eq!(reason(world.apply(caller(RETAIL), twice).await), "ACCOUNT_NAME_TAKEN");

    let there = async |utility: NetworkType| {
        let count =
            "SELECT count(*) FROM settlement_account WHERE company_id = $1 AND ($2::text IS NULL OR utility = $2)";
        let count = sqlx::query_scalar::<_, i64>(count).bind(RETAIL).bind(utility.stored());
        count.fetch_one(world.pool()).await.unwrap()
    };
    let total = async |tenant, utility: NetworkType, asked| {
        let filter = SettlementAccountFilter { utility: utility.into(), ..SettlementAccountFilter::default() };
        let request = QuerySettleAccountsRequest { page: asked, filter: Some(filter) };
        let reply =
            world.settlement_accounts(caller(tenant)).query_settle_accounts(request).await.unwrap().into_inner();
        (reply.settlement_accounts.len(), reply.page.unwrap().total)
    };
    for utility in [NetworkType::Unspecified, NetworkType::Electricity, NetworkType::Water, NetworkType::Gas] {
        let all = there(utility).await;
        assert_eq!(
            total(RETAIL, utility, page(1, 3)).await,
            (usize::try_from(all.min(3)).unwrap(), all),
            "{utility:?}"
        );
        assert_eq!(total(RETAIL, utility, page(100, 10)).await, (0, all), "{utility:?}: a page beyond the end");
    }
    assert_eq!(there(NetworkType::Water).await, 20);
    assert_eq!(total(OTHER_RETAIL, NetworkType::Unspecified, page(1, 10)).await, (0, 0));

    let owner = sqlx::PgPool::connect(&world.database.owner_url).await.unwrap();
    let moved = sqlx::query("UPDATE settlement_account SET utility = '3'").execute(&owner).await.unwrap_err();
    assert_eq!(moved.as_database_error().unwrap().constraint(), Some("settlement_account_utility_kept"));
    let removed = "SELECT platform.announce('o', 'o', 'o', 'o', 'o', now()); DELETE FROM account_accumulator;
        DELETE FROM business_process; DELETE FROM settlement_account WHERE utility = '1'";
    sqlx::raw_sql(removed).execute(&owner).await.unwrap();
    assert_eq!(total(RETAIL, NetworkType::Unspecified, page(1, 1)).await, (1, 20));
}

#[tokio::test]
async fn an_application_is_answered_by_accounts_and_processes_in_order_also_when_it_is_repeated() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let old = world.connect(&user, "旧").await;
    world.verify(RETAIL, network.parameters(&old, BusCategType::New, YesNo::No)).await.unwrap();
    let apply = async || {
        let applications =
            vec![connection(&user, "乙"), of_account(&old, BusCategType::Change), connection(&user, "甲")];
        let request = SupApplyBusinessRequest { applications };
        let reply = world.settlement_accounts(with_request_id(RETAIL, "a1")).sup_apply_business(request).await.unwrap();
        reply.into_inner().processes
    };
    let opened = apply().await;
    assert_eq!(apply().await, opened);
    let stored = sqlx::query_as::<_, (String, String, String)>(
        "SELECT a.name, settlement_account_id, process_id FROM business_process p
         JOIN settlement_account a USING (company_id, settlement_account_id) WHERE completed_at IS NULL",
    );
    let stored = stored.fetch_all(world.pool()).await.unwrap();
    let of = |wanted: &str| {
        let (_, account, process) = stored.iter().find(|(name, id, _)| name == wanted || id == wanted).unwrap();
        OpenedProcess { settlement_account_id: account.clone(), process_id: process.clone() }
    };
    assert_eq!(opened, ["乙", &old, "甲"].map(of));
}

#[tokio::test]
async fn an_account_is_transferred_to_another_customer_alone() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (customer, user) = world.user_account(1, "王小明").await;
    let (_, other) = world.user_account(2, "李四").await;
    world.add_user_account(caller(RETAIL), new_user_account(&customer, "王小明", "长安街 2 号")).await.unwrap();
    let statement = "SELECT user_account_id FROM user_account WHERE customer_id = $1 AND user_account_id <> $2";
    let second: String =
        sqlx::query_scalar(statement).bind(&customer).bind(&user).fetch_one(world.pool()).await.unwrap();
    let account = world.connect(&user, "用电").await;
    world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::No)).await.unwrap();
    let transfer =
        |to: &str| BusinessApplication { user_account_id: to.into(), ..of_account(&account, BusCategType::Transfer) };
    // The account's own user account, and another one of the same customer.
    for own in [&user, &second] {
        let refused = world.apply(caller(RETAIL), vec![connection(&user, "另一户"), transfer(own)]).await.unwrap_err();
        assert_eq!(fields(&refused), ["SETTLE_ACCOUNT[1].USER_ACCOUNT_AID"]);
        assert_eq!(reason::<()>(Err(refused)), "ACCOUNT_STATE");
    }
    world.apply(caller(RETAIL), vec![transfer(&other)]).await.unwrap();
    // The owner became the customer of the account in the meantime.
    let meanwhile = format!(
        "SELECT platform.announce('R', '', 'C', 't', 'test', now());
         UPDATE user_account SET customer_id = '{customer}' WHERE user_account_id = '{other}'"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(meanwhile)).execute(world.pool()).await.unwrap();
    let request = network.parameters(&account, BusCategType::Transfer, YesNo::No);
    let refused = world.verify(RETAIL, request).await.unwrap_err();
    assert_eq!(fields(&refused), ["SETTLE_ACCOUNT.SETTLEMENT_AID"]);
    assert_eq!(reason::<()>(Err(refused)), "ACCOUNT_STATE");
}

async fn withdraw(world: &World, by: Caller, account: &str, kind: BusCategType) -> Result<(), tonic::Status> {
    let request = WithdrawApplicationRequest { settlement_account_id: account.into(), business_kind: kind.into() };
    world.settlement_accounts(by).withdraw_application(request).await.map(drop)
}

#[tokio::test]
async fn an_application_that_was_a_mistake_is_withdrawn_and_the_account_is_as_before() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, meter) = world.archived(&network, 1).await;
    let (_, other) = world.user_account(2, "李芳").await;
    let before = world.verified(RETAIL, PersonFilter::default()).await;
    for kind in [BusCategType::Change, BusCategType::MeterSwap, BusCategType::Close, BusCategType::Transfer] {
        let user_account_id = if kind == BusCategType::Transfer { other.clone() } else { String::new() };
        let application = BusinessApplication { user_account_id, ..of_account(&account, kind) };
        world.apply(caller(RETAIL), vec![application]).await.unwrap();
        let wrong = if kind == BusCategType::Change { BusCategType::Close } else { BusCategType::Change };
        let refusal = ("SETTLEMENT_AID".to_owned(), "ACCOUNT_STATE".to_owned());
        assert_eq!(refused(withdraw(&world, caller(RETAIL), &account, wrong).await), refusal);
        let foreign = withdraw(&world, caller(OTHER_RETAIL), &account, kind).await;
        assert_eq!(reason(foreign), "SETTLEMENT_ACCOUNT_NOT_FOUND");
        withdraw(&world, caller(RETAIL), &account, kind).await.unwrap();
        assert_eq!(refused(withdraw(&world, caller(RETAIL), &account, kind).await), refusal, "it is gone");
        assert_eq!(world.verified(RETAIL, PersonFilter::default()).await, before, "{kind:?}");
    }
    // The next one is carried out as if none had been.
    world.process(&account, BusCategType::Close).await.unwrap();
    let closing = vec![reading(&meter, ReadingsType::Total, "100")];
    world.serve_meter(served(&account, BusCategType::Close), vec![], closing).await.unwrap();
    let by_whom: Vec<String> = sqlx::query_scalar(
        "SELECT operator_id FROM platform.change
         WHERE noun = 'business_process' AND operation = 'UPDATE' AND method LIKE '%/WithdrawApplication'",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(by_whom, vec![communal_fixtures::credentials::billing::OPERATOR; 4]);
}

#[tokio::test]
async fn a_new_connection_that_is_withdrawn_ends_and_gives_its_name_free() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user) = world.user_account(1, "王小明").await;
    for with_parameters in [false, true] {
        let account = world.connect(&user, &format!("用电{with_parameters}")).await;
        let parameters = network.parameters(&account, BusCategType::New, YesNo::Yes);
        if with_parameters {
            world.verify(RETAIL, parameters.clone()).await.unwrap();
        }
        withdraw(&world, caller(RETAIL), &account, BusCategType::New).await.unwrap();
        // The user account waits for its first settlement account again, and nothing is done with this one.
        let found = world.unverified(RETAIL, by_name("王小明")).await;
        assert_eq!((found.user_accounts.len(), found.settlement_accounts.len()), (1, 0));
        assert_eq!(world.verified(RETAIL, by_name("王小明")).await.settlement_accounts, []);
        assert_eq!(reason(world.verify(RETAIL, parameters).await), "ACCOUNT_STATE");
        assert_eq!(reason(world.process(&account, BusCategType::Change).await), "ACCOUNT_STATE");
        world.apply(caller(RETAIL), vec![connection(&user, &format!("用电{with_parameters}"))]).await.unwrap();
        let again: String = sqlx::query_scalar("SELECT max(settlement_account_id) FROM settlement_account")
            .fetch_one(world.pool())
            .await
            .unwrap();
        assert_ne!(again, account);
        withdraw(&world, caller(RETAIL), &again, BusCategType::New).await.unwrap();
    }
}

#[tokio::test]
async fn a_book_is_deleted_when_the_last_connection_in_it_was_withdrawn() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let account = world.connect(&user, "用电").await;
    world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::Yes)).await.unwrap();
    let delete = || {
        let books = vec![BookId { book_id: network.book_id.clone() }];
        let mut client = world.books(caller(RETAIL));
        async move { client.delete_supplier_book(DeleteSupplierBookRequest { books }).await.map(drop) }
    };
    assert_eq!(reason(delete().await), "BOOK_IN_USE");
    withdraw(&world, caller(RETAIL), &account, BusCategType::New).await.unwrap();
    delete().await.unwrap();
    let kept: Vec<String> = sqlx::query_scalar(
        "SELECT before ->> 'book_id' FROM platform.change WHERE noun = 'meter_point' AND operation = 'DELETE'",
    )
    .fetch_all(world.pool())
    .await
    .unwrap();
    assert_eq!(kept, [network.book_id], "the parameters stay in the change log");
}

#[tokio::test]
async fn of_32_that_withdraw_or_carry_out_one_process_one_does() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (account, _) = world.archived(&network, 1).await;
    world.process(&account, BusCategType::Change).await.unwrap();
    one_of_32(
        |n| {
            let (world, account, network) = (&world, &account, &network);
            async move {
                if n % 2 == 0 {
                    withdraw(world, caller(RETAIL), account, BusCategType::Change).await
                } else {
                    world.verify(RETAIL, network.parameters(account, BusCategType::Change, YesNo::Yes)).await
                }
            }
        },
        "ACCOUNT_STATE",
    )
    .await;
}

#[tokio::test]
async fn of_32_that_apply_for_one_account_one_does() {
    let world = World::start_archive().await;
    let network = world.network().await;
    let (_, user) = world.user_account(1, "王小明").await;
    let apply = |n: usize| {
        let own = connection(&user, &format!("第{n}户"));
        world.apply(caller(RETAIL), vec![own, connection(&user, spelled(n))])
    };
    let named = one_of_32(apply, "ACCOUNT_NAME_TAKEN").await;
    assert_eq!(named, [vec!["SETTLE_ACCOUNT[1].SETTLEMENT_NAME".to_owned()]].into());
    let account: String = sqlx::query_scalar("SELECT settlement_account_id FROM settlement_account LIMIT 1")
        .fetch_one(world.pool())
        .await
        .unwrap();
    world.verify(RETAIL, network.parameters(&account, BusCategType::New, YesNo::No)).await.unwrap();
    let kinds = [BusCategType::Change, BusCategType::Close];
    one_of_32(|n| world.process(&account, kinds[n % 2]), "ACCOUNT_STATE").await;
    // The other account of the request that won waits for its parameters.
    let open = "SELECT count(*) - 1 FROM business_process WHERE completed_at IS NULL";
    assert_eq!(sqlx::query_scalar::<_, i64>(open).fetch_one(world.pool()).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_stored_of_an_account_changes_and_its_customer_does_not() {
    let world = World::start_archive().await;
    let (customer, user) = world.user_account(1, "王小明").await;
    let other = world.customer(&identity_number(2), "李四").await;
    let account = world.connect(&user, "用电").await;
    world.connect(&user, "用电二").await;
    let changed = ChangedSettlementAccount {
        customer_id: customer.clone(),
        using_customer_id: other.clone(),
        user_account_id: user.clone(),
        settlement_account_id: account.clone(),
        settlement_account_name: "李四用电".into(),
        settlement_attestation: AttestationType::Pending.into(),
        address: "长安街 2 号".into(),
        control_kind: ControlType::Money.into(),
        industry_code: "T0001".into(),
        industry_sector: IndustryType::Primary.into(),
        resident: YesNo::No.into(),
        urban: YesNo::No.into(),
        military: YesNo::Yes.into(),
        temporary: YesNo::Yes.into(),
        public_use: YesNo::Yes.into(),
        connection_kind: ConnectModeType::FourWire.into(),
        contract_signed: YesNo::Yes.into(),
        contract_number: "HT-1".into(),
        contract_deadline: 20_301_231,
        remark: "备注".into(),
    };
    let change = async |tenant, changed: ChangedSettlementAccount| {
        let request = UpdateSettleAccountInformationRequest { settlement_account: Some(changed) };
        world.settlement_accounts(caller(tenant)).update_settle_account_information(request).await.map(drop)
    };
    let cases = [
        (ChangedSettlementAccount { customer_id: other.clone(), ..changed.clone() }, "ACCOUNT_STATE"),
        (ChangedSettlementAccount { user_account_id: "D1".into(), ..changed.clone() }, "ACCOUNT_STATE"),
        (ChangedSettlementAccount { using_customer_id: "K1".into(), ..changed.clone() }, "CUSTOMER_NOT_FOUND"),
        (
            ChangedSettlementAccount { settlement_account_id: "A1".into(), ..changed.clone() },
            "SETTLEMENT_ACCOUNT_NOT_FOUND",
        ),
        (
            ChangedSettlementAccount { settlement_account_name: "用电 二".into(), ..changed.clone() },
            "ACCOUNT_NAME_TAKEN",
        ),
    ];
    for (wrong, expected) in cases {
        assert_eq!(reason(change(RETAIL, wrong).await), expected);
    }
    assert_eq!(reason(change(OTHER_RETAIL, changed.clone()).await), "SETTLEMENT_ACCOUNT_NOT_FOUND");
    change(RETAIL, changed.clone()).await.unwrap();
    let request = QuerySettleAccountsRequest { page: page(1, 10), filter: None };
    let listed = world.settlement_accounts(caller(RETAIL)).query_settle_accounts(request).await.unwrap().into_inner();
    let shown = listed.settlement_accounts.iter().find(|a| a.settlement_account_id == account).unwrap();
    assert_eq!((shown.using_customer_id.as_str(), shown.using_customer_name.as_str()), (other.as_str(), "李四"));
    assert_eq!((shown.contract_number.as_str(), shown.contract_deadline), ("HT-1", 20_301_231));
    assert_eq!((shown.connection_kind(), shown.remark.as_str()), (ConnectModeType::FourWire, "备注"));
}
