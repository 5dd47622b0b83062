//! `countersign keys rewrap`: credentials are protected by the current key-encryption key, so that the old one can go.

use std::path::Path;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;

use crate::ambient::Entropy;
use crate::cli::{block_on, counted, say, settings, with_db};
use crate::envelope::Envelope;
use crate::trading_accounts::{Progress, Rewrap, rewrap};

pub(super) fn run(config: &Path, entropy: Entropy) -> anyhow::Result<()> {
    let settings = settings(config)?;
    let envelope = Envelope::new(&settings.encryption, entropy);
    let current = envelope.current().with_context(|| config.display().to_string())?;
    let mut bar = ProgressBar::hidden();
    let done = block_on(with_db(&settings, async |db| {
        let progress = |progress| match progress {
            Progress::Total(total) => bar = counted(total),
            Progress::Done(some) => bar.inc(some),
        };
        Ok(rewrap(db, &envelope, progress).await?)
    }));
    bar.finish_and_clear();
    let Rewrap { rewrapped, replaced, lost } = done?;
    say(format_args!("credentials of {rewrapped} accounts are protected by {current} now"));
    if replaced > 0 {
        say(format_args!("those of {replaced} were replaced meanwhile; run this again to be sure"));
    }
    if lost > 0 {
        bail!(
            "those of {lost} do not open and stay as they are: the key that protects them is neither \
             encryption.current_file nor among encryption.previous_files, or they were changed"
        );
    }
    Ok(())
}
