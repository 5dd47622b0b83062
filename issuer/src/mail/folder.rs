//! Messages as files, for people who have no mail server: one each, readable by their owner alone, whole or not there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::transport::Failure;
use crate::config::sync_folder;

#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Writes `<name>.eml`. The same message again takes the place of the first.
    pub(super) async fn put(&self, name: &str, message: Vec<u8>) -> Result<(), Failure> {
        let (folder, name) = (self.0.clone(), name.to_owned());
        let written = tokio::task::spawn_blocking(move || write(&folder, &name, &message)).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| Failure::passing("the folder cannot be written", error))
    }
}

fn write(folder: &Path, name: &str, message: &[u8]) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let part = folder.join(format!(".{name}.part"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(message)?;
    file.sync_all()?;
    let whole = folder.join(format!("{name}.eml"));
    fs::rename(&part, &whole)?;
    sync_folder(&whole)
}
