//! What connections are to the scheduler: those with a view of their own, and members of shared views.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use slab::Slab;

use super::failure::{Failure, VIEWS_MAX};
use crate::scheduler::shared_view::{MemberId, SharedView};
use crate::scheduler::view::{View, ViewOptions};

/// Steps of a [sweep](SharedView::sweep) of all views together between two rounds of the loop.
const SWEEP_STEPS: usize = 64;

/// What a connection is.
#[derive(Debug, Default)]
pub enum Session {
    /// It has said nothing yet.
    #[default]
    New,
    /// It has a view of its own, which is made with the first request that needs it: a connection that only waits costs
    /// next to nothing.
    Private(Option<Box<View>>),
    /// It has joined a shared view.
    Member { view: ViewId, member: MemberId },
}

impl Session {
    /// The view of a connection's own, made if need be. The connection has not joined a shared one.
    #[inline]
    pub fn private_view(&mut self, options: &ViewOptions) -> &mut View {
        debug_assert!(!matches!(self, Self::Member { .. }));
        if !matches!(self, Self::Private(Some(_))) {
            *self = Self::Private(None);
        }
        match self {
            Self::Private(view) => view.get_or_insert_with(|| Box::new(View::new(options))),
            Self::New | Self::Member { .. } => unreachable!("it was made private above"),
        }
    }
}

impl Session {
    /// How many nodes requests in its view have looked at since this was last asked.
    #[inline]
    pub fn take_looked_at(&mut self, shared: &mut SharedViews) -> usize {
        match self {
            Self::Private(Some(view)) => view.take_looked_at(),
            Self::Member { view, .. } => shared.get(*view).view_mut().take_looked_at(),
            Self::New | Self::Private(None) => 0,
        }
    }
}

/// Index of a shared view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViewId(usize);

/// The shared views of a server, by name.
#[derive(Debug, Default)]
pub struct SharedViews {
    views: Slab<(Box<str>, SharedView)>,
    by_name: HashMap<Box<str>, ViewId, RandomState>,
    /// When the first of them has something to do, or had before somebody came back.
    due: Option<Instant>,
}

impl SharedViews {
    /// All shared views with their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SharedView)> {
        self.views.iter().map(|(_, (name, view))| (&**name, view))
    }

    /// A view that has members.
    #[inline]
    pub fn get(&mut self, id: ViewId) -> &mut SharedView {
        &mut self.views[id.0].1
    }

    /// The name of a view.
    pub fn name(&self, id: ViewId) -> &str {
        &self.views[id.0].0
    }

    /// Joins the view of a name, which is made if there is none.
    ///
    /// # Errors
    /// When there are too many views, or owners in the view, or memory is short; nothing is changed then.
    pub fn join(&mut self, name: &str, owner: &str, options: &ViewOptions) -> Result<Session, Failure> {
        if options.limits.memory.is_near() {
            return Err(Failure::OutOfMemory);
        }
        let view = match self.by_name.get(name) {
            Some(&view) => view,
            None if self.views.len() >= VIEWS_MAX => return Err(Failure::TooManyViews),
            None => {
                let view = ViewId(self.views.insert((name.into(), SharedView::new(options))));
                self.by_name.insert(name.into(), view);
                view
            }
        };
        let member = self.get(view).join(owner).map_err(|_| Failure::TooManyOwners)?;
        Ok(Session::Member { view, member })
    }

    /// A member leaves; what it leaves behind goes after the lease.
    pub fn leave(&mut self, view: ViewId, member: MemberId, now: Instant, lease: Duration) {
        self.get(view).leave(member, now, lease);
        self.remove_if_empty(view);
        self.find_due();
    }

    fn remove_if_empty(&mut self, view: ViewId) {
        if self.get(view).is_empty() {
            let (name, _) = self.views.remove(view.0);
            self.by_name.remove(&name);
        }
    }

    fn find_due(&mut self) {
        self.due = self.views.iter().filter_map(|(_, (_, view))| view.due()).min();
    }

    /// When [`Self::sweep`] has something to do, at the earliest.
    #[inline]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Does some of what is due. The rest stays due.
    pub fn sweep(&mut self, now: Instant) {
        let is_due = |view: &SharedView| view.due().is_some_and(|due| due <= now);
        let due: Vec<usize> = self.views.iter().filter(|(_, (_, view))| is_due(view)).map(|(id, _)| id).collect();
        let mut steps = SWEEP_STEPS;
        for id in due {
            self.views[id].1.sweep(now, &mut steps);
            self.remove_if_empty(ViewId(id));
        }
        self.find_due();
    }
}
