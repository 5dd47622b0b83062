//! Making a list from files of `HASH:COUNT` lines: the whole sorted list in one file or several, or a folder of files by
//! range, each named after the five digits with which its hashes begin and holding the other thirty-five. What is read
//! is merged on the way, so that nothing has to fit into memory.

use std::collections::VecDeque;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{
    BufRead as _, BufReader, BufWriter, ErrorKind, IntoInnerError, Read as _, Seek as _, Write as _,
};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{BUCKETS, ENTRY, HEADER, INDEX_ENTRY, MAGIC, checksum_of, split};
use crate::config::{belong_as, sync_folder};

/// Why a list could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("{} cannot be used: {source}", file.display())]
    Io { file: PathBuf, source: std::io::Error },
    #[error("{}: line {line}: {what}", file.display())]
    Line { file: PathBuf, line: u64, what: &'static str },
    #[error("{}: no file in it is named after a range, such as 00F1A.txt", file.display())]
    NoRanges { file: PathBuf },
    #[error("no hash was found")]
    Nothing,
}

fn io(file: &Path) -> impl FnOnce(std::io::Error) -> BuildError {
    move |source| BuildError::Io { file: file.to_owned(), source }
}

/// What came of making a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Built {
    pub read: u64,
    pub kept: u64,
}

/// The files that are read.
#[derive(Debug)]
pub struct Sources {
    whole: Vec<PathBuf>,
    /// With the digits that its hashes begin with; in their order.
    ranges: VecDeque<(String, PathBuf)>,
    bytes: u64,
}

impl Sources {
    /// Looks which files there are.
    ///
    /// # Errors
    /// [`BuildError`] if one cannot be found, or a folder has no files by range.
    pub fn find(paths: &[PathBuf]) -> Result<Self, BuildError> {
        let (mut whole, mut ranges, mut bytes) = (Vec::new(), Vec::new(), 0);
        for path in paths {
            let found = std::fs::metadata(path).map_err(io(path))?;
            if found.is_dir() {
                let before = ranges.len();
                for entry in std::fs::read_dir(path).map_err(io(path))? {
                    let file = entry.map_err(io(path))?.path();
                    let Some(range) = range(&file) else { continue };
                    bytes += std::fs::metadata(&file).map_err(io(&file))?.len();
                    ranges.push((range, file));
                }
                if ranges.len() == before {
                    return Err(BuildError::NoRanges { file: path.clone() });
                }
                continue;
            }
            bytes += found.len();
            match range(path) {
                Some(range) => ranges.push((range, path.clone())),
                None => whole.push(path.clone()),
            }
        }
        ranges.sort();
        Ok(Self { whole, ranges: ranges.into(), bytes })
    }

    /// How much there is to read.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The range that a file is named after.
fn range(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_str()?;
    let is_range = stem.len() == 5 && stem.bytes().all(|b| b.is_ascii_hexdigit());
    is_range.then(|| stem.to_ascii_uppercase())
}

/// Writes the list of `sources` in the place of `target`, leaving out what was seen fewer than `min_count` times. The
/// file belongs to whom `like` does. `progress` is told now and then how many bytes have been read.
///
/// # Errors
/// [`BuildError`]; what was at `target` is then still there.
pub fn build(
    sources: Sources,
    target: &Path,
    like: &Metadata,
    min_count: u64,
    mut progress: impl FnMut(u64),
) -> Result<Built, BuildError> {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let draft = target.with_file_name(name);
    let written = write(sources, &draft, like, min_count, &mut progress).and_then(|built| {
        std::fs::rename(&draft, target).and_then(|()| sync_folder(target)).map_err(io(target))?;
        Ok(built)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&draft);
    }
    written
}

fn write(
    sources: Sources,
    draft: &Path,
    like: &Metadata,
    min_count: u64,
    progress: &mut dyn FnMut(u64),
) -> Result<Built, BuildError> {
    let mut merged = Merged::open(sources)?;
    let mut list = Writer::begin(draft).map_err(io(draft))?;
    let mut read = 0;
    while let Some(Line { hash, count }) = merged.next()? {
        read += 1;
        if count >= min_count && list.add(&hash).map_err(io(draft))? {
            progress(merged.bytes());
        }
    }
    progress(merged.bytes());
    let kept = list.kept;
    if kept == 0 {
        return Err(BuildError::Nothing);
    }
    list.finish(like).map_err(io(draft))?;
    Ok(Built { read, kept })
}

/// A list under way.
struct Writer {
    out: BufWriter<File>,
    /// Of the buckets that are written.
    index: Vec<u8>,
    /// Of the next one.
    entries: Vec<u8>,
    last: Option<(u16, [u8; ENTRY])>,
    kept: u64,
}

impl Writer {
    fn begin(file: &Path) -> std::io::Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(file)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        // The index is known at the end.
        out.write_all(&vec![0; HEADER + BUCKETS * INDEX_ENTRY])?;
        let index = Vec::with_capacity(BUCKETS * INDEX_ENTRY);
        Ok(Self { out, index, entries: Vec::new(), last: None, kept: 0 })
    }

    /// Takes the next hash, and says whether it is the first of its bucket.
    fn add(&mut self, hash: &[u8; 20]) -> std::io::Result<bool> {
        let (bucket, entry) = split(hash);
        if self.last == Some((bucket, entry)) {
            return Ok(false);
        }
        self.last = Some((bucket, entry));
        let first = self.index.len() < usize::from(bucket) * INDEX_ENTRY;
        self.close_up_to(usize::from(bucket))?;
        self.entries.extend(entry);
        self.kept += 1;
        Ok(first)
    }

    /// Writes the buckets before this one.
    fn close_up_to(&mut self, bucket: usize) -> std::io::Result<()> {
        while self.index.len() < bucket * INDEX_ENTRY {
            let count = u32::try_from(self.entries.len() / ENTRY).map_err(|_| ErrorKind::FileTooLarge)?;
            self.index.extend(count.to_be_bytes());
            self.index.extend(checksum_of(&[&self.entries]).to_be_bytes());
            self.out.write_all(&self.entries)?;
            self.entries.clear();
        }
        Ok(())
    }

    fn finish(mut self, like: &Metadata) -> std::io::Result<()> {
        self.close_up_to(BUCKETS)?;
        let mut header = MAGIC.to_vec();
        header.extend(self.kept.to_be_bytes());
        header.extend(checksum_of(&[&header, &self.index]).to_be_bytes());
        let mut file = self.out.into_inner().map_err(IntoInnerError::into_error)?;
        file.rewind()?;
        file.write_all(&header)?;
        file.write_all(&self.index)?;
        belong_as(&file, like)?;
        file.sync_all()
    }
}

#[derive(Debug, Clone, Copy)]
struct Line {
    hash: [u8; 20],
    count: u64,
}

/// All sources in the order of the hashes.
struct Merged {
    streams: Vec<(Stream, Option<Line>)>,
}

impl Merged {
    fn open(sources: Sources) -> Result<Self, BuildError> {
        let mut streams = Vec::new();
        for file in sources.whole {
            streams.push(Stream::open([(String::new(), file)].into())?);
        }
        if !sources.ranges.is_empty() {
            streams.push(Stream::open(sources.ranges)?);
        }
        let with_first = |mut stream: Stream| {
            let first = stream.next()?;
            Ok((stream, first))
        };
        Ok(Self { streams: streams.into_iter().map(with_first).collect::<Result<_, _>>()? })
    }

    fn next(&mut self) -> Result<Option<Line>, BuildError> {
        let waiting = self.streams.iter_mut().filter(|(_, line)| line.is_some());
        let Some((stream, line)) = waiting.min_by_key(|(_, line)| line.map(|line| line.hash)) else {
            return Ok(None);
        };
        let next = stream.next()?;
        Ok(std::mem::replace(line, next))
    }

    fn bytes(&self) -> u64 {
        self.streams.iter().map(|(stream, _)| stream.bytes).sum()
    }
}

/// Files one after the other, in the order of their hashes.
struct Stream {
    files: VecDeque<(String, PathBuf)>,
    reader: BufReader<File>,
    number: u64,
    last: [u8; 20],
    bytes: u64,
    text: Vec<u8>,
}

/// Forty digits, a colon, and any number take less.
const LONGEST_LINE: u64 = 80;

impl Stream {
    fn open(files: VecDeque<(String, PathBuf)>) -> Result<Self, BuildError> {
        let first = files.front().map_or(Path::new(""), |(_, file)| file);
        let reader = BufReader::with_capacity(1 << 16, File::open(first).map_err(io(first))?);
        Ok(Self { files, reader, number: 0, last: [0; 20], bytes: 0, text: Vec::new() })
    }

    fn next(&mut self) -> Result<Option<Line>, BuildError> {
        while let Some((prefix, file)) = self.files.front() {
            self.text.clear();
            self.text.extend_from_slice(prefix.as_bytes());
            let read = self.reader.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut self.text);
            let read = read.map_err(io(file))?;
            self.bytes += read as u64;
            if read == 0 {
                self.files.pop_front();
                self.number = 0;
                if let Some((_, next)) = self.files.front() {
                    self.reader = BufReader::with_capacity(1 << 16, File::open(next).map_err(io(next))?);
                }
                continue;
            }
            self.number += 1;
            if self.text.get(prefix.len()..).is_some_and(|line| line.trim_ascii().is_empty()) {
                continue;
            }
            let wrong = |what| BuildError::Line { file: file.clone(), line: self.number, what };
            let line = parse(&self.text).ok_or_else(|| {
                wrong(if prefix.is_empty() {
                    "expected 40 hexadecimal digits of SHA-1, a colon and a number"
                } else {
                    "expected 35 hexadecimal digits, a colon and a number"
                })
            })?;
            if line.hash < self.last {
                return Err(wrong("comes before the hash above it; the file has to be sorted by hash"));
            }
            self.last = line.hash;
            return Ok(Some(line));
        }
        Ok(None)
    }
}

fn parse(text: &[u8]) -> Option<Line> {
    let (digits, rest) = text.trim_ascii_end().split_at_checked(40)?;
    let mut hash = [0; 20];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            *byte = *byte << 4 | u8::try_from(char::from(*digit).to_digit(16)?).ok()?;
        }
    }
    let count = std::str::from_utf8(rest.strip_prefix(b":")?).ok()?.parse().ok()?;
    Some(Line { hash, count })
}
