//! What the host does for us.

use std::time::Duration;

pub use crate::context::is_alive;
use crate::memory::{self, Received};
use crate::pairs;
use crate::status::{Status, check, found};

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: Level, message: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: &mut u64) -> u32;
    safe fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
    safe fn proxy_set_effective_context(context: u32) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: Buffer,
        start: usize,
        most: usize,
        bytes: &mut *const u8,
        size: &mut usize,
    ) -> u32;
    fn proxy_set_buffer_bytes(
        buffer: Buffer,
        start: usize,
        size: usize,
        bytes: *const u8,
        bytes_size: usize,
    ) -> u32;
    safe fn proxy_continue_stream(stream: Stream) -> u32;
    safe fn proxy_close_stream(stream: Stream) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: &mut *const u8,
        value_size: &mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: Map, pairs: &mut *const u8, size: &mut usize) -> u32;
    fn proxy_get_header_map_value(
        map: Map,
        name: *const u8,
        name_size: usize,
        value: &mut *const u8,
        value_size: &mut usize,
    ) -> u32;
    fn proxy_add_header_map_value(
        map: Map,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_replace_header_map_value(
        map: Map,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
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
    fn proxy_http_call(
        cluster: *const u8,
        cluster_size: usize,
        headers: *const u8,
        headers_size: usize,
        body: *const u8,
        body_size: usize,
        trailers: *const u8,
        trailers_size: usize,
        timeout: u32,
        call: &mut u32,
    ) -> u32;
    fn proxy_get_shared_data(
        key: *const u8,
        key_size: usize,
        value: &mut *const u8,
        value_size: &mut usize,
        version: &mut u32,
    ) -> u32;
    fn proxy_set_shared_data(
        key: *const u8,
        key_size: usize,
        value: *const u8,
        value_size: usize,
        version: u32,
    ) -> u32;
    fn proxy_define_metric(kind: Metric, name: *const u8, size: usize, metric: &mut u32) -> u32;
    safe fn proxy_increment_metric(metric: u32, by: i64) -> u32;
    safe fn proxy_record_metric(metric: u32, value: u64) -> u32;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    Info = 2,
    Warn = 3,
    Error = 4,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Buffer {
    HttpResponseBody = 1,
    HttpCallResponseBody = 4,
    PluginConfiguration = 7,
}

/// Which half of a stream goes on or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
enum Stream {
    Request = 0,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Map {
    HttpRequestHeaders = 0,
    HttpRequestTrailers = 1,
    HttpCallResponseHeaders = 6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Metric {
    Counter = 0,
    Gauge = 1,
}

// Every `unsafe` block below is sound for one reason: the host reads the slices and writes the numbers that it is
// given during the call and keeps no address, and memory that it writes by itself is only that of `memory::lend`.

pub fn log(level: Level, message: &str) {
    // SAFETY: as above. Nothing can be done about a log that cannot be written.
    let _ = unsafe { proxy_log(level, message.as_ptr(), message.len()) };
}

/// Time since the Unix epoch.
pub fn now() -> Result<Duration, Status> {
    let mut nanoseconds = 0;
    // SAFETY: as above.
    check(unsafe { proxy_get_current_time_nanoseconds(&mut nanoseconds) })?;
    Ok(Duration::from_nanos(nanoseconds))
}

/// How often the context that is being called is to be ticked, in whole milliseconds.
pub fn set_tick_period(period: Duration) -> Result<(), Status> {
    let period = u32::try_from(period.as_millis()).map_err(|_| Status::BAD_ARGUMENT)?;
    check(proxy_set_tick_period_milliseconds(period))
}

/// Makes what follows be about another context than the one that is being called, until this is called for that one.
///
/// # Errors
/// [`Status::BAD_ARGUMENT`] if there is no such context: then what follows is about the one that is being called.
pub fn turn_to(context: u32) -> Result<(), Status> {
    check(proxy_set_effective_context(context))
}

/// Up to `most` bytes of a buffer, from `start` on.
pub fn buffer(buffer: Buffer, start: usize, most: usize) -> Result<Received, Status> {
    // SAFETY: as above.
    answer(|bytes, size| unsafe { proxy_get_buffer_bytes(buffer, start, most, bytes, size) })
}

/// Puts `bytes` in the place of a buffer's first `size`, which are all that it has.
pub fn set_buffer(buffer: Buffer, size: usize, bytes: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe { proxy_set_buffer_bytes(buffer, 0, size, bytes.as_ptr(), bytes.len()) })
}

/// Lets a request that was stopped go on.
pub fn continue_request() -> Result<(), Status> {
    check(proxy_continue_stream(Stream::Request))
}

/// Ends a stream, both ways.
pub fn close_stream() -> Result<(), Status> {
    check(proxy_close_stream(Stream::Request))
}

/// What the host knows of a stream or of itself. The parts of `path` are separated by zero bytes.
pub fn property(path: &str) -> Result<Option<Received>, Status> {
    // SAFETY: as above.
    found(answer(|value, size| unsafe { proxy_get_property(path.as_ptr(), path.len(), value, size) }))
}

/// All headers of a map, for [`pairs::read`].
pub fn headers(map: Map) -> Result<Received, Status> {
    // SAFETY: as above.
    answer(|bytes, size| unsafe { proxy_get_header_map_pairs(map, bytes, size) })
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
    // SAFETY: as above.
    check(unsafe { proxy_add_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Leaves one value under this name.
pub fn set_header(map: Map, name: &str, value: &[u8]) -> Result<(), Status> {
    // SAFETY: as above.
    check(unsafe {
        proxy_replace_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    })
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

/// Answers instead of the upstream. A request that the host takes for gRPC gets `grpc_status` and `body` as its
/// message, every other one `status`. `details`: what access logs have for why, without spaces.
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
    let (headers, trailers) = (pairs::encode(headers), pairs::encode(&[]));
    let timeout = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let mut call = 0;
    // SAFETY: as above.
    check(unsafe {
        proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout,
            &mut call,
        )
    })?;
    Ok(call)
}

/// A value that all VMs of one `vm_id` share, and its version.
pub fn shared_data(key: &str) -> Result<Option<(Received, u32)>, Status> {
    let mut version = 0;
    // SAFETY: as above.
    let value = answer(|value, size| unsafe {
        proxy_get_shared_data(key.as_ptr(), key.len(), value, size, &mut version)
    });
    Ok(found(value)?.map(|value| (value, version)))
}

/// Writes a shared value; with `version`, only over that version.
///
/// # Errors
/// [`Status::CAS_MISMATCH`] if there is another one.
pub fn set_shared_data(key: &str, value: &[u8], version: Option<u32>) -> Result<(), Status> {
    let version = version.unwrap_or(0);
    // SAFETY: as above.
    check(unsafe { proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), version) })
}

/// The number by which a metric goes.
pub fn define_metric(kind: Metric, name: &str) -> Result<u32, Status> {
    let mut metric = 0;
    // SAFETY: as above.
    check(unsafe { proxy_define_metric(kind, name.as_ptr(), name.len(), &mut metric) })?;
    Ok(metric)
}

pub fn increment_metric(metric: u32, by: u64) -> Result<(), Status> {
    check(proxy_increment_metric(metric, i64::try_from(by).unwrap_or(i64::MAX)))
}

pub fn record_metric(metric: u32, value: u64) -> Result<(), Status> {
    check(proxy_record_metric(metric, value))
}

/// A call that answers with bytes.
fn answer(call: impl FnOnce(&mut *const u8, &mut usize) -> u32) -> Result<Received, Status> {
    let (mut bytes, mut size) = (std::ptr::null(), 0);
    check(call(&mut bytes, &mut size))?;
    memory::receive(bytes, size)
}
