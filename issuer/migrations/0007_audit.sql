-- Each event carries a MAC of what it says from the moment it is written. The sealer numbers the events and seals each
-- together with all before it. Events of earlier versions get their MAC when the chain begins.
ALTER TABLE audit_events ADD COLUMN mac BLOB;
ALTER TABLE audit_events ADD COLUMN sequence BIGINT;
ALTER TABLE audit_events ADD COLUMN seal BLOB;

-- Finds what is not sealed yet, too: there the sequence is NULL.
CREATE INDEX audit_events_by_sequence ON audit_events (sequence, id);
CREATE INDEX audit_events_by_actor ON audit_events (actor, id);
CREATE INDEX audit_events_by_type ON audit_events (type, id);

-- One row: how far the chain is sealed, and up to where retention has removed it.
CREATE TABLE audit_chain (
    id           BIGINT NOT NULL PRIMARY KEY,
    removed_to   BIGINT NOT NULL,
    removed_seal BLOB   NOT NULL,
    sealed_to    BIGINT NOT NULL,
    seal         BLOB   NOT NULL,
    mac          BLOB   NOT NULL
);

-- Moved, and so held until the commit, by whatever may take an administrator away: one of them looks at a time.
INSERT INTO counters (name, value) VALUES ('administrators', 0);

-- Whether there is another administrator is asked of this index, however many accounts there are.
CREATE INDEX users_administrators ON users (id) WHERE is_active = 1 AND (' ' || roles || ' ') LIKE '% admin %';

-- Addresses are listed and searched in the order of their bytes, which is SQLite's own.
-- PostgreSQL: ALTER TABLE users ALTER COLUMN email TYPE TEXT COLLATE "C";
