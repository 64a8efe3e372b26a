//! Request + view -> reply: the only place where the wire protocol and the scheduler meet.
//!
//! Requests of version 1 are answered here; `extension` answers the others, some in `json`. A
//! [`session`] is what a connection is to the scheduler.

mod extension;
pub mod failure;
mod json;
pub mod session;
pub mod token;

use std::fmt;
use std::time::{Duration, Instant};

use self::failure::Failure;
use self::session::{Session, SharedViews};
use self::token::Token;
use crate::prefetch::Step;
use crate::scheduler::node_table::Full;
use crate::scheduler::view::ViewOptions;
use crate::server::service::{Output, Service};
use crate::telemetry::counters::RequestCounters;
use crate::telemetry::server::ServerTelemetry;
use crate::wire::NodeId;
use crate::wire::extension::{Code, reply};
use crate::wire::reply::Reply;
use crate::wire::request::{Request, RequestError};

/// How long nodes and placements of a shared view outlive their connection where nothing else is said: longer than a
/// client needs to connect again.
pub const LEASE: Duration = Duration::from_secs(10);

/// Nodes that are ranked in the time that a usual request takes: 10 ns against some 300.
const NODES_PER_REQUEST: usize = 32;

/// What the scheduler goes by.
#[derive(Debug)]
pub struct ServiceOptions {
    /// How all views behave.
    pub view: ViewOptions,
    /// How long nodes and placements of a shared view outlive the connection that they came from.
    pub lease: Duration,
    /// What every connection has to begin with, if anything.
    pub token: Option<Token>,
}

/// The scheduler as a service: every connection has a view of its own, or joins a shared one.
#[derive(Debug)]
pub struct SchedulerService {
    options: ServiceOptions,
    shared: SharedViews,
    counters: RequestCounters,
    /// What requests have cost beyond the usual: see [`Service::take_work`].
    work: usize,
    /// Tells this run of the server from others.
    instance: u64,
    /// The reply to an extension; kept for its memory.
    reply: Vec<u8>,
}

/// What is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    Version1(Reply),
    /// A whole frame.
    Extension(&'a [u8]),
}

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is malformed.
    Malformed(RequestError),
    /// The view has as much as it may have. The add is acknowledged all the same, since a raylet whose add is refused ends.
    /// Its node is never answered with if it is new, or without the resources that there was no room for.
    Full(Full),
    /// It is well-formed, but cannot be.
    Failed(Failure),
    /// It is malformed and stands where a hello with the token should.
    Unauthorized(RequestError),
}

impl Refusal {
    /// Number of reasons that [`Refusal::index`] tells apart.
    pub const REASONS: usize = RequestError::REASONS + 2 + Full::KINDS;

    /// A small number for the reason.
    pub fn index(self) -> usize {
        match self {
            Self::Malformed(error) => error.index(),
            Self::Failed(_) => RequestError::REASONS,
            Self::Unauthorized(_) => RequestError::REASONS + 1,
            Self::Full(full) => RequestError::REASONS + 2 + full as usize,
        }
    }

    /// Whether the connection cannot go on.
    #[inline]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed(Failure::BadToken) | Self::Unauthorized(_))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "malformed request: {error}"),
            Self::Full(Full::Names) => write!(f, "resources of a node ignored: {}", Full::Names),
            Self::Full(full) => write!(f, "node ignored: {full}"),
            Self::Failed(failure) => write!(f, "request failed: {failure}"),
            Self::Unauthorized(error) => write!(f, "malformed request in place of a hello with the token: {error}"),
        }
    }
}

impl SchedulerService {
    /// A service without clients.
    pub fn new(options: ServiceOptions) -> Self {
        Self {
            options,
            shared: SharedViews::default(),
            counters: RequestCounters::default(),
            work: 0,
            instance: fastrand::u64(..),
            reply: Vec::new(),
        }
    }

    /// Runs one message.
    #[inline]
    pub fn run(
        &mut self,
        session: &mut Session,
        message: &[u8],
        telemetry: &ServerTelemetry,
    ) -> (Answer<'_>, Option<Refusal>) {
        if let Some(reply) = self.schedule_again(session, message) {
            return (Answer::Version1(reply), None);
        }
        match Request::parse(message) {
            Ok(Request::Extension(request)) => {
                let refusal = self.run_extension(session, request, telemetry);
                (Answer::Extension(&self.reply), refusal)
            }
            Ok(request) => {
                let (reply, refusal) = self.run_version_1(session, request);
                (Answer::Version1(reply), refusal)
            }
            Err(error) => {
                let is_hello = message.first() == Some(&(Code::Hello as u8));
                let (answer, refusal) = self.malformed(session, is_hello, error);
                (answer, Some(refusal))
            }
        }
    }

    /// Carries out a schedule that was asked for before, byte for byte, which most are: it need not be parsed. `None` of another
    /// message.
    #[inline]
    fn schedule_again(&mut self, session: &mut Session, message: &[u8]) -> Option<Reply> {
        let list = Request::list_of_schedule(message)?;
        let Session::Private(Some(view)) = session else { return None };
        let placed = view.schedule_again(list, &self.options.view)?;
        Some(reply_to_schedule(placed.ok().map(|placement| placement.node), &mut self.counters))
    }

    /// A malformed message is the first of its connection like any other, but for a malformed hello: that one may be
    /// followed by a better one, unless a token is asked for.
    #[cold]
    fn malformed(&mut self, session: &mut Session, is_hello: bool, error: RequestError) -> (Answer<'_>, Refusal) {
        let is_unauthorized = self.options.token.is_some() && matches!(session, Session::New);
        let refusal = match (is_unauthorized, is_hello) {
            (false, _) => Refusal::Malformed(error),
            (true, true) => Refusal::Unauthorized(error),
            (true, false) => Refusal::Failed(Failure::BadToken),
        };
        if !is_hello && matches!(session, Session::New) {
            *session = Session::Private(None);
        }
        let RequestError::Extension(error) = error else { return (Answer::Version1(Reply::Refused), refusal) };
        self.reply.clear();
        match refusal {
            Refusal::Failed(failure) => reply::append_error(&mut self.reply, failure.code(), &failure.to_string()),
            _ => reply::append_error(&mut self.reply, error.code(), &error.to_string()),
        }
        (Answer::Extension(&self.reply), refusal)
    }

    #[inline]
    fn run_version_1(&mut self, session: &mut Session, request: Request<'_>) -> (Reply, Option<Refusal>) {
        if self.options.token.is_some() && matches!(session, Session::New) {
            return (Reply::Refused, Some(Refusal::Failed(Failure::BadToken)));
        }
        let options = &self.options.view;
        let shared = match session {
            Session::Member { view, member } => Some((self.shared.get(*view), *member)),
            _ => None,
        };
        match request {
            Request::Schedule { demand } => {
                let placed = match shared {
                    Some((view, member)) => view.schedule(member, demand, options).ok(),
                    None => session.private_view(options).schedule(demand, options).ok(),
                };
                (reply_to_schedule(placed.map(|placement| placement.node), &mut self.counters), None)
            }
            Request::AddNode { node, resources } => {
                self.counters.added += 1;
                let reported = match shared {
                    Some((view, member)) => view.update(member, node, resources, resources, options),
                    None => session.private_view(options).report(node, resources, options),
                };
                (Reply::Done, reported.err().map(Refusal::Full))
            }
            Request::RemoveNode { node } => {
                self.counters.removed += 1;
                match shared {
                    Some((view, _)) => _ = view.remove(node),
                    None => session.private_view(options).remove(node),
                }
                (Reply::Done, None)
            }
            Request::Extension(_) => (Reply::Refused, None),
        }
    }
}

#[inline]
fn reply_to_schedule(placed: Option<NodeId>, counters: &mut RequestCounters) -> Reply {
    match placed {
        Some(node) => {
            counters.placed += 1;
            Reply::Placed { node }
        }
        None => {
            counters.not_placed += 1;
            Reply::Refused
        }
    }
}

impl Service for SchedulerService {
    type Session = Session;

    fn open(&mut self) -> Self::Session {
        Session::New
    }

    fn wants_first_message(&self) -> bool {
        self.options.token.is_some()
    }

    #[inline]
    fn execute(&mut self, session: &mut Self::Session, message: &[u8], output: &mut Output<'_>) -> Option<Refusal> {
        let (answer, refusal) = self.run(session, message, output.telemetry());
        match answer {
            Answer::Version1(reply) => output.append_reply(reply),
            Answer::Extension(frame) => output.append(frame),
        }
        self.work += session.take_looked_at(&mut self.shared) / NODES_PER_REQUEST;
        if let Some(refusal) = refusal {
            self.counters.refused[refusal.index()] += 1;
        }
        refusal
    }

    #[inline]
    fn prefetch(&mut self, step: Step, session: &mut Self::Session, message: &[u8]) {
        if let (Session::Private(Some(view)), Some(list)) = (session, Request::list_of_schedule(message)) {
            view.prefetch(step, list);
        }
    }

    #[inline]
    fn take_work(&mut self) -> usize {
        std::mem::take(&mut self.work)
    }

    fn close(&mut self, session: Self::Session, now: Instant) {
        if let Session::Member { view, member } = session {
            self.shared.leave(view, member, now, self.options.lease);
        }
    }

    #[inline]
    fn due(&self) -> Option<Instant> {
        self.shared.due()
    }

    fn do_due(&mut self, now: Instant) {
        self.shared.sweep(now);
    }

    fn summary(&self) -> String {
        self.counters.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::amount::Amount;
    use crate::wire::NodeId;
    use crate::wire::frame::PREFIX_LENGTH;
    use crate::wire::request::{append_add_node, append_schedule};

    #[test]
    fn requests_cost_as_many_nodes_as_they_look_at() {
        const NODES: i64 = 320;
        let policy = crate::scheduler::policy::Policy::named("best-fit", Default::default()).expect("a policy");
        let view = ViewOptions { policy, ..ViewOptions::default() };
        let mut service = SchedulerService::new(ServiceOptions { view, lease: LEASE, token: None });
        let (mut session, telemetry) = (service.open(), ServerTelemetry::default());
        let (mut ring, mut pool) = (crate::ring::Ring::default(), crate::ring::Pool::default());
        let mut work_of = |service: &mut SchedulerService, frame: &[u8]| {
            let mut output = Output::new(&mut ring, &mut pool, &telemetry);
            service.execute(&mut session, &frame[PREFIX_LENGTH..], &mut output);
            service.take_work()
        };
        let add = |node, cpus| {
            let mut frame = Vec::new();
            append_add_node(&mut frame, NodeId(node), [(&b"CPU"[..], Amount::from_f64(cpus))]);
            frame
        };
        let mut schedule = Vec::new();
        append_schedule(&mut schedule, [(&b"CPU"[..], Amount::from_f64(1.0))]);
        assert!((0..NODES).all(|node| work_of(&mut service, &add(node, 4.0)) == 0));
        let all = NODES as usize / NODES_PER_REQUEST;
        assert_eq!(work_of(&mut service, &schedule), all, "a new demand ranks every node");
        assert_eq!(work_of(&mut service, &schedule), 0, "and then those that change");
        // More than any node has had: every rank is another.
        work_of(&mut service, &add(7, 5.0));
        assert_eq!(work_of(&mut service, &schedule), all);
    }
}
