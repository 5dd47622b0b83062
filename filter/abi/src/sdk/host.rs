//! What the host does for us, by the SDK.
//!
//! Nine are called without it. It stops the VM at what a host may well say: a header name that is not UTF-8, a map that
//! is not there (the headers of a call that failed), filter state that is refused, a stream that has ended. And it cannot
//! say the details of an answer, nor a status for gRPC beside one for HTTP.

use std::ptr;
use std::time::{Duration, SystemTime};

use proxy_wasm::hostcalls;
pub use proxy_wasm::types::{BufferType as Buffer, LogLevel as Level, MapType as Map, MetricType as Metric};
use proxy_wasm::types::{Status as SdkStatus, StreamType};

use super::Received;
pub use crate::context::is_alive;
use crate::pairs;
use crate::status::{Status, check, found};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_set_buffer_bytes(
        buffer: Buffer,
        start: usize,
        size: usize,
        bytes: *const u8,
        bytes_size: usize,
    ) -> u32;
    safe fn proxy_continue_stream(stream: StreamType) -> u32;
    safe fn proxy_close_stream(stream: StreamType) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: &mut *mut u8,
        value_size: &mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: Map, pairs: &mut *mut u8, size: &mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: Map,
        name: *const u8,
        name_size: usize,
        value: &mut *mut u8,
        value_size: &mut usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: Map, name: *const u8, name_size: usize) -> u32;
    fn proxy_set_property(path: *const u8, path_size: usize, value: *const u8, value_size: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: u32,
    ) -> u32;
}

// The `unsafe` blocks that call these are sound for one reason: the host reads the slices and writes the numbers that
// it is given during the call, and keeps no address.

pub fn log(level: Level, message: &str) {
    let _ = hostcalls::log(level, message);
}

/// Time since the Unix epoch.
pub fn now() -> Result<Duration, Status> {
    let now = hostcalls::get_current_time().map_err(told)?;
    now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| Status::INTERNAL_FAILURE)
}

/// How often the context that is being called is to be ticked, in whole milliseconds.
pub fn set_tick_period(period: Duration) -> Result<(), Status> {
    hostcalls::set_tick_period(period).map_err(told)
}

/// Makes what follows be about another context than the one that is being called, until this is called for that one.
///
/// # Errors
/// [`Status::BAD_ARGUMENT`] if there is no such context: then what follows is about the one that is being called.
pub fn turn_to(context: u32) -> Result<(), Status> {
    hostcalls::set_effective_context(context).map_err(told)
}

/// Up to `most` bytes of a buffer, from `start` on.
pub fn buffer(buffer: Buffer, start: usize, most: usize) -> Result<Received, Status> {
    // The SDK has one answer for an empty buffer and for none.
    let bytes = hostcalls::get_buffer(buffer, start, most).map_err(told)?;
    Ok(Received(bytes.unwrap_or_default()))
}

/// Puts `bytes` in the place of a buffer's first `size`, which are all that it has.
pub fn set_buffer(buffer: Buffer, size: usize, bytes: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe { proxy_set_buffer_bytes(buffer, 0, size, bytes.as_ptr(), bytes.len()) })
}

/// Lets a request that was stopped go on.
pub fn continue_request() -> Result<(), Status> {
    check(proxy_continue_stream(StreamType::HttpRequest))
}

/// Ends a stream, both ways.
pub fn close_stream() -> Result<(), Status> {
    check(proxy_close_stream(StreamType::HttpRequest))
}

/// What the host knows of a stream or of itself. The parts of `path` are separated by zero bytes.
pub fn property(path: &str) -> Result<Option<Received>, Status> {
    // SAFETY: as above.
    found(answer(|value, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), value, size) }))
}

/// All headers of a map, for [`pairs::read`].
pub fn headers(map: Map) -> Result<Received, Status> {
    // SAFETY: as above.
    answer(|pairs, size| unsafe { proxy_get_header_map_pairs(map, pairs, size) })
}

/// The first value under this name.
pub fn header(map: Map, name: &str) -> Result<Option<Received>, Status> {
    // SAFETY: as above.
    let value = answer(|value, size| unsafe {
        proxy_get_header_map_value(map, name.as_ptr(), name.len(), value, size)
    });
    found(value)
}

pub fn add_header(map: Map, name: &str, value: &[u8]) -> Result<(), Status> {
    hostcalls::add_map_value_bytes(map, name, value).map_err(told)
}

/// Leaves one value under this name.
pub fn set_header(map: Map, name: &str, value: &[u8]) -> Result<(), Status> {
    hostcalls::set_map_value_bytes(map, name, Some(value)).map_err(told)
}

/// Removes every value under this name.
pub fn remove_header(map: Map, name: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe { proxy_remove_header_map_value(map, name.as_ptr(), name.len()) })
}

/// Sets filter state of the stream.
pub fn set_property(name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Answers instead of the upstream. A request that the host takes for gRPC gets `grpc_status` and `body` as its message,
/// every other one `status`. `details`: what access logs have for why, without spaces.
pub fn respond(
    status: u16,
    details: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    grpc_status: u32,
) -> Result<(), Status> {
    let headers = pairs::encode(headers);
    // SAFETY: as above.
    check(unsafe {
        proxy_send_local_response(
            u32::from(status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            grpc_status,
        )
    })
}

/// Calls a cluster. The number that is returned comes back with the answer, which is for the context that is being called.
pub fn http_call(
    cluster: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    timeout: Duration,
) -> Result<u32, Status> {
    hostcalls::dispatch_http_call(cluster, headers.to_vec(), Some(body), Vec::new(), timeout).map_err(told)
}

/// A value that all VMs of one `vm_id` share, and its version.
pub fn shared_data(key: &str) -> Result<Option<(Received, u32)>, Status> {
    let (value, version) = hostcalls::get_shared_data(key).map_err(told)?;
    Ok(value.map(Received).zip(version))
}

/// Writes a shared value; with `version`, only over that version.
///
/// # Errors
/// [`Status::CAS_MISMATCH`] if there is another one.
pub fn set_shared_data(key: &str, value: &[u8], version: Option<u32>) -> Result<(), Status> {
    hostcalls::set_shared_data(key, Some(value), version).map_err(told)
}

/// The number by which a metric goes.
pub fn define_metric(kind: Metric, name: &str) -> Result<u32, Status> {
    hostcalls::define_metric(kind, name).map_err(told)
}

pub fn increment_metric(metric: u32, by: u64) -> Result<(), Status> {
    hostcalls::increment_metric(metric, i64::try_from(by).unwrap_or(i64::MAX)).map_err(told)
}

pub fn record_metric(metric: u32, value: u64) -> Result<(), Status> {
    hostcalls::record_metric(metric, value).map_err(told)
}

/// A call that answers with bytes.
fn answer(call: impl FnOnce(&mut *mut u8, &mut usize) -> u32) -> Result<Received, Status> {
    let (mut bytes, mut size) = (ptr::null_mut(), 0);
    check(call(&mut bytes, &mut size))?;
    if bytes.is_null() {
        return Ok(Received(Vec::new()));
    }
    // SAFETY: the host writes where the SDK's `proxy_on_memory_allocate` told it to, a block of exactly this size
    // from our allocator, and hands it over.
    Ok(Received(unsafe { Vec::from_raw_parts(bytes, size, size) }))
}

fn told(status: SdkStatus) -> Status {
    Status(status as u32)
}
