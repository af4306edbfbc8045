-- A book that an open billing point is read in stays, as does one with meter points.
ALTER TABLE point_open
    ADD CONSTRAINT point_open_in_book FOREIGN KEY (company_id, book_id) REFERENCES book;
