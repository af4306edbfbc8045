//! Errors of the database: the table from SQLSTATE to reason, and texts that are safe to log.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use communal_proto::contract::v1::Reason as Common;
use sqlx::error::BoxDynError;

use crate::database::constraint;
use crate::refusal::Refusal;

/// A channel uses all of its share of the connections, and none came back in time.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the channel's share of the database connections is used up")]
pub struct ShareUsedUp;

impl From<sqlx::Error> for Refusal {
    /// Converts a storage error into a reason; no other code does. A violated constraint that means
    /// something to the caller is matched by its name before this (see
    /// [`crate::database::on_constraint`]).
    fn from(error: sqlx::Error) -> Self {
        let unavailable =
            || Self::new(Common::Unavailable, "服务暂时不可用，请稍后重试").retry_after(Duration::from_secs(1));
        if matches!(error, sqlx::Error::PoolTimedOut) {
            metrics::counter!("communal_database_acquire_timeouts_total").increment(1);
        }
        let state = error.as_database_error().and_then(|e| e.code()).map(|c| c.into_owned());
        let refusal = match (&error, state.as_deref()) {
            (sqlx::Error::Database(_), Some("40001" | "40P01" | "55P03")) => conflict(),
            (sqlx::Error::Database(_), Some("57014")) => Self::new(Common::DeadlineExceeded, "请求处理超时"),
            // A broken connection, too many connections, a server that is shutting down or recovering.
            (sqlx::Error::Database(_), Some(s))
                if s.starts_with("08") || s.starts_with("53") || s.starts_with("57P") =>
            {
                unavailable()
            }
            // A primary that was demoted to a standby refuses to write.
            (sqlx::Error::Database(_), Some("25006")) => unavailable(),
            (sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed, _) => {
                unavailable()
            }
            (sqlx::Error::AnyDriverError(cause), _) if cause.is::<ShareUsedUp>() => {
                Self::of(Common::Overloaded).retry_after(Duration::from_secs(1))
            }
            _ => return Self::internal(StorageFault::from(error)),
        };
        refusal.cause(StorageFault::from(error))
    }
}

fn conflict() -> Refusal {
    Refusal::new(Common::Conflict, "数据正被其他请求修改，请重试").retry_after(Duration::from_millis(50))
}

/// Converts the violation of a constraint into a conflict, and every other error into the default refusal. It is for a
/// constraint that the work of a write checks before its statement: a row that violates it all the same was committed by
/// another call between the check and the statement. [`crate::write::write`] then runs the work again in a new
/// transaction, where the check finds that row. So the call that lost the race is refused as one that comes later, with
/// each row and field.
pub fn lost_race(name: &'static str) -> impl FnOnce(sqlx::Error) -> Refusal {
    move |error| {
        if constraint(&error) == Some(name) { conflict().cause(StorageFault::from(error)) } else { error.into() }
    }
}

/// The error of a write whose values contradict each other, or what was read and locked before.
pub fn broken(error: impl Into<BoxDynError>) -> sqlx::Error {
    sqlx::Error::Encode(error.into())
}

/// Fails unless a statement found every row that was locked before.
///
/// # Errors
/// Returns an error of encoding that names the statement.
pub fn all_found(statement: &str, found: u64, wanted: usize) -> Result<(), sqlx::Error> {
    if usize::try_from(found) == Ok(wanted) {
        return Ok(());
    }
    Err(broken(format!("{statement} found {found} of {wanted} rows that were locked")))
}

/// A storage error as a text that is safe to log. PostgreSQL quotes values in the messages of some
/// classes of errors, and the driver quotes the value of a column it cannot decode; of those only the
/// kind is logged.
pub(crate) struct StorageFault(Arc<sqlx::Error>);

impl From<Arc<sqlx::Error>> for StorageFault {
    fn from(error: Arc<sqlx::Error>) -> Self {
        Self(error)
    }
}

impl From<sqlx::Error> for StorageFault {
    fn from(error: sqlx::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl fmt::Display for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            sqlx::Error::Database(error) => {
                let state = error.code().unwrap_or_default();
                write!(f, "PostgreSQL says {state}")?;
                for (what, name) in [("constraint", error.constraint()), ("table", error.table())] {
                    if let Some(name) = name {
                        write!(f, ", {what} {name}")?;
                    }
                }
                // 22: data exception; P0: raised by a function.
                if state.starts_with("22") || state.starts_with("P0") {
                    return Ok(());
                }
                write!(f, ": {}", error.message())
            }
            sqlx::Error::ColumnDecode { index, .. } => write!(f, "column {index} cannot be read"),
            sqlx::Error::Decode(_) => f.write_str("a value cannot be read"),
            sqlx::Error::Encode(_) => f.write_str("a value cannot be sent"),
            other => other.fmt(f),
        }
    }
}

impl fmt::Debug for StorageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for StorageFault {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_fault_is_logged_without_the_value_at_fault() {
        let decode = sqlx::Error::ColumnDecode { index: "name".into(), source: "13800138000 is no number".into() };
        assert_eq!(StorageFault::from(decode).to_string(), "column name cannot be read");
        assert_eq!(StorageFault::from(sqlx::Error::PoolTimedOut).to_string(), sqlx::Error::PoolTimedOut.to_string());
    }
}
