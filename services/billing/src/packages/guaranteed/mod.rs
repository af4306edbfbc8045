//! Guaranteed packages (保底套餐) of network companies. All but the requests and replies is shared with retail packages:
//! see [`super::kind`].

pub mod rpc;
