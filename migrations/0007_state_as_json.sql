-- The state is written as a whole and read as a whole: as json it is kept as it is sent, where jsonb takes it apart and
-- puts it together again. Rewrites the table.

ALTER TABLE sessions ALTER COLUMN state TYPE json USING state::json;
