-- A login is refused if this moved since its password was read: on deactivation, logout everywhere, a new password.
ALTER TABLE users ADD COLUMN login_epoch BIGINT NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN last_login_at BIGINT;

-- Ended sessions are found by walking the table in order, not by an index that every refresh would have to move.
DROP INDEX sessions_by_expiry;

-- Numbers that others poll. They are drawn in the transaction that uses them, so that they are committed in order.
CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO counters (name, value) VALUES ('revocations', 0);

-- Sessions that ended although tokens of theirs have not expired. A row goes when the last of these tokens has.
CREATE TABLE revocations (
    sequence   BIGINT NOT NULL PRIMARY KEY,
    session_id TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revocations_by_expiry ON revocations (expires_at);

CREATE TABLE audit_events (
    id         TEXT   NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    type       TEXT   NOT NULL,
    outcome    TEXT   NOT NULL,
    actor      TEXT,
    subject    TEXT,
    ip         TEXT,
    device     TEXT,
    session_id TEXT,
    request_id TEXT
);
CREATE INDEX audit_events_by_subject ON audit_events (subject, id);

-- Which process does a job that only one may do.
CREATE TABLE leases (
    name       TEXT   NOT NULL PRIMARY KEY,
    holder     TEXT   NOT NULL,
    expires_at BIGINT NOT NULL
);

-- Token lifetimes that were in use, and until when tokens may have been issued with them.
CREATE TABLE token_lifetimes (
    lifetime   BIGINT NOT NULL PRIMARY KEY,
    used_until BIGINT NOT NULL
);
