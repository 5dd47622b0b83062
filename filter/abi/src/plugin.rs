//! What the host calls.

/// What becomes of a stream after a callback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Action {
    Continue = 0,
    /// Nothing goes on: there is an answer already, or there will be.
    Pause = 1,
}

/// One VM: every callback of the ABI that the module has, for all contexts in it.
///
/// Contexts are numbers that the host gives. A root context is one configuration of the plugin; several live in one
/// VM while one takes over from another. The host does not say when a context ends, because that would be a call for
/// every request: ask `host::is_alive` where it matters.
pub trait Plugin: Default {
    /// A root context begins, or a stream of the root context `parent`.
    fn on_context_create(&mut self, context: u32, parent: Option<u32>);

    fn on_vm_start(&mut self, root: u32) -> bool;

    /// Whether the configuration is taken. `size`: how long it is, in bytes.
    fn on_configure(&mut self, root: u32, size: usize) -> bool;

    fn on_tick(&mut self, root: u32);

    /// The answer to a call, or its failure: then it has no headers.
    fn on_http_call_response(&mut self, root: u32, call: u32, body_size: usize);

    fn on_request_headers(&mut self, stream: u32) -> Action;

    fn on_request_trailers(&mut self, stream: u32) -> Action;

    /// Part of an answer goes by, of so many bytes; `end`: it is the last. Called for every answer that has a body.
    fn on_response_body(&mut self, stream: u32, size: usize, end: bool) -> Action;

    /// Refuses the request that the host has, without the plugin: called where a host calls back while it is being
    /// called, so that the plugin is busy. Envoy never does.
    fn refuse() -> Action;
}

/// Makes the module's exports of a [`Plugin`].
#[cfg(not(feature = "sdk"))]
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        const _: () = {
            use ::std::cell::RefCell;

            use $crate::{Action, Plugin as _};

            ::std::thread_local! {
                static PLUGIN: RefCell<$plugin> = RefCell::default();
            }

            // `None` if the plugin is busy.
            fn with<T>(callback: impl FnOnce(&mut $plugin) -> T) -> Option<T> {
                PLUGIN.with(|plugin| plugin.try_borrow_mut().ok().map(|mut plugin| callback(&mut plugin)))
            }

            unsafe extern "C" {
                fn __wasm_call_ctors();
            }

            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                // SAFETY: the linker makes it; the host calls this once, before anything else.
                unsafe { __wasm_call_ctors() }
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_abi_version_0_2_1() {}

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
                $crate::export::lend(size)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_context_create(context: u32, parent: u32) {
                // A context that nobody heard of has no configuration, so what comes in it is refused.
                let _ = with(|plugin| plugin.on_context_create(context, (parent != 0).then_some(parent)));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_vm_start(root: u32, _size: usize) -> bool {
                with(|plugin| plugin.on_vm_start(root)).unwrap_or(false)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_configure(root: u32, size: usize) -> bool {
                with(|plugin| plugin.on_configure(root, size)).unwrap_or(false)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_tick(root: u32) {
                let _ = with(|plugin| plugin.on_tick(root));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_http_call_response(
                root: u32,
                call: u32,
                _headers: usize,
                body_size: usize,
                _trailers: usize,
            ) {
                let _ = with(|plugin| plugin.on_http_call_response(root, call, body_size));
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_request_headers(stream: u32, _headers: usize, _end: u32) -> Action {
                with(|plugin| plugin.on_request_headers(stream)).unwrap_or_else(<$plugin>::refuse)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_request_trailers(stream: u32, _trailers: usize) -> Action {
                with(|plugin| plugin.on_request_trailers(stream)).unwrap_or_else(<$plugin>::refuse)
            }

            #[unsafe(no_mangle)]
            extern "C" fn proxy_on_response_body(stream: u32, size: usize, end: u32) -> Action {
                with(|plugin| plugin.on_response_body(stream, size, end != 0)).unwrap_or(Action::Continue)
            }
        };
    };
}
