//! What a lane says about itself when asked, in order with whatever else was sent to it.
//!
//! Owns: [`Inspection`] and the question for it. The question is a signal: it takes effect before the lane's next poll,
//! after all that was in the mailbox before it, and wakes the lane once more than it would have been.

use std::future::poll_fn;

use crate::id::Id;
use crate::lane::own::Own;
use crate::lane::watch;

/// Whom a lane is tied to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The lane.
    pub id: Id,
    /// Lanes linked with it, sorted.
    pub links: Vec<Id>,
    /// Lanes that watch it, sorted; one that watches it twice is named twice.
    pub watchers: Vec<Id>,
    /// Lanes that it watches, sorted; one that it watches twice is named twice.
    pub watching: Vec<Id>,
}

impl Inspection {
    pub(crate) fn of(id: Id, own: &Own) -> Inspection {
        let mut found = Inspection { id, links: Vec::new(), watchers: Vec::new(), watching: Vec::new() };
        found.watchers.extend(own.watchers());
        if let Some(more) = &own.more {
            found.links.extend(more.links.keys());
            found.watching.extend(more.watching.iter().map(|(_, target)| target));
        }
        for ids in [&mut found.links, &mut found.watchers, &mut found.watching] {
            ids.sort_unstable();
        }
        found
    }
}

/// Asks a local lane whom it is tied to; `None` where it is gone. A lane that never leaves its poll never answers.
///
/// # Cancellation
/// Dropped before it is ready, the answer goes nowhere.
///
/// ```
/// use laneway_runtime::{inspect, lane::Spawn, mailbox::Inbox};
/// # let runtime = laneway_runtime::Runtime::builder().build()?;
/// # runtime.block_on(async {
/// let lane = Spawn::new().spawn(|_: Inbox<()>| std::future::pending::<()>())?;
/// let found = inspect::inspect(lane.mailbox.id()).await.ok_or("it was alive")?;
/// assert!(found.links.is_empty() && found.watchers.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub async fn inspect(id: Id) -> Option<Inspection> {
    let mut answer = watch::inspect(id);
    poll_fn(|cx| answer.poll_answer(cx)).await.ok()
}
