//! Secrets of the configuration: given inline or, better, as a file of their own. They never appear in a
//! finding, a log or a `Debug` output.

use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::reader::{Reader, Section};

/// Fewer bytes than the output of SHA-256 would weaken a MAC (RFC 2104 §3).
const MIN_SECRET_BYTES: usize = 32;

/// More than a few secrets that were replaced are a ring that nobody tends.
const MAX_PREVIOUS: usize = 7;

/// Bytes that nothing prints, wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes of randomness that it can hold at most: hexadecimal text spends two characters on each.
    fn strength(&self) -> usize {
        let length = self.0.len();
        if self.0.iter().all(u8::is_ascii_hexdigit) { length / 2 } else { length }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// What keys MACs and encryption: the current secret, and those that it replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secrets {
    /// Makes whatever is new.
    pub current: Secret,
    /// Still check and open what they made; newest first by convention.
    pub previous: Vec<Secret>,
}

impl Secrets {
    /// The current secret, then the previous ones.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.current).chain(&self.previous)
    }
}

pub(super) fn secrets(reader: &mut Reader, folder: &Path) -> Option<Secrets> {
    let mut section = reader.section("secrets");
    let current = match inline_or_file(&mut section, "current", "current_file", folder) {
        Ok(Some((name, secret))) => strong(&mut section, name, secret),
        Ok(None) => {
            let hint = "is required: a file of 32 or more random bytes, such as \
                        `head -c 32 /dev/urandom | base64` writes";
            section.error("current_file", hint);
            None
        }
        Err(Refused) => None,
    };
    let previous = secret_files(&mut section, "previous_files", folder);
    let ring: Vec<&Secret> = current.iter().chain(&previous).collect();
    if ring.iter().enumerate().any(|(index, secret)| ring.iter().skip(index + 1).any(|other| other == secret))
    {
        section.error("previous_files", "two secrets of the ring are equal; a new one has to be random");
    }
    section.finish();
    current.map(|current| Secrets { current, previous })
}

/// The secrets of the files that the key `name` lists, newest first by convention.
pub(super) fn secret_files(section: &mut Section<'_>, name: &'static str, folder: &Path) -> Vec<Secret> {
    let files: Vec<PathBuf> = section.or(name, Vec::new());
    if files.len() > MAX_PREVIOUS {
        section.error(name, format!("expected at most {MAX_PREVIOUS} files"));
    }
    let mut secrets = Vec::new();
    for file in files.iter().take(MAX_PREVIOUS) {
        let secret = read_secret_file(section, name, &folder.join(file));
        secrets.extend(secret.and_then(|secret| strong(section, name, secret)));
    }
    secrets
}

pub(super) fn strong(section: &mut Section<'_>, name: &str, secret: Secret) -> Option<Secret> {
    if secret.strength() < MIN_SECRET_BYTES {
        section.error(name, format!("is too short: at least {MIN_SECRET_BYTES} random bytes are needed"));
        return None;
    }
    Some(secret)
}

/// There is a finding about it.
pub(super) struct Refused;

/// The secret of `inline` or of the file that `file` names, with the key that it came from. One set by the
/// environment replaces whichever the file sets.
pub(super) fn inline_or_file(
    section: &mut Section<'_>,
    inline: &'static str,
    file: &'static str,
    folder: &Path,
) -> Result<Option<(&'static str, Secret)>, Refused> {
    let by_environment = [inline, file].map(|name| section.set_by_environment(name));
    let counts = by_environment.map(|set| set || by_environment == [false, false]);
    let text: Option<String> = section.optional(inline).filter(|_| counts[0]);
    let path: Option<PathBuf> = section.optional(file).filter(|_| counts[1]);
    match (text, path) {
        (Some(_), Some(_)) => {
            section.error(inline, format!("is set together with {file}; set one of them"));
            Err(Refused)
        }
        (Some(text), None) => Ok(Some((inline, Secret(Zeroizing::new(text.into_bytes()))))),
        (None, Some(path)) => {
            let secret = read_secret_file(section, file, &folder.join(path)).ok_or(Refused)?;
            Ok(Some((file, secret)))
        }
        (None, None) => Ok(None),
    }
}

fn read_secret_file(section: &mut Section<'_>, name: &str, path: &Path) -> Option<Secret> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) => {
            section.error(name, format!("{} cannot be read: {error}", path.display()));
            return None;
        }
    };
    if let Some(warning) = readable_by_others(path) {
        section.warning(name, warning);
    }
    // Text gets a newline from whatever wrote it; random bytes may end in one that counts.
    match std::str::from_utf8(&bytes) {
        Ok(text) => Some(Secret::new(text.trim_end_matches(['\r', '\n']).as_bytes())),
        Err(_) => Some(Secret(bytes)),
    }
}

/// What to say about a file with secrets that more than those may touch whom it is for.
pub(crate) fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::fs::metadata(path).ok()?;
    let (mode, ours) = (file.mode() & 0o777, file.uid() == rustix::process::geteuid().as_raw());
    open_to_others(mode, ours)
        .then(|| format!("{} is open to other users (mode {mode:03o}); chmod 600 it", path.display()))
}

/// A file that is another's, and that we read by our group, is how clusters hand secrets to a pod: that group is for us.
const fn open_to_others(mode: u32, ours: bool) -> bool {
    mode & if ours { 0o077 } else { 0o037 } != 0
}

#[cfg(test)]
mod tests {
    use super::open_to_others;

    #[test]
    fn a_file_of_another_that_our_group_may_read_is_for_us_and_no_other_is() {
        for (mode, ours, open) in [
            (0o600, true, false),
            (0o400, true, false),
            (0o440, true, true),
            (0o604, true, true),
            (0o440, false, false),
            (0o640, false, false),
            (0o660, false, true),
            (0o444, false, true),
        ] {
            assert_eq!(open_to_others(mode, ours), open, "{mode:o} {ours}");
        }
    }
}
