//! How often one may fail, register, and have messages sent. Failures are counted for the account and for the network that
//! they come from; too many, and nothing more is tried for a while, which grows with every further failure. Counted in the
//! database, for all issuers together, and committed though the request fails. Registrations and messages are counted
//! likewise, for the network alone, and whatever comes of them. A service with the right secret is let in whatever failed
//! under its name.
//!
//! The network is asked for before a password is hashed. The account is not: it stays open to its password where there is
//! a second factor, and where its owner has logged in from before, and whoever is refused sooner would learn which. So a
//! locked account costs the same hash as any other, known or not, and is told from none by anything but the answer that
//! all of them get.

mod asking;
mod outcome;
mod quota;
pub mod store;
mod sweep;
mod throttle;

use std::net::IpAddr;

use base64ct::{Base64UrlUnpadded, Encoding as _};

use crate::accounts::{Email, User, UserId};
use crate::config;
use crate::secrets::Ring;
use crate::web::Client;

pub use asking::Asked;
pub use outcome::{failed, failed_as_a_service};
pub use quota::{Quota, Spent};
pub use sweep::sweep;
pub use throttle::Throttle;

/// How many are too many, and what comes of them; times in seconds.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// So many are allowed, …
    most: i64,
    /// … counted together if they come within so long of the first.
    window: i64,
    first_delay: i64,
    longest_delay: i64,
}

/// Names what is counted; cheap to clone.
#[derive(Debug, Clone)]
pub struct Limits {
    of_account: Rules,
    of_network: Rules,
    of_registering: Rules,
    of_messages: Rules,
    ring: Ring,
}

/// What failures of one kind, registrations or messages are counted under.
#[derive(Debug, Clone)]
pub struct Counter {
    /// A keyed hash.
    id: String,
    rules: Rules,
}

/// What an attempt counts for if it fails.
#[derive(Debug, Clone)]
pub struct Counted {
    pub account: Counter,
    /// From where it came, while the account is locked; of passwords only, and only beside a network.
    pub device: Option<Counter>,
    /// Unknown only where no connection is.
    pub network: Option<Counter>,
}

impl Counted {
    /// Always in this order, so that no two attempts wait for each other.
    pub fn counters(&self) -> impl Iterator<Item = &Counter> {
        std::iter::once(&self.account).chain(&self.network)
    }
}

/// What stands under a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    Clear,
    /// Some have failed, and there is nothing to wait for.
    Counted,
    /// Nothing is tried for so many seconds.
    Locked(i64),
}

/// What came of counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    Counted,
    /// Counted, and one too many: from now on nothing is tried.
    Full,
    /// Not counted, because nothing is tried for so many seconds.
    Locked(i64),
}

impl Limits {
    pub fn new(settings: &config::Limits, ring: Ring) -> Self {
        let rules = |most: u32, window| Rules {
            most: most.into(),
            window,
            first_delay: settings.first_delay,
            longest_delay: settings.longest_delay,
        };
        Self {
            of_account: rules(settings.failures_per_account, settings.window),
            of_network: rules(settings.failures_per_address, settings.window),
            of_registering: rules(settings.registrations_per_address, settings.registrations_window),
            of_messages: rules(settings.messages_per_address, settings.messages_window),
            ring,
        }
    }

    /// For a password, given with what stands for an account, whether there is one or not. What was typed is counted, not whom
    /// it means: that a user name and an address have one count would tell that they belong together.
    pub fn password(&self, login: &str, client: &Client) -> Counted {
        let account = self.of_password(login);
        let device = client.ip.map(|_| self.of_device(login, &client.fingerprint));
        Counted { account, device, network: client.ip.map(|ip| self.network(ip)) }
    }

    /// For a code of the second factor.
    pub fn code(&self, user: &UserId, ip: Option<IpAddr>) -> Counted {
        Counted { account: self.of_code(user), device: None, network: ip.map(|ip| self.network(ip)) }
    }

    /// For the secret of a service, given with a name, whether there is such a service or not.
    pub fn service(&self, name: &str, ip: Option<IpAddr>) -> Counted {
        let account = self.counter("failed secrets of a service", name.as_bytes(), self.of_account);
        // Not the one of people: a service that was given a wrong secret must not keep them from logging in.
        let of_network = |ip| self.counter("failed secrets from a network", &network(ip), self.of_network);
        Counted { account, device: None, network: ip.map(of_network) }
    }

    fn of_password(&self, login: &str) -> Counter {
        self.counter("failed passwords of an account", canonical(login).as_bytes(), self.of_account)
    }

    fn of_device(&self, login: &str, fingerprint: &str) -> Counter {
        // All fingerprints are of one length.
        let both = format!("{fingerprint}{}", canonical(login));
        self.counter("failed passwords of a locked account from a device", both.as_bytes(), self.of_account)
    }

    /// One for each way to write who one is.
    fn of_passwords(&self, user: &User) -> impl Iterator<Item = Counter> {
        let names = std::iter::once(&user.email).chain(&user.username);
        names.map(move |name| self.of_password(name))
    }

    fn of_code(&self, user: &UserId) -> Counter {
        self.counter("failed codes of an account", user.as_str().as_bytes(), self.of_account)
    }

    fn network(&self, ip: IpAddr) -> Counter {
        self.counter("failures of a network", &network(ip), self.of_network)
    }

    fn asking(&self, asked: Asked, ip: IpAddr) -> Counter {
        let (purpose, rules) = match asked {
            Asked::Registration => ("registrations from a network", self.of_registering),
            Asked::Message => ("messages asked for from a network", self.of_messages),
        };
        self.counter(purpose, &network(ip), rules)
    }

    fn counter(&self, purpose: &'static str, what: &[u8], rules: Rules) -> Counter {
        let [id @ .., _, _, _, _, _, _, _, _] = self.ring.mac(purpose, what);
        Counter { id: Base64UrlUnpadded::encode_string(&id), rules }
    }
}

/// What was typed for an account, however it was written.
fn canonical(login: &str) -> String {
    Email::parse(login).map_or_else(|_| login.trim().to_lowercase(), |email| email.as_str().to_owned())
}

/// What names the network of an address.
fn network(ip: IpAddr) -> Vec<u8> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        // Whoever has one address of a /64 has all of it (RFC 6177).
        IpAddr::V6(ip) => ip.octets().into_iter().take(8).collect(),
    }
}

impl Counter {
    /// For how long nothing is tried after so many; `None` if they are not too many.
    fn delay(&self, counted: i64) -> Option<i64> {
        let beyond = u32::try_from(counted.saturating_sub(self.rules.most)).ok()?;
        let grown = self.rules.first_delay.saturating_mul(2_i64.saturating_pow(beyond));
        Some(grown.min(self.rules.longest_delay))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits() -> Limits {
        let settings = config::Limits {
            failures_per_account: 10,
            failures_per_address: 50,
            registrations_per_address: 20,
            registrations_window: 3600,
            messages_per_address: 20,
            messages_window: 3600,
            window: 900,
            first_delay: 30,
            longest_delay: 900,
        };
        Limits::new(&settings, Ring::of(&["the secret of these tests only".into()]))
    }

    #[test]
    fn the_delay_grows_and_has_an_end() {
        let counter = limits().of_password("ada@example.com");
        let delays: Vec<Option<i64>> = (8..18).map(|failures| counter.delay(failures)).collect();
        let grown = [30, 60, 120, 240, 480, 900, 900, 900].map(Some);
        assert_eq!(delays, [&[None, None], &grown[..]].concat());
    }

    proptest! {
        #[test]
        fn no_number_of_failures_is_too_large(failures: i64) {
            let delay = limits().of_password("x").delay(failures);
            prop_assert!(delay.is_none_or(|delay| (30..=900).contains(&delay)));
        }
    }

    #[test]
    fn one_account_has_one_counter_however_it_is_written() {
        let id = |login: &str| limits().of_password(login).id;
        for written in ["ADA@example.com", " ada@Example.COM "] {
            assert_eq!(id(written), id("ada@example.com"), "{written}");
        }
        assert_ne!(id("ada@example.com"), id("ad.a@example.com"));
        assert_eq!(id(" Root"), id("root"));
    }

    #[test]
    fn a_network_is_one_address_or_a_64_of_ipv6() {
        let id = |ip: &str| limits().network(ip.parse().unwrap()).id;
        assert_eq!(id("192.0.2.1"), id("::ffff:192.0.2.1"));
        assert_ne!(id("192.0.2.1"), id("192.0.2.2"));
        assert_eq!(id("2001:db8::1"), id("2001:db8::ffff:0:0:1"));
        assert_ne!(id("2001:db8::1"), id("2001:db8:0:1::1"));
        let asking = |asked| limits().asking(asked, "192.0.2.1".parse().unwrap()).id;
        let ids = [id("192.0.2.1"), asking(Asked::Registration), asking(Asked::Message)];
        assert!(ids[0] != ids[1] && ids[1] != ids[2] && ids[2] != ids[0], "{ids:?}");
    }

    #[test]
    fn a_counter_tells_neither_address_nor_purpose() {
        let limits = limits();
        let user = UserId::new(uuid::Uuid::nil());
        let ids = [limits.of_password(user.as_str()).id, limits.of_code(&user).id];
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| id.len() == 32 && !id.contains("0000")), "{ids:?}");
    }
}
