//! The shipped module: the linked one without the callbacks that the filter does not implement.
//!
//! The proxy-wasm SDK exports every callback of the ABI, and Envoy calls each one that exists, on every request.
//! Only exports and the bodies of functions that nothing reaches any more are touched; every index stays.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};
use wasm_encoder::{CodeSection, ExportSection, Function, Module, RawSection};
use wasmparser::{ElementItems, Export, ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

/// What the filter is called through: its memory, the callbacks that it implements, and those by which the SDK
/// keeps its contexts. `proxy_on_response_body` is for ending WebSockets with a Close frame.
const KEPT: [&str; 15] = [
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
    "proxy_on_response_headers",
    "proxy_on_response_body",
    "proxy_on_done",
    "proxy_on_delete",
];

pub(super) fn trim(module: &[u8]) -> Result<Vec<u8>> {
    let calls = CallGraph::read(module)?;
    let reached = calls.reached();
    let mut trimmed = Module::new();
    let mut code = CodeSection::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ExportSection(exports) => {
                let mut kept = ExportSection::new();
                for export in exports {
                    let export = export?;
                    if is_kept(&export) {
                        kept.export(export.name, export.kind.into(), export.index);
                    }
                }
                trimmed.section(&kept);
            }
            Payload::CodeSectionEntry(body) => {
                if reached.contains(&(calls.imported + code.len())) {
                    code.raw(body.as_bytes());
                } else {
                    code.function(&trap());
                }
                if calls.imported + code.len() == calls.functions() {
                    trimmed.section(&code);
                }
            }
            Payload::CodeSectionStart { .. } => {}
            other => {
                if let Some((id, range)) = other.as_section() {
                    let data = module.get(range).context("a section outside of the module")?;
                    trimmed.section(&RawSection { id, data });
                }
            }
        }
    }
    Ok(trimmed.finish())
}

fn is_kept(export: &Export<'_>) -> bool {
    KEPT.contains(&export.name)
}

fn trap() -> Function {
    let mut function = Function::new([]);
    function.instructions().unreachable().end();
    function
}

/// Which function may call which.
struct CallGraph {
    /// Functions of the host come first in the index space.
    imported: u32,
    /// For each function of the module's own, those that it names.
    callees: Vec<Vec<u32>>,
    /// Functions that may be called from outside, or through a table.
    roots: Vec<u32>,
}

impl CallGraph {
    fn read(module: &[u8]) -> Result<Self> {
        let mut graph = Self { imported: 0, callees: Vec::new(), roots: Vec::new() };
        for payload in Parser::new(0).parse_all(module) {
            match payload? {
                Payload::ImportSection(imports) => {
                    for import in imports.into_imports() {
                        graph.imported += u32::from(matches!(import?.ty, TypeRef::Func(_)));
                    }
                }
                Payload::ExportSection(exports) => {
                    for export in exports {
                        let export = export?;
                        if export.kind == ExternalKind::Func && is_kept(&export) {
                            graph.roots.push(export.index);
                        }
                    }
                }
                Payload::StartSection { func, .. } => graph.roots.push(func),
                Payload::ElementSection(elements) => {
                    for element in elements {
                        match element?.items {
                            ElementItems::Functions(functions) => {
                                for function in functions {
                                    graph.roots.push(function?);
                                }
                            }
                            ElementItems::Expressions(..) => bail!("a table of expressions"),
                        }
                    }
                }
                Payload::CodeSectionEntry(body) => graph.callees.push(callees(&body)?),
                _ => {}
            }
        }
        Ok(graph)
    }

    fn functions(&self) -> u32 {
        self.imported + u32::try_from(self.callees.len()).unwrap_or(u32::MAX)
    }

    fn reached(&self) -> HashSet<u32> {
        let mut reached = HashSet::new();
        let mut waiting = self.roots.clone();
        while let Some(function) = waiting.pop() {
            if reached.insert(function)
                && let Some(own) = function.checked_sub(self.imported)
            {
                waiting.extend(&self.callees[own as usize]);
            }
        }
        reached
    }
}

fn callees(body: &FunctionBody<'_>) -> Result<Vec<u32>> {
    let mut callees = Vec::new();
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Call { function_index }
            | Operator::ReturnCall { function_index }
            | Operator::RefFunc { function_index } => callees.push(function_index),
            _ => {}
        }
    }
    Ok(callees)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_shipped_module_has_the_callbacks_of_the_filter_and_no_others() {
        let linked = std::fs::read(crate::artifacts::linked_filter().unwrap()).unwrap();
        let trimmed = trim(&linked).unwrap();
        assert_eq!(exports(&trimmed), BTreeSet::from(KEPT.map(str::to_owned)));
        assert!(exports(&linked).is_superset(&exports(&trimmed)));
        assert!(trimmed.len() < linked.len());
    }

    #[test]
    fn a_trimmed_module_has_nothing_left_to_trim() {
        let linked = std::fs::read(crate::artifacts::linked_filter().unwrap()).unwrap();
        let trimmed = trim(&linked).unwrap();
        assert_eq!(trim(&trimmed).unwrap(), trimmed);
    }

    fn exports(module: &[u8]) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for payload in Parser::new(0).parse_all(module) {
            if let Payload::ExportSection(exports) = payload.unwrap() {
                names.extend(exports.into_iter().map(|export| export.unwrap().name.to_owned()));
            }
        }
        names
    }
}
