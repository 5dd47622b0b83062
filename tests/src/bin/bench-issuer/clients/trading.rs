//! Trading accounts: people who link them, and the service that reads their credentials.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use countersign_tests::bench::wire::{self, Connection};
use serde::Deserialize;
use tokio::task::JoinSet;

use super::token_of;

const ACCOUNTS: &str = "/v1/trading-accounts";

/// As many as one user may have.
pub(crate) const EACH: u64 = 50;

/// Has each of these people link as many accounts as there may be; answers what they are called.
pub(crate) async fn link(port: u16, people: Range<u64>, connections: usize) -> Result<Vec<String>> {
    let mut tasks = JoinSet::new();
    for place in 0..connections {
        tasks.spawn(link_some(port, people.clone().skip(place).step_by(connections).collect()));
    }
    let mut ids = Vec::new();
    while let Some(some) = tasks.join_next().await {
        ids.extend(some??);
    }
    Ok(ids)
}

async fn link_some(port: u16, people: Vec<u64>) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Account {
        account_id: String,
    }
    let (mut connection, mut request, mut ids) = (Connection::open(port).await?, Vec::new(), Vec::new());
    for person in people {
        let authorization = wire::authorization(&token_of(person)?);
        for n in 0..EACH {
            let body = format!(
                r#"{{"broker":"kite","user_id_broker":"AB{n}","api_key":"keyofthisbenchonly","api_secret":"secretofthisbenchonly{n}"}}"#
            );
            wire::write(&mut request, "POST", ACCOUNTS, &authorization, &body);
            let answer = connection.exchange(&request).await?;
            ensure!(answer.status == 201, "{}: {}", answer.status, String::from_utf8_lossy(answer.body));
            let Account { account_id } = serde_json::from_slice(answer.body).context("no account")?;
            ids.push(account_id);
        }
    }
    Ok(ids)
}

/// A reading of the credentials of each of these accounts, by a service with this token.
pub(crate) fn readings(ids: &[String], token: &str) -> Arc<[Vec<u8>]> {
    let reading = |id: &String| {
        format!(
            "POST /v1/internal/trading-accounts/{id}/credentials HTTP/1.1\r\nhost: 127.0.0.1\r\n\
             accept: application/json\r\nx-service-token: {token}\r\ncontent-length: 0\r\n\r\n"
        )
    };
    ids.iter().map(|id| reading(id).into_bytes()).collect()
}
