//! Columns that hold an enum of the contract, or an encoded message.

use communal_proto::Coded;
use prost::Message;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

/// An enum of the contract, stored as its documented code in a text column with a CHECK behind it.
///
/// Reading a code that the enum does not have is an error, never a default: a price row whose period
/// cannot be read must not be billed as a whole-day price. A code that was not given is NULL; it is
/// read as `Option<Stored<E>>` and written by [`Coded::stored`].
///
/// ```text
/// sqlx::query_as!(PackageRow, r#"SELECT state AS "state: Stored<PackStateType>" FROM sales_package"#)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<E>(pub E);

impl<E: Default> Stored<E> {
    /// Returns the code of a nullable column, or the unspecified value for NULL.
    #[must_use]
    pub fn given(code: Option<Self>) -> E {
        code.map_or_else(E::default, |Self(code)| code)
    }
}

/// Decodes the message of a column.
///
/// # Errors
/// Returns an error of decoding if the bytes are none of the message.
pub fn decoded<M: Message + Default>(bytes: &[u8]) -> Result<M, sqlx::Error> {
    M::decode(bytes).map_err(|error| sqlx::Error::Decode(error.into()))
}

impl<E> Type<Postgres> for Stored<E> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(info: &PgTypeInfo) -> bool {
        <str as Type<Postgres>>::compatible(info)
    }
}

impl<E> PgHasArrayType for Stored<E> {
    fn array_type_info() -> PgTypeInfo {
        <&str as PgHasArrayType>::array_type_info()
    }
}

impl<'r, E: Coded> Decode<'r, Postgres> for Stored<E> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let code = <&str as Decode<Postgres>>::decode(value)?;
        E::from_code(code).map(Self).ok_or_else(|| format!("a stored code is none of {}", E::NAME).into())
    }
}

impl<E: Coded> Encode<'_, Postgres> for Stored<E> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match self.0.stored() {
            Some(code) => <&str as Encode<Postgres>>::encode(code, buffer),
            None => Ok(IsNull::Yes),
        }
    }
}
