//! Books over gRPC: names, stores, changes, isolation, races.

use communal_proto::billing::v1::*;
use futures::future::join_all;

use crate::harness::*;

async fn names(world: &World, tenant: &'static str, filter: BookFilter) -> Vec<String> {
    world.list_books(tenant, filter).await.into_iter().map(|book| book.book_name).collect()
}

async fn change(world: &World, tenant: &'static str, book: ChangedBook) -> Result<(), tonic::Status> {
    world.books(caller(tenant)).update_supplier_book(UpdateSupplierBookRequest { book: Some(book) }).await.map(drop)
}

async fn delete(world: &World, tenant: &'static str, ids: &[&str]) -> Result<(), tonic::Status> {
    let books = ids.iter().map(|id| BookId { book_id: (*id).into() }).collect();
    world.books(caller(tenant)).delete_supplier_book(DeleteSupplierBookRequest { books }).await.map(drop)
}

#[tokio::test]
async fn books_are_added_found_changed_and_deleted() {
    let world = World::start().await;
    let water = NewBook { utility: NetworkType::Water.into(), read: YesNo::No.into(), ..new_book("东区一段") };
    world.add_books(caller(RETAIL), vec![new_book("东区一段"), water, new_book("东区二段")]).await.unwrap();
    let all = world.list_books(RETAIL, BookFilter::default()).await;
    assert_eq!(all.iter().map(|b| b.book_name.as_str()).collect::<Vec<_>>(), ["东区一段", "东区一段", "东区二段"]);
    assert!(all.iter().all(|b| b.book_id.len() == 16 && b.book_id.starts_with('B')), "{all:?}");

    let by_name = BookFilter { book_name: "东区 一段".into(), ..BookFilter::default() };
    assert_eq!(names(&world, RETAIL, by_name.clone()).await.len(), 2);
    let unread = BookFilter { read: YesNo::No.into(), ..by_name };
    assert_eq!(names(&world, RETAIL, unread).await.len(), 1);
    for nothing in [
        BookFilter { region_code: "659004000000".into(), ..BookFilter::default() },
        BookFilter { meter_reader_id: "R1".into(), ..BookFilter::default() },
        BookFilter { utility: NetworkType::Gas.into(), ..BookFilter::default() },
    ] {
        assert_eq!(names(&world, RETAIL, nothing).await, [""; 0]);
    }

    let id = all[2].book_id.as_str();
    change(&world, RETAIL, ChangedBook { book_id: id.into(), meter_reader_id: "R1".into(), ..Default::default() })
        .await
        .unwrap();
    let changed = world.list_books(RETAIL, BookFilter { meter_reader_id: "R1".into(), ..Default::default() }).await;
    assert_eq!(changed, [Book { meter_reader_id: "R1".into(), ..all[2].clone() }], "what is left out stays");

    delete(&world, RETAIL, &[id, &all[0].book_id]).await.unwrap();
    assert_eq!(world.list_books(RETAIL, BookFilter::default()).await, [all[1].clone()]);
    let history: i64 = sqlx::query_scalar("SELECT count(*) FROM platform.change WHERE noun = 'book' AND key = $1")
        .bind(id)
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(history, 3);
}

#[tokio::test]
async fn a_name_is_taken_in_whatever_width_case_and_spacing() {
    let world = World::start().await;
    world.add_books(caller(RETAIL), vec![new_book("A区 1段")]).await.unwrap();
    for same in ["a区1段", "Ａ区１段", " A区 1段 "] {
        let refused = world.add_books(caller(RETAIL), vec![new_book("另一段"), new_book(same)]).await.unwrap_err();
        assert_eq!(fields(&refused), ["SUP_BOOK[1].BOOK_NAME"]);
        assert_eq!(reason::<()>(Err(refused)), "BOOK_NAME_TAKEN");
    }
    let twice = world.add_books(caller(RETAIL), vec![new_book("B"), new_book("ｂ")]).await.unwrap_err();
    assert_eq!(fields(&twice), ["SUP_BOOK[1].BOOK_NAME"]);
    assert_eq!(names(&world, RETAIL, BookFilter::default()).await, ["A区 1段"], "all or nothing");
    world.add_books(caller(RETAIL), vec![new_book("C")]).await.unwrap();
    let id =
        world.list_books(RETAIL, BookFilter { book_name: "C".into(), ..Default::default() }).await.remove(0).book_id;
    let rename = ChangedBook { book_id: id, book_name: "a区1段".into(), ..ChangedBook::default() };
    assert_eq!(reason(change(&world, RETAIL, rename).await), "BOOK_NAME_TAKEN");
}

#[tokio::test]
async fn a_name_is_kept_composed_and_with_single_spaces() {
    let world = World::start().await;
    world.add_books(caller(RETAIL), vec![new_book(" Cafe\u{301} \u{3000}一段 ")]).await.unwrap();
    assert_eq!(names(&world, RETAIL, BookFilter::default()).await, ["Café 一段"]);
}

#[tokio::test]
async fn what_is_added_is_answered_by_its_identifiers_in_order_also_when_it_is_repeated() {
    let world = World::start().await;
    let add = async || {
        let request = AddSupplierBookRequest { books: vec![new_book("乙"), new_book("甲"), new_book("丙")] };
        let reply = world.books(with_request_id(RETAIL, "b1")).add_supplier_book(request).await.unwrap();
        reply.into_inner().book_ids
    };
    let added = add().await;
    assert_eq!(add().await, added);
    let listed = world.list_books(RETAIL, BookFilter::default()).await;
    let of = |name: &str| listed.iter().find(|book| book.book_name == name).unwrap().book_id.clone();
    assert_eq!(added, ["乙", "甲", "丙"].map(of));
}

#[tokio::test]
async fn a_name_that_nobody_sees_is_refused_and_named_for_developers_and_for_people() {
    let world = World::start().await;
    let refuse =
        async |name: &str| world.add_books(caller(RETAIL), vec![new_book("一段"), new_book(name)]).await.unwrap_err();
    for (name, expected) in [
        (" ", "FIELD_MISSING"),
        ("\u{3000}", "FIELD_MISSING"),
        ("二\u{200b}段", "FIELD_MALFORMED"),
        ("二\n段", "FIELD_MALFORMED"),
    ] {
        let refused = refuse(name).await;
        assert_eq!(proto_fields(&refused), ["books[1].book_name"]);
        assert_eq!(fields(&refused), ["SUP_BOOK[1].BOOK_NAME"]);
        assert_eq!(reason::<()>(Err(refused)), expected, "{name:?}");
    }
    assert_eq!(names(&world, RETAIL, BookFilter::default()).await, [""; 0]);
}

/// The documents let it be left out of a new book and of a change, and no amount depends on it.
#[tokio::test]
async fn a_book_that_is_read_may_get_its_cycle_later() {
    let world = World::start().await;
    let without = NewBook { reading_cycle: 0, ..new_book("一段") };
    world.add_books(caller(RETAIL), vec![without]).await.unwrap();
    let monthly = BookFilter { reading_cycle: ReadPeriodType::Monthly.into(), ..BookFilter::default() };
    assert_eq!(world.list_books(RETAIL, monthly.clone()).await, []);
    let book = world.list_books(RETAIL, BookFilter::default()).await.remove(0);
    assert_eq!((book.read(), book.reading_cycle()), (YesNo::Yes, ReadPeriodType::Unspecified), "and is not guessed");
    let cycle = ReadPeriodType::Monthly.into();
    let by = ChangedBook { book_id: book.book_id.clone(), reading_cycle: cycle, ..ChangedBook::default() };
    change(&world, RETAIL, by).await.unwrap();
    assert_eq!(world.list_books(RETAIL, monthly).await, [Book { reading_cycle: cycle, ..book }]);
}

#[tokio::test]
async fn a_book_belongs_to_its_company_and_store() {
    let world = World::start().await;
    let foreign = NewBook { store_id: OTHER_STORE.into(), ..new_book("一段") };
    let refused = world.add_books(caller(RETAIL), vec![new_book("二段"), foreign]).await.unwrap_err();
    assert_eq!(fields(&refused), ["SUP_BOOK[1].BUSINESS_HALL_AID"]);
    assert_eq!(reason::<()>(Err(refused)), "SUPPLIER_NOT_FOUND");

    world.add_books(caller(RETAIL), vec![new_book("一段")]).await.unwrap();
    let id = world.list_books(RETAIL, BookFilter::default()).await.remove(0).book_id;
    assert_eq!(world.list_books(OTHER_RETAIL, BookFilter::default()).await, []);
    let steal = ChangedBook { book_id: id.clone(), manager_id: "R1".into(), ..ChangedBook::default() };
    assert_eq!(reason(change(&world, OTHER_RETAIL, steal).await), "BOOK_NOT_FOUND");
    assert_eq!(reason(delete(&world, OTHER_RETAIL, &[&id]).await), "BOOK_NOT_FOUND");
    let moved = ChangedBook { book_id: id.clone(), store_id: OTHER_STORE.into(), ..ChangedBook::default() };
    assert_eq!(reason(change(&world, RETAIL, moved).await), "SUPPLIER_NOT_FOUND");
    let refused = delete(&world, RETAIL, &[&id, "B1"]).await.unwrap_err();
    assert_eq!(fields(&refused), ["SUP_BOOK[1].BOOK_AID"]);
    assert_eq!(world.list_books(RETAIL, BookFilter::default()).await.len(), 1, "all or nothing");
}

#[tokio::test]
async fn of_32_that_add_one_book_one_does() {
    let world = World::start().await;
    let add = |n: usize| world.add_books(caller(RETAIL), vec![new_book(&format!("第{n}段")), new_book(spelled(n))]);
    let named = one_of_32(add, "BOOK_NAME_TAKEN").await;
    assert_eq!(
        named,
        [vec!["SUP_BOOK[1].BOOK_NAME".to_owned()]].into(),
        "a loser is told the row, like one who is late"
    );
    let replayed =
        join_all((0..32).map(|_| world.add_books(with_request_id(RETAIL, "b1"), vec![new_book("二段")]))).await;
    assert!(replayed.iter().all(Result::is_ok), "{replayed:?}");
    assert_eq!(names(&world, RETAIL, BookFilter::default()).await[2..], ["二段"]);
}
