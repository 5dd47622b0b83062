//! The clock, randomness and the environment: each by its one door.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use countersign_proxy_abi::host;

use crate::config::SERVICE_TOKEN;

/// Unix time, in seconds. If the host does not know, one that no token survives.
pub(super) fn now_seconds() -> i64 {
    host::now().ok().and_then(|now| i64::try_from(now.as_secs()).ok()).unwrap_or(i64::MAX)
}

/// Unix time, in milliseconds; zero if the host does not know.
pub(super) fn now_millis() -> u64 {
    host::now().ok().and_then(|now| u64::try_from(now.as_millis()).ok()).unwrap_or_default()
}

/// A number that nobody outside can know: the standard library's hasher is seeded by the host.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(())
}

/// By what the issuer's internal listener knows the edge. Shows itself to nobody else.
#[derive(Clone)]
pub(super) struct ServiceToken(String);

impl ServiceToken {
    /// From the environment of the VM, which Envoy gives it.
    ///
    /// # Errors
    /// It is not there, or cannot be a header.
    pub(super) fn read() -> Result<Self, String> {
        let token = std::env::var(SERVICE_TOKEN).unwrap_or_default();
        // Text that comes from a file, such as a Secret of a cluster, ends with a newline.
        let token = token.trim_end_matches(['\r', '\n']).to_owned();
        let plain = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
        plain.then_some(Self(token)).ok_or_else(|| {
            format!(
                "needs the service token of the edge: give the VM the environment variable {SERVICE_TOKEN}, printable \
                 ASCII without spaces (vm_config.environment_variables.host_env_keys)"
            )
        })
    }

    pub(super) fn header(&self) -> (&'static str, &str) {
        ("x-service-token", &self.0)
    }
}

impl fmt::Debug for ServiceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServiceToken(…)")
    }
}
