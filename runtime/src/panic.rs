//! What user code threw must not reach a worker's loop.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use crate::alloc;
use crate::arena::ArenaError;
use crate::context;
use crate::exit::ExitReason;
use crate::lane::NoMemory;
use crate::sched::worker;

/// Notes where a lane panicked, then lets the process's own hook say it.
pub(crate) fn report_panics_of_lanes() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // What is kept, for the reason or for the next panic, as the symbols of a backtrace, is no lane's.
            alloc::uncharged(|| {
                if let Some(place) = info.location() {
                    worker::note_panic(place);
                }
                before(info);
            });
        }));
    });
}

/// Runs user code that the runtime itself calls, as a waker or a destructor; false where it panicked.
pub(crate) fn contain(call: impl FnOnce()) -> bool {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(()) => true,
        Err(payload) => {
            discard(payload);
            false
        }
    }
}

/// Drops what a panic threw. Its destructor is the user's and may panic as well.
fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
}

/// What a panic threw, in words, with the place that the hook noted.
pub(crate) fn reason(payload: Box<dyn Any + Send>) -> ExitReason {
    if let Some(NoMemory { requested, memory, .. }) = payload.downcast_ref() {
        return ExitReason::OutOfMemory { budget: memory.limit, requested: *requested };
    }
    let refused = payload.downcast_ref::<ArenaError>();
    if let Some(reason) = refused.and_then(ArenaError::reason) {
        return reason;
    }
    let message: Arc<str> = if let Some(refused) = refused {
        refused.to_string().into()
    } else if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).into()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.as_str().into()
    } else {
        "a value that is no text".into()
    };
    discard(payload);
    let location = context::with_local(|local| local.and_then(|local| local.panic_place.take()));
    ExitReason::Panicked { message, location: location.unwrap_or_default() }
}
