//! Identifiers as types of their own, so that two that stand side by side in a call cannot change
//! places.

use std::borrow::Borrow;
use std::fmt;

/// Declares identifiers that are texts.
macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The identifier as a text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

identifiers! {
    /// A network or retail company (管网公司、销售公司).
    CompanyId,
    /// A store of a company (营业网点).
    StoreId,
    /// A package (套餐).
    PackageId,
    /// A batch of imported lines.
    BatchId,
    /// A book (抄表区段).
    BookId,
    /// A customer (客户).
    CustomerId,
    /// A user account (用户账户).
    UserAccountId,
    /// A settlement account (结算户).
    SettlementAccountId,
    /// A meter (计量仪表).
    MeterId,
}
