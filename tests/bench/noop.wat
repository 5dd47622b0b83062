;; The least that a proxy-wasm filter (ABI 0.2.1) can be: it is told of every request and lets it go on.
;; What it costs is what any filter in the sandbox costs before it does anything.
(module
  (memory (export "memory") 1)
  (func (export "proxy_abi_version_0_2_1"))
  ;; Nothing is ever read from the host, so nothing is ever allocated.
  (func (export "proxy_on_memory_allocate") (param $size i32) (result i32) i32.const 0)
  (func (export "proxy_on_vm_start") (param $context i32) (param $size i32) (result i32) i32.const 1)
  (func (export "proxy_on_configure") (param $context i32) (param $size i32) (result i32) i32.const 1)
  (func (export "proxy_on_request_headers") (param $context i32) (param $count i32) (param $end i32) (result i32)
    i32.const 0))
