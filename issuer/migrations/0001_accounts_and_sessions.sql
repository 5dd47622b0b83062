-- Flags are BIGINT 0/1, times unix seconds, ids UUIDv7 text: the subset that SQLite and PostgreSQL share.

CREATE TABLE users (
    id             TEXT   NOT NULL PRIMARY KEY,
    email          TEXT   NOT NULL UNIQUE, -- canonical: trimmed, lower case
    email_verified BIGINT NOT NULL,
    name           TEXT   NOT NULL,
    phone          TEXT,
    password_hash  TEXT   NOT NULL,        -- PHC string
    roles          TEXT   NOT NULL,        -- space-separated
    is_active      BIGINT NOT NULL,
    created_at     BIGINT NOT NULL,
    updated_at     BIGINT NOT NULL
);

-- One row a session: its refresh token is derived from `id` and `counter`, so nothing grows with use.
CREATE TABLE sessions (
    id              TEXT   NOT NULL PRIMARY KEY,
    user_id         TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    counter         BIGINT NOT NULL,
    created_at      BIGINT NOT NULL, -- the time of the login
    last_used_at    BIGINT NOT NULL,
    rotated_at      BIGINT,          -- when `counter` last moved
    idle_expires_at BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,
    revoked_at      BIGINT,
    persistent      BIGINT NOT NULL, -- whether the refresh cookie outlives the browser
    amr             TEXT   NOT NULL, -- space-separated (RFC 8176)
    device          TEXT   NOT NULL,
    ip              TEXT
);

CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
