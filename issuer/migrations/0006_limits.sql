-- What failed lately. `counter` is a keyed hash of an account or a network: the table tells nobody's address.
CREATE TABLE failures (
    counter      TEXT   NOT NULL PRIMARY KEY,
    number       BIGINT NOT NULL,
    locked_until BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL -- then counting begins anew
);
CREATE INDEX failures_by_expiry ON failures (expires_at);
