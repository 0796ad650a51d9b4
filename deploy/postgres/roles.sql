-- The application's roles in PostgreSQL. `qader_owner` owns the tables and migrates them; `qader_web` reads and writes
-- rows, and nothing else: it cannot change or drop a table, read the server's files, or become another role.
--
-- The image runs this when a volume is new. On an older volume, run it by hand: "An older volume" in
-- docs/operations.md. It may be run again at any time, and also sets both passwords anew.

\set ON_ERROR_STOP on
\getenv owner_password POSTGRES_OWNER_PASSWORD
\getenv web_password POSTGRES_WEB_PASSWORD

BEGIN;
SET LOCAL lock_timeout = '10s'; -- if a long statement holds a table, change nothing and stop

SELECT format('CREATE ROLE %I', name)
FROM unnest(ARRAY['qader_owner', 'qader_web']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec
ALTER ROLE qader_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'owner_password';
ALTER ROLE qader_web LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'web_password';

SELECT format('ALTER DATABASE %I OWNER TO qader_owner', current_database()) \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO qader_web', current_database()) \gexec
ALTER SCHEMA public OWNER TO qader_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO qader_web;

-- What an older version's migrations made, with the superuser as its owner. A table takes its sequences along.
SELECT format('ALTER TABLE %s OWNER TO qader_owner', oid::regclass)
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') \gexec
SELECT format('ALTER ROUTINE %s OWNER TO qader_owner', oid::regprocedure)
FROM pg_proc
WHERE pronamespace = 'public'::regnamespace \gexec
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO qader_web;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO qader_web;
-- The audit trail can only be read and added to. In a new volume the migration that makes the table does the same.
SELECT format('REVOKE UPDATE, DELETE ON %s FROM qader_web', oid::regclass)
FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relname = 'chat_auditentry' \gexec

-- What later migrations make.
ALTER DEFAULT PRIVILEGES FOR ROLE qader_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO qader_web;
ALTER DEFAULT PRIVILEGES FOR ROLE qader_owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO qader_web;
COMMIT;
