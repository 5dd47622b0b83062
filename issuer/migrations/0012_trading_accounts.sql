-- Accounts of users at brokers. The credentials are sealed with a key of their own, and that key is wrapped; both only for
-- this row and this user.
CREATE TABLE trading_accounts (
    id                      TEXT   NOT NULL PRIMARY KEY,
    user_id                 TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    broker                  TEXT   NOT NULL,
    user_id_broker          TEXT   NOT NULL,
    status                  TEXT   NOT NULL, -- pending, active, invalid
    ciphertext              BLOB   NOT NULL,
    key_id                  TEXT   NOT NULL, -- what wrapped the key
    wrapped_key             BLOB   NOT NULL,
    revision                BIGINT NOT NULL, -- moves with the credentials, not with the wrapped key
    access_token_expires_at BIGINT,          -- of the broker's access token among the credentials, if there is one
    created_at              BIGINT NOT NULL,
    updated_at              BIGINT NOT NULL,
    verified_at             BIGINT,
    rotate_after            BIGINT NOT NULL,
    rotation_due            BIGINT NOT NULL, -- whether it was told of, 0 or 1
    UNIQUE (user_id, broker, user_id_broker)
);
CREATE INDEX trading_accounts_by_rotation ON trading_accounts (rotation_due, rotate_after);
