-- A meter that is installed again shows what it showed when it was taken off, unless it was reset in between: closing readings up
-- to this one say nothing any more.
ALTER TABLE meter ADD COLUMN reset_reading bigint NOT NULL DEFAULT 0;
