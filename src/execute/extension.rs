//! The requests of extensions.

use super::failure::{Failure, Unanswered};
use super::json;
use super::session::Session;
use super::{Refusal, SchedulerService};
use crate::scheduler::gang;
use crate::scheduler::policy::Policy;
use crate::scheduler::shared_view::NotScheduled;
use crate::scheduler::view::{Hints, ViewOptions};
use crate::telemetry::server::ServerTelemetry;
use crate::wire::NodeId;
use crate::wire::extension::reply::{self, MESSAGE_LENGTH_MAX};
use crate::wire::extension::{Capabilities, Demands, Extension, Strategy};
use crate::wire::resources::Resources;

impl From<NotScheduled> for Unanswered {
    fn from(not_scheduled: NotScheduled) -> Self {
        match not_scheduled {
            NotScheduled::Unplaced(unplaced) => unplaced.into(),
            NotScheduled::TooManyPlacements => Failure::TooManyPlacements.into(),
            NotScheduled::OutOfMemory => Failure::OutOfMemory.into(),
            NotScheduled::Gang(error) => error.into(),
        }
    }
}

impl SchedulerService {
    /// Answers a request in `self.reply`, and says if it was not carried out and why.
    #[cold]
    pub(super) fn run_extension(
        &mut self,
        session: &mut Session,
        request: Extension<'_>,
        telemetry: &ServerTelemetry,
    ) -> Option<Refusal> {
        self.reply.clear();
        let demand_count = match request {
            Extension::ScheduleMany { demands, .. } => demands.len(),
            Extension::ScheduleWithHints { dry_run, .. } => usize::from(!dry_run),
            _ => 0,
        };
        let failure = match self.answer(session, request, telemetry) {
            Ok(()) => return None,
            Err(Unanswered::NotPlaced(why)) => {
                self.counters.not_placed += demand_count as u64;
                reply::append_not_placed(&mut self.reply, why);
                return None;
            }
            Err(Unanswered::Failed(failure)) => failure,
        };
        reply::append_error(&mut self.reply, failure.code(), &failure.to_string());
        Some(Refusal::Failed(failure))
    }

    fn answer(
        &mut self,
        session: &mut Session,
        request: Extension<'_>,
        telemetry: &ServerTelemetry,
    ) -> Result<(), Unanswered> {
        if let Extension::Hello { view, owner, token } = request {
            return Ok(self.hello(session, view.as_str(), owner.as_str(), token)?);
        }
        if matches!(session, Session::New) {
            if self.options.token.is_some() {
                return Err(Failure::BadToken.into());
            }
            *session = Session::Private(None);
        }
        match request {
            Extension::Hello { .. } => Ok(()),
            Extension::UpdateNode { node, available, total } => Ok(self.update(session, node, available, total)?),
            Extension::Release { node, resources, count } => Ok(self.release(session, node, resources, count)?),
            Extension::ScheduleMany { strategy, strict, demands } => {
                self.schedule_many(session, strategy, strict || self.options.view.strict, demands)
            }
            Extension::ScheduleWithHints { strict, dry_run, policy, preferred, avoided, demand } => {
                let hints = Hints {
                    strict: strict || self.options.view.strict,
                    dry_run,
                    policy: self.policy(policy)?,
                    preferred: &preferred.collect::<Vec<_>>(),
                    avoided: &avoided.collect::<Vec<_>>(),
                };
                self.schedule_with_hints(session, demand, &hints)
            }
            Extension::Explain { demand } => Ok(self.explain(session, demand)?),
            Extension::Drain { node, on } => Ok(self.drain(session, node, on)?),
            Extension::Stats => Ok(self.stats(session, telemetry)?),
            Extension::Ping { payload } => {
                reply::append_bytes(&mut self.reply, payload);
                Ok(())
            }
        }
    }

    fn hello(&mut self, session: &mut Session, view: &str, owner: &str, token: &[u8]) -> Result<(), Failure> {
        if !matches!(session, Session::New) {
            return Err(Failure::HelloNotFirst);
        }
        if self.options.token.as_ref().is_some_and(|expected| !expected.matches(token)) {
            return Err(Failure::BadToken);
        }
        *session = match view {
            "" => Session::Private(None),
            view => self.shared.join(view, owner, &self.options.view)?,
        };
        reply::append_welcome(&mut self.reply, Capabilities::ALL, self.instance);
        Ok(())
    }

    /// The policy of a number; `None` for the view's.
    fn policy(&self, number: u8) -> Result<Option<Policy>, Failure> {
        let parameters = *self.options.view.policy.parameters();
        match number.checked_sub(1) {
            None => Ok(None),
            Some(index) => match Policy::at(usize::from(index), parameters) {
                Some(policy) => Ok(Some(policy)),
                None => Err(Failure::UnknownPolicy(number)),
            },
        }
    }

    fn update(
        &mut self,
        session: &mut Session,
        node: NodeId,
        available: Resources<'_>,
        total: Option<Resources<'_>>,
    ) -> Result<(), Failure> {
        let options = &self.options.view;
        let updated = match session {
            Session::Member { view, member } => {
                self.shared.get(*view).update(*member, node, available, total.unwrap_or(available), options)
            }
            private => {
                let view = private.private_view(options);
                match total {
                    // A report leaves out what there is no room for, and an update is an error then.
                    None if view.is_tight(available.count_max()) => view.replace(node, available, available, options),
                    None => view.report(node, available, options),
                    Some(total) => view.replace(node, available, total, options),
                }
            }
        };
        updated.map_err(Failure::Full)?;
        self.counters.updated += 1;
        reply::append_done(&mut self.reply);
        Ok(())
    }

    fn release(
        &mut self,
        session: &mut Session,
        node: NodeId,
        resources: Resources<'_>,
        count: u32,
    ) -> Result<(), Failure> {
        let released = match session {
            Session::Member { view, member } => {
                let view = self.shared.get(*view);
                let slot = view.view().table().slot_of(node).ok_or(Failure::UnknownNode(node))?;
                view.release(*member, slot, resources, count)
            }
            private => {
                let view = private.private_view(&self.options.view);
                view.table().slot_of(node).ok_or(Failure::UnknownNode(node))?;
                view.release(node, resources, count)
            }
        };
        released.map_err(Failure::OverRelease)?;
        self.counters.released += u64::from(count);
        reply::append_done(&mut self.reply);
        Ok(())
    }

    fn schedule_many(
        &mut self,
        session: &mut Session,
        strategy: Strategy,
        strict: bool,
        demands: Demands<'_>,
    ) -> Result<(), Unanswered> {
        let strategy = match strategy {
            Strategy::Each => return self.schedule_each(session, strict, demands),
            Strategy::Pack => gang::Strategy::Pack,
            Strategy::Spread => gang::Strategy::Spread,
            Strategy::StrictPack => gang::Strategy::StrictPack,
            Strategy::StrictSpread => gang::Strategy::StrictSpread,
        };
        let nodes = match session {
            Session::Member { view, member } => {
                self.shared.get(*view).schedule_gang(*member, demands, strategy, strict)?
            }
            private => private.private_view(&self.options.view).schedule_gang(demands, strategy, strict, |_, _| {})?,
        };
        self.counters.placed += nodes.len() as u64;
        reply::append_nodes(&mut self.reply, nodes);
        Ok(())
    }

    /// Schedules each demand on its own. One that is not placed has node -1 in the reply.
    fn schedule_each(&mut self, session: &mut Session, strict: bool, demands: Demands<'_>) -> Result<(), Unanswered> {
        let options = ViewOptions { strict, ..self.options.view.clone() };
        if let Session::Member { view, member } = session {
            self.shared.get(*view).check_room(*member, demands.len())?;
        }
        let mut nodes = Vec::with_capacity(demands.len());
        for demand in demands {
            let placed = match &mut *session {
                Session::Member { view, member } => self.shared.get(*view).schedule(*member, demand, &options).ok(),
                private => private.private_view(&options).schedule(demand, &options).ok(),
            };
            let node = placed.map(|placement| placement.node);
            *(if node.is_some() { &mut self.counters.placed } else { &mut self.counters.not_placed }) += 1;
            nodes.push(node.unwrap_or(NodeId::NIL));
        }
        reply::append_nodes(&mut self.reply, nodes);
        Ok(())
    }

    fn schedule_with_hints(
        &mut self,
        session: &mut Session,
        demand: Resources<'_>,
        hints: &Hints<'_>,
    ) -> Result<(), Unanswered> {
        let placement = match session {
            Session::Member { view, member } => self.shared.get(*view).schedule_with_hints(*member, demand, hints)?,
            private => private.private_view(&self.options.view).schedule_with_hints(demand, hints)?,
        };
        self.counters.placed += u64::from(!hints.dry_run);
        let placement = reply::Placement { node: placement.node, free: placement.is_free };
        reply::append_placement(&mut self.reply, placement);
        Ok(())
    }

    fn explain(&mut self, session: &mut Session, demand: Resources<'_>) -> Result<(), Failure> {
        let strict = self.options.view.strict;
        let explanation = match session {
            Session::Member { view, .. } => self.shared.get(*view).view_mut().explain(demand, strict),
            private => private.private_view(&self.options.view).explain(demand, strict),
        };
        let explanation = explanation.map_err(|_| Failure::TooMuchWork)?;
        self.append_text(&json::explanation(&explanation).to_string())
    }

    fn drain(&mut self, session: &mut Session, node: NodeId, on: bool) -> Result<(), Failure> {
        let view = match session {
            Session::Member { view, .. } => self.shared.get(*view).view_mut(),
            private => private.private_view(&self.options.view),
        };
        if !view.drain(node, on) {
            return Err(Failure::UnknownNode(node));
        }
        reply::append_done(&mut self.reply);
        Ok(())
    }

    fn stats(&mut self, session: &mut Session, telemetry: &ServerTelemetry) -> Result<(), Failure> {
        let mut server = json::server(telemetry, &self.counters, self.options.view.limits.memory);
        server["instance"] = format!("{:016x}", self.instance).into();
        server["policy"] = self.options.view.policy.name().into();
        server["strict"] = self.options.view.strict.into();
        server["lease_s"] = self.options.lease.as_secs_f64().into();
        server["views"] = json::views(self.shared.iter());
        let view = match session {
            Session::Member { view, .. } => {
                let name = self.shared.name(*view).to_owned();
                let shared = self.shared.get(*view);
                shared.view_mut().settle();
                let nodes = shared.view().table().slot_count();
                shared.view_mut().looked_at(nodes);
                let table = shared.view().table();
                json::view(table, Some(&name), Some(json::owners(shared.owners(), table.names())))
            }
            private => {
                let view = private.private_view(&self.options.view);
                view.settle();
                let nodes = view.table().slot_count();
                view.looked_at(nodes);
                json::view(view.table(), None, None)
            }
        };
        self.append_text(&format!(r#"{{"server":{server},"view":{view}}}"#))
    }

    fn append_text(&mut self, text: &str) -> Result<(), Failure> {
        // One byte says that it is done.
        if text.len() >= MESSAGE_LENGTH_MAX {
            return Err(Failure::ReplyTooLong);
        }
        reply::append_bytes(&mut self.reply, text.as_bytes());
        Ok(())
    }
}
