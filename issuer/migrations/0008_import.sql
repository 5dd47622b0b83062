-- The name by which an imported user logged in before, if it is not the address.
ALTER TABLE users ADD COLUMN username TEXT;
CREATE UNIQUE INDEX users_username_key ON users (username);
