//! Why community refuses. The list is in the contract (`reasons.proto`); here each reason gets
//! its gRPC code, in one exhaustive match, and each refusal its words: the documented text
//! where there is one.

use communal_kit::refusal::Refusal;
use communal_proto::Fault;
pub use communal_proto::community::v1::Reason;

fn refuse(reason: Reason, text: impl Into<String>) -> Refusal {
    Refusal::new(reason, text)
}

/// The community has no such live item: unknown, another community's and deleted are not told
/// apart.
#[must_use]
pub fn item_not_found() -> Refusal {
    refuse(Reason::FeeItemNotFound, "未找到该费用项")
}

/// There is no such item to delete; the document has words of its own for it.
#[must_use]
pub fn no_item_to_delete() -> Refusal {
    refuse(Reason::FeeItemNotFound, "删除费用项失败")
}

/// Another live item of the community has the name.
#[must_use]
pub fn name_taken(fee_name: &str) -> Refusal {
    refuse(Reason::FeeItemNameTaken, format!("{fee_name}已存在"))
}

/// The fee flag cannot change.
#[must_use]
pub fn item_has_rules() -> Refusal {
    refuse(Reason::FeeItemHasRules, "该费用项已有出账规则，不能修改费用标识")
}

/// The item cannot be deleted.
#[must_use]
pub fn item_in_use() -> Refusal {
    refuse(Reason::FeeItemInUse, "该费用项还有未结束的费用或出账规则，不能删除")
}

/// Items that came with the system stay.
#[must_use]
pub fn item_is_default() -> Refusal {
    refuse(Reason::FeeItemIsDefault, "该费用项目不能删除")
}

/// Nothing can be charged by a stopped item.
#[must_use]
pub fn item_is_stopped() -> Refusal {
    refuse(Reason::FeeItemStopped, "该费用项已停用，不能再收费")
}

/// Rows name payer objects that the community does not have.
#[must_use]
pub fn payer_objects_not_found(faults: Vec<Fault>) -> Refusal {
    let text = faults.first().map_or_else(|| "付费对象不存在".to_owned(), |f| f.text.clone());
    refuse(Reason::PayerObjectNotFound, text).faults(faults)
}
