//! What Envoy finds in the shipped module.

use std::collections::BTreeSet;

use countersign_tests::host::{exports, imports};

/// Envoy calls each that exists as a stream goes by: one more is a cost, one less is a feature.
#[test]
fn the_module_has_the_callbacks_that_it_needs_and_no_others() {
    let expected = [
        "memory",
        "_initialize",
        "proxy_abi_version_0_2_1",
        "proxy_on_memory_allocate",
        "proxy_on_context_create",
        "proxy_on_vm_start",
        "proxy_on_configure",
        "proxy_on_tick",
        "proxy_on_http_call_response",
        "proxy_on_request_headers",
        "proxy_on_request_trailers",
    ];
    assert_eq!(exports(), expected.map(str::to_owned).into());
}

/// A function that a host lacks would keep the module from loading. These are of ABI 0.2.1 and WASI.
#[test]
fn the_module_asks_for_nothing_that_a_host_may_lack() {
    let foreign: BTreeSet<_> = imports()
        .into_iter()
        .filter(|(module, name)| match module.as_str() {
            "env" => !name.starts_with("proxy_"),
            "wasi_snapshot_preview1" => {
                !["random_get", "environ_get", "environ_sizes_get", "fd_write", "proc_exit"]
                    .contains(&name.as_str())
            }
            _ => true,
        })
        .collect();
    assert_eq!(foreign, BTreeSet::new());
}
