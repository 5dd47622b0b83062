-- Messages to be sent, written with the change that they tell of. A row goes when its message was sent; one that was
-- given up stays for a while, for the operator.
CREATE TABLE mail_outbox (
    id              TEXT   NOT NULL PRIMARY KEY, -- names the message in its Message-ID
    kind            TEXT   NOT NULL,
    recipient       TEXT   NOT NULL,
    token           TEXT,                        -- what the link carries, sealed (base64); gone with the last attempt
    created_at      BIGINT NOT NULL,
    expires_at      BIGINT NOT NULL,             -- afterwards the message is of no use
    status          TEXT   NOT NULL,             -- waiting, given_up
    attempts        BIGINT NOT NULL,             -- moves before each one: who moves it, sends
    next_attempt_at BIGINT NOT NULL,
    last_error      TEXT
);
CREATE INDEX mail_outbox_due ON mail_outbox (status, next_attempt_at);

-- Tokens that were sent to an address. Whoever brings one back reads what is sent there. Of each purpose an address has
-- one: a new token replaces the one before.
CREATE TABLE email_tokens (
    email      TEXT   NOT NULL, -- whether it has an account or not
    purpose    TEXT   NOT NULL, -- verify_email, reset_password
    token_hash TEXT   NOT NULL UNIQUE, -- SHA-256, base64url
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (email, purpose)
);
CREATE INDEX email_tokens_by_expiry ON email_tokens (expires_at);

-- How often a message to an address was asked for, whether it has an account or not.
CREATE TABLE email_requests (
    email      TEXT   NOT NULL,
    purpose    TEXT   NOT NULL, -- register, resend, forgot
    begun_at   BIGINT NOT NULL,
    asked      BIGINT NOT NULL,
    PRIMARY KEY (email, purpose)
);
CREATE INDEX email_requests_by_age ON email_requests (begun_at);
