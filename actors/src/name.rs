//! Lanes by name.

use runtime::lane;
use runtime::mailbox::NotAMailbox;

use crate::address::Address;

/// The lane that has a name, in the runtime that this code runs in.
///
/// # Errors
/// [`NotAMailbox::OtherType`]: it does not take messages of type `M`.
pub fn whereis<M: Send + 'static>(name: &str) -> Result<Option<Address<M>>, NotAMailbox> {
    let Some(id) = lane::whereis(name) else { return Ok(None) };
    match Address::of(id) {
        Ok(address) => Ok(Some(address)),
        // It ended since.
        Err(NotAMailbox::Stale(_)) => Ok(None),
        Err(other) => Err(other),
    }
}
