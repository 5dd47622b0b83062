//! What is asked of each build of the module by itself. All else is asked of both at once, by the host.

use countersign_tests::host::{Build, Process, Request};

use super::{edge_config, issuer};

#[test]
fn streams_and_configurations_come_and_go_without_growth() {
    for build in Build::ALL {
        let mut edge = Process::alone(build).worker(&edge_config()).unwrap();
        let (served, refused) = (
            Request::get("/api/x").bearer(issuer().ada()).trailer("x-user-id", "eve"),
            Request::get("/api/x"),
        );
        let mut come_and_go = |streams, configurations| {
            for _ in 0..streams {
                edge.send(&served).upstream();
                edge.send(&refused).refused();
            }
            for _ in 0..configurations {
                edge.configure(&edge_config()).unwrap();
                edge.configure_raw(b"{}").unwrap_err();
                edge.tick();
            }
            edge.memory_bytes()
        };
        // Memory has found its places after two rounds.
        come_and_go(100, 40);
        let before = come_and_go(10_000, 40);
        // A page of memory more would be three bytes for each.
        assert_eq!(come_and_go(10_000, 40), before, "{build:?}");
    }
}
