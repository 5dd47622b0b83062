//! The issuer through its front doors: HTTP through the router on a fresh database each, and the operator's
//! command as it is shipped. Time is moved, never waited for.

mod accounts;
mod bad_requests;
mod browsers;
mod command;
mod compat_api_auth;
mod compat_auth;
mod compat_token;
mod connections;
mod figures;
mod floors;
mod keys;
mod login;
mod oauth;
mod openapi;
mod readme;
mod refresh;
mod running;
mod sessions;
mod several;
mod stage;
mod writing;
