//! The issuer through its front doors: HTTP through the router on a fresh database each, and the operator's
//! command as it is shipped. Time is moved, never waited for.

mod accounts;
mod bad_requests;
mod browsers;
mod command;
mod connections;
mod figures;
mod floors;
mod keys;
mod letters;
mod login;
mod mail;
mod openapi;
mod password_change;
mod password_reset;
mod readme;
mod refresh;
mod running;
mod sessions;
mod several;
mod smtp;
mod stage;
mod verification;
mod writing;
