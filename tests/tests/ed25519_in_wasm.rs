//! The signature check decides inside the sandbox, built as the module is, as it does outside: on 900 cases of the
//! corpus, a hundred of each kind, and on the public vectors. That it decides rightly outside is the business of
//! `shared/tests/`. What the module itself decides, which verifies nothing but tokens: `wasm_filter/signatures.rs`.

use std::path::Path;
use std::process::Command;

use countersign_stack::tools;
use wasmtime::{Caller, Engine, Extern, Linker, Module, Store};

const EXAMPLE: [&str; 5] = ["--quiet", "--package", "countersign-claims", "--example", "decisions"];

#[path = "../../shared/tests/corpus/mod.rs"]
mod corpus;

#[test]
fn decides_in_the_sandbox_as_outside() {
    let outside = [corpus::decisions(), corpus::decisions_on_public_vectors()].concat();
    assert!(outside.contains(&b'a') && outside.contains(&b'r') && !outside.contains(&b'!'));

    tools::wasm_target().expect("the wasm target can be installed");
    let shipped = ["--target", tools::WASM_TARGET, "--profile", "wasm"];
    output(tools::cargo().arg("build").args(EXAMPLE).args(shipped));
    let module = tools::target().join(tools::WASM_TARGET).join("wasm/examples/decisions.wasm");
    let inside = run_in_sandbox(&module).expect("the module runs to its end");
    assert_eq!(String::from_utf8_lossy(&inside), String::from_utf8_lossy(&outside));
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("cargo can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What the program writes when it is offered nothing but `fd_write`.
fn run_in_sandbox(module: &Path) -> wasmtime::Result<Vec<u8>> {
    let engine = Engine::default();
    let module = Module::from_file(&engine, module)?;
    let mut linker = Linker::new(&engine);
    linker.func_wrap("wasi_snapshot_preview1", "fd_write", fd_write)?;
    let mut store = Store::new(&engine, Vec::new());
    linker.define_unknown_imports_as_default_values(&mut store, &module)?;
    let instance = linker.instantiate(&mut store, &module)?;
    instance.get_typed_func::<(), ()>(&mut store, "_start")?.call(&mut store, ())?;
    Ok(store.into_data())
}

/// Takes all of what `count` buffers at `buffers` hold (WASI preview 1).
fn fd_write(
    mut caller: Caller<'_, Vec<u8>>,
    _fd: i32,
    buffers: u32,
    count: u32,
    written: u32,
) -> wasmtime::Result<i32> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else { return Ok(8) };
    let (bytes, taken) = memory.data_and_store_mut(&mut caller);
    let word = |at: u32| bytes[at as usize..][..4].try_into().map(u32::from_le_bytes).unwrap();
    let before = taken.len();
    for buffer in 0..count {
        let (start, length) = (word(buffers + 8 * buffer), word(buffers + 8 * buffer + 4));
        taken.extend_from_slice(&bytes[start as usize..][..length as usize]);
    }
    let total = u32::try_from(taken.len() - before).unwrap().to_le_bytes();
    memory.write(&mut caller, written as usize, &total)?;
    Ok(0)
}
