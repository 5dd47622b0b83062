//! The same with the filter on the `proxy-wasm` crate.

#[path = "abi.rs"]
mod abi;
#[path = "browsers.rs"]
mod browsers;
#[path = "guide.rs"]
mod guide;
#[path = "hostile.rs"]
mod hostile;
#[path = "indicators.rs"]
mod indicators;
#[path = "observed.rs"]
mod observed;
#[path = "rbac.rs"]
mod rbac;
#[path = "readings.rs"]
mod readings;
#[path = "try_it.rs"]
mod try_it;

use std::path::PathBuf;

use countersign_stack::artifacts::{self, Artifacts};
use countersign_stack::stack::{Stack, State};
use countersign_stack::tour;
use tempfile::TempDir;

use super::{alone, raw, token};

fn module() -> PathBuf {
    artifacts::sdk_filter().unwrap()
}

fn artifacts() -> Artifacts {
    Artifacts { filter: module(), ..Artifacts::provide().unwrap() }
}

async fn platform() -> (Stack, TempDir) {
    super::start(artifacts()).await
}

#[tokio::test]
async fn the_tour_holds() {
    let folder = tempfile::tempdir().unwrap();
    let report = tour::run(artifacts(), State::open(folder.path().join("up")).unwrap()).await.unwrap();
    assert!(report.holds(), "{report}");
}
