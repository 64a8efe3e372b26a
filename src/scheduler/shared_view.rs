//! A view that several connections share: whose nodes they are, who holds the placements, and what happens to both when
//! connections end.
//!
//! A connection in the view is a *member* and speaks for an *owner*, whom several members may share. A node belongs to
//! the member that reported it last. When a member leaves, its nodes stay for the lease and go unless another member
//! reports them; when the last member of an owner has been gone for the lease, what the owner still holds is dropped.
//! What is due is done in small steps ([`SharedView::sweep`]), so that the end of a large client holds nobody up.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use slab::Slab;

use super::amount::Amount;
use super::cells::Slot;
use super::gang::Strategy;
use super::ledger::{Ledger, OwnerId};
use super::view::{GangUnplaced, Hints, OverRelease, Placement, TooManyNodes, Unplaced, View, ViewOptions};
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// Owners of a view at most: jobs of a cluster, and clients without a name.
pub const OWNERS_MAX: usize = 1 << 16;

/// Placements of an owner at most, so that a client that never releases anything stops itself.
pub const PLACEMENTS_MAX: u64 = 1 << 20;

/// Index of a member in its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberId(usize);

#[derive(Debug)]
struct Member {
    owner: OwnerId,
    /// The nodes that it reported last.
    nodes: HashSet<NodeId, RandomState>,
    /// When its nodes go. `None` while it is connected.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Owner {
    /// Empty for the owner of a single member.
    name: Box<str>,
    connected: usize,
    /// When what it holds is dropped. `None` while a member is connected.
    due: Option<Instant>,
}

/// What becomes due a lease after somebody has left.
#[derive(Clone, Copy, Debug)]
enum Departed {
    Member(MemberId),
    Owner(OwnerId),
}

/// A view has as many owners as it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyOwners;

/// Why a shared view does not schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotScheduled {
    Unplaced(Unplaced),
    Gang(GangUnplaced),
    /// The owner has [`PLACEMENTS_MAX`] already.
    TooManyPlacements,
}

impl From<Unplaced> for NotScheduled {
    fn from(unplaced: Unplaced) -> Self {
        Self::Unplaced(unplaced)
    }
}

/// An owner, as statistics show it.
#[derive(Clone, Copy, Debug)]
pub struct OwnerStatus<'a> {
    pub name: &'a str,
    pub connected: usize,
    pub placements: u64,
}

/// A view with its members and owners.
#[derive(Debug)]
pub struct SharedView {
    view: View,
    ledger: Ledger,
    members: Slab<Member>,
    owners: HashMap<OwnerId, Owner, RandomState>,
    by_name: HashMap<Box<str>, OwnerId, RandomState>,
    /// By slot, the member that reported the node last.
    reporters: Vec<Option<MemberId>>,
    /// In the order in which they are due: the lease is the same for all.
    departed: VecDeque<(Instant, Departed)>,
}

impl SharedView {
    /// A view without nodes and members.
    pub fn new(options: &ViewOptions) -> Self {
        Self {
            view: View::new(options),
            ledger: Ledger::default(),
            members: Slab::new(),
            owners: HashMap::default(),
            by_name: HashMap::default(),
            reporters: Vec::new(),
            departed: VecDeque::new(),
        }
    }

    /// The nodes and what is reserved on them.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The view, for what changes neither nodes nor placements.
    pub fn view_mut(&mut self) -> &mut View {
        &mut self.view
    }

    /// Whether nobody is there and nothing is left.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.owners.is_empty() && self.view.table().is_empty()
    }

    /// Owners with members or placements.
    pub fn owners(&self) -> impl Iterator<Item = OwnerStatus<'_>> {
        self.owners.iter().map(|(&id, owner)| OwnerStatus {
            name: &owner.name,
            connected: owner.connected,
            placements: self.ledger.placements(id),
        })
    }

    /// A connection joins for the owner of this name, or, where it is empty, for itself alone.
    ///
    /// # Errors
    /// When there are [`OWNERS_MAX`] already.
    pub fn join(&mut self, owner: &str) -> Result<MemberId, TooManyOwners> {
        let id = match self.by_name.get(owner) {
            Some(&id) => id,
            None if self.owners.len() >= OWNERS_MAX => return Err(TooManyOwners),
            None => self.add_owner(owner),
        };
        if let Some(owner) = self.owners.get_mut(&id) {
            owner.connected += 1;
            owner.due = None;
        }
        Ok(MemberId(self.members.insert(Member { owner: id, nodes: HashSet::default(), due: None })))
    }

    fn add_owner(&mut self, name: &str) -> OwnerId {
        let id = self.ledger.add_owner();
        self.owners.insert(id, Owner { name: name.into(), connected: 0, due: None });
        if !name.is_empty() {
            self.by_name.insert(name.into(), id);
        }
        id
    }

    /// A member leaves. Returns whether something becomes due after the lease.
    pub fn leave(&mut self, member_id: MemberId, now: Instant, lease: Duration) -> bool {
        let due = now + lease;
        let before = self.departed.len();
        let member = &mut self.members[member_id.0];
        let owner_id = member.owner;
        if member.nodes.is_empty() {
            self.members.remove(member_id.0);
        } else {
            member.due = Some(due);
            self.departed.push_back((due, Departed::Member(member_id)));
        }
        if let Some(owner) = self.owners.get_mut(&owner_id) {
            owner.connected -= 1;
            if owner.connected == 0 && self.ledger.placements(owner_id) == 0 {
                self.remove_owner(owner_id);
            } else if owner.connected == 0 {
                owner.due = Some(due);
                self.departed.push_back((due, Departed::Owner(owner_id)));
            }
        }
        self.departed.len() > before
    }

    fn remove_owner(&mut self, id: OwnerId) {
        if let Some(owner) = self.owners.remove(&id) {
            self.by_name.remove(&owner.name);
        }
        self.ledger.remove_owner(id);
    }

    /// When something is due next.
    pub fn due(&self) -> Option<Instant> {
        self.departed.front().map(|&(due, _)| due)
    }

    /// Does what is due, in at most `steps` steps of a node or an owner's placements on a node.
    pub fn sweep(&mut self, now: Instant, steps: usize) {
        let is_over = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let mut left = steps;
        while let Some(&(due, departed)) = self.departed.front()
            && due <= now
        {
            let is_done = match departed {
                // Others may have taken the place of who left, and may be due as well.
                Departed::Member(id) if self.members.get(id.0).is_some_and(|member| is_over(member.due)) => {
                    self.drop_nodes(id, &mut left)
                }
                Departed::Owner(id) if self.owners.get(&id).is_some_and(|owner| is_over(owner.due)) => {
                    self.drop_placements(id, &mut left)
                }
                _ => true,
            };
            if !is_done {
                return;
            }
            self.departed.pop_front();
        }
    }

    /// Removes nodes of a member that is gone. Returns whether none is left.
    fn drop_nodes(&mut self, id: MemberId, steps: &mut usize) -> bool {
        while let Some(&node) = self.members[id.0].nodes.iter().next() {
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            self.remove(node);
        }
        self.members.remove(id.0);
        true
    }

    /// Drops what an owner holds that is gone. Returns whether nothing is left.
    fn drop_placements(&mut self, id: OwnerId, steps: &mut usize) -> bool {
        let Self { view, ledger, .. } = self;
        loop {
            if *steps == 0 {
                return false;
            }
            *steps -= 1;
            let cleared = ledger.clear_some(id, |slot, demand, count| release(view, slot, demand, count));
            if cleared.is_none() {
                break;
            }
        }
        self.remove_owner(id);
        true
    }

    /// A member reports a node: see [`View::update`].
    ///
    /// # Errors
    /// When the node is not there and the view is full; nothing is changed then.
    pub fn update<'k>(
        &mut self,
        member: MemberId,
        node: NodeId,
        available: impl Iterator<Item = (&'k [u8], Amount)>,
        total: impl Iterator<Item = (&'k [u8], Amount)>,
        options: &ViewOptions,
    ) -> Result<(), TooManyNodes> {
        let slot = self.view.update(node, available, total, options)? as usize;
        if self.reporters.len() <= slot {
            self.reporters.resize(slot + 1, None);
        }
        if self.reporters[slot] != Some(member) {
            if let Some(before) = self.reporters[slot].replace(member) {
                self.forget_node(before, node);
            }
            self.members[member.0].nodes.insert(node);
        }
        self.check();
        Ok(())
    }

    /// Removes a node, and with it the placements there.
    pub fn remove(&mut self, node: NodeId) {
        let Some(slot) = self.view.table().slot_of(node) else { return };
        self.view.remove(node);
        self.ledger.clear_slot(slot);
        if let Some(reporter) = self.reporters.get_mut(slot as usize).and_then(Option::take) {
            self.forget_node(reporter, node);
        }
    }

    fn forget_node(&mut self, member: MemberId, node: NodeId) {
        if let Some(member) = self.members.get_mut(member.0) {
            member.nodes.remove(&node);
        }
    }

    /// Places a demand for the owner of a member: see [`View::schedule`].
    ///
    /// # Errors
    /// Where it is not placed, or the owner holds too much; nothing is changed then.
    #[inline]
    pub fn schedule(
        &mut self,
        member: MemberId,
        resources: Resources<'_>,
        options: &ViewOptions,
    ) -> Result<Placement<'_>, NotScheduled> {
        let owner = self.owner_with_room(member, 1)?;
        let placement = self.view.schedule(resources, options)?;
        self.ledger.place(owner, placement.slot, placement.demand);
        Ok(placement)
    }

    /// Places a demand for the owner of a member by hints: see [`View::schedule_with_hints`].
    ///
    /// # Errors
    /// Where it is not placed, or the owner holds too much; nothing is changed then.
    pub fn schedule_with_hints(
        &mut self,
        member: MemberId,
        resources: Resources<'_>,
        hints: &Hints<'_>,
    ) -> Result<Placement<'_>, NotScheduled> {
        let owner = self.owner_with_room(member, 1)?;
        let placement = self.view.schedule_with_hints(resources, hints)?;
        if !hints.dry_run {
            self.ledger.place(owner, placement.slot, placement.demand);
        }
        Ok(placement)
    }

    /// Places demands together for the owner of a member: see [`View::schedule_gang`].
    ///
    /// # Errors
    /// When they do not all fit, or the owner would hold too much; nothing is changed then.
    pub fn schedule_gang<'d>(
        &mut self,
        member: MemberId,
        demands: impl ExactSizeIterator<Item = Resources<'d>>,
        strategy: Strategy,
        strict: bool,
    ) -> Result<Vec<NodeId>, NotScheduled> {
        let owner = self.owner_with_room(member, demands.len())?;
        let Self { view, ledger, .. } = self;
        let nodes = view.schedule_gang(demands, strategy, strict, |slot, demand| ledger.place(owner, slot, demand));
        nodes.map_err(NotScheduled::Gang)
    }

    /// The owner of a member, if it may have so many placements more.
    fn owner_with_room(&self, member: MemberId, count: usize) -> Result<OwnerId, NotScheduled> {
        let owner = self.members[member.0].owner;
        match self.ledger.placements(owner) + count as u64 > PLACEMENTS_MAX {
            true => Err(NotScheduled::TooManyPlacements),
            false => Ok(owner),
        }
    }

    /// Ends some placements that the owner of a member holds on a node that is there.
    ///
    /// # Errors
    /// When it holds fewer; nothing is changed then.
    pub fn release(
        &mut self,
        member: MemberId,
        slot: Slot,
        resources: Resources<'_>,
        count: u32,
    ) -> Result<(), OverRelease> {
        let owner = self.members[member.0].owner;
        self.view.resolve(resources).map_err(|_| OverRelease { held: 0 })?;
        let demand = self.view.demand().clone();
        let held = self.ledger.held(owner, slot, &demand);
        if held < count {
            return Err(OverRelease { held });
        }
        self.ledger.release(owner, slot, &demand, count);
        release(&mut self.view, slot, &demand, count);
        self.check();
        Ok(())
    }

    /// Checks the books against the table, in debug builds.
    fn check(&self) {
        #[cfg(debug_assertions)]
        for node in self.view.nodes() {
            assert_eq!(node.queued(), self.ledger.placements_on(node.slot()), "the placements of {}", node.id());
        }
    }
}

/// Takes placements off a node that are in the ledger.
fn release(view: &mut View, slot: Slot, demand: &super::node_table::Demand, count: u32) {
    for _ in 0..count {
        let released = view.release_at(slot, demand);
        debug_assert!(released.is_ok(), "what the ledger has is reserved");
    }
}
