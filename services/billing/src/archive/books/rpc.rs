//! The methods of `BookService`.

use communal_kit::database::errors::lost_race;
use communal_kit::database::on_constraint;
use communal_kit::database::stored::Stored;
use communal_kit::pool::Pool;
use communal_kit::refusal::Refusal;
use communal_kit::request::begin;
use communal_kit::write::write;
use communal_proto::billing::v1::book_service_server::BookService;
use communal_proto::billing::v1::fields::{
    add_supplier_book_request, book_id, changed_book, delete_supplier_book_request, new_book,
    update_supplier_book_request,
};
use communal_proto::billing::v1::{
    AddSupplierBookRequest, AddSupplierBookResponse, Book, DeleteSupplierBookRequest, DeleteSupplierBookResponse,
    QuerySupplierBookRequest, QuerySupplierBookResponse, Reason, UpdateSupplierBookRequest, UpdateSupplierBookResponse,
};
use communal_proto::{Fault, FieldPath, Reason as _};
use tonic::{Request, Response, Status};

use super::UNKNOWN;
use super::store::{self, BookRow};
use crate::archive::rows::at_rows;
use crate::suppliers;
use crate::vocabulary::paging::AskedPage;
use crate::vocabulary::tariff::or;

/// Serves the books of a database.
#[derive(Clone, Debug)]
pub struct BookRpc(pub Pool);

#[tonic::async_trait]
impl BookService for BookRpc {
    async fn add_supplier_book(
        &self,
        request: Request<AddSupplierBookRequest>,
    ) -> Result<Response<AddSupplierBookResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let rows = add_supplier_book_request::BOOKS;
            let stores: Vec<_> = message.books.iter().map(|book| book.store_id.as_str()).collect();
            let unknown = suppliers::store::unknown(tx, &call, &stores).await?;
            let english = "is no store of the calling company";
            let mut objections = at_rows(Reason::SupplierNotFound, &unknown, rows, new_book::STORE_ID, english);
            let taken = store::taken(tx, &call, &message.books).await?;
            objections.extend(at_rows(Reason::BookNameTaken, &taken, rows, new_book::BOOK_NAME, TAKEN));
            objections.into_result()?;
            let added = store::add(tx, &call, &message.books, &[]).await;
            Ok(AddSupplierBookResponse { book_ids: added.map_err(lost_race("book_name"))? })
        });
        Ok(reply.await?)
    }

    async fn query_supplier_book(
        &self,
        request: Request<QuerySupplierBookRequest>,
    ) -> Result<Response<QuerySupplierBookResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let (asked, filter) = (AskedPage::read(message.page), message.filter.unwrap_or_default());
        let (found, total) = store::list(&self.0, &call.tenant.id, &filter, asked.page).await.map_err(Refusal::from)?;
        let books = found.into_iter().map(book).collect();
        Ok(Response::new(QuerySupplierBookResponse { page: asked.reply(total), books }))
    }

    async fn update_supplier_book(
        &self,
        request: Request<UpdateSupplierBookRequest>,
    ) -> Result<Response<UpdateSupplierBookResponse>, Status> {
        let (call, message, changed) = begin(request)?.accept_with(|message, _| message.book.clone())?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let field = |field| update_supplier_book_request::BOOK.then(field);
            if !changed.store_id.is_empty()
                && !suppliers::store::unknown(tx, &call, &[changed.store_id.as_str()]).await?.is_empty()
            {
                let text = Reason::SupplierNotFound.text();
                let fault = Fault::rule(field(changed_book::STORE_ID), "is no store of the calling company", text);
                return Err(Refusal::of(Reason::SupplierNotFound).fault(fault));
            }
            let refuse = |reason: Reason, name, english| {
                Err(Refusal::of(reason).fault(Fault::rule(field(name), english, reason.text())))
            };
            match store::lock(tx, &call, &changed.book_id).await? {
                None => return refuse(Reason::BookNotFound, changed_book::BOOK_ID, UNKNOWN),
                Some(book) if book.in_use && or(changed.utility(), book.utility.0) != book.utility.0 => {
                    let english = "is not that of the meter points in the book";
                    return refuse(Reason::BookInUse, changed_book::UTILITY, english);
                }
                Some(_) => {}
            }
            let race = || name_taken(field(changed_book::BOOK_NAME));
            store::change(tx, &call, &changed).await.map_err(on_constraint("book_name", race))?;
            Ok(UpdateSupplierBookResponse {})
        });
        Ok(reply.await?)
    }

    async fn delete_supplier_book(
        &self,
        request: Request<DeleteSupplierBookRequest>,
    ) -> Result<Response<DeleteSupplierBookResponse>, Status> {
        let (call, message) = begin(request)?.accept()?;
        let reply = write(&self.0, &call, &message, async |tx| {
            let ids: Vec<_> = message.books.iter().map(|book| book.book_id.as_str()).collect();
            let unknown = store::unknown(tx, &call, &ids).await?;
            let rows = delete_supplier_book_request::BOOKS;
            at_rows(Reason::BookNotFound, &unknown, rows, book_id::BOOK_ID, UNKNOWN).into_result()?;
            // Nothing comes into a locked book.
            let in_use = store::in_use(tx, &call, &ids).await?;
            let english = "has meter points, also of closed accounts, or open billing points";
            at_rows(Reason::BookInUse, &in_use, rows, book_id::BOOK_ID, english).into_result()?;
            store::delete(tx, &call, &ids).await?;
            Ok(DeleteSupplierBookResponse {})
        });
        Ok(reply.await?)
    }
}

const TAKEN: &str = "is taken by another book of the store and utility";

fn name_taken(field: FieldPath) -> Refusal {
    Refusal::of(Reason::BookNameTaken).fault(Fault::rule(field, TAKEN, Reason::BookNameTaken.text()))
}

fn book(row: BookRow) -> Book {
    let BookRow {
        book_id,
        store_id,
        utility: Stored(utility),
        read: Stored(read),
        read_period,
        name,
        manager_id,
        meter_reader_id,
        region_code,
        place: _,
        total: _,
    } = row;
    Book {
        book_id,
        utility: utility.into(),
        read: read.into(),
        reading_cycle: Stored::given(read_period).into(),
        store_id,
        book_name: name,
        region_code,
        manager_id,
        meter_reader_id,
    }
}
