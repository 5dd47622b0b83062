-- What services show to call /v1/internal. Several of one name are live at once while a secret is replaced.
CREATE TABLE service_tokens (
    id           TEXT   NOT NULL PRIMARY KEY,
    name         TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,        -- space-separated
    secret_hash  TEXT   NOT NULL UNIQUE, -- SHA-256, hexadecimal: what is hashed is random
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT                  -- to within some minutes
);
CREATE INDEX service_tokens_by_name ON service_tokens (name, id);

-- One row: which history the numbers of `revocations` belong to. Every start of an issuer begins another, so that readers
-- notice a database that was restored.
CREATE TABLE revocation_epoch (
    id    BIGINT NOT NULL PRIMARY KEY,
    epoch TEXT   NOT NULL
);
INSERT INTO revocation_epoch (id, epoch) VALUES (1, '');

-- What programs of a user show instead of a password. A row goes when its key is revoked.
CREATE TABLE api_keys (
    id           TEXT   NOT NULL PRIMARY KEY, -- stands in tokens as session_id
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name         TEXT   NOT NULL,
    hint         TEXT   NOT NULL,             -- how the key begins, for its owner to know it by
    key_hash     TEXT   NOT NULL UNIQUE,      -- name of the hash, colon, hexadecimal
    scopes       TEXT,                        -- space-separated; NULL: all that its owner may do
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT,
    last_used_at BIGINT                       -- to within some minutes
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, id);
