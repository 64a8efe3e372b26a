//! Cached ranks: which node is first for a demand, without looking at every node.
//!
//! Workloads have few distinct demands and repeat them thousands of times. Each distinct demand is a *class*, for
//! which the rank of every node is kept, in a [tree](super::rank_tree) that knows the highest. A decision ranks again
//! only the nodes that have changed since the class was last asked.

use std::collections::HashMap;
use std::rc::Rc;

use foldhash::fast::RandomState;

use super::cells::Slot;
use super::changes::Position;
use super::node_table::{Demand, Node, NodeTable};
use super::policy::Scoring;
use super::profile::{self, Count, Outlook, Profile};
use super::rank::Rank;
use super::rank_tree::RankTree;

/// Classes of a view at most; the one asked longest ago makes room.
const CLASSES_MAX: usize = 256;

/// Ranks of a view at most, some 40 MiB with their trees, but for those of the first few classes.
const RANKS_MAX: usize = 1 << 22;
const CLASSES_MIN: usize = 16;

/// Lists of resources that are remembered at most, and the longest of them in bytes: 1 MiB in all. Then all are
/// forgotten and those still in use are soon remembered again.
const REMEMBERED_MAX: usize = 4 * CLASSES_MAX;
const REMEMBERED_LENGTH_MAX: usize = 1024;

/// Slots that are ranked by a new profile in a decision: a few microseconds' worth.
const RENEWED_PER_DECISION: usize = 112;

#[derive(Debug, Default)]
struct Class {
    demand: Demand,
    /// Whether the ranks are those of this demand.
    is_ranked: bool,
    /// By slot, its rank by the profile.
    ranks: RankTree,
    profile: Rc<Profile>,
    /// Changes up to here are in the ranks.
    seen: Position,
    /// How often it was asked, and how often when its ranks were last made.
    count: u64,
    count_ranked: u64,
    /// When it was asked last, and when it was made, in decisions of the cache.
    asked_at: u64,
    made_at: u64,
}

/// Ranks of a class by a newer profile. They take the place of the older ones when they are complete. Until then the
/// older serve, so that a new profile never holds a decision up, and nodes are compared by one profile only.
#[derive(Debug, Default)]
struct Renewal {
    /// Whose ranks they will be. Between two renewals of classes only the memory is kept.
    class: Option<ClassIndex>,
    ranks: RankTree,
    profile: Rc<Profile>,
    /// How often the class was asked when they were begun.
    count: u64,
    /// Slots below are ranked.
    done: usize,
}

/// What the newest profile says of nodes, as far as it was asked: a node changes once, and is then ranked for every class.
#[derive(Debug, Default)]
struct Outlooks {
    profile: Rc<Profile>,
    /// Tells the profile from those before.
    serial: u64,
    by_slot: Vec<Dated>,
}

#[derive(Clone, Debug, Default)]
struct Dated {
    /// The serial of the profile and the latest change of the node that it is by.
    date: (u64, Position),
    outlook: Outlook,
}

impl Outlooks {
    /// A new profile takes the place of the one before.
    fn start_over(&mut self, profile: &Rc<Profile>) {
        self.profile.clone_from(profile);
        self.serial += 1;
    }

    #[inline]
    fn of(&mut self, table: &NodeTable, node: Node<'_>) -> &Outlook {
        let slot = node.slot() as usize;
        if self.by_slot.len() <= slot {
            self.by_slot.resize_with(table.slot_count(), Dated::default);
        }
        let date = (self.serial, table.changes().latest(node.slot()));
        let dated = &mut self.by_slot[slot];
        if dated.date != date {
            *dated = Dated { date, outlook: table.policy().outlook(&self.profile, node) };
        }
        &dated.outlook
    }
}

/// What a list of resources, byte for byte, was resolved to.
#[derive(Clone, Copy, Debug)]
struct Recalled {
    class: ClassIndex,
    /// The class was made by this decision: its place may have gone to another.
    made_at: u64,
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
    /// Clients write a demand in few ways, so its bytes nearly always find its class without being parsed.
    by_bytes: HashMap<Box<[u8]>, Recalled, RandomState>,
    decisions: u64,
    /// What the policies that learn go by.
    profile: Rc<Profile>,
    outlooks: Outlooks,
    /// The class that is brought up to the newest profile.
    renewal: Renewal,
    /// Whether all ranks are by the newest profile, as far as was seen.
    is_renewed: bool,
    /// The nodes that a class catches up with; kept for its memory.
    changed: Vec<(Slot, Option<Rank>)>,
    /// The decision at which a new profile is made.
    profile_due: u64,
}

impl RankCache {
    /// The class of a list of resources that was [remembered](Self::remember) byte for byte, if the names in it
    /// still have the ids that they had.
    #[inline]
    pub fn recall(&self, bytes: &[u8], names_generation: u64) -> Option<ClassIndex> {
        let recalled = self.by_bytes.get(bytes)?;
        let is_valid =
            recalled.names_generation == names_generation && recalled.made_at == self.classes[recalled.class.0].made_at;
        is_valid.then_some(recalled.class)
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
            if self.by_bytes.len() >= REMEMBERED_MAX {
                self.by_bytes.clear();
            }
            let made_at = self.classes[class.0].made_at;
            self.by_bytes.insert(bytes.into(), Recalled { class, made_at, names_generation });
        }
        class
    }

    /// The demand of a class.
    #[inline]
    pub fn demand(&self, class: ClassIndex) -> &Demand {
        &self.classes[class.0].demand
    }

    /// The rank of every slot for a class, as of its last [`RankCache::highest`].
    pub fn ranks(&self, class: ClassIndex) -> &RankTree {
        &self.classes[class.0].ranks
    }

    /// The node that ranks first for a class, ties to the lower slot; `None` where none is feasible.
    #[inline]
    pub fn highest(&mut self, class_index: ClassIndex, table: &NodeTable) -> Option<(Rank, Slot)> {
        self.decisions += 1;
        let class = &mut self.classes[class_index.0];
        class.asked_at = self.decisions;
        class.count += 1;
        if table.policy().learns() && self.decisions >= self.profile_due {
            self.refresh_profile(table);
        }
        let renewal = Some(&mut self.renewal).filter(|renewal| renewal.class == Some(class_index));
        let class = &mut self.classes[class_index.0];
        class.catch_up(table, &mut self.outlooks, renewal, &mut self.changed);
        let highest = class.ranks.highest();
        if table.policy().learns() {
            self.renew(table);
        }
        highest
    }

    /// Ranks some slots by the newest profile, for one class after the other: those that are rarely asked would not get
    /// there on their own.
    #[inline]
    fn renew(&mut self, table: &NodeTable) {
        if self.renewal.class.is_none() {
            if self.is_renewed {
                return;
            }
            self.begin_renewal();
        }
        if let Some(class) = self.renewal.class
            && self.renewal.proceed(table, &mut self.outlooks, &self.classes[class.0].demand)
        {
            let class = &mut self.classes[class.0];
            std::mem::swap(&mut class.ranks, &mut self.renewal.ranks);
            class.profile.clone_from(&self.renewal.profile);
            class.count_ranked = self.renewal.count;
            self.renewal.class = None;
        }
    }

    /// Begins with the class that was asked most often since its ranks were made, of those whose ranks are not by the
    /// newest profile: so the common demands are soon up to date, and the others in time.
    fn begin_renewal(&mut self) {
        let outdated = self.classes.iter().enumerate();
        let outdated = outdated.filter(|(_, class)| class.is_ranked && !Rc::ptr_eq(&class.profile, &self.profile));
        let Some((index, class)) = outdated.max_by_key(|(_, class)| class.count - class.count_ranked) else {
            self.is_renewed = true;
            return;
        };
        self.renewal.class = Some(ClassIndex(index));
        self.renewal.count = class.count;
        self.renewal.profile.clone_from(&self.profile);
        self.renewal.done = 0;
    }

    /// What the policies that learn go by at present.
    pub fn profile(&self) -> &Profile {
        &self.profile
    }

    /// A profile of what was asked so far.
    pub fn make_profile(&self, table: &NodeTable) -> Profile {
        let counts = self.classes.iter().map(|class| Count { demand: &class.demand, count: class.count });
        Profile::new(table, counts)
    }

    /// Makes a new profile of what was asked, and takes it if it differs enough.
    #[cold]
    fn refresh_profile(&mut self, table: &NodeTable) {
        self.profile_due = self.decisions + self.decisions.clamp(1, profile::REFRESH_INTERVAL);
        let profile = self.make_profile(table);
        if self.profile.is_empty() || profile.differs(&self.profile) {
            self.profile = Rc::new(profile);
            self.outlooks.start_over(&self.profile);
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
            self.by_demand.remove(&self.classes[index].demand);
            index
        };
        let class = &mut self.classes[index];
        class.demand.clone_from(demand);
        class.is_ranked = false;
        class.count = 0;
        class.count_ranked = 0;
        class.made_at = self.decisions;
        class.asked_at = self.decisions;
        self.by_demand.insert(demand.clone(), ClassIndex(index));
        ClassIndex(index)
    }
}

impl Class {
    /// Brings the ranks up to date with the nodes, and what there is of newer ones.
    #[inline]
    fn catch_up(
        &mut self,
        table: &NodeTable,
        outlooks: &mut Outlooks,
        renewal: Option<&mut Renewal>,
        changed: &mut Vec<(Slot, Option<Rank>)>,
    ) {
        let changes = table.changes();
        let is_complete = self.is_ranked && self.ranks.extend_to(table.slot_count());
        match changes.since(self.seen).filter(|_| is_complete) {
            Some(slots) => {
                let mut ranker = Ranker::new(table, &self.demand, &self.profile, outlooks);
                changed.clear();
                changed.extend(slots.map(|slot| (slot, ranker.rank(slot))));
                // In a loop of its own the processor fetches several entries of the tree at once.
                changed.iter().for_each(|&(slot, rank)| self.ranks.set(slot, rank));
                if let Some(renewal) = renewal {
                    let mut ranker = Ranker::new(table, &self.demand, &renewal.profile, outlooks);
                    for &(slot, _) in changed.iter().filter(|(slot, _)| (*slot as usize) < renewal.done) {
                        renewal.ranks.set(slot, ranker.rank(slot));
                    }
                }
            }
            None => {
                self.profile.clone_from(&outlooks.profile);
                if let Some(renewal) = renewal {
                    renewal.class = None;
                }
                let mut ranker = Ranker::new(table, &self.demand, &self.profile, outlooks);
                self.ranks.fill((0..table.slot_count()).map(|slot| ranker.rank(slot as Slot)));
                self.is_ranked = true;
                self.count_ranked = self.count;
            }
        }
        self.seen = changes.end();
    }
}

impl Renewal {
    /// Ranks some more slots for the demand of its class. Returns whether all are ranked.
    #[cold]
    fn proceed(&mut self, table: &NodeTable, outlooks: &mut Outlooks, demand: &Demand) -> bool {
        let slot_count = table.slot_count();
        if !self.ranks.extend_to(slot_count) {
            self.ranks.reset(slot_count);
            self.done = 0;
        }
        let end = slot_count.min(self.done + RENEWED_PER_DECISION);
        let mut ranker = Ranker::new(table, demand, &self.profile, outlooks);
        // What the tree still has of a class before is overwritten to its end.
        self.ranks.set_range(self.done, (self.done..end).map(|slot| ranker.rank(slot as Slot)));
        self.done = end;
        end == slot_count
    }
}

/// Ranks nodes for a demand.
struct Ranker<'a> {
    table: &'a NodeTable,
    scoring: Scoring<'a>,
    /// `None` where the policy goes by no profile, or by one that is not the newest.
    outlooks: Option<&'a mut Outlooks>,
}

impl<'a> Ranker<'a> {
    #[inline]
    fn new(table: &'a NodeTable, demand: &'a Demand, profile: &'a Rc<Profile>, outlooks: &'a mut Outlooks) -> Self {
        let is_newest = table.policy().learns() && Rc::ptr_eq(profile, &outlooks.profile);
        Self { table, scoring: Scoring::new(demand, profile), outlooks: is_newest.then_some(outlooks) }
    }

    #[inline]
    fn rank(&mut self, slot: Slot) -> Option<Rank> {
        let node = self.table.node(slot)?;
        let node = match &mut self.outlooks {
            Some(outlooks) => node.with_outlook(outlooks.of(self.table, node)),
            None => node,
        };
        Rank::of(self.table.policy(), &self.scoring, node)
    }
}
