//! Messages that share their fields: the documents repeat a shape where the contract has two types.

/// Moves the fields that two messages share from one to the other, and sets those of its own. Both
/// lists must be complete: a new field does not compile until it is named.
macro_rules! carry_over {
    ($message:expr, $From:ident => $Into:ident { $($own:ident: $value:expr,)* } $($field:ident)+) => {{
        let $From { $($field),+ } = $message;
        $Into { $($own: $value,)* $($field),+ }
    }};
}
pub(crate) use carry_over;
