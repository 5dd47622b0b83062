//! What Envoy finds in the module, of either build.

use std::collections::BTreeSet;

use countersign_tests::host::Build;

/// Envoy calls each that exists as a stream goes by: one more is a cost, one less is a feature.
#[test]
fn the_module_has_the_callbacks_that_it_needs_and_no_others() {
    let mut expected: BTreeSet<_> = [
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
        "proxy_on_response_body",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(Build::Own.exports(), expected);
    // The SDK keeps something for every stream.
    expected.insert("proxy_on_delete".to_owned());
    assert_eq!(Build::Sdk.exports(), expected);
}

/// A function that a host lacks would keep the module from loading. These are of ABI 0.2.1 and WASI.
#[test]
fn the_module_asks_for_nothing_that_a_host_may_lack() {
    let imports = Build::ALL.into_iter().flat_map(Build::imports);
    let foreign: BTreeSet<_> = imports
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
