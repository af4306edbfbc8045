//! The queries for the position of a primary and the replay state of a replica. They need no
//! privilege.

use sqlx::PgConnection;

use super::staleness::{Origin, Position, ReplayState};

/// Returns the origin of the primary's log and the position that it has written. Fails on a standby.
///
/// It is the insert position: the flushed one may lie below commits that were acknowledged
/// before they were flushed (`synchronous_commit = off`).
///
/// # Errors
/// Returns storage errors.
pub async fn written(connection: &mut PgConnection) -> Result<(Origin, Position), sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS "next!",
                  ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::int AS "timeline!",
                  (SELECT system_identifier FROM pg_control_system()) AS "system!",
                  current_database()::text AS "database!",
                  wal_block_size AS "page!", bytes_per_wal_segment AS "segment!"
           FROM pg_control_init()"#
    )
    .fetch_one(connection)
    .await?;
    let origin = Origin { system: row.system, timeline: row.timeline, database: row.database };
    let position = Position::written(bytes(row.next)?, bytes(row.page)?, bytes(row.segment)?);
    Ok((origin, position))
}

/// Returns the replay state of a server. A statement that begins after this one sees at least what
/// had been replayed by then.
///
/// The timeline is the latest that the server is known to have replayed: that of its last
/// restartpoint, of what it flushed since, and of what it receives. The last is visible to
/// members of `pg_read_all_stats`; without it a replica that follows a promotion is recognized at
/// its next restartpoint.
///
/// # Errors
/// Returns storage errors.
pub async fn replay_state(connection: &mut PgConnection) -> Result<ReplayState, sqlx::Error> {
    let row = sqlx::query!(
        r#"SELECT pg_is_in_recovery() AS "standby!",
                  (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint AS replayed,
                  (SELECT system_identifier FROM pg_control_system()) AS "system!",
                  greatest((SELECT timeline_id FROM pg_control_checkpoint()),
                           (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
                           (SELECT max(received_tli) FROM pg_stat_wal_receiver)) AS "timeline!",
                  current_database()::text AS "database!""#
    )
    .fetch_one(connection)
    .await?;
    let origin = Origin { system: row.system, timeline: row.timeline, database: row.database };
    let replayed = row.replayed.map(bytes).transpose()?.map(Position::replayed);
    Ok(ReplayState { standby: row.standby, origin, replayed })
}

fn bytes(number: impl TryInto<u64, Error: std::error::Error + Send + Sync + 'static>) -> Result<u64, sqlx::Error> {
    number.try_into().map_err(|error| sqlx::Error::Decode(error.into()))
}
