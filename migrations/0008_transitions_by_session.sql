-- One index instead of two, and a key that begins with session_id as those of all tables that grow with the events.

ALTER TABLE transitions DROP CONSTRAINT transitions_pkey;
DROP INDEX transitions_by_session;
ALTER TABLE transitions ADD PRIMARY KEY (session_id, session_version, id);
