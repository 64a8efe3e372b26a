//! Cached ranks: which node is first for a demand, without looking at every node.
//!
//! Workloads have few distinct demands and repeat them thousands of times. Each distinct demand is a *class*, for
//! which the rank of every node is kept, in a [tree](super::rank_tree) that knows the highest. A decision ranks again
//! only the nodes that have changed since the class was last asked. A demand that is new is ranked a part of the nodes at a
//! time, and the others are looked at until then: most of those that are asked once are never asked again.

mod class;
mod ranker;
mod renewal;

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use self::class::Class;
use self::ranker::Outlooks;
use self::renewal::Renewal;
use super::cells::Slot;
use super::changes::Position;
use super::node_table::{Demand, Node, NodeTable};
use super::profile::{self, Count, Draft, Profile};
use super::rank::Rank;
use super::rank_tree::RankTree;
use crate::prefetch::{Step, load};

/// Classes of a view at most; the one asked longest ago makes room.
const CLASSES_MAX: usize = 256;

/// Ranks of a view at most, some 40 MiB with their trees, but for those of the first few classes.
const RANKS_MAX: usize = 1 << 22;
const CLASSES_MIN: usize = 16;

/// Longest list of resources that is remembered in bytes, and how many of a class are: 2 MiB in all, since each list is kept with its
/// class too.
const REMEMBERED_LENGTH_MAX: usize = 1024;
const REMEMBERED_PER_CLASS: usize = 4;

/// Slots that are prefetched: as many as change, mostly, until a class is asked for again.
const SLOTS_PREFETCHED: usize = 2;

/// The bytes of a list of resources. Those of most tasks fit in place, where they are found without another look at memory.
type List = SmallVec<[u8; 64]>;

/// What a list of resources, byte for byte, was resolved to.
#[derive(Clone, Copy, Debug)]
struct Recalled {
    class: ClassIndex,
    /// The generation of names that the list was resolved with.
    names_generation: u64,
}

/// Index of a class in its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassIndex(usize);

/// The classes of a view.
#[derive(Debug, Default)]
pub struct RankCache {
    classes: Vec<Class>,
    by_demand: HashMap<Demand, ClassIndex, RandomState>,
    /// Clients write a demand in few ways, so its bytes nearly always find its class without being parsed. Every list is
    /// also with its class.
    by_bytes: HashMap<List, Recalled, RandomState>,
    /// The class of the list that was [prefetched](Self::prefetch) last, if it is remembered.
    expected: Option<ClassIndex>,
    decisions: u64,
    /// See [`RankCache::take_looked_at`].
    looked_at: usize,
    /// What the policies that learn go by: the newest profile, and what it says of nodes.
    outlooks: Outlooks,
    /// The class that is brought up to the newest profile.
    renewal: Renewal,
    /// Whether all ranks are by the newest profile, as far as was seen.
    is_renewed: bool,
    /// The decision from which on a new profile is made.
    profile_due: u64,
    /// What there is of it.
    draft: Draft,
}

impl RankCache {
    /// The class of a list of resources that was [remembered](Self::remember) byte for byte, if the names in it
    /// still have the ids that they had.
    #[inline(always)]
    pub fn recall(&self, bytes: &[u8], names_generation: u64) -> Option<ClassIndex> {
        if bytes.len() > REMEMBERED_LENGTH_MAX {
            return None;
        }
        let recalled = self.by_bytes.get(bytes)?;
        (recalled.names_generation == names_generation).then_some(recalled.class)
    }

    /// Loads what [`RankCache::recall`] and [`RankCache::highest`] will need for a list of resources, as far as a step of the way
    /// goes.
    #[inline]
    pub fn prefetch(&mut self, step: Step, bytes: &[u8], table: &NodeTable) {
        let class = self.expected.and_then(|class| self.classes.get(class.0));
        let mut latest_first = table.changes().latest_first();
        match step {
            Step::View => {
                load((self.by_bytes.len(), self.classes.len()));
                load((self.decisions, self.profile_due, self.looked_at));
                load(self.renewal.class());
                self.outlooks.prefetch();
            }
            Step::Demand => {
                self.expected = self.recall(bytes, table.names().generation());
                self.outlooks.profile().prefetch();
                load(latest_first.next());
            }
            Step::Class => {
                class.inspect(|class| class.prefetch());
                self.outlooks.profile().prefetch_lists();
                for slot in latest_first.take(SLOTS_PREFETCHED) {
                    table.prefetch_node(slot);
                    self.outlooks.prefetch_slot(slot);
                }
            }
            Step::Ranks => {
                let Some(class) = class else { return };
                table.prefetch_demand(&class.demand);
                for slot in latest_first.by_ref().take(SLOTS_PREFETCHED) {
                    class.ranks.prefetch_slot(slot);
                }
                // That the next has not changed since is seen there.
                load(latest_first.next());
            }
        }
    }

    /// The class of a demand, made if there is none, which the list of resources in `bytes` was resolved to. The table
    /// has `slots` slots.
    pub fn remember(&mut self, bytes: &[u8], names_generation: u64, demand: &Demand, slots: usize) -> ClassIndex {
        self.decisions += 1;
        let class = match self.by_demand.get(demand) {
            Some(&class) => class,
            None => self.make_class(demand, slots),
        };
        if bytes.len() <= REMEMBERED_LENGTH_MAX {
            self.by_bytes.insert(List::from_slice(bytes), Recalled { class, names_generation });
            let lists = &mut self.classes[class.0].lists;
            lists.retain(|list| **list != *bytes);
            if lists.len() == REMEMBERED_PER_CLASS {
                self.by_bytes.remove(&*lists.remove(0));
            }
            lists.push(bytes.into());
        }
        class
    }

    /// The demand of a class.
    #[inline]
    pub fn demand(&self, class: ClassIndex) -> &Demand {
        &self.classes[class.0].demand
    }

    /// The rank of every slot for a class, as of its last [`RankCache::highest`], under a policy that does not take the highest.
    pub fn ranks(&self, class: ClassIndex) -> &RankTree {
        &self.classes[class.0].ranks
    }

    /// The node that ranks first for a class, ties to the lower slot; `None` where none is feasible.
    #[inline(always)]
    pub fn highest(&mut self, class_index: ClassIndex, table: &NodeTable) -> Option<(Rank, Slot)> {
        self.decisions += 1;
        let class = &mut self.classes[class_index.0];
        class.asked_at = self.decisions;
        class.count += 1;
        if table.policy().learns() {
            if self.decisions >= self.profile_due {
                self.refresh_profile(table);
            }
            self.outlooks.make_room(table.slot_count(), self.classes.len());
        }
        let renewal = Some(&mut self.renewal).filter(|renewal| renewal.class() == Some(class_index));
        let class = &mut self.classes[class_index.0];
        self.looked_at += class.catch_up(table, &mut self.outlooks, renewal);
        if !class.is_complete(table) {
            self.looked_at += table.slot_count();
            return class.rank_more(table, &mut self.outlooks);
        }
        let highest = class.ranks.highest();
        if table.policy().learns() {
            self.renew(table);
        }
        highest
    }

    /// A demand of a class was placed on a node that was free for it. `before` was the latest change of the node until then.
    #[inline(always)]
    pub fn follow_placement(&mut self, class: ClassIndex, table: &NodeTable, node: Node<'_>, before: Position) {
        let class = &self.classes[class.0];
        if Rc::ptr_eq(&class.profile, self.outlooks.profile()) {
            self.outlooks.follow_placement(table, node, before, &class.asked);
        }
    }

    /// Nodes that decisions have looked at since this was last asked: what they have cost.
    #[inline]
    pub fn take_looked_at(&mut self) -> usize {
        std::mem::take(&mut self.looked_at)
    }

    /// Nodes were looked at without the cache.
    pub fn add_looked_at(&mut self, nodes: usize) {
        self.looked_at += nodes;
    }

    /// Ranks some slots by the newest profile, for one class after the other: those that are rarely asked would not get
    /// there on their own.
    #[inline]
    fn renew(&mut self, table: &NodeTable) {
        if self.renewal.class().is_none() {
            if self.is_renewed {
                return;
            }
            self.begin_renewal();
        }
        if let Some(class) = self.renewal.class() {
            self.renewal.proceed(table, &mut self.outlooks, &mut self.classes[class.0]);
        }
    }

    /// Begins with the class that was asked most often since its ranks were made, of those whose ranks are not by the
    /// newest profile: so the common demands are soon up to date, and the others in time.
    fn begin_renewal(&mut self) {
        let outdated = self.classes.iter().enumerate();
        let outdated = outdated.filter(|(_, class)| !Rc::ptr_eq(&class.profile, self.outlooks.profile()));
        let Some((index, class)) = outdated.max_by_key(|(_, class)| class.count - class.count_ranked) else {
            self.is_renewed = true;
            return;
        };
        self.renewal.begin(ClassIndex(index), class.count, self.outlooks.profile());
    }

    /// What the policies that learn go by at present.
    pub fn profile(&self) -> &Profile {
        self.outlooks.profile()
    }

    /// A profile of what was asked so far.
    pub fn make_profile(&self, table: &NodeTable) -> Profile {
        let counts = self.classes.iter().map(|class| Count { demand: &class.demand, count: class.count });
        Profile::new(table, counts)
    }

    /// Makes a part of a new profile of what was asked. Takes the profile, once it is made, if it differs enough.
    #[cold]
    fn refresh_profile(&mut self, table: &NodeTable) {
        let counts = self.classes.iter().map(|class| Count { demand: &class.demand, count: class.count });
        let made = match self.outlooks.profile().is_empty() {
            // Without any there is nothing to go by, and little to look at.
            true => Some(self.draft.complete(table, counts)),
            false => self.draft.proceed(table, counts),
        };
        let Some(profile) = made else { return };
        self.profile_due = self.decisions + (3 * self.decisions).clamp(1, profile::REFRESH_INTERVAL);
        if self.profile().is_empty() || profile.differs(self.profile()) {
            self.outlooks.start_over(profile);
            self.is_renewed = false;
        }
    }

    /// Makes a class, in the place of the one asked longest ago if there are as many as there may be.
    fn make_class(&mut self, demand: &Demand, slots: usize) -> ClassIndex {
        let classes_max = (RANKS_MAX / slots.max(1)).clamp(CLASSES_MIN, CLASSES_MAX);
        let index = if self.classes.len() < classes_max {
            self.classes.push(Class::default());
            self.classes.len() - 1
        } else {
            let oldest = self.classes.iter().enumerate().min_by_key(|(_, class)| class.asked_at);
            let index = oldest.map_or(0, |(index, _)| index);
            let class = &mut self.classes[index];
            self.by_demand.remove(&class.demand);
            class.lists.drain(..).for_each(|list| _ = self.by_bytes.remove(&*list));
            index
        };
        self.classes[index].start_over(demand, self.decisions);
        self.by_demand.insert(demand.clone(), ClassIndex(index));
        ClassIndex(index)
    }
}
