//! The plugin as Envoy sees it: the only code that names the host.
//!
//! It fetches values, hands them to [`Edge`](crate::edge::Edge) and carries out the verdict; it decides nothing.
//! Only `*_bytes` host calls are made: those that return a `String` panic on what a client may send.

mod host;
mod keys;
mod metrics;
mod root;
mod stream;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(root::Plugin::default()));
}}
