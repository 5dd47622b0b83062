-- One row, written to find out whether anything can be.
CREATE TABLE write_probe (
    id     BIGINT NOT NULL PRIMARY KEY,
    writes BIGINT NOT NULL
);
