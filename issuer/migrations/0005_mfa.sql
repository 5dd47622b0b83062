-- Kept beside the state itself, so that a login knows from the account whether it needs a code.
ALTER TABLE users ADD COLUMN mfa_enabled BIGINT NOT NULL DEFAULT 0;

-- The second factor of a user: set up, and in force once a code of it was shown.
CREATE TABLE totp (
    user_id    TEXT   NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    secret     BLOB   NOT NULL, -- sealed for this row
    last_step  BIGINT NOT NULL, -- of 30 seconds; codes of this one and of earlier ones are used up
    enabled_at BIGINT
);

-- A row goes when its code is used.
CREATE TABLE backup_codes (
    user_id   TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    code_hash BLOB NOT NULL,
    PRIMARY KEY (user_id, code_hash)
);

-- Logins whose password was right and whose code is still to come.
CREATE TABLE waiting_logins (
    token_hash            BLOB   NOT NULL PRIMARY KEY,
    user_id               TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    login_epoch           BIGINT NOT NULL, -- as it was when the password was checked
    attempts              BIGINT NOT NULL,
    persistent            BIGINT NOT NULL,
    refresh_token_in_body BIGINT NOT NULL,
    expires_at            BIGINT NOT NULL
);
CREATE INDEX waiting_logins_by_expiry ON waiting_logins (expires_at);

-- Where users have logged in from: the browser, its languages and the network, as one hash.
CREATE TABLE devices (
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    fingerprint  TEXT   NOT NULL,
    last_seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, fingerprint)
);
