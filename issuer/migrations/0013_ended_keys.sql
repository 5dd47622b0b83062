-- Hashes of API keys that were revoked here, whose rows are gone: who imports keys brings none of them back.
CREATE TABLE ended_keys (
    key_hash TEXT NOT NULL PRIMARY KEY
);
