//! A view that several connections share: whose nodes they are, who holds the placements, and what happens to both when
//! connections end.
//!
//! A connection in the view is a *member* and speaks for an *owner*, whom several members may share. A node belongs to
//! the member that reported it last. When a member leaves, its nodes stay for the lease and go unless another member
//! reports them; when the last member of an owner has been gone for the lease, what the owner still holds is dropped.
//! What is due is done in small steps ([`SharedView::sweep`]), so that the end of a large client holds nobody up.

mod departure;

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use foldhash::fast::RandomState;
use slab::Slab;

use self::departure::Departed;
use super::amount::Amount;
use super::cells::Slot;
use super::gang::Strategy;
use super::ledger::{Ledger, OwnerId, Taken};
use super::node_table::{Demand, Full};
use super::view::{GangUnplaced, Hints, OverRelease, Placement, Unplaced, View, ViewOptions};
use crate::wire::NodeId;
use crate::wire::resources::Resources;

/// Owners of a view at most: jobs of a cluster, and clients without a name.
pub const OWNERS_MAX: usize = 1 << 16;

/// Placements of an owner at most, so that a client that never releases anything stops itself.
pub const PLACEMENTS_MAX: u64 = 1 << 20;

/// Nodes and demands that are told of an owner who has left: the rest is told once these are released.
const LEFT_BEHIND_MAX: usize = 1000;

/// Placements of all owners at most: what a node's queue can count.
const PLACEMENTS_IN_ALL_MAX: u64 = u32::MAX as u64;

/// Index of a member in its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberId(usize);

#[derive(Debug)]
struct Member {
    owner: OwnerId,
    /// The nodes that it reported last. In order, so that the first is found fast however many there were.
    nodes: BTreeSet<NodeId>,
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
    /// There is no memory for another placement.
    OutOfMemory,
}

impl From<Unplaced> for NotScheduled {
    fn from(unplaced: Unplaced) -> Self {
        Self::Unplaced(unplaced)
    }
}

/// An owner, as statistics show it.
#[derive(Clone, Debug)]
pub struct OwnerStatus<'a> {
    pub name: &'a str,
    pub connected: usize,
    pub placements: u64,
    /// What an owner holds who has no members, so that others can release it before the lease is over.
    pub left_behind: Vec<Holding<'a>>,
}

/// Placements of one demand on one node.
#[derive(Clone, Copy, Debug)]
pub struct Holding<'a> {
    pub node: NodeId,
    pub demand: &'a Demand,
    pub count: u32,
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
    /// Who has left and when that is due: exactly the members and owners that have a due time.
    departed: BTreeSet<(Instant, Departed)>,
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
            departed: BTreeSet::new(),
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
            left_behind: if owner.connected == 0 { self.left_behind(id) } else { Vec::new() },
        })
    }

    fn left_behind(&self, owner: OwnerId) -> Vec<Holding<'_>> {
        let table = self.view.table();
        let holding = |(slot, demand, count)| Some(Holding { node: table.node(slot)?.id(), demand, count });
        self.ledger.holdings(owner).filter_map(holding).take(LEFT_BEHIND_MAX).collect()
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
            if let Some(due) = owner.due.take() {
                self.departed.remove(&(due, Departed::Owner(id)));
            }
        }
        Ok(MemberId(self.members.insert(Member { owner: id, nodes: BTreeSet::new(), due: None })))
    }

    fn add_owner(&mut self, name: &str) -> OwnerId {
        let id = self.ledger.add_owner();
        self.owners.insert(id, Owner { name: name.into(), connected: 0, due: None });
        if !name.is_empty() {
            self.by_name.insert(name.into(), id);
        }
        id
    }

    /// A member reports a node: see [`View::update`].
    ///
    /// # Errors
    /// When the node is not there and the view is full, or it has more resources than there is room for; nothing is changed then.
    pub fn update<'k>(
        &mut self,
        member: MemberId,
        node: NodeId,
        available: impl Iterator<Item = (&'k [u8], Amount)>,
        total: impl Iterator<Item = (&'k [u8], Amount)>,
        options: &ViewOptions,
    ) -> Result<(), Full> {
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

    /// Removes a node, and with it the placements there. Returns how many owners and demands had placements.
    pub fn remove(&mut self, node: NodeId) -> usize {
        let Some(slot) = self.view.table().slot_of(node) else { return 0 };
        self.view.remove(node);
        if let Some(reporter) = self.reporters.get_mut(slot as usize).and_then(Option::take) {
            self.forget_node(reporter, node);
        }
        let cleared = self.ledger.clear_slot(slot);
        self.check();
        cleared
    }

    /// A node is no longer a member's. Of a member that is gone, nothing is left with the last of its nodes.
    fn forget_node(&mut self, id: MemberId, node: NodeId) {
        let member = &mut self.members[id.0];
        member.nodes.remove(&node);
        if let Some(due) = member.due
            && member.nodes.is_empty()
        {
            self.departed.remove(&(due, Departed::Member(id)));
            self.members.remove(id.0);
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

    /// Whether the owner of a member may have so many placements more.
    ///
    /// # Errors
    /// When it may not.
    pub fn check_room(&self, member: MemberId, count: usize) -> Result<(), NotScheduled> {
        self.owner_with_room(member, count).map(|_| ())
    }

    /// The owner of a member, if it may have so many placements more.
    fn owner_with_room(&self, member: MemberId, count: usize) -> Result<OwnerId, NotScheduled> {
        if self.view.table().limits().memory.is_reached() {
            return Err(NotScheduled::OutOfMemory);
        }
        let (owner, count) = (self.members[member.0].owner, count as u64);
        let has_room = self.ledger.placements(owner) + count <= PLACEMENTS_MAX
            && self.ledger.placements_in_all() + count <= PLACEMENTS_IN_ALL_MAX;
        if has_room { Ok(owner) } else { Err(NotScheduled::TooManyPlacements) }
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
        let resolved = self.view.resolve(resources);
        let demand = self.view.demand().clone();
        let held = if resolved.is_ok() { self.ledger.held(owner, slot, &demand) } else { 0 };
        if held < count {
            return Err(OverRelease { held });
        }
        if count > 0 {
            self.ledger.release(owner, slot, &demand, count);
            self.unreserve(&Taken { slot, demand, count });
        }
        self.check();
        Ok(())
    }

    /// Takes placements off a node that have been taken out of the ledger.
    fn unreserve(&mut self, Taken { slot, demand, count }: &Taken) {
        let Self { view, ledger, .. } = self;
        let table = view.table_mut();
        if table.is_saturated(*slot, demand) {
            table.release_saturated(*slot, demand, *count, |id| ledger.reserved(*slot, id));
        } else {
            let released = table.release(*slot, demand, *count);
            debug_assert!(released.is_ok(), "what the ledger has is reserved");
        }
    }

    /// Checks the books against the table, in debug builds.
    fn check(&self) {
        #[cfg(debug_assertions)]
        {
            for node in self.view.nodes() {
                assert_eq!(node.queued(), self.ledger.placements_on(node.slot()), "the placements of {}", node.id());
                for (id, cell) in node.cells() {
                    assert_eq!(cell.reserved, self.ledger.reserved(node.slot(), id), "what {} has reserved", node.id());
                }
                let reporter = self.reporters[node.slot() as usize].expect("every node was reported by a member");
                assert!(self.members[reporter.0].nodes.contains(&node.id()));
            }
            let nodes: usize = self.members.iter().map(|(_, member)| member.nodes.len()).sum();
            assert_eq!(nodes, self.view.table().len());
            let members =
                self.members.iter().filter_map(|(id, member)| Some((member.due?, Departed::Member(MemberId(id)))));
            let owners = self.owners.iter().filter_map(|(&id, owner)| Some((owner.due?, Departed::Owner(id))));
            assert_eq!(members.chain(owners).collect::<BTreeSet<_>>(), self.departed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::scheduler::policy::Policy;
    use crate::scheduler::units::UnitResources;
    use crate::wire::resources::{self, Meaning};

    const LEASE: Duration = Duration::from_secs(10);

    fn options() -> ViewOptions {
        ViewOptions {
            strict: false,
            nodes_max: 1_000,
            policy: Policy::default(),
            unit_resources: UnitResources::named(["GPU"]),
            ..ViewOptions::default()
        }
    }

    fn memory(bytes: f64) -> Vec<u8> {
        let mut list = Vec::new();
        resources::append(&mut list, b"memory", Amount::from_f64(bytes));
        list
    }

    fn demand(list: &[u8]) -> Resources<'_> {
        Resources::parse(list, Meaning::Demand).expect("it was written here")
    }

    /// A view with nodes of 1 TB of memory, and a member that has reported them.
    fn view_of(nodes: i64) -> (SharedView, MemberId) {
        let mut view = SharedView::new(&options());
        let member = view.join("").expect("there is room");
        let terabyte = memory(1e12);
        for node in 0..nodes {
            let reported = view.update(member, NodeId(node), demand(&terabyte), demand(&terabyte), &options());
            assert_eq!(reported, Ok(()));
        }
        (view, member)
    }

    #[test]
    fn what_is_reserved_beyond_the_range_of_amounts_is_released_exactly() {
        let (mut view, member) = view_of(1);
        let (large, small) = (memory(1e12), memory(1e9));
        let small_count = 3;
        // The range ends at 922 TB.
        for list in std::iter::repeat_n(&large, 1_000).chain(std::iter::repeat_n(&small, small_count)) {
            assert!(view.schedule(member, demand(list), &options()).is_ok());
        }
        let reserved =
            |view: &SharedView| view.view().table().node(0).expect("it is there").cell_of(b"memory").reserved;
        assert_eq!(reserved(&view), Amount::MAX);
        for count in [50, 25, 24] {
            assert_eq!(view.release(member, 0, demand(&large), count), Ok(()));
        }
        assert_eq!(reserved(&view), Amount::from_f64(901e12 + 3e9));
        assert_eq!(view.release(member, 0, demand(&large), 902), Err(OverRelease { held: 901 }));
        assert_eq!(view.release(member, 0, demand(&large), 901), Ok(()));
        assert_eq!(view.release(member, 0, demand(&small), small_count as u32), Ok(()));
        assert_eq!(reserved(&view), Amount::ZERO);
    }

    #[test]
    fn a_sweep_takes_no_more_steps_than_it_may() {
        let (mut view, member) = view_of(100);
        let other = view.join("other").expect("there is room");
        let list = memory(1e9);
        for _ in 0..100 {
            let spread =
                Hints { policy: Some(Policy::named("spread", Default::default()).unwrap()), ..Hints::default() };
            assert!(view.schedule_with_hints(other, demand(&list), &spread).is_ok());
        }
        let start = Instant::now();
        view.leave(other, start, LEASE);
        view.leave(member, start + Duration::from_secs(1), LEASE);
        let mut rounds = 0;
        while let Some(due) = view.due() {
            let before = (view.view().table().len(), view.ledger.placements_in_all());
            view.sweep(due - Duration::from_nanos(1), &mut 7);
            assert_eq!((view.view().table().len(), view.ledger.placements_in_all()), before, "it is not due");
            view.sweep(due, &mut 7);
            let after = (view.view().table().len(), view.ledger.placements_in_all());
            assert!(before.0 - after.0 + (before.1 - after.1) as usize <= 7);
            rounds += 1;
        }
        assert!(view.is_empty());
        assert!(rounds >= 200 / 7, "{rounds} rounds");
    }

    #[test]
    fn those_who_come_and_go_leave_nothing_to_do() {
        let (mut view, member) = view_of(1);
        let list = memory(1e9);
        let start = Instant::now();
        let first = view.join("job").expect("there is room");
        assert!(view.schedule(first, demand(&list), &options()).is_ok());
        view.leave(first, start, LEASE);
        for _ in 0..1_000 {
            let again = view.join("job").expect("it is the same owner");
            assert!(view.departed.len() <= 1, "the owner is back");
            let reported = view.update(again, NodeId(0), demand(&list), demand(&list), &options());
            assert_eq!(reported, Ok(()));
            view.leave(again, start, LEASE);
        }
        assert_eq!(view.departed.len(), 2, "the owner, and the member that has reported the node last");
        assert_eq!(view.members.len(), 2);
        assert_eq!(view.update(member, NodeId(0), demand(&list), demand(&list), &options()), Ok(()));
        assert_eq!((view.departed.len(), view.members.len()), (1, 1));
    }
}
