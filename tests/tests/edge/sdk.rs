//! The same with the filter on the `proxy-wasm` crate.

#[path = "abi.rs"]
mod abi;
#[path = "browsers.rs"]
mod browsers;
#[path = "guide.rs"]
mod guide;
#[path = "hostile.rs"]
mod hostile;
#[path = "hostile_exchange.rs"]
mod hostile_exchange;
#[path = "hostile_feed.rs"]
mod hostile_feed;
#[path = "hostile_keys.rs"]
mod hostile_keys;
#[path = "identity.rs"]
mod identity;
#[path = "indicators.rs"]
mod indicators;
#[path = "interleaved.rs"]
mod interleaved;
#[path = "live.rs"]
mod live;
#[path = "observed.rs"]
mod observed;
#[path = "rbac.rs"]
mod rbac;
#[path = "readings.rs"]
mod readings;
#[path = "try_it.rs"]
mod try_it;
#[path = "upgrades.rs"]
mod upgrades;

use std::path::Path;
use std::sync::LazyLock;

use countersign_stack::artifacts::{self, Artifacts};
use countersign_stack::stack::{Stack, State};
use countersign_stack::tour;
use tempfile::TempDir;

use super::{alone, raw, stage, token};

static ARTIFACTS: LazyLock<Artifacts> =
    LazyLock::new(|| Artifacts { filter: artifacts::sdk_filter().unwrap(), ..super::ARTIFACTS.clone() });

fn module() -> &'static Path {
    &ARTIFACTS.filter
}

async fn platform() -> (Stack, TempDir) {
    super::start(ARTIFACTS.clone()).await
}

#[tokio::test]
async fn the_tour_holds() {
    let folder = tempfile::tempdir().unwrap();
    let report = tour::run(ARTIFACTS.clone(), State::open(folder.path().join("up")).unwrap()).await.unwrap();
    assert!(report.holds(), "{report}");
}
