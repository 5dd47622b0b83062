//! Key-encryption keys in AWS KMS, by its official SDK. What goes there and comes back are data keys, 32 bytes each, bound to
//! their place by the encryption context. Nothing of it is kept: each reading is one call, so that taking the key away
//! there takes effect here at once, and a picture of our memory opens nothing.
//!
//! Calls are bounded in number and time, what is tried again included. A KMS that is away makes them fail, and nothing else.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_config::BehaviorVersion;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Region;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::kms_metrics::{Call, Metrics, Outcome, Requests};
use super::{DataKey, Error, KEY, Place, WrappedKey};
use crate::config;

/// What ids begin with: which kind of provider has the key.
const PREFIX: &str = "aws-kms:";

pub(super) fn id(key: &config::KmsKey) -> String {
    format!("{PREFIX}{}", key.arn())
}

/// Calls at the same time; others wait for their turn, as long as a call may take.
const AT_ONCE: usize = 32;

/// How often one call is sent at most: KMS asks to try again what it throttles.
const ATTEMPTS: u32 = 3;

/// Waits before the second and the third attempt, each cut at random.
const BACKOFF: Duration = Duration::from_millis(100);

/// KMS takes no longer wrapped key, and no empty one; bytes.
const LONGEST_WRAPPED: usize = 6144;

/// Longer explanations of KMS are cut.
const EXPLANATION: usize = 300;

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Kms(Arc<Inner>);

struct Inner {
    keys: Vec<Key>,
    settings: config::Kms,
    slots: Semaphore,
    metrics: Metrics,
}

/// One key, and who asks KMS for it.
pub(super) struct Key {
    id: String,
    arn: config::KmsKey,
    /// Made when it is needed for the first time: the SDK reads files then, and most issuers never ask.
    client: OnceCell<Client>,
}

impl Kms {
    pub(super) fn new(settings: &config::Encryption, metrics: Metrics) -> Self {
        let current = match &settings.current {
            Some(config::WrappingKey::Kms(key)) => Some(key),
            _ => None,
        };
        let key = |arn: &config::KmsKey| Key { id: id(arn), arn: arn.clone(), client: OnceCell::new() };
        Self(Arc::new(Inner {
            keys: current.into_iter().chain(&settings.previous_kms_keys).map(key).collect(),
            settings: settings.kms.clone(),
            slots: Semaphore::new(AT_ONCE),
            metrics,
        }))
    }

    /// Only keys of the configuration: who writes to the database must not choose one of his own.
    pub(super) fn named(&self, id: &str) -> Option<&Key> {
        self.0.keys.iter().find(|key| key.id == id)
    }

    pub(super) async fn wrap(
        &self,
        key: &Key,
        place: Place<'_>,
        data_key: &DataKey,
    ) -> Result<WrappedKey, Error> {
        let encrypt = self.client(key).await.encrypt().key_id(key.arn.arn());
        let encrypt =
            encrypt.plaintext(Blob::new(&data_key[..])).set_encryption_context(Some(context(place)));
        let answer = self.bounded(Call::encrypt, key, encrypt.send()).await?;
        wrapped(key, answer.ciphertext_blob)
    }

    pub(super) async fn unwrap(
        &self,
        key: &Key,
        place: Place<'_>,
        wrapped_key: &[u8],
    ) -> Result<DataKey, Error> {
        let wrapped_key = blob(wrapped_key)?;
        let decrypt = self.client(key).await.decrypt().key_id(key.arn.arn());
        let decrypt = decrypt.ciphertext_blob(wrapped_key).set_encryption_context(Some(context(place)));
        let answer = self.bounded(Call::decrypt, key, decrypt.send()).await?;
        let plain = Zeroizing::new(answer.plaintext.map(Blob::into_inner).unwrap_or_default());
        let plain: &[u8; KEY] = plain.as_slice().try_into().map_err(|_| Error::Forged)?;
        Ok(Zeroizing::new(*plain))
    }

    /// From one key to another of the same region, without leaving KMS.
    pub(super) async fn rewrap(
        &self,
        old: &Key,
        new: &Key,
        place: Place<'_>,
        wrapped_key: &[u8],
    ) -> Result<WrappedKey, Error> {
        let renew = self.client(new).await.re_encrypt().ciphertext_blob(blob(wrapped_key)?);
        let renew = renew.source_key_id(old.arn.arn()).destination_key_id(new.arn.arn());
        let renew = renew.set_source_encryption_context(Some(context(place)));
        let renew = renew.set_destination_encryption_context(Some(context(place)));
        let answer = self.bounded(Call::re_encrypt, new, renew.send()).await?;
        wrapped(new, answer.ciphertext_blob)
    }

    async fn client<'k>(&self, key: &'k Key) -> &'k Client {
        let Inner { settings, metrics, .. } = &*self.0;
        key.client.get_or_init(|| connect(settings, key.arn.region(), metrics.requests())).await
    }

    /// One call, in its turn and within its time.
    async fn bounded<T, E: ProvideErrorMetadata + std::error::Error + 'static>(
        &self,
        call: Call,
        key: &Key,
        sent: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, Error> {
        let Inner { settings, slots, metrics, .. } = &*self.0;
        let begun = Instant::now();
        let in_turn = async {
            let _slot = slots.acquire().await;
            sent.await
        };
        let (outcome, answer) = match timeout(limit(settings), in_turn).await {
            Ok(Ok(answer)) => (Outcome::done, Ok(answer)),
            Ok(Err(error)) => {
                let outcome = Outcome::of(&error);
                (outcome, Err(refusal(key, outcome, &error)))
            }
            Err(_) => (Outcome::timeout, Err(key.unavailable("AWS KMS takes too long".to_owned()))),
        };
        metrics.observe(call, outcome, begun.elapsed());
        answer
    }
}

fn limit(settings: &config::Kms) -> Duration {
    Duration::from_secs(settings.timeout.unsigned_abs())
}

impl Key {
    /// Whether one call reaches both.
    pub(super) fn is_near(&self, other: &Self) -> bool {
        self.arn.region() == other.arn.region()
    }

    fn unavailable(&self, why: String) -> Error {
        Error::Unavailable { key_id: self.id.clone(), why }
    }
}

/// Where a data key belongs, as KMS authenticates it and AWS CloudTrail shows it: no secret.
fn context(place: Place<'_>) -> HashMap<String, String> {
    let Place { table, column, row, user } = place;
    [("use", "countersign data key"), ("table", table), ("column", column), ("row", row), ("user", user)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// What KMS would refuse without a look at it says nothing about a key: this record alone is spoiled.
fn blob(wrapped_key: &[u8]) -> Result<Blob, Error> {
    let fits = (1..=LONGEST_WRAPPED).contains(&wrapped_key.len());
    if fits { Ok(Blob::new(wrapped_key)) } else { Err(Error::Forged) }
}

fn wrapped(key: &Key, ciphertext: Option<Blob>) -> Result<WrappedKey, Error> {
    let ciphertext =
        ciphertext.ok_or_else(|| key.unavailable("AWS KMS answered without a key".to_owned()))?;
    Ok(WrappedKey { key_id: key.id.clone(), wrapped_key: ciphertext.into_inner() })
}

/// KMS tells keys that do not fit from keys that cannot be used.
fn refusal<E: ProvideErrorMetadata + std::error::Error + 'static>(
    key: &Key,
    outcome: Outcome,
    error: &SdkError<E>,
) -> Error {
    if outcome == Outcome::forged {
        return Error::Forged;
    }
    let why = match error.code() {
        Some(code) => format!("{code}: {}", error.message().unwrap_or("no reason given")),
        None => {
            // Its own text says only that it failed.
            let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
            let causes: Vec<String> = causes.map(ToString::to_string).collect();
            format!("AWS KMS cannot be reached: {error}: {}", causes.join(": "))
        }
    };
    key.unavailable(why.chars().take(EXPLANATION).collect())
}

async fn connect(settings: &config::Kms, region: &str, requests: Requests) -> Client {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let region = Region::new(region.to_owned());
    let mut shared =
        aws_config::defaults(BehaviorVersion::latest()).http_client(http.clone()).region(region.clone());
    if let Some(file) = &settings.credentials_file {
        let files = EnvConfigFiles::builder().with_file(EnvConfigFileKind::Credentials, file);
        // A profile may name a role, for which AWS is asked.
        let asked = ProviderConfig::without_region().with_region(Some(region)).with_http_client(http);
        let credentials = ProfileFileCredentialsProvider::builder().configure(&asked);
        let credentials = credentials.profile_files(files.build()).profile_name("default");
        shared = shared.credentials_provider(credentials.build());
    }
    let limit = limit(settings);
    let retries = RetryConfig::standard()
        .with_max_attempts(ATTEMPTS)
        .with_initial_backoff(BACKOFF)
        .with_max_backoff(limit);
    // So that one attempt that hangs leaves time for another.
    let timeouts = TimeoutConfig::builder().connect_timeout(limit / 3).operation_attempt_timeout(limit / 2);
    let mut kms = aws_sdk_kms::config::Builder::from(&shared.load().await)
        .retry_config(retries)
        .timeout_config(timeouts.operation_timeout(limit).build())
        .interceptor(requests);
    if let Some(url) = &settings.endpoint_url {
        kms = kms.endpoint_url(url.as_str());
    }
    Client::from_conf(kms.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_names_the_whole_place() {
        let place = Place { table: "t", column: "c", row: "r", user: "u" };
        let context = context(place);
        for (name, value) in [("table", "t"), ("column", "c"), ("row", "r"), ("user", "u")] {
            assert_eq!(context[name], value);
        }
        assert_eq!(context.len(), 5);
    }
}
