//! What the receivers of both kinds of queue do alike: all but closing, and looking at the room.
//!
//! Owns: `receiver!`, which makes the methods and traits of a type that is an `Rx` and nothing else. Both kinds are written
//! out for those who read their docs, so a macro serves better here than a type of which they would be two.

/// See the module.
macro_rules! receiver {
    ($Receiver:ident) => {
        impl<T> $Receiver<T> {
            /// The next message; `None` once all senders are gone, or the channel is closed, and nothing is left.
            ///
            /// # Cancellation
            /// Dropped before it is ready, it has taken nothing.
            pub fn recv(&mut self) -> Recv<'_, T> {
                self.0.recv()
            }

            /// Waits for messages and appends up to `limit` of them to `buffer`: how many, none where there will be none. Each
            /// counts as an operation of the lane's turn, so that who takes many lets others run before he takes more.
            ///
            /// # Cancellation
            /// As [`recv`](Self::recv).
            pub fn recv_many<'a>(&'a mut self, buffer: &'a mut Vec<T>, limit: usize) -> RecvMany<'a, T> {
                RecvMany { receiver: &mut self.0, buffer, limit }
            }

            /// The next message, if one is queued.
            ///
            /// # Errors
            /// [`TryRecvError`].
            pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
                self.0.try_recv()
            }

            /// As [`recv`](Self::recv), for futures that are written by hand.
            #[inline]
            pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
                self.0.poll_recv(cx)
            }

            /// As [`recv_many`](Self::recv_many), for futures that are written by hand.
            pub fn poll_recv_many(&mut self, cx: &mut Context<'_>, buffer: &mut Vec<T>, limit: usize) -> Poll<usize> {
                self.0.poll_recv_many(cx, buffer, limit)
            }

            /// Whether the channel was closed, or all senders are gone.
            pub fn is_closed(&self) -> bool {
                self.0.is_closed()
            }

            /// How many messages are queued.
            pub fn len(&self) -> usize {
                self.0.len()
            }

            /// Whether no message is queued.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// How many senders there are.
            pub fn sender_strong_count(&self) -> usize {
                self.0.chan.senders()
            }
        }

        impl<T> Stream for $Receiver<T> {
            type Item = T;

            fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
                self.poll_recv(cx)
            }
        }

        impl<T> fmt::Debug for $Receiver<T> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut fields = f.debug_struct(stringify!($Receiver));
                fields.field("len", &self.len()).field("closed", &self.is_closed()).finish_non_exhaustive()
            }
        }
    };
}

pub(super) use receiver;
