//! The tour: people use the platform through the real edge, attackers try, an operator works. Each line is checked
//! against what really happened; break the thing, and its line goes red.

mod admin;
mod audit;
mod curl;
mod edge;
mod existing;
mod forgery;
mod import;
mod mailbox;
mod operations;
mod passwords;
mod programs;
mod quotes;
mod report;
mod second_factor;
mod sessions;
mod trading;
mod visitor;

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::artifacts::Artifacts;
use crate::stack::{Ports, Stack, State, Times};
use forgery::Forger;
pub use report::Report;
use second_factor::Factor;
use visitor::Visitor;

const ADA: &str = "ada@example.com";
const BOB: &str = "bob@example.com";
const CAROL: &str = "carol@example.com";
const DORA: &str = "dora@example.com";
const ERIN: &str = "erin@example.com";
const FRANK: &str = "frank@example.com";
const HEIDI: &str = "heidi@example.com";

/// Short enough for a key to retire while one watches.
const TIMES: Times = Times {
    access_lifetime: Duration::from_secs(12),
    compat_lifetimes: [Duration::from_secs(12); 3],
    service_lifetime: Duration::from_secs(12),
    clock_skew: Duration::from_secs(1),
    jwks_max_age: Duration::from_secs(1),
    jwks_refresh: Duration::from_secs(1),
};

/// Starts a platform of its own on free ports, tries everything, and stops it.
///
/// # Errors
/// Only when the platform does not start or stop; what a check finds is in the report.
pub async fn run(artifacts: Artifacts, state: State) -> Result<Report> {
    let mut stack = Stack::start(artifacts, state, Ports::free()?, TIMES, false).await?;
    let report = walk(&mut stack).await;
    stack.stop().await?;
    Ok(report)
}

async fn walk(stack: &mut Stack) -> Report {
    let mut report = Report::default();
    let ada = &Visitor::new(stack);
    let forger = &Forger::new(ada, &stack.state);
    through_the_edge(&mut report, ada, stack, forger).await;
    accounts(&mut report, ada, stack, forger).await;
    existing_clients(&mut report, ada, stack).await;
    administration(&mut report, ada, stack).await;
    trading_accounts(&mut report, ada, stack).await;
    operator(&mut report, ada, stack, forger).await;
    report.check("no secret in any log", async { no_secret_in_logs(ada, stack) }).await;
    report
}

/// What people reach, and attackers do not.
async fn through_the_edge(report: &mut Report, ada: &Visitor, stack: &Stack, forger: &Forger<'_>) {
    report.check("register", async { Ok(format!("user {}", ada.register(ADA).await?.user_id)) }).await;
    report.check("login", async { Ok(format!("user {}", ada.login(ADA).await?.user_id)) }).await;
    report.check("wrong password", edge::wrong_password(ada, ADA)).await;

    report.check("positions as me", async { edge::positions(ada, &ada.login(ADA).await?).await }).await;
    report.check("positions without a token", edge::without_token(ada)).await;
    report.check("tampered token", async { edge::tampered_token(ada, &ada.login(ADA).await?).await }).await;
    report
        .check("expired token", async { edge::expired_token(ada, &ada.login(ADA).await?, forger).await })
        .await;
    report
        .check("wrong audience", async { edge::wrong_audience(ada, &ada.login(ADA).await?, forger).await })
        .await;
    report
        .check("spoofed identity", async { edge::spoofed_identity(ada, &ada.login(ADA).await?).await })
        .await;
    report.check("spoofed identity, public route", edge::spoofed_identity_on_a_public_route(ada)).await;
    report.check("internal routes", async { edge::internal_routes(ada, &ada.login(ADA).await?).await }).await;
    report.check("unknown route", async { edge::unknown_route(ada, &ada.login(ADA).await?).await }).await;
    report
        .check("rule that only observes", async { edge::observed(ada, &ada.login(ADA).await?, stack).await })
        .await;

    report
        .check("quotes without a trading account", async {
            quotes::without_account(ada, &ada.login(ADA).await?).await
        })
        .await;
    report.check("quotes by ?token=", async { quotes::by_query(ada, &ada.login(ADA).await?).await }).await;
    report.check("quotes by header", async { quotes::by_header(ada, &ada.login(ADA).await?).await }).await;
    report
        .check("quotes by subprotocol", async { quotes::by_subprotocol(ada, &ada.login(ADA).await?).await })
        .await;
    report.check("quotes without a good token", quotes::refused(ada)).await;
    let alerts = async {
        let other = ada.register(BOB).await?;
        edge::alerts_are_mine(ada, &ada.login(ADA).await?, &other).await
    };
    report.check("alerts are mine only", alerts).await;
}

/// What people do with their own accounts.
async fn accounts(report: &mut Report, ada: &Visitor, stack: &Stack, forger: &Forger<'_>) {
    report.check("refresh rotates", sessions::refresh_rotates(ada, ADA)).await;
    report.check("refresh reuse revokes", sessions::reuse_revokes(ada, ADA)).await;
    report.check("logout everywhere", sessions::logout_everywhere(ada, BOB)).await;
    report.check("logout ends what is open", sessions::ended_at_the_edge(ada, BOB)).await;
    report.check("API key of a program", programs::api_key(ada, BOB)).await;
    report.check("address confirmed by mail", mailbox::confirm(ada, BOB, stack)).await;
    report.check("password reset by mail", mailbox::reset(ada, CAROL, stack)).await;
    report.check("password changed", passwords::change(ada, ERIN)).await;

    let mut factor = Factor::default();
    report.check("second factor set up", factor.set_up(ada, DORA)).await;
    report.check("second factor: code", factor.code(ada, DORA)).await;
    report.check("step-up", factor.step_up(ada, ADA, forger)).await;
    report.check("second factor: wrong code", factor.wrong_code(ada, DORA)).await;
    report.check("second factor: backup code", factor.backup_code(ada, DORA)).await;
    report.check("second factor: no way around", factor.no_way_around(ada, DORA)).await;
}

async fn existing_clients(report: &mut Report, ada: &Visitor, stack: &Stack) {
    report.check("existing clients: /token", existing::token(ada, ADA)).await;
    report.check("existing clients: /auth", existing::auth(ada, ADA)).await;
    report.check("existing clients: /api/auth", existing::api_auth(ada, FRANK)).await;
    report.check("existing clients: by mail", existing::api_auth_by_mail(ada, FRANK, stack)).await;
}

/// What administrators do to the accounts of others, and operators by commands.
async fn administration(report: &mut Report, ada: &Visitor, stack: &Stack) {
    report.check("admin: list and search", admin::list(ada, BOB, stack)).await;
    report.check("admin: deactivate, activate", admin::deactivate(ada, BOB, stack)).await;
    report.check("admin: roles", admin::roles(ada, BOB, stack)).await;
    report.check("admin: unlock", admin::unlock(ada, BOB, stack)).await;
    report.check("audit of an account", audit::of_an_account(ada, BOB, stack)).await;
    report.check("import with bcrypt", import::with_bcrypt(ada, stack)).await;
    report.check("audit verify", async { audit::verify(stack) }).await;
}

/// Accounts at brokers, and the key that protects their credentials.
async fn trading_accounts(report: &mut Report, ada: &Visitor, stack: &mut Stack) {
    report.check("trading account: linked", trading::linked(ada, HEIDI)).await;
    report.check("trading account: of another", trading::of_another(ada, HEIDI, ADA)).await;
    report.check("trading account: unlinked", trading::unlinked(ada, HEIDI)).await;
    report.check("key of credentials replaced", trading::key_replaced(ada, HEIDI, stack)).await;
}

/// What an operator does while people work.
async fn operator(report: &mut Report, ada: &Visitor, stack: &mut Stack, forger: &Forger<'_>) {
    report.check("key rotation under load", operations::key_rotation(ada, ADA, stack, forger)).await;
    report
        .check("plugin config edited", async {
            operations::plugin_edited(ada, &ada.login(ADA).await?, stack).await
        })
        .await;
    report
        .check("plugin config broken", async {
            operations::broken_plugin(ada, &ada.login(ADA).await?, stack).await
        })
        .await;
    report.check("issuer stopped", operations::issuer_stopped(ada, ADA, stack)).await;
}

fn no_secret_in_logs(ada: &Visitor, stack: &Stack) -> Result<String> {
    let (secrets, logs) = (ada.secrets(), stack.logs()?);
    let mut bytes = 0;
    for (path, log) in &logs {
        bytes += log.len();
        let leaked = secrets.iter().filter(|secret| log.contains(secret.as_str())).count();
        ensure!(leaked == 0, "{leaked} of {} secrets stand in {}", secrets.len(), path.display());
    }
    // An empty log would prove nothing: the ticker must have logged the path that carried a token.
    let ticked = logs.iter().any(|(_, log)| log.contains("/ws/quotes?depth=1 "));
    ensure!(ticked, "the ticker did not log the request whose token was to be removed");
    Ok(format!("{} tokens and passwords, {} logs, {bytes} bytes", secrets.len(), logs.len()))
}
