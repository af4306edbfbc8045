-- Books are found by their name alone, as clients learn the identifiers of books that they added.
CREATE INDEX book_by_name ON book (company_id, folded(name));
