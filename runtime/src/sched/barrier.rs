//! A full barrier of which one side pays all.
//!
//! Owns: the two halves of it. Of a store before [`light`] and a load after it on one thread, and of a store before
//! [`heavy`] and a load after it on another, one load sees what the other thread stored. With two full fences it would
//! be the same; here the light half is free, as the kernel has every running thread of the process pass a fence while
//! [`heavy`] is called. (A thread that does not run passed one when it was taken off its processor.) What the light half
//! still has to do is to keep the compiler from exchanging the two.
//!
//! In models both are what they stand for, a sequentially consistent fence.

#[cfg(loom)]
pub(crate) use self::model::{heavy, light};
#[cfg(not(loom))]
pub(crate) use self::real::{heavy, light, prepare};

#[cfg(loom)]
mod model {
    use loom::sync::atomic::{Ordering, fence};

    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    pub(crate) fn heavy() -> bool {
        fence(Ordering::SeqCst);
        true
    }
}

#[cfg(not(loom))]
mod real {
    use std::sync::atomic::{Ordering, compiler_fence};

    /// The half that is often passed.
    #[inline]
    pub(crate) fn light() {
        // ORDER: SeqCst: the compiler is to keep a store before it and a load after it in this order. The processor is
        // made to by `heavy`.
        compiler_fence(Ordering::SeqCst);
    }

    /// Asks the system for the heavy half, once a process; whether it has it. This is at once while the process has one
    /// thread. With more of them it may take tens of milliseconds, and as long as a processor is kept busy by a thread of
    /// a real-time class, so it is not for when a worker is stuck already.
    #[cfg(target_os = "linux")]
    pub(crate) fn prepare() -> bool {
        use std::sync::OnceLock;

        use rustix::thread::{MembarrierCommand, membarrier};

        static IS_REGISTERED: OnceLock<bool> = OnceLock::new();
        *IS_REGISTERED.get_or_init(|| membarrier(MembarrierCommand::RegisterPrivateExpedited).is_ok())
    }

    /// The half that is seldom passed. False where the system does not have it: then nothing has been ordered.
    #[cfg(target_os = "linux")]
    pub(crate) fn heavy() -> bool {
        use rustix::thread::{MembarrierCommand, membarrier};

        prepare() && membarrier(MembarrierCommand::PrivateExpedited).is_ok()
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn prepare() -> bool {
        false
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn heavy() -> bool {
        false
    }
}
