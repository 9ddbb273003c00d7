//! What the layer above keeps with a lane, and the end of receiving: the part of [`Inbox`] that is not about messages.
//!
//! A lane's future is smaller for it: what few lanes need lies with the rest of what few lanes need (`lane/own.rs`). It
//! is dropped at death, after the future.

use super::Inbox;
use crate::context;
use crate::exit::ExitReason;
use crate::lane::own::{DOOMED, Extra, RECEIVES_NO_MORE};
use crate::signal::{Notified, Signal};

impl<M: Send + 'static> Inbox<M> {
    /// Runs `f` with the layer's own value of the lane, made at the first call, or each time in a lane that
    /// [is abandoned](crate::lane::is_abandoned). `f` runs no user code, destructors
    /// included, and does not call back into the runtime: what is to be dropped or called, it gives back.
    ///
    /// # Panics
    /// Outside of the lane to which the inbox belongs; where the value was made with another type.
    pub fn with_extra<T, R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R
    where
        T: Default + Send + 'static,
    {
        let done = context::with_local(|local| {
            let Some(local) = local else { return Err(f) };
            context::with_current_of(local, |current| match current.filter(|(slot, _)| slot.is_or_was(self.id.id())) {
                Some((_, own)) => {
                    let extra = match &mut own.more().extra {
                        Some(extra) => extra,
                        none => make_extra::<T>(none),
                    };
                    match extra.downcast_mut() {
                        Some(extra) => Ok(f(extra)),
                        None => is_of_another_type(),
                    }
                }
                None => Err(f),
            })
        });
        done.unwrap_or_else(|f| self.with_extra_of_nobody(f))
    }

    /// The lane is abandoned, and its value is gone: this one goes as soon as it has come.
    #[cold]
    fn with_extra_of_nobody<T: Default, R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        self.must_be_abandoned();
        f(&mut T::default())
    }

    /// The next thing, where it is a notice of death that lies ready: for whoever has just got one, as they often come in
    /// numbers. `None` says only that [`Inbox::poll_recv`] is to be asked; so it does outside of the lane.
    #[inline]
    pub fn next_down(&mut self) -> Option<Notified> {
        context::with_local(|local| {
            let local = local.filter(|local| local.turn.has_left())?;
            let node = context::with_current_of(local, |current| {
                let (_, own) = current.filter(|(slot, _)| slot.is_or_was(self.id.id()))?;
                if own.has(DOOMED | RECEIVES_NO_MORE) {
                    return None;
                }
                own.inbox.pop_front_if(|node| matches!(node.peek(), Some(Signal::Down(_))))
            })?;
            local.turn.take_left();
            Some(Notified::new(self.id.id(), node))
        })
    }

    /// Ends receiving, the lane having received that it is to stop: from now on it receives just that.
    ///
    /// # Panics
    /// Outside of the lane to which the inbox belongs.
    pub fn receive_no_more(&mut self) {
        self.within(|_, own| own.flags |= RECEIVES_NO_MORE);
    }

    /// With what reason the lane was asked to stop, once [`Inbox::receive_no_more`] was called; `None` outside of the
    /// lane to which the inbox belongs.
    pub fn stop_reason(&self) -> Option<ExitReason> {
        context::with_current(|_, slot, own| {
            let more = own.more.as_ref().filter(|_| slot.is_or_was(self.id.id()) && own.has(RECEIVES_NO_MORE))?;
            more.stopped.clone()
        })
        .flatten()
    }
}

#[cold]
fn make_extra<T: Default + Send + 'static>(place: &mut Option<Extra>) -> &mut Extra {
    place.insert(Box::<T>::default())
}

#[cold]
fn is_of_another_type() -> ! {
    panic!("what is kept with a lane has one type")
}
