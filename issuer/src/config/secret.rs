//! Secrets of the configuration: given inline or, better, as a file of their own. They never appear in a
//! finding, a log or a `Debug` output.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::reader::Section;

/// Fewer bytes than the output of SHA-256 would weaken the MAC (RFC 2104 §3).
const MIN_SECRET_BYTES: usize = 32;

/// Keys the MAC of refresh tokens: one block of HMAC-SHA256.
#[derive(Clone, PartialEq, Eq)]
pub struct RefreshSecret(Zeroizing<[u8; 64]>);

impl RefreshSecret {
    /// Condenses a secret of any length to a block, as HMAC does with long keys (RFC 2104 §2).
    pub(crate) fn new(secret: &[u8]) -> Self {
        let mut block = Zeroizing::new([0; 64]);
        let (key, _padding) = block.split_at_mut(32);
        key.copy_from_slice(&Sha256::digest(secret));
        Self(block)
    }

    pub(crate) fn block(&self) -> &[u8; 64] {
        &self.0
    }
}

impl fmt::Debug for RefreshSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RefreshSecret(…)")
    }
}

/// Reads `secret` or `secret_file`; one set by the environment replaces whichever the file sets.
pub(super) fn refresh_secret(section: &mut Section<'_>, folder: &Path) -> Option<RefreshSecret> {
    let from_environment = section.set_by_environment("secret") || section.set_by_environment("secret_file");
    let only_environment =
        |section: &Section<'_>, name| !from_environment || section.set_by_environment(name);
    let (use_inline, use_file) =
        (only_environment(section, "secret"), only_environment(section, "secret_file"));
    let inline: Option<String> = section.optional("secret").filter(|_| use_inline);
    let file: Option<PathBuf> = section.optional("secret_file").filter(|_| use_file);
    let (name, bytes) = match (inline, file) {
        (Some(_), Some(_)) => {
            section.error("secret", "is set together with secret_file; set one of them");
            return None;
        }
        (None, None) => {
            let hint = "is required: a file of 32 or more random bytes, such as \
                        `openssl rand -hex -out refresh.secret 32` writes";
            section.error("secret_file", hint);
            return None;
        }
        (Some(secret), None) => ("secret", Zeroizing::new(secret.into_bytes())),
        (None, Some(file)) => ("secret_file", read_secret_file(section, &folder.join(file))?),
    };
    if strength(&bytes) < MIN_SECRET_BYTES {
        section.error(name, format!("is too short: at least {MIN_SECRET_BYTES} random bytes are needed"));
        return None;
    }
    Some(RefreshSecret::new(&bytes))
}

fn read_secret_file(section: &mut Section<'_>, path: &Path) -> Option<Zeroizing<Vec<u8>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) => {
            section.error("secret_file", format!("{} cannot be read: {error}", path.display()));
            return None;
        }
    };
    if let Some(warning) = readable_by_others(path) {
        section.warning("secret_file", warning);
    }
    // Text gets a newline from whatever wrote it; random bytes may end in one that counts.
    match std::str::from_utf8(&bytes) {
        Ok(text) => Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).as_bytes().to_vec())),
        Err(_) => Some(bytes),
    }
}

/// Bytes of randomness that `secret` can hold at most: hexadecimal text spends two characters on each.
fn strength(secret: &[u8]) -> usize {
    if secret.iter().all(u8::is_ascii_hexdigit) { secret.len() / 2 } else { secret.len() }
}

/// What to say about a file with secrets that more than its owner may touch.
pub(crate) fn readable_by_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let open = mode & 0o077 != 0;
    open.then(|| format!("{} is open to other users (mode {mode:03o}); chmod 600 it", path.display()))
}
