//! Rows in PostgreSQL's binary COPY format, encoded by the driver.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::PgArgumentBuffer;
use sqlx::{Encode, PgConnection, Postgres};

/// The beginning of the format: the signature, no flags, no header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// The end of the format, in the place of a row's number of columns.
const TRAILER: i16 = -1;
/// The most bytes of a message. PostgreSQL takes the rows of one when it has all of it: with small messages it works while the
/// next ones are on their way, and neither side keeps the rows a second time.
const MESSAGE: usize = 64 * 1024;

/// Rows that one COPY writes into a table. The types of their values are those of the columns: COPY converts nothing.
#[derive(Debug)]
pub struct CopyRows {
    bytes: PgArgumentBuffer,
    columns: i16,
    rows: usize,
}

impl CopyRows {
    /// Begins without rows; each will have so many columns.
    #[must_use]
    pub fn new(columns: i16) -> Self {
        let mut bytes = PgArgumentBuffer::default();
        bytes.extend_from_slice(HEADER);
        Self { bytes, columns, rows: 0 }
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Returns true if there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Begins a row, whose values are put next, in the order of the columns.
    pub fn begin_row(&mut self) {
        self.bytes.extend_from_slice(&self.columns.to_be_bytes());
        self.rows += 1;
    }

    /// Appends a value with its length before it; NULL has the length -1 and no bytes.
    ///
    /// # Errors
    /// Returns an error if the value has no binary form.
    pub fn put<'q, T: Encode<'q, Postgres>>(&mut self, value: T) -> Result<(), BoxDynError> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        let length = match value.encode_by_ref(&mut self.bytes)? {
            IsNull::Yes => -1,
            IsNull::No => i32::try_from(self.bytes.len() - at - 4)?,
        };
        if let Some(place) = self.bytes.get_mut(at..at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
        Ok(())
    }

    /// Sends the rows by a statement like `COPY table (columns) FROM STDIN WITH (FORMAT binary)`. Without rows nothing is sent.
    ///
    /// # Errors
    /// Returns the database's error.
    pub async fn send(mut self, connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
        if self.is_empty() {
            return Ok(());
        }
        self.bytes.extend_from_slice(&TRAILER.to_be_bytes());
        let mut copy = connection.copy_in_raw(statement).await?;
        for message in self.bytes.chunks(MESSAGE) {
            copy.send(message).await?;
        }
        copy.finish().await.map(drop)
    }
}
