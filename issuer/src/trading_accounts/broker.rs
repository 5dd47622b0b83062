//! The brokers, as data: what they are called, what their credentials look like, and what proves them.

/// A broker that accounts can be linked to.
#[derive(Debug, PartialEq, Eq)]
pub struct Broker {
    pub name: &'static str,
    /// Other names that clients know it by.
    aliases: &'static [&'static str],
    pub proof: Proof,
    user_id: Field,
    api_key: Field,
    api_secret: Field,
}

/// What it takes for a broker to say that key and secret are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing but them.
    KeyAndSecret,
    /// A request token, which only the user's own login at the broker gives. Until there is one the account counts as
    /// active.
    RequestToken,
}

impl Proof {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeyAndSecret => "key_and_secret",
            Self::RequestToken => "request_token",
        }
    }
}

/// What a field may hold: ASCII letters, digits and some other signs.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    /// In characters.
    longest: usize,
    signs: &'static str,
    /// Written in capitals, however it comes: one account has one name.
    capitals: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidField {
    #[error("is required")]
    Missing,
    #[error("must have at most {longest} letters, digits{}", and(.signs))]
    Malformed { longest: usize, signs: &'static str },
}

fn and(signs: &str) -> String {
    signs.chars().map(|sign| format!(", '{sign}'")).collect()
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be {}", BROKERS.iter().map(|broker| broker.name).collect::<Vec<_>>().join(" or "))]
pub struct UnknownBroker;

static KITE: Broker = Broker {
    name: "kite",
    aliases: &["zerodha"],
    proof: Proof::RequestToken,
    user_id: Field { longest: 16, signs: "", capitals: true },
    api_key: Field { longest: 64, signs: "", capitals: false },
    api_secret: Field { longest: 128, signs: "", capitals: false },
};

static ALPACA: Broker = Broker {
    name: "alpaca",
    aliases: &[],
    proof: Proof::KeyAndSecret,
    user_id: Field { longest: 32, signs: "-", capitals: true },
    api_key: Field { longest: 64, signs: "", capitals: false },
    api_secret: Field { longest: 128, signs: "+/=-_", capitals: false },
};

static BROKERS: [&Broker; 2] = [&KITE, &ALPACA];

impl Broker {
    /// The broker of this name, in whatever case.
    ///
    /// # Errors
    /// [`UnknownBroker`].
    pub fn named(text: &str) -> Result<&'static Self, UnknownBroker> {
        let is = |name: &str| name.eq_ignore_ascii_case(text);
        let named = |broker: &&&Self| is(broker.name) || broker.aliases.iter().copied().any(is);
        BROKERS.iter().find(named).copied().ok_or(UnknownBroker)
    }

    /// # Errors
    /// [`InvalidField`].
    pub fn user_id(&self, text: &str) -> Result<String, InvalidField> {
        self.user_id.check(text)?;
        Ok(if self.user_id.capitals { text.to_ascii_uppercase() } else { text.to_owned() })
    }

    /// # Errors
    /// [`InvalidField`], which never tells what was there.
    pub fn check_api_key(&self, text: &str) -> Result<(), InvalidField> {
        self.api_key.check(text)
    }

    /// # Errors
    /// [`InvalidField`], which never tells what was there.
    pub fn check_api_secret(&self, text: &str) -> Result<(), InvalidField> {
        self.api_secret.check(text)
    }
}

impl Field {
    fn check(&self, text: &str) -> Result<(), InvalidField> {
        let Self { longest, signs, .. } = *self;
        if text.is_empty() {
            return Err(InvalidField::Missing);
        }
        let fits =
            text.len() <= longest && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c));
        if fits { Ok(()) } else { Err(InvalidField::Malformed { longest, signs }) }
    }
}

/// A request token, as brokers give them: it travels in a URL to the page where the user comes back.
///
/// # Errors
/// [`InvalidField`].
pub fn check_request_token(text: &str) -> Result<(), InvalidField> {
    Field { longest: 128, signs: "-_", capitals: false }.check(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zerodha_is_kite_and_what_is_neither_is_told_what_there_is() {
        for name in ["kite", "Kite", "zerodha", "ZERODHA"] {
            assert_eq!(Broker::named(name).unwrap().name, "kite", "{name}");
        }
        for name in ["", "kit", "kite ", "ｋite"] {
            assert_eq!(Broker::named(name).unwrap_err().to_string(), "must be kite or alpaca", "{name}");
        }
    }

    #[test]
    fn an_account_has_one_name_at_its_broker() {
        assert_eq!(KITE.user_id("ab1234").unwrap(), "AB1234");
        for bad in ["", " AB1234", "AB 1234", "AB1234\0", "ÄB1234", &"A".repeat(17)] {
            assert!(KITE.user_id(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_field_is_told_without_it() {
        let told = ALPACA.check_api_secret("hunter2!").unwrap_err().to_string();
        assert_eq!(told, "must have at most 128 letters, digits, '+', '/', '=', '-', '_'");
    }
}
