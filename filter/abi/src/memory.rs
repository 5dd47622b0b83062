//! Memory for what the host answers: it asks for a block in the middle of our call, fills it, and the call returns
//! with its address.
//!
//! The block is ours all the time, and the address is compared with it, so nothing that the host says is trusted.
//! One block is kept for the next answer: every request has one, and allocating is dearer than reading it.

use std::cell::Cell;
use std::ops::Deref;
use std::ptr;

use crate::status::Status;

/// A larger block is given back: one large answer must not hold memory for ever. What Envoy takes of headers by
/// default, 60 KiB, fits.
const LARGEST_KEPT: usize = 64 * 1024;

thread_local! {
    static LENT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A block for the answer to the call that is under way.
pub fn lend(size: usize) -> *mut u8 {
    let mut block = SPARE.take();
    if block.len() < size {
        block.resize(size, 0);
    }
    let address = block.as_mut_ptr();
    LENT.set(block);
    address
}

/// Takes back the block that was lent, after the host has said what it put where.
///
/// # Errors
/// [`Status::INTERNAL_FAILURE`] if that is not the block, or more than it holds.
#[cfg_attr(not(any(target_arch = "wasm32", test)), expect(dead_code, reason = "only a host answers"))]
pub(crate) fn receive(address: *const u8, size: usize) -> Result<Received, Status> {
    let block = LENT.take();
    if size > 0 && (!ptr::eq(block.as_ptr(), address) || size > block.len()) {
        return Err(Status::INTERNAL_FAILURE);
    }
    Ok(Received { block, size })
}

/// Bytes from the host.
#[derive(Debug)]
pub struct Received {
    block: Vec<u8>,
    size: usize,
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.block.get(..self.size).unwrap_or_default()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if self.block.len() <= LARGEST_KEPT {
            SPARE.set(std::mem::take(&mut self.block));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a host answers: asks for memory and fills it.
    fn answer(bytes: &[u8]) -> Result<Received, Status> {
        let address = lend(bytes.len());
        let mut block = LENT.take();
        assert!(ptr::eq(block.as_ptr(), address));
        block[..bytes.len()].copy_from_slice(bytes);
        LENT.set(block);
        receive(address, bytes.len())
    }

    #[test]
    fn what_was_put_in_comes_out() {
        assert_eq!(&*answer(b"one").unwrap(), b"one");
        assert_eq!(&*answer(b"").unwrap(), b"");
        assert_eq!(&*receive(ptr::null(), 0).unwrap(), b"", "nothing to say, no memory asked for");
    }

    #[test]
    fn a_block_is_used_again_and_shows_nothing_of_its_last_content() {
        let first = answer(b"a longer answer").unwrap();
        let address = first.as_ptr();
        drop(first);
        let second = answer(b"short").unwrap();
        assert_eq!((&*second, second.as_ptr()), (&b"short"[..], address));
    }

    #[test]
    fn two_answers_are_held_at_once() {
        let first = answer(b"first").unwrap();
        let second = answer(b"second").unwrap();
        assert_eq!((&*first, &*second), (&b"first"[..], &b"second"[..]));
    }

    #[test]
    fn an_address_that_was_not_lent_is_refused() {
        let address = lend(8);
        assert!(receive(address.wrapping_add(1), 4).is_err());
        let address = lend(8);
        let more = LENT.take().len() + 1;
        LENT.set(Vec::new());
        assert!(receive(address, more).is_err());
        assert!(receive(ptr::dangling(), 1).is_err(), "nothing was lent");
    }

    #[test]
    fn a_large_block_is_given_back() {
        drop(answer(&vec![1; LARGEST_KEPT + 1]).unwrap());
        assert!(SPARE.take().is_empty());
    }
}
