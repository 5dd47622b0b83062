//! How the host answers a call.

/// A call's answer that is not success: its number in the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    pub const NOT_FOUND: Self = Self(1);
    pub const BAD_ARGUMENT: Self = Self(2);
    /// Somebody else has written since the version that was named.
    pub const CAS_MISMATCH: Self = Self(8);
    pub const INTERNAL_FAILURE: Self = Self(10);
}

#[cfg(target_arch = "wasm32")]
pub(crate) fn check(status: u32) -> Result<(), Status> {
    if status == 0 { Ok(()) } else { Err(Status(status)) }
}

/// `None` for what is not there.
#[cfg(target_arch = "wasm32")]
pub(crate) fn found<T>(answer: Result<T, Status>) -> Result<Option<T>, Status> {
    match answer {
        Err(Status::NOT_FOUND) => Ok(None),
        answer => answer.map(Some),
    }
}
