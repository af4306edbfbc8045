//! Stopping an item ends its fees and bill rules: in one step, permanently, in its community
//! alone, whatever their number and whatever else is at work on them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use communal_proto::community::v1::*;
use tokio::task::JoinSet;
use tonic::Status;

use crate::harness::*;

/// The documented request of the update document, as the gateway carries it over.
fn documented_update(config_id: &str) -> UpdateFeeConfigRequest {
    UpdateFeeConfigRequest {
        computing_formula: "面积 * 单价 + 附加费".into(),
        state: ItemState::Stopped.into(),
        ..update(config_id, "物业费")
    }
}

#[tokio::test]
async fn stopping_ends_open_fees_and_rules_and_reopening_revives_none() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(3).await;
    let id = service.item("物业费").await;
    let other = service.item("停车费").await;
    caller.charge(&id, &rooms).await.unwrap();
    caller.charge(&other, &rooms).await.unwrap();
    caller.bill(&id, &rooms).await.unwrap();

    service.advance(TimeDelta::minutes(1));
    caller.update(documented_update(&id)).await.unwrap();
    assert_eq!(caller.named("物业费").await.state(), ItemState::Stopped);
    let ended = caller.all_fees(&id, FeeState::Ended).await;
    assert_eq!(ended.len(), 3);
    assert!(ended.iter().all(|f| f.state() == FeeState::Ended && f.ended_time == "2024-03-20 10:31:00"), "{ended:?}");
    assert!(caller.all_fees(&id, FeeState::Charging).await.is_empty());
    let rules = caller.rules(&id).await.unwrap().rules;
    assert!(rules.iter().all(|r| r.state() == FeeState::Ended && r.ended_time == "2024-03-20 10:31:00"), "{rules:?}");
    // Those of another item go on.
    let open = caller.all_fees(&other, FeeState::Charging).await;
    assert!(open.len() == 3 && open.iter().all(|f| f.ended_time.is_empty()), "{open:?}");

    // Nothing can be charged by it, until it is in use again; then only what is new is open.
    let stopped = || refused("FEE_ITEM_STOPPED", "该费用项已停用，不能再收费");
    assert_eq!(refusal(caller.charge(&id, &rooms).await), stopped());
    assert_eq!(refusal(caller.bill(&id, &rooms).await), stopped());
    caller.update(reopen(&id, "物业费")).await.unwrap();
    assert!(caller.all_fees(&id, FeeState::Charging).await.is_empty());
    let new = caller.charge(&id, &rooms[..1]).await.unwrap();
    let open: Vec<_> = caller.all_fees(&id, FeeState::Charging).await.into_iter().map(|f| f.fee_id).collect();
    assert_eq!(open, new);

    // Stopped again, each keeps the time at which it was ended; again while stopped: nothing.
    service.advance(TimeDelta::minutes(1));
    caller.update(stop(&id, "物业费")).await.unwrap();
    service.advance(TimeDelta::minutes(1));
    caller.update(stop(&id, "物业费")).await.unwrap();
    let times: Vec<_> = caller.all_fees(&id, FeeState::Ended).await.into_iter().map(|f| f.ended_time).collect();
    let (first, second) = ("2024-03-20 10:31:00", "2024-03-20 10:32:00");
    assert_eq!(times, [first, first, first, second]);
    assert_eq!(service.count("SELECT count(*) FROM fee_item_closure").await, 2);
}

#[tokio::test]
async fn an_item_saved_as_stopped_takes_nothing() {
    let service = Service::start().await;
    let rooms = service.rooms(1).await;
    service.caller().save(SaveFeeConfigRequest { state: ItemState::Stopped.into(), ..save("物业费") }).await.unwrap();
    let id = service.caller().named("物业费").await.config_id;
    assert_eq!(refusal(service.caller().charge(&id, &rooms).await).0, "FEE_ITEM_STOPPED");
    service.caller().update(reopen(&id, "物业费")).await.unwrap();
    service.caller().charge(&id, &rooms).await.unwrap();
    assert_eq!(service.caller().all_fees(&id, FeeState::Charging).await.len(), 1);
}

#[tokio::test]
async fn the_same_item_elsewhere_goes_on() {
    let service = Service::start().await;
    let caller = service.caller();
    // Identifiers are unique in a community; another may have the same.
    for community in [HOME, OTHER] {
        caller.register(community, vec![room("R1")]).await.unwrap();
        let request = SaveFeeConfigRequest { community_id: community.into(), ..save("物业费") };
        caller.save(request).await.unwrap();
    }
    service.execute("UPDATE pay_fee_config SET config_id = '123456'").await;
    for community in [HOME, OTHER] {
        let request = CreateFeesRequest { community_id: community.into(), ..fees("123456", &["R1".to_owned()]) };
        caller.create_fees(request).await.unwrap();
    }
    caller.update(stop("123456", "物业费")).await.unwrap();
    let there = ListFeesRequest { community_id: OTHER.into(), ..list_fees("123456") };
    let there = caller.fees(there).await.unwrap().fees;
    assert!(there.len() == 1 && there.iter().all(|f| f.state() == FeeState::Charging), "{there:?}");
    assert!(caller.all_fees("123456", FeeState::Charging).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_fees_end_by_one_row_and_no_one_waits() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(5_000).await;
    caller.set(&[("ALLOW_DUPLICATE_FEE", "ON")]).await.unwrap();
    let id = service.item("物业费").await;
    for _ in 0..20 {
        caller.charge(&id, &rooms).await.unwrap();
    }
    const VERSIONS: &str = "SELECT sum(hashtext(ctid::text || xmin::text)) FROM pay_fee";
    let before = service.count(VERSIONS).await;

    // Another transaction holds a fee of the item for long: a cascade that wrote the fees would
    // wait here.
    let mut busy = service.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM pay_fee WHERE config_id = $1 ORDER BY fee_id LIMIT 1 FOR UPDATE")
        .bind(&id)
        .execute(&mut *busy)
        .await
        .unwrap();
    caller.update(stop(&id, "物业费")).await.unwrap();
    busy.rollback().await.unwrap();

    assert_eq!(service.count("SELECT count(*) FROM fee WHERE state = '2009001' AND NOT is_open").await, 100_000);
    assert_eq!(service.count("SELECT count(*) FROM fee WHERE state <> '2009001' OR is_open").await, 0);
    // No fee was written.
    assert_eq!(service.count(VERSIONS).await, before);
    assert_eq!(caller.all_fees(&id, FeeState::Ended).await.len(), 100_000);
    // And it can be deleted now, since nothing of it is open.
    caller.delete(&id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_all_ended_or_none() {
    let service = Service::start().await;
    let rooms = service.rooms(500).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    let mut items = Vec::new();
    for number in 0..4 {
        let name = format!("费用{number}");
        let id = service.item(&name).await;
        service.caller().charge(&id, &rooms).await.unwrap();
        items.push((id.clone(), name));
        let (caller, done) = (service.caller(), done.clone());
        readers.spawn(async move {
            let mut seen = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let page = caller.fees(list_fees(&id)).await.unwrap().fees;
                let ended = page.iter().filter(|f| f.state() == FeeState::Ended).count();
                assert!(page.len() == 500 && (ended == 0 || ended == 500), "{ended} of {}", page.len());
                seen.push(ended);
            }
            seen
        });
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (id, name) in &items {
        service.caller().update(stop(id, name)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    done.store(true, Ordering::Relaxed);
    while let Some(seen) = readers.join_next().await {
        let seen = seen.unwrap();
        assert!(seen.first() == Some(&0) && seen.last() == Some(&500), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_open_fee_survives_a_stop_that_races_with_its_creation() {
    let service = Service::start().await;
    let rooms = service.rooms(5).await;
    service.caller().set(&[("ALLOW_DUPLICATE_FEE", "ON")]).await.unwrap();
    let (mut admitted, mut refused) = (0, 0);
    for round in 0..8 {
        let name = format!("费用{round}");
        let id = service.item(&name).await;
        let mut creators = JoinSet::new();
        for number in 0..16 {
            if number == 2 * round {
                let (stopper, stopped) = (service.caller(), stop(&id, &name));
                creators.spawn(async move {
                    stopper.update(stopped).await.unwrap();
                    true
                });
            }
            let (caller, id, rooms) = (service.caller(), id.clone(), rooms.clone());
            creators.spawn(async move {
                let outcome =
                    if number % 2 == 0 { caller.charge(&id, &rooms).await } else { caller.bill(&id, &rooms).await };
                match outcome {
                    Ok(ids) => {
                        assert_eq!(ids.len(), 5);
                        true
                    }
                    Err(status) => {
                        assert_eq!(refusal(Err::<(), _>(status)).0, "FEE_ITEM_STOPPED");
                        false
                    }
                }
            });
        }
        while let Some(outcome) = creators.join_next().await {
            if outcome.unwrap() { admitted += 1 } else { refused += 1 }
        }
        let late = service.caller().charge(&id, &rooms).await;
        assert_eq!(refusal(late).0, "FEE_ITEM_STOPPED");
        assert!(service.caller().all_fees(&id, FeeState::Charging).await.is_empty());
        assert!(service.caller().rules(&id).await.unwrap().rules.iter().all(|r| r.state() == FeeState::Ended));
    }
    // The 8 stops are among the admitted. How many creations come too late is the scheduler's
    // choice; that some were in time makes the rest of this a test.
    assert!(admitted > 8, "{admitted} admitted, {refused} refused");
}

/// Runs `other` while a creation on two rooms has locked the item and cannot end: it needs a
/// room that another transaction holds. Returns what became of both.
async fn while_creating<T: Send + 'static>(
    service: &Service,
    creation: impl Future<Output = Result<Vec<String>, Status>> + Send + 'static,
    other: impl Future<Output = T> + Send + 'static,
) -> (Vec<String>, T) {
    let mut busy = service.pool().begin().await.unwrap();
    sqlx::query("SELECT FROM payer_object FOR UPDATE").execute(&mut *busy).await.unwrap();
    let creation = tokio::spawn(creation);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let other = tokio::spawn(other);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!creation.is_finished(), "the creation did not wait for the room");
    assert!(!other.is_finished(), "the other call did not wait for the creation");
    busy.rollback().await.unwrap();
    (creation.await.unwrap().unwrap(), other.await.unwrap())
}

#[tokio::test]
async fn what_waits_for_a_creation_sees_what_it_created() {
    let service = Service::start().await;
    let rooms = service.rooms(2).await;
    let id = service.item("物业费").await;
    let caller = service.caller();
    let charge = || {
        let (caller, id, rooms) = (caller.clone(), id.clone(), rooms.clone());
        async move { caller.charge(&id, &rooms).await }
    };
    let bill = || {
        let (caller, id, rooms) = (caller.clone(), id.clone(), rooms.clone());
        async move { caller.bill(&id, &rooms).await }
    };

    let (stopper, request) = (caller.clone(), stop(&id, "物业费"));
    let (created, outcome) = while_creating(&service, charge(), async move { stopper.update(request).await }).await;
    outcome.unwrap();
    let ended: Vec<_> = caller.all_fees(&id, FeeState::Ended).await.into_iter().map(|f| f.fee_id).collect();
    assert_eq!(ended, created);
    caller.update(reopen(&id, "物业费")).await.unwrap();

    let (deleter, deleted) = (caller.clone(), id.clone());
    let (_, outcome) = while_creating(&service, charge(), async move { deleter.delete(&deleted).await }).await;
    assert_eq!(refusal(outcome).0, "FEE_ITEM_IN_USE");

    let changer = caller.clone();
    let request = UpdateFeeConfigRequest { fee_flag: FeeFlag::OneOff.into(), ..update(&id, "物业费") };
    let (_, outcome) = while_creating(&service, bill(), async move { changer.update(request).await }).await;
    assert_eq!(refusal(outcome).0, "FEE_ITEM_HAS_RULES");
}

#[tokio::test]
async fn a_new_fee_flag_is_the_fees_flag_unless_there_are_rules() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(2).await;
    let id = service.item("物业费").await;
    caller.charge(&id, &rooms).await.unwrap();
    let one_off = |name: &str| UpdateFeeConfigRequest { fee_flag: FeeFlag::OneOff.into(), ..update(&id, name) };
    let periodic = |name: &str| update(&id, name);
    let flags =
        || async { caller.all_fees(&id, FeeState::Unspecified).await.iter().map(Fee::fee_flag).collect::<Vec<_>>() };

    caller.update(one_off("物业费")).await.unwrap();
    assert_eq!(flags().await, [FeeFlag::OneOff; 2]);
    caller.update(periodic("物业费")).await.unwrap();
    assert_eq!(flags().await, [FeeFlag::Periodic; 2]);

    caller.bill(&id, &rooms).await.unwrap();
    let before = caller.named("物业费").await;
    let has_rules = || refused("FEE_ITEM_HAS_RULES", "该费用项已有出账规则，不能修改费用标识");
    let whole =
        UpdateFeeConfigRequest { square_price: "9".into(), state: ItemState::Stopped.into(), ..one_off("新名") };
    assert_eq!(refusal(caller.update(whole).await), has_rules());
    assert_eq!(caller.named("物业费").await, before, "nothing of the update may be carried out");
    assert_eq!(flags().await, [FeeFlag::Periodic; 2]);
    // Everything but the flag can change.
    caller.update(UpdateFeeConfigRequest { square_price: "9".into(), ..periodic("物业费") }).await.unwrap();
    // Ended rules count as well: their bills were made for the flag they had.
    caller.update(stop(&id, "物业费")).await.unwrap();
    assert_eq!(refusal(caller.update(one_off("物业费")).await), has_rules());
}

#[tokio::test]
async fn an_item_in_use_is_not_deleted() {
    let service = Service::start().await;
    let caller = service.caller();
    let rooms = service.rooms(1).await;
    let in_use = || refused("FEE_ITEM_IN_USE", "该费用项还有未结束的费用或出账规则，不能删除");
    let charged = service.item("物业费").await;
    caller.charge(&charged, &rooms).await.unwrap();
    let billed = service.item("公摊费").await;
    caller.bill(&billed, &rooms).await.unwrap();
    for (id, name) in [(&charged, "物业费"), (&billed, "公摊费")] {
        assert_eq!(refusal(caller.delete(id).await), in_use());
        assert_eq!(&caller.named(name).await.config_id, id);
        caller.update(stop(id, name)).await.unwrap();
        caller.delete(id).await.unwrap();
        // Its fees do not vanish with it.
        assert_eq!(
            service.caller().fees(list_fees(id)).await.unwrap().fees.len()
                + caller.rules(id).await.unwrap().rules.len(),
            1
        );
        assert_eq!(refusal(caller.charge(id, &rooms).await).0, "FEE_ITEM_NOT_FOUND");
    }
}

#[test]
fn nothing_reads_fees_and_rules_past_their_views() {
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut inserts = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for line in text.lines().map(str::trim).filter(|l| !l.starts_with("//")) {
                let names_table = line
                    .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .any(|word| word == "pay_fee" || word == "pay_fee_rule");
                // What a call changes, it names and locks; what it reads comes through the views.
                let allowed = ["INSERT INTO pay_fee", "UPDATE pay_fee", "FOR UPDATE", "ANALYZE"];
                let allowed = allowed.iter().any(|words| line.contains(words));
                assert!(!names_table || allowed, "{}: {line}", path.display());
                inserts += usize::from(names_table);
            }
        }
    }
    assert!(inserts >= 2, "the test looks for the wrong names");
}
