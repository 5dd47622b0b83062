//! The host functions of proxy-wasm ABI 0.2.1 and of WASI that the module needs. Anything else that it calls is a
//! trap.

use std::time::Duration;

use wasmtime::error::Context;
use wasmtime::{Caller, Linker, Memory, Result, ensure};

use super::process::LogLine;
use super::traffic::{Headers, Refusal};
use super::worker::{Call, Stream, Vm};

// Statuses of the ABI.
const OK: i32 = 0;
const NOT_FOUND: i32 = 1;
const BAD_ARGUMENT: i32 = 2;
const CAS_MISMATCH: i32 = 8;
const INTERNAL_FAILURE: i32 = 10;

pub(super) fn define(linker: &mut Linker<Vm>) -> Result<()> {
    environment(linker)?;
    header_maps(linker)?;
    shared_data(linker)?;
    outside(linker)?;
    wasi(linker)
}

type Host<'a> = Caller<'a, Vm>;

fn environment(linker: &mut Linker<Vm>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_log",
        |mut host: Host<'_>, level: i32, at: i32, size: i32| -> Result<i32> {
            let message = String::from_utf8_lossy(&read(&mut host, at, size)?).into_owned();
            host.data().process.state().log.push(LogLine { level, message });
            Ok(OK)
        },
    )?;
    linker.func_wrap("env", "proxy_set_tick_period_milliseconds", |mut host: Host<'_>, period: i32| {
        host.data_mut().tick_period =
            u64::try_from(period).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
        OK
    })?;
    linker.func_wrap(
        "env",
        "proxy_get_current_time_nanoseconds",
        |mut host: Host<'_>, to: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            let now = u64::try_from(host.data().process.state().now.as_nanos())?;
            write(&mut host, to, &now.to_le_bytes())?;
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_buffer_bytes",
        |mut host: Host<'_>, buffer: i32, start: i32, most: i32, to: i32, to_size: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            let bytes = match buffer {
                1 => host.data_mut().stream().and_then(|stream| stream.body.clone()),
                4 => Some(host.data().call_body.clone()),
                7 => Some(host.data().plugin_config.clone()),
                _ => None,
            };
            let Some(bytes) = bytes else { return Ok(NOT_FOUND) };
            let start = (start.cast_unsigned() as usize).min(bytes.len());
            let end = start.saturating_add(most.cast_unsigned() as usize).min(bytes.len());
            let bytes = bytes[start..end].to_vec();
            give(&mut host, &bytes, to, to_size)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_buffer_bytes",
        |mut host: Host<'_>, buffer: i32, start: i32, size: i32, at: i32, at_size: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            let bytes = read(&mut host, at, at_size)?;
            let body = host.data_mut().stream().and_then(|stream| stream.body.as_mut());
            let Some(body) = body.filter(|_| buffer == 1) else { return Ok(BAD_ARGUMENT) };
            // As Envoy does: before, instead of everything, or behind.
            match (start.cast_unsigned() as usize, size.cast_unsigned() as usize) {
                (0, 0) => *body = [&bytes, &body[..]].concat(),
                (0, size) if size >= body.len() => *body = bytes,
                (start, _) if start >= body.len() && start > 0 => body.extend(bytes),
                _ => return Ok(BAD_ARGUMENT),
            }
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_property",
        |mut host: Host<'_>, path: i32, path_size: i32, to: i32, to_size: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            let path = read(&mut host, path, path_size)?;
            ensure!(path == b"response\0code", "no such property here");
            let status = host.data_mut().stream().and_then(|stream| stream.response_status);
            let Some(status) = status else { return Ok(NOT_FOUND) };
            give(&mut host, &i64::from(status).to_le_bytes(), to, to_size)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_property",
        |mut host: Host<'_>, path: i32, path_size: i32, value: i32, size: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            if host.data().process.state().refuses_properties {
                return Ok(INTERNAL_FAILURE);
            }
            let path = String::from_utf8(read(&mut host, path, path_size)?)?;
            let value = String::from_utf8(read(&mut host, value, size)?)?;
            let Some(stream) = host.data_mut().stream() else { return Ok(INTERNAL_FAILURE) };
            stream.filter_state.insert(path, value);
            Ok(OK)
        },
    )?;
    Ok(())
}

fn header_maps(linker: &mut Linker<Vm>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_header_map_pairs",
        |mut host: Host<'_>, map: i32, to: i32, to_size: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            if std::mem::take(&mut host.data_mut().reenters) {
                call_back(&mut host)?;
            }
            let Some(headers) = headers(host.data_mut(), map) else { return Ok(BAD_ARGUMENT) };
            let bytes = serialize(headers)?;
            give(&mut host, &bytes, to, to_size)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_get_header_map_value",
        |mut host: Host<'_>, map: i32, name: i32, name_size: i32, to: i32, to_size: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            let name = String::from_utf8(read(&mut host, name, name_size)?)?;
            let Some(headers) = headers(host.data_mut(), map) else { return Ok(BAD_ARGUMENT) };
            // Only the first of several, as Envoy does.
            let Some(value) = headers.values(&name).next().map(<[u8]>::to_vec) else { return Ok(NOT_FOUND) };
            give(&mut host, &value, to, to_size)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_remove_header_map_value",
        |mut host: Host<'_>, map: i32, name: i32, name_size: i32| -> Result<i32> {
            host.data_mut().host_calls += 1;
            let name = String::from_utf8(read(&mut host, name, name_size)?)?;
            let Some(headers) = headers(host.data_mut(), map) else { return Ok(BAD_ARGUMENT) };
            headers.remove(&name);
            Ok(OK)
        },
    )?;
    type Change = fn(&mut Headers, &str, &[u8]);
    let changes: [(&str, Change); 2] =
        [("proxy_replace_header_map_value", Headers::replace), ("proxy_add_header_map_value", Headers::add)];
    for (function, change) in changes {
        linker.func_wrap(
            "env",
            function,
            move |mut host: Host<'_>,
                  map: i32,
                  name: i32,
                  name_size: i32,
                  value: i32,
                  size: i32|
                  -> Result<i32> {
                host.data_mut().host_calls += 1;
                let name = String::from_utf8(read(&mut host, name, name_size)?)?;
                let value = read(&mut host, value, size)?;
                // Envoy asserts this of every header value.
                ensure!(!value.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')), "{name} with a line break");
                let Some(headers) = headers(host.data_mut(), map) else { return Ok(BAD_ARGUMENT) };
                change(headers, &name, &value);
                Ok(OK)
            },
        )?;
    }
    linker.func_wrap(
        "env",
        "proxy_send_local_response",
        |mut host: Host<'_>,
         status: i32,
         details: i32,
         details_size: i32,
         body: i32,
         body_size: i32,
         headers: i32,
         headers_size: i32,
         grpc_status: i32|
         -> Result<i32> {
            host.data_mut().host_calls += 1;
            let details = String::from_utf8(read(&mut host, details, details_size)?)?;
            let body = read(&mut host, body, body_size)?;
            let headers = deserialize(&read(&mut host, headers, headers_size)?)?;
            let Some(stream) = host.data_mut().stream() else { return Ok(BAD_ARGUMENT) };
            stream.refusal = Some(Refusal { status, details, headers, body, grpc_status });
            Ok(OK)
        },
    )?;
    Ok(())
}

fn shared_data(linker: &mut Linker<Vm>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_get_shared_data",
        |mut host: Host<'_>, key: i32, key_size: i32, to: i32, to_size: i32, to_cas: i32| -> Result<i32> {
            let key = read(&mut host, key, key_size)?;
            let found = host.data().process.state().shared_data.get(&key).cloned();
            let Some((value, version)) = found else { return Ok(NOT_FOUND) };
            write(&mut host, to_cas, &version.to_le_bytes())?;
            give(&mut host, &value, to, to_size)
        },
    )?;
    linker.func_wrap(
        "env",
        "proxy_set_shared_data",
        |mut host: Host<'_>, key: i32, key_size: i32, value: i32, size: i32, version: i32| -> Result<i32> {
            let key = read(&mut host, key, key_size)?;
            let value = read(&mut host, value, size)?;
            let mut state = host.data().process.state();
            // Version 0 overwrites, and a key that is not there has no version: as in proxy-wasm-cpp-host.
            let stale =
                state.shared_data.get(&key).is_some_and(|(_, known)| *known != version.cast_unsigned());
            if version != 0 && stale {
                return Ok(CAS_MISMATCH);
            }
            state.last_version += 1;
            let version = state.last_version;
            state.shared_data.insert(key, (value, version));
            Ok(OK)
        },
    )?;
    Ok(())
}

fn outside(linker: &mut Linker<Vm>) -> Result<()> {
    linker.func_wrap(
        "env",
        "proxy_http_call",
        |mut host: Host<'_>,
         cluster: i32,
         cluster_size: i32,
         headers: i32,
         headers_size: i32,
         body: i32,
         body_size: i32,
         _trailers: i32,
         _trailers_size: i32,
         timeout: i32,
         to: i32|
         -> Result<i32> {
            let cluster = String::from_utf8(read(&mut host, cluster, cluster_size)?)?;
            let headers = deserialize(&read(&mut host, headers, headers_size)?)?;
            let body = read(&mut host, body, body_size)?;
            ensure!(host.data_mut().stream().is_none(), "a call that is made for a stream ends with it");
            for required in [":method", ":path", ":authority"] {
                ensure!(headers.get(required).is_some(), "Envoy makes no call without {required}");
            }
            if !host.data().process.state().clusters.contains(&cluster) {
                return Ok(BAD_ARGUMENT);
            }
            // As Envoy does where the call has failed before it began.
            if host.data().process.state().deserted.contains(&cluster) {
                return Ok(INTERNAL_FAILURE);
            }
            let vm = host.data_mut();
            vm.last_call += 1;
            let id = vm.last_call;
            let timeout = Duration::from_millis(u64::from(timeout.cast_unsigned()));
            vm.calls.push_back(Call { id, cluster, headers, body, timeout });
            write(&mut host, to, &id.to_le_bytes())?;
            Ok(OK)
        },
    )?;
    linker.func_wrap("env", "proxy_set_effective_context", |mut host: Host<'_>, context: i32| {
        if !host.data().contexts.contains(&context) {
            return BAD_ARGUMENT;
        }
        host.data_mut().effective = Some(context);
        OK
    })?;
    type End = fn(&mut Stream);
    let ends: [(&str, End); 2] = [
        ("proxy_continue_stream", |stream| stream.paused = false),
        ("proxy_close_stream", |stream| stream.closed = true),
    ];
    for (function, end) in ends {
        linker.func_wrap("env", function, move |mut host: Host<'_>, half: i32| -> Result<i32> {
            ensure!(half == 0, "only of the request");
            let Some(stream) = host.data_mut().stream() else { return Ok(BAD_ARGUMENT) };
            end(stream);
            Ok(OK)
        })?;
    }
    linker.func_wrap(
        "env",
        "proxy_define_metric",
        |mut host: Host<'_>, _kind: i32, name: i32, size: i32, to: i32| -> Result<i32> {
            let name = String::from_utf8(read(&mut host, name, size)?)?;
            let id = {
                let mut state = host.data().process.state();
                state.metric_names.push(name);
                u32::try_from(state.metric_names.len())?
            };
            write(&mut host, to, &id.to_le_bytes())?;
            Ok(OK)
        },
    )?;
    type Change = fn(&mut u64, i64);
    let changes: [(&str, Change); 2] = [
        ("proxy_increment_metric", |metric, by| *metric = metric.wrapping_add_signed(by)),
        ("proxy_record_metric", |metric, value| *metric = value.cast_unsigned()),
    ];
    for (function, change) in changes {
        linker.func_wrap("env", function, move |host: Host<'_>, id: i32, value: i64| -> Result<i32> {
            let mut state = host.data().process.state();
            let at = usize::try_from(id)?.checked_sub(1);
            let Some(name) = at.and_then(|at| state.metric_names.get(at)).cloned() else {
                return Ok(NOT_FOUND);
            };
            change(state.metrics.entry(name).or_default(), value);
            Ok(OK)
        })?;
    }
    Ok(())
}

fn wasi(linker: &mut Linker<Vm>) -> Result<()> {
    const WASI: &str = "wasi_snapshot_preview1";
    linker.func_wrap(WASI, "random_get", |mut host: Host<'_>, to: i32, size: i32| -> Result<i32> {
        let mut bytes = vec![0; usize::try_from(size)?];
        host.data().process.state().fill_random(&mut bytes);
        write(&mut host, to, &bytes)?;
        Ok(OK)
    })?;
    linker.func_wrap(
        WASI,
        "environ_sizes_get",
        |mut host: Host<'_>, count: i32, size: i32| -> Result<i32> {
            let entries = environment_entries(&host);
            let bytes: usize = entries.iter().map(Vec::len).sum();
            write(&mut host, count, &u32::try_from(entries.len())?.to_le_bytes())?;
            write(&mut host, size, &u32::try_from(bytes)?.to_le_bytes())?;
            Ok(OK)
        },
    )?;
    linker.func_wrap(
        WASI,
        "environ_get",
        |mut host: Host<'_>, mut entry: i32, mut text: i32| -> Result<i32> {
            for bytes in environment_entries(&host) {
                write(&mut host, entry, &text.to_le_bytes())?;
                write(&mut host, text, &bytes)?;
                (entry, text) = (entry + 4, text + i32::try_from(bytes.len())?);
            }
            Ok(OK)
        },
    )?;
    // What a panic prints.
    linker.func_wrap(
        WASI,
        "fd_write",
        |mut host: Host<'_>, _file: i32, parts: i32, count: i32, to: i32| -> Result<i32> {
            let mut written = Vec::new();
            for part in 0..count {
                let at = read(&mut host, parts + part * 8, 8)?;
                let [at, size] =
                    [0, 4].map(|field| i32::from_le_bytes([0, 1, 2, 3].map(|byte| at[field + byte])));
                written.extend(read(&mut host, at, size)?);
            }
            let size = u32::try_from(written.len())?;
            let message = String::from_utf8_lossy(&written).into_owned();
            host.data().process.state().log.push(LogLine { level: 5, message });
            write(&mut host, to, &size.to_le_bytes())?;
            Ok(OK)
        },
    )?;
    Ok(())
}

/// `NAME=value`, with a zero byte at the end.
fn environment_entries(host: &Host<'_>) -> Vec<Vec<u8>> {
    let environment = host.data().process.state().environment.clone();
    environment.into_iter().map(|(name, value)| format!("{name}={value}\0").into_bytes()).collect()
}

/// Calls the module while it is calling, with everything that a host calls it for: all of it must be refused.
fn call_back(host: &mut Host<'_>) -> Result<()> {
    let function = |host: &mut Host<'_>, name: &str| {
        host.get_export(name).and_then(wasmtime::Extern::into_func).context("no such callback")
    };
    let (root, stream) = (1000, 1001);
    for (context, parent) in [(root, 0), (stream, root)] {
        let create = function(host, "proxy_on_context_create")?.typed::<(i32, i32), ()>(&host)?;
        create.call(&mut *host, (context, parent))?;
    }
    for name in ["proxy_on_vm_start", "proxy_on_configure"] {
        let begin = function(host, name)?.typed::<(i32, i32), i32>(&host)?;
        ensure!(begin.call(&mut *host, (root, 0))? == 0, "{name} says yes");
    }
    function(host, "proxy_on_tick")?.typed::<i32, ()>(&host)?.call(&mut *host, root)?;
    let answered =
        function(host, "proxy_on_http_call_response")?.typed::<(i32, i32, i32, i32, i32), ()>(&host)?;
    answered.call(&mut *host, (root, 1, 0, 0, 0))?;
    let trailers = function(host, "proxy_on_request_trailers")?.typed::<(i32, i32), i32>(&host)?;
    ensure!(trailers.call(&mut *host, (stream, 0))? == 1, "trailers go on");
    let headers = function(host, "proxy_on_request_headers")?.typed::<(i32, i32, i32), i32>(&host)?;
    ensure!(headers.call(&mut *host, (stream, 0, 1))? == 1, "a request goes on");
    let refusal = host.data_mut().stream().and_then(|stream| stream.refusal.take());
    let refusal = refusal.context("nobody was answered")?;
    ensure!(refusal.status == 503, "{refusal:?}");
    Ok(())
}

/// The header map that the ABI gives this number.
fn headers(vm: &mut Vm, map: i32) -> Option<&mut Headers> {
    match map {
        0 => vm.stream().map(|stream| &mut stream.request),
        1 => vm.stream().map(|stream| &mut stream.trailers),
        6 => Some(&mut vm.call_headers),
        _ => None,
    }
}

/// Count; then the sizes of every name and value; then names and values, each with a zero byte after it.
fn serialize(headers: &Headers) -> Result<Vec<u8>> {
    let mut bytes = u32::try_from(headers.0.len())?.to_le_bytes().to_vec();
    for (name, value) in &headers.0 {
        bytes.extend(u32::try_from(name.len())?.to_le_bytes());
        bytes.extend(u32::try_from(value.len())?.to_le_bytes());
    }
    for part in headers.0.iter().flat_map(|(name, value)| [name.as_bytes(), value]) {
        bytes.extend(part);
        bytes.push(0);
    }
    Ok(bytes)
}

fn deserialize(bytes: &[u8]) -> Result<Headers> {
    let word = |at: usize| -> Result<usize> {
        let word = bytes.get(at..at + 4).context("a truncated header map")?;
        Ok(u32::from_le_bytes(word.try_into()?) as usize)
    };
    let count = word(0)?;
    let mut at = 4 + count * 8;
    let mut take = |size: usize| -> Result<&[u8]> {
        let part = bytes.get(at..at + size).context("a truncated header map")?;
        at += size + 1;
        Ok(part)
    };
    let mut headers = Headers::default();
    for header in 0..count {
        let name = take(word(4 + header * 8)?)?;
        let value = take(word(8 + header * 8)?)?;
        headers.add(std::str::from_utf8(name)?, value);
    }
    Ok(headers)
}

fn memory(host: &mut Host<'_>) -> Result<Memory> {
    host.get_export("memory").and_then(wasmtime::Extern::into_memory).context("the module has no memory")
}

fn read(host: &mut Host<'_>, at: i32, size: i32) -> Result<Vec<u8>> {
    let mut bytes = vec![0; size.cast_unsigned() as usize];
    memory(host)?.read(host, at.cast_unsigned() as usize, &mut bytes)?;
    Ok(bytes)
}

fn write(host: &mut Host<'_>, at: i32, bytes: &[u8]) -> Result<()> {
    Ok(memory(host)?.write(host, at.cast_unsigned() as usize, bytes)?)
}

/// Copies bytes into memory that the module allocates, and leaves address and size where it asked.
fn give(host: &mut Host<'_>, bytes: &[u8], to: i32, to_size: i32) -> Result<i32> {
    let size = i32::try_from(bytes.len())?;
    let address = if size == 0 {
        0
    } else {
        let allocate = host.get_export("proxy_on_memory_allocate").and_then(wasmtime::Extern::into_func);
        let allocate = allocate.context("the module has no allocator")?.typed::<i32, i32>(&host)?;
        let address = allocate.call(&mut *host, size)?;
        write(host, address, bytes)?;
        address
    };
    write(host, to, &address.to_le_bytes())?;
    write(host, to_size, &size.to_le_bytes())?;
    Ok(OK)
}
