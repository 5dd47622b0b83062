//! What is wrong with a configuration, one line each. A finding never quotes the value of a secret.

use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The issuer does not start, or a reload is refused.
    Error,
    Warning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The file or environment variable that says it.
    pub source: String,
    /// Dotted path of the key, empty if the whole source is meant.
    pub key: String,
    pub message: String,
}

impl Finding {
    pub fn error(source: impl fmt::Display, key: impl Into<String>, message: impl Into<String>) -> Self {
        let (source, key, message) = (source.to_string(), key.into(), message.into());
        Self { severity: Severity::Error, source, key, message }
    }

    pub fn warning(source: impl fmt::Display, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(source, key, message) }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, key, message, .. } = self;
        match key.as_str() {
            "" => write!(f, "{source}: {message}"),
            key => write!(f, "{source}: {key}: {message}"),
        }
    }
}
