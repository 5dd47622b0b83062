//! The list of passwords that leaked elsewhere: a file of our own, made from the well-known list of SHA-1 hashes, that
//! is looked up where it lies. Asked when a password is set, never when one is checked.
//!
//! The file holds the first eight bytes of every hash, sorted: a header, an index of 65,536 buckets by the first two
//! bytes, and the next six bytes of each hash. So a password that never leaked is refused once in about 10¹⁰ times.
//! All numbers are big-endian.

mod build;

use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};

use super::Password;
use crate::config;

pub use build::{BuildError, Built, Sources, build};

const MAGIC: [u8; 12] = *b"breached-v1\n";

/// Magic, number of entries, checksum of this and the index.
const HEADER: usize = 24;

const BUCKETS: usize = 1 << 16;

/// Number of entries, checksum of them.
const INDEX_ENTRY: usize = 8;

/// What the index leaves of a hash's eight bytes.
const ENTRY: usize = 6;

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BreachedError {
    #[error("{} cannot be read; `countersign passwords import-breached` makes it: {source}", file.display())]
    Unreadable { file: PathBuf, source: std::io::Error },
    #[error("{} was not made by `countersign passwords import-breached` of this version", file.display())]
    Foreign { file: PathBuf },
    #[error("{} is damaged; make it again with `countersign passwords import-breached`", file.display())]
    Damaged { file: PathBuf },
}

/// An open list. What it takes in memory does not depend on how many passwords are in it.
pub struct BreachedList {
    file: File,
    path: PathBuf,
    /// Where each bucket begins, in entries, and after the last the end.
    starts: Vec<u64>,
    checksums: Vec<u32>,
}

impl fmt::Debug for BreachedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreachedList").field("path", &self.path).finish_non_exhaustive()
    }
}

impl BreachedList {
    /// The list that the configuration names, if it names one.
    ///
    /// # Errors
    /// As [`BreachedList::open`].
    pub fn configured(passwords: &config::Passwords) -> Result<Option<Self>, BreachedError> {
        passwords.breached_file.as_deref().map(Self::open).transpose()
    }

    /// Opens a list; its index and its length are checked, its entries when they are looked up.
    ///
    /// # Errors
    /// [`BreachedError`].
    pub fn open(path: &Path) -> Result<Self, BreachedError> {
        let unreadable = |source| BreachedError::Unreadable { file: path.to_owned(), source };
        let foreign = || BreachedError::Foreign { file: path.to_owned() };
        let damaged = || BreachedError::Damaged { file: path.to_owned() };
        let mut file = File::open(path).map_err(unreadable)?;
        let mut head = vec![0; HEADER + BUCKETS * INDEX_ENTRY];
        let (header, index) = head.split_at_mut(HEADER);
        match file.read_exact(header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(foreign()),
            read => read.map_err(unreadable)?,
        }
        if !header.starts_with(&MAGIC) {
            return Err(foreign());
        }
        match file.read_exact(index) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(damaged()),
            read => read.map_err(unreadable)?,
        }
        let (summed, checksum) = header.split_at(HEADER - 4);
        if checksum_of(&[summed, index]).to_be_bytes() != checksum {
            return Err(damaged());
        }
        let (mut starts, mut checksums) = (vec![0], Vec::with_capacity(BUCKETS));
        let mut end = 0;
        for entry in index.chunks_exact(INDEX_ENTRY) {
            let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte));
            let (count, checksum) = entry.split_at(4);
            end += u64::from(number(count));
            starts.push(end);
            checksums.push(number(checksum));
        }
        let expected = (head.len() as u64).saturating_add(end * ENTRY as u64);
        if file.metadata().map_err(unreadable)?.len() != expected {
            return Err(damaged());
        }
        Ok(Self { file, path: path.to_owned(), starts, checksums })
    }

    /// How many passwords are in it.
    pub fn count(&self) -> u64 {
        self.starts.last().copied().unwrap_or_default()
    }

    /// Reads all of it, and finds whatever is damaged.
    ///
    /// # Errors
    /// [`BreachedError`].
    pub fn verify(&self) -> Result<(), BreachedError> {
        (0..=u16::MAX).try_for_each(|bucket| self.bucket(bucket).map(drop))
    }

    /// Whether the password is in the list, as it was typed or in its normal form.
    pub(super) fn has(&self, password: &Password) -> Result<bool, BreachedError> {
        for form in password.forms() {
            if self.has_hash(&Sha1::digest(form.as_bytes()).into())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn has_hash(&self, hash: &[u8; 20]) -> Result<bool, BreachedError> {
        let (bucket, entry) = split(hash);
        let entries = self.bucket(bucket)?;
        let (entries, _) = entries.as_chunks::<ENTRY>();
        Ok(entries.binary_search(&entry).is_ok())
    }

    /// The entries of a bucket, as they were written.
    fn bucket(&self, bucket: u16) -> Result<Vec<u8>, BreachedError> {
        let damaged = || BreachedError::Damaged { file: self.path.clone() };
        let bucket = usize::from(bucket);
        let (Some(&[start, end]), Some(&checksum)) =
            (self.starts.get(bucket..bucket + 2), self.checksums.get(bucket))
        else {
            return Err(damaged());
        };
        let mut entries = vec![0; usize::try_from((end - start) * ENTRY as u64).map_err(|_| damaged())?];
        let offset = (HEADER + BUCKETS * INDEX_ENTRY) as u64 + start * ENTRY as u64;
        match self.file.read_exact_at(&mut entries, offset) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(damaged()),
            Err(source) => return Err(BreachedError::Unreadable { file: self.path.clone(), source }),
            Ok(()) => {}
        }
        if checksum_of(&[&entries]) == checksum { Ok(entries) } else { Err(damaged()) }
    }
}

/// The bucket of a hash, and what is written there.
fn split(hash: &[u8; 20]) -> (u16, [u8; ENTRY]) {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    (u16::from_be_bytes([a, b]), [c, d, e, f, g, h])
}

fn checksum_of(parts: &[&[u8]]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    parts.iter().for_each(|part| checksum.update(part));
    checksum.finalize()
}

#[cfg(test)]
mod tests;
