//! Signals of the operating system, for lanes.
//!
//! Owns: [`SignalKind`], [`Signals`] and the lane that turns signals into messages. Knows nothing of handlers: the env gives a
//! stream of bytes, one for each time that the signal came. (Signals of lanes, as exits and links, are another thing, and
//! need nothing of this.)
//!
//! # What is guaranteed
//!
//! A subscription gets each signal that the process gets after it was made, and so do all others to the same signal. Two
//! that come before the process was given the first are one, by the OS's rule; and while nobody receives, some thousands
//! are kept and more are lost. A subscription is a descriptor: it ends when it is dropped, and with the lane that owns it.
//!
//! With the first subscription to a signal, in whatever runtime, the OS's own answer to it is off **for the whole life of
//! the process**: a program that has subscribed to the interrupt of Ctrl-C and dropped that ends no more by Ctrl-C.
//!
//! ```
//! use laneway_net::signal::{self, SignalKind};
//! use actors::Lane;
//!
//! enum Msg {
//!     Reload,
//! }
//!
//! let node = runtime::Runtime::builder().workers(1).build()?;
//! node.block_on(async {
//!     let (tell, mut up) = runtime::reply::port();
//!     let server = actors::spawn(async |mut lane: Lane<Msg>| {
//!         signal::forward(SignalKind::hangup(), lane.address(), |_| Msg::Reload)?;
//!         let _heard = tell.answer(());
//!         let Some(Msg::Reload) = lane.recv().await else { panic!("asked to stop") };
//!         std::io::Result::Ok(())
//!     })?;
//!     std::future::poll_fn(|cx| up.poll_answer(cx)).await.map_err(|_| "it is not up")?;
//!     // As `kill -HUP` would, from outside.
//!     let raised = async { signal::raise(SignalKind::hangup()) };
//!     let (reason, raised) = futures_util::join!(actors::join(server.id()), raised);
//!     assert_eq!((reason, raised?), (actors::ExitReason::Normal, ()));
//!     Ok::<(), Box<dyn std::error::Error>>(())
//! })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use actors::{Address, Id, Lane, Spawn};
use runtime::env::Descriptor;
use runtime::poll_share;

use crate::handle::{self, handles, here, identity};

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalKind(i32);

impl SignalKind {
    /// The signal of this number. Whether there is such a one shows when it is used.
    pub const fn from_number(number: i32) -> SignalKind {
        SignalKind(number)
    }

    /// The number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// `SIGINT`: Ctrl-C at the terminal.
    pub const fn interrupt() -> SignalKind {
        SignalKind(libc::SIGINT)
    }

    /// `SIGTERM`: somebody wants the process to end.
    pub const fn terminate() -> SignalKind {
        SignalKind(libc::SIGTERM)
    }

    /// `SIGHUP`: the terminal is gone, or the configuration is to be read again.
    pub const fn hangup() -> SignalKind {
        SignalKind(libc::SIGHUP)
    }

    /// `SIGQUIT`: Ctrl-\ at the terminal.
    pub const fn quit() -> SignalKind {
        SignalKind(libc::SIGQUIT)
    }

    /// `SIGUSR1`.
    pub const fn user_defined1() -> SignalKind {
        SignalKind(libc::SIGUSR1)
    }

    /// `SIGUSR2`.
    pub const fn user_defined2() -> SignalKind {
        SignalKind(libc::SIGUSR2)
    }

    /// `SIGWINCH`: the terminal has another size.
    pub const fn window_change() -> SignalKind {
        SignalKind(libc::SIGWINCH)
    }
}

impl fmt::Display for SignalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "signal {}", self.0)
    }
}

/// A subscription to one signal. Ends when dropped, and at the death of the lane that owns it.
#[derive(Debug)]
pub struct Signals {
    descriptor: Descriptor,
}

/// Subscribes to a signal, for the lane that calls. What comes from now on is received.
///
/// # Errors
///
/// `InvalidInput` for what is no signal, or one that must not be caught (`SIGKILL`, `SIGSTOP`, `SIGSEGV`, `SIGFPE`,
/// `SIGILL`); out of descriptors; [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`.
pub fn subscribe(kind: SignalKind) -> io::Result<Signals> {
    let node = here()?;
    let source = node.env().signals(kind.number())?;
    Ok(Signals::of(handle::open(&node, source)?))
}

/// Waits for Ctrl-C: a subscription to [`SignalKind::interrupt`] for one time. A loop that must not miss one keeps a
/// subscription.
///
/// # Errors
///
/// As [`subscribe`] and [`Signals::recv`].
pub async fn ctrl_c() -> io::Result<()> {
    subscribe(SignalKind::interrupt())?.recv().await
}

/// Has each signal of this kind come to a lane as a message, until that lane ends or [`kill`](actors::kill) ends the lane
/// whose id this gives, which is the one that does it.
///
/// While the mailbox is full it waits; what comes meanwhile is kept with the subscription.
///
/// # Errors
///
/// As [`subscribe`]; and [`SpawnError`](actors::SpawnError), in one of kind `Other`. Nothing is subscribed to then.
#[track_caller]
pub fn forward<M: Send + 'static>(
    kind: SignalKind,
    to: Address<M>,
    mut make: impl FnMut(SignalKind) -> M + Send + 'static,
) -> io::Result<Id> {
    // Subscribed to before this returns.
    let signals = subscribe(kind)?;
    let id = signals.id();
    let forwards = move |mut lane: Lane<()>| async move {
        let mut signals = Signals::from_id(id)?;
        lane.monitor(to, |_| ());
        let forwarding = async {
            loop {
                signals.recv().await?;
                if to.send(make(kind)).await.is_err() {
                    return io::Result::Ok(());
                }
            }
        };
        let mut forwarding = pin!(forwarding);
        let mut gone = pin!(lane.recv());
        poll_fn(|cx| match gone.as_mut().poll(cx) {
            Poll::Ready(_) => Poll::Ready(Ok(())),
            Poll::Pending => forwarding.as_mut().poll(cx),
        })
        .await
    };
    let lane = Spawn::new().spawn(forwards).map_err(io::Error::other)?.id();
    // Given, not taken: whoever called may end before that lane has its first turn. One that is gone by now has closed it.
    let _given = signals.transfer_to(lane);
    Ok(lane)
}

/// Raises a signal for this process, as if it had come from outside; in virtual time for the subscriptions of that
/// runtime only, so that a test disturbs no other. Who has subscribed has it when this returns.
///
/// A signal that nobody has subscribed to does what the OS does with it, which may be the end of the process.
///
/// # Errors
///
/// `InvalidInput` for what is no signal; [`NotInRuntime`](runtime::NotInRuntime), in one of kind `Other`.
pub fn raise(kind: SignalKind) -> io::Result<()> {
    here()?.env().raise(kind.number())
}

impl Signals {
    /// Waits for the next time that the signal comes.
    ///
    /// *Cancellation*: none is lost.
    ///
    /// # Errors
    ///
    /// The subscription is closed ([`StaleId`](runtime::StaleId)), somebody else receives by another id of it
    /// ([`Busy`](runtime::env::Busy)), or as the OS gives them.
    pub async fn recv(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Signals::recv), for hand-written futures.
    ///
    /// # Errors
    ///
    /// As `recv`.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(poll_share(cx));
        match ready!(self.descriptor.poll_read(cx, &mut [0]))? {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }

    fn of(descriptor: Descriptor) -> Signals {
        Signals { descriptor }
    }

    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn descriptor_mut(&mut self) -> &mut Descriptor {
        &mut self.descriptor
    }

    fn into_descriptor(self) -> Descriptor {
        self.descriptor
    }
}

identity!(Signals);
handles!(Signals);
