//! The same request twice, and many at once.

use communal_proto::community::v1::*;
use tokio::task::JoinSet;
use tonic::Status;

use crate::harness::*;

const MANY: usize = 32;

/// Makes [`MANY`] calls at once.
async fn at_once<T: Send + 'static>(
    call: impl Fn(usize) -> std::pin::Pin<Box<dyn Future<Output = Result<T, Status>> + Send>>,
) -> Vec<Result<T, Status>> {
    let mut calls = JoinSet::new();
    for number in 0..MANY {
        calls.spawn(call(number));
    }
    calls.join_all().await
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_saves_with_one_transaction_id_make_one_item_and_one_answer() {
    let service = Service::start().await;
    let outcomes = at_once(|_| {
        let caller = service.caller().id("100000000020240320103000000001");
        Box::pin(async move { caller.save(save("物业费")).await })
    })
    .await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(service.caller().list(list()).await.unwrap().total, 1);
    assert_eq!(service.caller().history(history()).await.unwrap().total, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_saves_of_one_name_make_one_item_and_refusals() {
    let service = Service::start().await;
    let outcomes = at_once(|number| {
        let caller = service.caller().id(&format!("id-{number}"));
        Box::pin(async move { caller.save(save("物业费")).await })
    })
    .await;
    let (saved, others): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((saved.len(), others.len()), (1, MANY - 1));
    for outcome in others {
        assert_eq!(refusal(outcome), refused("FEE_ITEM_NAME_TAKEN", "物业费已存在"));
    }
    assert_eq!(service.caller().list(list()).await.unwrap().total, 1);
    assert_eq!(service.count("SELECT count(*) FROM platform.answered_request").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_updates_with_one_transaction_id_are_one_change() {
    let service = Service::start().await;
    let id = service.item("物业费").await;
    // With another fee flag, bill rules are looked for as well.
    for (number, flag) in [(1, FeeFlag::Periodic), (2, FeeFlag::OneOff)] {
        let request =
            UpdateFeeConfigRequest { fee_flag: flag.into(), square_price: "3".into(), ..update(&id, "物业费") };
        let outcomes = at_once(|_| {
            let (caller, request) = (service.caller().id(&format!("update-{number}")), request.clone());
            Box::pin(async move { caller.update(request).await })
        })
        .await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!(service.caller().history(history()).await.unwrap().total, 1 + 2 * number);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_updates_follow_each_other_without_a_gap() {
    let service = Service::start().await;
    let id = service.item("物业费").await;
    let outcomes = at_once(|number| {
        let caller = if number % 2 == 0 { service.caller() } else { service.caller().id(&format!("u-{number}")) };
        let request =
            UpdateFeeConfigRequest { square_price: format!("{}.25", number + 10), ..update(&id, "物业费") };
        Box::pin(async move { caller.update(request).await })
    })
    .await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let mut images = service.caller().history(history()).await.unwrap().data;
    images.reverse();
    assert_eq!(images.len(), 1 + 2 * MANY);
    let price_of = |image: &FeeConfigImage| image.item.as_ref().unwrap().square_price.clone();
    let mut price = price_of(&images[0]);
    for change in images[1..].chunks(2) {
        assert_eq!((change[0].operate.as_str(), change[1].operate.as_str()), ("DEL", "ADD"));
        assert_eq!(price_of(&change[0]), price, "a change was lost");
        price = price_of(&change[1]);
    }
    assert_eq!(service.caller().named("物业费").await.square_price, price);
}

#[tokio::test(flavor = "multi_thread")]
async fn parallel_stops_and_reopenings_count_every_closure_once() {
    let service = Service::start().await;
    let rooms = service.rooms(1).await;
    let id = service.item("物业费").await;
    service.caller().charge(&id, &rooms).await.unwrap();
    let outcomes = at_once(|number| {
        let request = if number % 2 == 0 { stop(&id, "物业费") } else { reopen(&id, "物业费") };
        let caller = service.caller();
        Box::pin(async move { caller.update(request).await })
    })
    .await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let counted = "SELECT closures::bigint FROM pay_fee_config";
    assert_eq!(service.count(counted).await, service.count("SELECT count(*) FROM fee_item_closure").await);
    assert_eq!(service.caller().all_fees(&id, FeeState::Ended).await.len(), 1);
}

#[tokio::test]
async fn a_repeated_request_is_answered_again_and_not_carried_out_again() {
    let service = Service::start().await;
    let rooms = service.rooms(2).await;
    let caller = service.caller();
    let id = service.item("物业费").await;

    let first = caller.id("fees-1").charge(&id, &rooms).await.unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(caller.id("fees-1").charge(&id, &rooms).await.unwrap(), first);
    let rules = caller.id("rules-1").bill(&id, &rooms).await.unwrap();
    assert_eq!(caller.id("rules-1").bill(&id, &rooms).await.unwrap(), rules);
    let counted = "SELECT (SELECT count(*) FROM fee) + (SELECT count(*) FROM bill_rule)";
    assert_eq!(service.count(counted).await, 4);

    // Also when the item has changed so that the request would be refused now.
    let stopping = stop(&id, "物业费");
    caller.id("stop-1").update(stopping.clone()).await.unwrap();
    assert_eq!(caller.id("fees-1").charge(&id, &rooms).await.unwrap(), first);
    caller.update(reopen(&id, "物业费")).await.unwrap();
    caller.id("stop-1").update(stopping).await.unwrap();
    assert_eq!(caller.named("物业费").await.state(), ItemState::InUse, "a repeated stop is no new one");
    caller.update(stop(&id, "物业费")).await.unwrap();
    caller.id("delete-1").delete(&id).await.unwrap();
    caller.id("delete-1").delete(&id).await.unwrap();
    caller.id("stop-1").update(stop(&id, "物业费")).await.unwrap();
}

#[tokio::test]
async fn a_request_id_with_another_request_is_refused() {
    let service = Service::start().await;
    let rooms = service.rooms(2).await;
    let caller = service.caller().id("one-id");
    caller.save(save("物业费")).await.unwrap();
    let reused = || refused("REQUEST_ID_REUSED", "请求流水号已被其他请求使用");
    assert_eq!(refusal(caller.save(save("停车费")).await), reused());
    assert_eq!(service.caller().list(list()).await.unwrap().total, 1);
    let id = service.caller().named("物业费").await.config_id;
    // An id is spent once, whatever the method.
    assert_eq!(refusal(caller.update(update(&id, "物业费")).await), reused());
    assert_eq!(refusal(caller.charge(&id, &rooms[..1]).await), reused());
    let updating = caller.id("another-id");
    updating.update(update(&id, "物业费")).await.unwrap();
    assert_eq!(refusal(updating.update(update(&id, "物业费二期")).await), reused());
    assert_eq!(refusal(updating.update(stop(&id, "物业费")).await), reused());
    assert_eq!(refusal(updating.delete(&id).await), reused(), "the signed body of an update is no delete");
    let charging = caller.id("third-id");
    charging.charge(&id, &rooms[..1]).await.unwrap();
    assert_eq!(refusal(charging.charge(&id, &rooms).await), reused());
    assert_eq!(service.count("SELECT count(*) FROM fee").await, 1);
    // It belongs to a community.
    caller.save(SaveFeeConfigRequest { community_id: OTHER.into(), ..save("停车费") }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_swap_names_do_not_block_each_other_permanently() {
    let service = Service::start().await;
    for round in 0..4 {
        let (a, b) = (format!("甲{round}"), format!("乙{round}"));
        let (id_a, id_b) = (service.item(&a).await, service.item(&b).await);
        let (first, second) = (service.caller(), service.caller());
        let (to_b, to_a) = (update(&id_a, &b), update(&id_b, &a));
        let (one, two) = tokio::join!(first.update(to_b), second.update(to_a));
        for outcome in [one, two] {
            if outcome.is_err() {
                assert_eq!(refusal(outcome).0, "FEE_ITEM_NAME_TAKEN");
            }
        }
    }
}
