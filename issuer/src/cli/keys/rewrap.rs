//! `countersign keys rewrap`: credentials are protected by the current key-encryption key, so that the old one can go.

use std::path::Path;

use anyhow::{Context as _, ensure};
use indicatif::ProgressBar;

use crate::ambient::Entropy;
use crate::cli::{block_on, counted, say, settings, with_db};
use crate::envelope::Envelope;
use crate::trading_accounts::{Progress, Rewrap, Unusable, rewrap};

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
    let hint = "stopped; what is protected by the current key stays so, and running this again goes on with the rest";
    let Rewrap { rewrapped, replaced, lost, unusable } = done.context(hint)?;
    let accounts = if rewrapped == 1 { "account" } else { "accounts" };
    say(format_args!("protected by {current} now: credentials of {rewrapped} {accounts}"));
    if replaced > 0 {
        say(format_args!("those of {replaced} were replaced meanwhile; run this again to be sure"));
    }
    let mut left: Vec<String> = unusable
        .into_iter()
        .map(|(key, Unusable { why, keys })| {
            format!("those of {keys} stay as they are: the key {key:?} cannot be used: {why}")
        })
        .collect();
    if lost > 0 {
        left.push(format!(
            "those of {lost} do not open and stay as they are: the key that protects them is not in [encryption], or \
             they were changed"
        ));
    }
    ensure!(left.is_empty(), left.join("; "));
    Ok(())
}
