//! The issuer through its front doors: HTTP through the router on a fresh database each, and the operator's
//! command as it is shipped. Time is moved, never waited for.

mod access;
mod accounts;
mod admin;
mod audit;
mod bad_requests;
mod breached;
mod browsers;
mod command;
mod compat_api_auth;
mod compat_auth;
mod compat_token;
mod connections;
mod deletion;
mod devices;
mod factor;
mod figures;
mod floors;
mod import;
mod keys;
mod limits;
mod login;
mod mfa;
mod mfa_attempts;
mod oauth;
mod openapi;
mod readme;
mod refresh;
mod running;
mod sessions;
mod several;
mod stage;
mod writing;
