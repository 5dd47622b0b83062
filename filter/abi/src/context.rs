//! What contexts there are, for either way to the host.

use crate::host::turn_to;
use crate::status::Status;

/// Whether the host still has this context. `asking`: the context that is being called.
pub fn is_alive(context: u32, asking: u32) -> bool {
    // There is no call for that, but one that makes all others go to a context, and says if there is none.
    let gone = turn_to(context) == Err(Status::BAD_ARGUMENT);
    let _ = turn_to(asking);
    !gone
}
