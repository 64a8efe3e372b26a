//! Members and owners that leave, and what becomes of what they leave behind.

use std::time::{Duration, Instant};

use super::{MemberId, SharedView};
use crate::scheduler::ledger::OwnerId;

/// What becomes due a lease after somebody has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Departed {
    Member(MemberId),
    Owner(OwnerId),
}

impl SharedView {
    /// A member leaves. What it leaves behind is due after the lease.
    pub fn leave(&mut self, member_id: MemberId, now: Instant, lease: Duration) {
        let due = now + lease;
        let member = &mut self.members[member_id.0];
        let owner_id = member.owner;
        if member.nodes.is_empty() {
            self.members.remove(member_id.0);
        } else {
            member.due = Some(due);
            self.departed.insert((due, Departed::Member(member_id)));
        }
        if let Some(owner) = self.owners.get_mut(&owner_id) {
            owner.connected -= 1;
            if owner.connected == 0 && self.ledger.placements(owner_id) == 0 {
                self.remove_owner(owner_id);
            } else if owner.connected == 0 {
                owner.due = Some(due);
                self.departed.insert((due, Departed::Owner(owner_id)));
            }
        }
        self.check();
    }

    fn remove_owner(&mut self, id: OwnerId) {
        if let Some(owner) = self.owners.remove(&id) {
            self.by_name.remove(&owner.name);
        }
        self.ledger.remove_owner(id);
    }

    /// When something is due next.
    pub fn due(&self) -> Option<Instant> {
        self.departed.first().map(|&(due, _)| due)
    }

    /// Does what is due, in at most `steps` steps, which it takes off: one for each node that goes, and for each demand of
    /// which an owner's placements on a node go.
    pub fn sweep(&mut self, now: Instant, steps: &mut usize) {
        while let Some(&(due, departed)) = self.departed.first()
            && due <= now
            && *steps > 0
        {
            match departed {
                Departed::Member(id) => self.drop_nodes(id, steps),
                Departed::Owner(id) => self.drop_placements(id, steps),
            }
        }
        self.check();
    }

    /// Removes nodes of a member that is gone, and the member with the last of them.
    fn drop_nodes(&mut self, id: MemberId, steps: &mut usize) {
        while let Some(&node) = self.members.get(id.0).and_then(|member| member.nodes.first())
            && *steps > 0
        {
            *steps = steps.saturating_sub(1 + self.remove(node));
        }
    }

    /// Drops what an owner holds that is gone, and the owner with the last of it.
    fn drop_placements(&mut self, id: OwnerId, steps: &mut usize) {
        while *steps > 0 {
            *steps -= 1;
            let Some(taken) = self.ledger.take_some(id) else {
                let due = self.owners.get(&id).and_then(|owner| owner.due);
                self.departed.remove(&(due.expect("an owner that is swept has a due time"), Departed::Owner(id)));
                return self.remove_owner(id);
            };
            self.unreserve(&taken);
        }
    }
}
