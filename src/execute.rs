//! Request + view -> reply: the only place where the wire protocol and the scheduler meet.

use std::fmt;

use crate::scheduler::view::{View, ViewOptions};
use crate::server::service::{Output, Service};
use crate::telemetry::counters::RequestCounters;
use crate::wire::reply::Reply;
use crate::wire::request::{Request, RequestError};

/// The scheduler as a service: every connection has a view of its own.
#[derive(Debug)]
pub struct SchedulerService {
    options: ViewOptions,
    counters: RequestCounters,
}

/// A view, made with the first request that needs it: a connection that only waits costs next to nothing.
pub type LazyView = Option<Box<View>>;

/// Why a request was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is malformed: answered `[0x1]`.
    Malformed(RequestError),
    /// The view has as many nodes as it may have. The add is acknowledged all the same, since a raylet
    /// whose add is refused ends; its node is never answered with.
    TooManyNodes,
}

impl Refusal {
    /// Number of reasons that [`Refusal::index`] tells apart.
    pub const REASONS: usize = RequestError::REASONS + 1;

    /// A small number for the reason.
    pub fn index(self) -> usize {
        match self {
            Self::Malformed(error) => error.index(),
            Self::TooManyNodes => RequestError::REASONS,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "malformed request: {error}"),
            Self::TooManyNodes => f.write_str("node ignored: the view has as many as --max-nodes allows"),
        }
    }
}

impl SchedulerService {
    /// A service whose views all have these options.
    pub fn new(options: ViewOptions) -> Self {
        Self { options, counters: RequestCounters::default() }
    }

    /// Runs one message against a connection's view.
    #[inline]
    pub fn run(&mut self, view: &mut LazyView, message: &[u8]) -> (Reply, Option<Refusal>) {
        let request = match Request::parse(message) {
            Ok(request) => request,
            Err(error) => return (Reply::Refused, Some(Refusal::Malformed(error))),
        };
        let view = view.get_or_insert_with(|| Box::new(View::new(&self.options)));
        match request {
            Request::Schedule { demand } => {
                match view.schedule(demand, &self.options).ok().map(|placement| placement.node) {
                    Some(node) => {
                        self.counters.placed += 1;
                        (Reply::Placed { node }, None)
                    }
                    None => {
                        self.counters.not_placed += 1;
                        (Reply::Refused, None)
                    }
                }
            }
            Request::AddNode { node, resources } => {
                self.counters.added += 1;
                let refusal = view.report(node, resources, &self.options).err().map(|_| Refusal::TooManyNodes);
                (Reply::Done, refusal)
            }
            Request::RemoveNode { node } => {
                self.counters.removed += 1;
                view.remove(node);
                (Reply::Done, None)
            }
            // None is served yet: the answer is the one to any code that is not known.
            Request::Extension(extension) => {
                let error = RequestError::UnknownCode(extension.code() as u8);
                (Reply::Refused, Some(Refusal::Malformed(error)))
            }
        }
    }
}

impl Service for SchedulerService {
    type Session = LazyView;

    fn open(&mut self) -> Self::Session {
        None
    }

    #[inline]
    fn execute(&mut self, view: &mut Self::Session, message: &[u8], output: &mut Output<'_>) -> Option<Refusal> {
        let (reply, refusal) = self.run(view, message);
        if let Some(refusal) = refusal {
            self.counters.refused[refusal.index()] += 1;
        }
        output.append(reply.to_frame().as_bytes());
        refusal
    }

    fn summary(&self) -> String {
        self.counters.to_string()
    }
}
