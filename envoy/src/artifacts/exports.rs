//! Takes exports out of a WebAssembly module. A host calls each callback that a plugin exports, and the SDK exports
//! all that there are.

use anyhow::{Context, Result, ensure};

const MAGIC_AND_VERSION: &[u8] = b"\0asm\x01\0\0\0";
const EXPORT_SECTION: u8 = 7;

/// The module with those exports alone whose names `keep` takes.
pub(super) fn only(module: &[u8], keep: impl Fn(&str) -> bool) -> Result<Vec<u8>> {
    let mut rest = module.strip_prefix(MAGIC_AND_VERSION).context("not a WebAssembly module")?;
    let mut out = MAGIC_AND_VERSION.to_vec();
    while let Some((&id, after)) = rest.split_first() {
        rest = after;
        let size = number(&mut rest)?;
        let section = bytes(&mut rest, size)?;
        out.push(id);
        if id == EXPORT_SECTION {
            let section = kept(section, &keep)?;
            write_number(&mut out, section.len());
            out.extend(section);
        } else {
            write_number(&mut out, size);
            out.extend(section);
        }
    }
    Ok(out)
}

/// A count; then, for each export, its name with its length before it, its kind, and its number.
fn kept(mut section: &[u8], keep: impl Fn(&str) -> bool) -> Result<Vec<u8>> {
    let (mut count, mut exports) = (0, Vec::<u8>::new());
    for _ in 0..number(&mut section)? {
        let start = section;
        let size = number(&mut section)?;
        let name = std::str::from_utf8(bytes(&mut section, size)?)?;
        bytes(&mut section, 1)?;
        number(&mut section)?;
        if keep(name) {
            count += 1;
            exports.extend(&start[..start.len() - section.len()]);
        }
    }
    ensure!(section.is_empty(), "the export section is longer than its exports");
    let mut out = Vec::new();
    write_number(&mut out, count);
    out.extend(exports);
    Ok(out)
}

fn bytes<'m>(rest: &mut &'m [u8], count: usize) -> Result<&'m [u8]> {
    let (bytes, after) = rest.split_at_checked(count).context("the module is cut off")?;
    *rest = after;
    Ok(bytes)
}

/// LEB128: seven bits a byte, the lowest first; the eighth says that there are more.
fn number(rest: &mut &[u8]) -> Result<usize> {
    let mut number = 0;
    for shift in (0..32).step_by(7) {
        let byte = bytes(rest, 1)?[0];
        number |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    anyhow::bail!("a number of the module is longer than 32 bits")
}

fn write_number(out: &mut Vec<u8>, mut number: usize) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One empty section of a number, and exports of these names.
    fn module(names: &[&str]) -> Vec<u8> {
        let mut section = vec![names.len() as u8];
        for name in names {
            write_number(&mut section, name.len());
            section.extend(name.as_bytes());
            section.extend([0, 5]);
        }
        let mut module = [MAGIC_AND_VERSION, &[1, 1, 0, EXPORT_SECTION]].concat();
        write_number(&mut module, section.len());
        [module, section, vec![10, 2, 1, 2]].concat()
    }

    #[test]
    fn the_exports_that_are_kept_stay_as_they_are_and_the_others_go() {
        let long = "n".repeat(200);
        let names = ["memory", "proxy_on_log", &long, "proxy_on_tick"];
        assert_eq!(only(&module(&names), |_| true).unwrap(), module(&names));
        let kept = only(&module(&names), |name| name != "proxy_on_log").unwrap();
        assert_eq!(kept, module(&["memory", &long, "proxy_on_tick"]));
        assert_eq!(only(&module(&names), |_| false).unwrap(), module(&[]));
    }

    #[test]
    fn what_is_no_module_or_cut_off_is_refused() {
        assert!(only(b"\x7fELF", |_| true).is_err());
        let module = module(&["memory"]);
        let whole_sections = [8, 11, module.len() - 4];
        for length in (9..module.len()).filter(|length| !whole_sections.contains(length)) {
            assert!(only(&module[..length], |_| true).is_err(), "{length}");
        }
    }
}
