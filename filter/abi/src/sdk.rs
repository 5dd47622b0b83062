//! The same `host` and [`Plugin`] on the `proxy-wasm` crate, the SDK that other plugins are built with.
//!
//! The SDK has the exports, keeps an object for every context, and lends memory for the host's answers.

pub mod host;

use std::cell::RefCell;
use std::ops::Deref;
use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action as SdkAction, ContextType, NewRootContext};

use crate::{Action, Plugin};

/// Bytes from the host.
#[derive(Debug)]
pub struct Received(Vec<u8>);

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// A context of either kind. All contexts share the one plugin.
#[derive(Debug)]
struct Shared<P> {
    context: u32,
    plugin: Rc<RefCell<P>>,
}

/// What the SDK calls for each configuration. For use by [`plugin!`](crate::plugin).
pub fn root<P: Plugin + 'static>(context: u32, plugin: &Rc<RefCell<P>>) -> Box<dyn RootContext> {
    let shared = Shared { context, plugin: Rc::clone(plugin) };
    shared.with(|plugin| plugin.on_context_create(context, None));
    Box::new(shared)
}

/// Tells the SDK how a configuration begins.
pub fn begin(root: NewRootContext) {
    proxy_wasm::set_root_context(root);
}

impl<P: Plugin> Shared<P> {
    /// `None` if the plugin is busy. The SDK sees to it that it is not, by trapping.
    fn with<T>(&self, callback: impl FnOnce(&mut P) -> T) -> Option<T> {
        self.plugin.try_borrow_mut().ok().map(|mut plugin| callback(&mut plugin))
    }

    fn decide(&self, callback: impl FnOnce(&mut P) -> Action) -> SdkAction {
        told(self.with(callback).unwrap_or_else(P::refuse))
    }
}

fn told(action: Action) -> SdkAction {
    match action {
        Action::Continue => SdkAction::Continue,
        Action::Pause => SdkAction::Pause,
    }
}

impl<P: Plugin + 'static> Context for Shared<P> {
    fn on_http_call_response(&mut self, call: u32, _headers: usize, body_size: usize, _trailers: usize) {
        self.with(|plugin| plugin.on_http_call_response(self.context, call, body_size));
    }
}

impl<P: Plugin + 'static> RootContext for Shared<P> {
    fn on_vm_start(&mut self, _size: usize) -> bool {
        self.with(|plugin| plugin.on_vm_start(self.context)).unwrap_or(false)
    }

    fn on_configure(&mut self, size: usize) -> bool {
        self.with(|plugin| plugin.on_configure(self.context, size)).unwrap_or(false)
    }

    fn on_tick(&mut self) {
        self.with(|plugin| plugin.on_tick(self.context));
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, stream: u32) -> Option<Box<dyn HttpContext>> {
        self.with(|plugin| plugin.on_context_create(stream, Some(self.context)));
        Some(Box::new(Self { context: stream, plugin: Rc::clone(&self.plugin) }))
    }
}

impl<P: Plugin + 'static> HttpContext for Shared<P> {
    fn on_http_request_headers(&mut self, _headers: usize, _end: bool) -> SdkAction {
        self.decide(|plugin| plugin.on_request_headers(self.context))
    }

    fn on_http_request_trailers(&mut self, _trailers: usize) -> SdkAction {
        self.decide(|plugin| plugin.on_request_trailers(self.context))
    }

    fn on_http_response_body(&mut self, size: usize, end: bool) -> SdkAction {
        told(self.with(|plugin| plugin.on_response_body(self.context, size, end)).unwrap_or(Action::Continue))
    }
}

/// Makes the module of a [`Plugin`].
#[macro_export]
macro_rules! plugin {
    ($plugin:ty) => {
        const _: () = {
            use ::std::cell::RefCell;
            use ::std::rc::Rc;

            use $crate::export;

            ::std::thread_local! {
                static PLUGIN: Rc<RefCell<$plugin>> = Rc::default();
            }

            unsafe extern "C" {
                fn __wasm_call_ctors();
            }

            #[unsafe(no_mangle)]
            extern "C" fn _initialize() {
                // SAFETY: the linker makes it; the host calls this once, before anything else.
                unsafe { __wasm_call_ctors() }
                export::begin(|context| PLUGIN.with(|plugin| export::root(context, plugin)));
            }
        };
    };
}
