//! Asking the issuer about API keys. Called for the configuration, never for a request: whoever brought the key may be gone
//! when the answer comes, and others may wait for it.

use countersign_proxy_abi::Status;
use countersign_proxy_abi::host::{self, Buffer, Level, Map};

use super::ambient::{self, ServiceToken};
use crate::config::{KeyExchange, Service};
use crate::exchange::{Answer, ApiKey, Exchange, KeyDigest};

/// A larger answer has no token that would be taken.
const MAX_ANSWER_BYTES: usize = 32 * 1024;

/// What is wrong is logged so often, in seconds: every request might say it.
const REPORT_EVERY: i64 = 10;

/// The questions of one worker.
#[derive(Debug)]
pub(super) struct Questions {
    config: KeyExchange,
    token: ServiceToken,
    in_flight: Vec<(u32, KeyDigest)>,
    reported_at: i64,
}

impl Questions {
    pub(super) fn new(config: KeyExchange, token: ServiceToken) -> Self {
        Self { config, token, in_flight: Vec::new(), reported_at: i64::MIN }
    }

    /// Asks what may be asked now. Returns the keys about which nothing will be heard.
    pub(super) fn ask(&mut self, exchange: &mut Exchange) -> Vec<KeyDigest> {
        let mut unheard = Vec::new();
        while let Some((digest, key)) = exchange.next_question() {
            match self.call(&key) {
                Ok(call) => self.in_flight.push((call, digest)),
                Err(status) => {
                    let why = match status {
                        Status::BAD_ARGUMENT => "there is no such cluster",
                        _ => "the cluster has no healthy host",
                    };
                    self.settle(digest, &Answer::None(why.into()), exchange);
                    unheard.push(digest);
                }
            }
        }
        unheard
    }

    /// Takes an answer; returns the key that it is about. `body_size` is what the host says it has.
    pub(super) fn answered(
        &mut self,
        call: u32,
        body_size: usize,
        exchange: &mut Exchange,
    ) -> Option<KeyDigest> {
        let (_, digest) = self.in_flight.extract_if(.., |(asked, _)| *asked == call).next()?;
        let status = host::header(Map::HttpCallResponseHeaders, ":status").ok().flatten();
        let body = host::buffer(Buffer::HttpCallResponseBody, 0, body_size.min(MAX_ANSWER_BYTES));
        let answer = Answer::read(status.as_deref(), body.as_deref().unwrap_or_default());
        self.settle(digest, &answer, exchange);
        Some(digest)
    }

    fn call(&self, key: &ApiKey) -> Result<u32, Status> {
        let Service { cluster, authority, path } = &self.config.service;
        let headers = [
            (":method", "POST"),
            (":path", path.as_str()),
            (":authority", authority.as_str()),
            ("content-type", "application/json"),
            ("accept", "application/json"),
            self.token.header(),
        ];
        host::http_call(cluster, &headers, &key.question(), self.config.timeout)
    }

    fn settle(&mut self, digest: KeyDigest, answer: &Answer, exchange: &mut Exchange) {
        let now = ambient::now_seconds();
        exchange.answered(digest, answer, now);
        if let Answer::None(why) | Answer::Limited(why) = answer
            && now.abs_diff(self.reported_at) >= REPORT_EVERY.unsigned_abs()
        {
            self.reported_at = now;
            let service = &self.config.service;
            host::log(Level::Warn, &format!("an API key could not be exchanged at {service}: {why}"));
        }
    }
}
