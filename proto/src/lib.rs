//! The contract in Rust: the messages and services of the `.proto` tree, the descriptor
//! set that the gateway and reflection read, and the field checks generated from the
//! `communal.contract.v1` options.
//!
//! There is no business rule here beyond the documents' field tables: obligation, length, scale,
//! codes.
//!
//! ```
//! use communal_proto::billing::v1::{UpdateSalePackagePriceRequest, SalePackagePriceRow};
//! use communal_proto::{Checker, Checked};
//!
//! let request = UpdateSalePackagePriceRequest { rows: vec![SalePackagePriceRow { price: "0.48830001".into(), ..Default::default() }] };
//! let mut checker = Checker::default();
//! request.check(&mut checker);
//! let faults = checker.into_faults();
//! assert_eq!(faults[0].field, "COM_SALES_PRICE[0].CHARGE_PACK_DID");
//! assert!(faults.iter().any(|f| f.field == "COM_SALES_PRICE[0].CAT_ITEM_PRICE" && f.text.contains("小数")));
//! ```

pub mod canonical;
mod checks;
mod names;
mod path;
pub mod raw_codec;
mod reason;
pub mod wire;

pub use checks::{Checked, Checker, Coded, Fault, Format, MOST_FAULTS, Rule, parse_decimal};
pub use generated::{REQUESTS, request_of, required_role};
pub use names::tidy_name;
pub use path::{FieldName, FieldPath};
pub use reason::Reason;

/// The compiled contract: every file with its options and comments, as bytes, because a
/// round trip through `prost-types` would lose the options.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/contract.bin"));

/// Options, faults, and the reasons that every service has.
pub mod contract {
    /// `communal.contract.v1`
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("communal.contract.v1");

        /// The names of each message's fields.
        pub mod fields {
            include!(concat!(env!("OUT_DIR"), "/contract_fields.rs"));
        }
    }
}

/// Tenants, channels and operators.
pub mod identity {
    /// `communal.identity.v1`
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("communal.identity.v1");

        /// The names of each message's fields.
        pub mod fields {
            include!(concat!(env!("OUT_DIR"), "/identity_fields.rs"));
        }
    }
}

/// Retail-utility billing (EPEIS).
pub mod billing {
    /// `communal.billing.v1`
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("communal.billing.v1");

        /// The names of each message's fields.
        pub mod fields {
            include!(concat!(env!("OUT_DIR"), "/billing_fields.rs"));
        }
    }
}

/// Community fees (HC).
pub mod community {
    /// `communal.community.v1`
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("communal.community.v1");

        /// The names of each message's fields.
        pub mod fields {
            include!(concat!(env!("OUT_DIR"), "/community_fields.rs"));
        }
    }
}

#[allow(clippy::all, clippy::pedantic)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/generated.rs"));
}
