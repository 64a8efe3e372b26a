//! The program from a piece of a stream to its replies, each checked against the naive model of the tests.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use external_scheduler::execute::session::Session;
use external_scheduler::execute::token::Token;
use external_scheduler::execute::{SchedulerService, ServiceOptions};
use external_scheduler::memory::MemoryLimit;
use external_scheduler::ring::{Pool, Ring};
use external_scheduler::scheduler::node_table::TableLimits;
use external_scheduler::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::scheduler::view::ViewOptions;
use external_scheduler::server::service::{Output, Service};
use external_scheduler::telemetry::server::ServerTelemetry;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::extension::reply::{self, Answer, parse_nodes};
use external_scheduler::wire::extension::{Demands, ErrorCode, Extension, Strategy};
use external_scheduler::wire::frame::{self, Frame, PREFIX_LENGTH};
use external_scheduler::wire::request::{Request, RequestError};
use external_scheduler::wire::resources::Resources;
use serde_json::Value;

use super::cluster::{Amounts, Demand, Model, ModelNode, Rules, demand_of};
use super::world::World;

/// What a hello has to carry where a token is asked for.
pub const TOKEN: &[u8] = b"secret";

const LEASE: Duration = Duration::from_secs(10);
const NODES_MAX: usize = 8;
const NAMES_MAX: usize = 4;
const FRAME_LENGTH_MAX: usize = 4096;
const MEMORY_MAX: usize = 1000;

/// What is allocated in turn where memory becomes short: little, near the limit, and all there is.
const ALLOCATIONS: [usize; 3] = [0, MEMORY_MAX - 1, MEMORY_MAX];

thread_local! {
    /// What is said to be allocated.
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// What a connection is to the model.
enum Place {
    New,
    Private(Model),
    Member { view: String, owner: usize },
}

struct Connection {
    number: usize,
    session: Session,
    input: Ring,
    output: Ring,
    place: Place,
}

/// A service and the model that it should be like.
pub struct Checked {
    service: SchedulerService,
    telemetry: ServerTelemetry,
    pool: Pool,
    policy: Policy,
    strict: bool,
    /// Whether GPUs are told apart, which the model does not do here: it then checks no decisions.
    has_units: bool,
    asks_for_token: bool,
    short_memory: bool,
    now: Instant,
    connections: [Option<Connection>; 4],
    connections_so_far: usize,
    worlds: BTreeMap<String, World>,
    /// Whether the model still knows what there is. It does not take part in amounts that are near the end of their
    /// range, nor in names that JSON shows otherwise.
    is_followed: bool,
}

impl Checked {
    /// Two bytes say which policy the views have, whether they are strict, whether GPUs are told apart, whether a token is asked
    /// for, whether there may be only few names, and whether memory becomes short at times. The model does not follow what
    /// such limits leave out.
    pub fn new(policy: u8, options: u8) -> Self {
        let definition = &DEFINITIONS[usize::from(policy) % DEFINITIONS.len()];
        let policy = Policy::named(definition.name, Parameters::default()).expect("it has this name");
        let [strict, has_units, asks_for_token, few_names, short_memory] =
            [0, 1, 2, 3, 4].map(|bit| options >> bit & 1 == 1);
        ALLOCATED.set(0);
        let limits = TableLimits {
            names_max: if few_names { NAMES_MAX } else { TableLimits::default().names_max },
            memory: MemoryLimit::new(|| ALLOCATED.get(), MEMORY_MAX),
        };
        let unit_resources = if has_units { UnitResources::named(UNIT_RESOURCES) } else { UnitResources::default() };
        let view = ViewOptions { strict, nodes_max: NODES_MAX, policy, unit_resources, limits };
        let token = asks_for_token.then(|| Token::new(TOKEN));
        Self {
            service: SchedulerService::new(ServiceOptions { view, lease: LEASE, token }),
            telemetry: ServerTelemetry::default(),
            pool: Pool::default(),
            policy,
            strict,
            has_units,
            asks_for_token,
            short_memory,
            now: Instant::now(),
            connections: Default::default(),
            connections_so_far: 0,
            worlds: BTreeMap::new(),
            is_followed: !few_names && !short_memory,
        }
    }

    /// A piece of a stream arrives. The connection is opened if it is not, and ended where it cannot go on.
    pub fn send(&mut self, index: usize, piece: &[u8]) {
        self.now += Duration::from_nanos(1);
        let mut connection = self.connections[index].take().unwrap_or_else(|| self.open());
        connection.input.append(piece, &mut self.pool).expect("there is memory for a piece");
        let mut goes_on = true;
        while goes_on {
            match frame::split(connection.input.waiting(), FRAME_LENGTH_MAX) {
                Ok(Frame::Complete { message, consumed }) => {
                    let message = message.to_vec();
                    goes_on = self.run(&mut connection, &message);
                    connection.input.consume(consumed);
                }
                Ok(Frame::Partial { .. }) => break,
                Err(_) => goes_on = false,
            }
        }
        self.connections[index] = Some(connection);
        if !goes_on {
            self.end(index);
        }
    }

    fn open(&mut self) -> Connection {
        self.connections_so_far += 1;
        Connection {
            number: self.connections_so_far,
            session: self.service.open(),
            input: Ring::default(),
            output: Ring::default(),
            place: Place::New,
        }
    }

    /// A connection ends, if there is one.
    pub fn end(&mut self, index: usize) {
        self.now += Duration::from_nanos(1);
        let Some(mut connection) = self.connections[index].take() else { return };
        connection.input.clear(&mut self.pool);
        self.service.close(connection.session, self.now);
        if let Place::Member { view, owner } = connection.place {
            let world = self.worlds.get_mut(&view).expect("it has a member");
            world.leave(connection.number, owner, self.now + LEASE);
            self.worlds.retain(|_, world| !world.is_empty());
        }
    }

    /// Time passes.
    pub fn pass_half_a_lease(&mut self) {
        self.now += LEASE / 2;
        if self.short_memory {
            let place = ALLOCATIONS.iter().position(|&allocated| allocated == ALLOCATED.get()).unwrap_or(0);
            ALLOCATED.set(ALLOCATIONS[(place + 1) % ALLOCATIONS.len()]);
        }
        while self.service.due().is_some_and(|due| due <= self.now) {
            self.service.do_due(self.now);
        }
        self.worlds.values_mut().for_each(|world| world.expire(self.now));
        self.worlds.retain(|_, world| !world.is_empty());
    }

    /// Looks at every view once more, ends all connections, and checks that nothing is left after the lease.
    pub fn finish(mut self) {
        let mut stats = Vec::new();
        Extension::Stats.append(&mut stats);
        for index in 0..self.connections.len() {
            if let Some(mut connection) = self.connections[index].take() {
                self.run(&mut connection, &stats[PREFIX_LENGTH..]);
                self.connections[index] = Some(connection);
                self.end(index);
            }
        }
        self.pass_half_a_lease();
        self.pass_half_a_lease();
        assert!(self.service.due().is_none());
        assert!(!self.is_followed || self.worlds.is_empty());
    }

    /// Runs a message and checks its reply. Whether the connection can go on.
    fn run(&mut self, connection: &mut Connection, message: &[u8]) -> bool {
        let mut output = Output::new(&mut connection.output, &mut self.pool, &self.telemetry);
        let refusal = self.service.execute(&mut connection.session, message, &mut output);
        assert!(!output.is_out_of_memory());
        let Ok(Frame::Complete { message: reply, consumed }) =
            frame::split(connection.output.waiting(), usize::MAX / 2)
        else {
            panic!("no whole reply to {message:?}")
        };
        let reply = reply.to_vec();
        connection.output.consume(consumed);
        assert!(connection.output.is_empty(), "one reply");
        connection.output.rest(&mut self.pool);

        let request = Request::parse(message);
        let is_welcome = matches!(request, Ok(Request::Extension(Extension::Hello { token: TOKEN, .. })));
        if self.asks_for_token && matches!(connection.place, Place::New) && !is_welcome {
            check_unauthorized(&request, &reply);
            assert!(refusal.is_some_and(|refusal| refusal.is_final()));
            return false;
        }
        assert!(!refusal.is_some_and(|refusal| refusal.is_final()));
        match request {
            Err(error) => {
                check_refused(error, &reply);
                let is_hello = message.first() == Some(&0x10);
                if matches!(connection.place, Place::New) && !is_hello {
                    connection.place = Place::Private(Model::default());
                }
            }
            Ok(request) => self.check(connection, request, &reply),
        }
        true
    }

    fn check(&mut self, connection: &mut Connection, request: Request<'_>, reply: &[u8]) {
        if let Request::Extension(Extension::Hello { view, owner, .. }) = request {
            return self.check_hello(connection, view.as_str(), owner.as_str(), reply);
        }
        if matches!(connection.place, Place::New) {
            connection.place = Place::Private(Model::default());
        }
        self.is_followed &= can_be_followed(&request);
        if !self.is_followed {
            return;
        }
        match request {
            Request::AddNode { node, resources } => {
                assert_eq!(reply, [0]);
                self.report(connection, node, resources, resources);
            }
            Request::RemoveNode { node } => {
                assert_eq!(reply, [0]);
                match &mut connection.place {
                    Place::Member { view, .. } => self.worlds.get_mut(view).expect("it has a member").remove(node),
                    Place::Private(model) => model.remove(node),
                    Place::New => {}
                }
            }
            Request::Schedule { demand } => {
                let node = match reply {
                    [1] => None,
                    [0, id @ ..] => Some(NodeId(i64::from_le_bytes(id.try_into().expect("a node ID")))),
                    _ => panic!("{reply:?} to a schedule"),
                };
                let rules = self.rules(false);
                self.place(connection, demand_of(&amounts(demand)), node, rules);
            }
            Request::Extension(extension) => {
                let outcome = match Answer::parse(reply).expect("it is a reply") {
                    Answer::Done { body } => Ok(body),
                    Answer::NotPlaced(_) => Err(None),
                    Answer::Error { number, .. } => Err(Some(ErrorCode::from_number(number).expect("a known code"))),
                    Answer::Refused => panic!("the refusal of version 1 to {extension:?}"),
                };
                self.check_extension(connection, extension, outcome);
            }
        }
    }

    fn check_hello(&mut self, connection: &mut Connection, view: &str, owner: &str, reply: &[u8]) {
        let answer = Answer::parse(reply).expect("it is a reply");
        if !matches!(connection.place, Place::New) {
            return assert_error(answer, ErrorCode::HelloNotFirst);
        }
        let Answer::Done { body } = answer else { return assert!(!self.is_followed, "{answer:?} to a hello") };
        assert!(reply::Welcome::parse(body).is_some());
        connection.place = match view {
            "" => Place::Private(Model::default()),
            view => {
                let owner = self.worlds.entry(view.to_owned()).or_default().join(owner);
                Place::Member { view: view.to_owned(), owner }
            }
        };
    }

    fn check_extension(
        &mut self,
        connection: &mut Connection,
        extension: Extension<'_>,
        outcome: Result<&[u8], Option<ErrorCode>>,
    ) {
        match extension {
            Extension::Hello { .. } => {}
            Extension::UpdateNode { node, available, total } => {
                let has_room = self.report(connection, node, available, total.unwrap_or(available));
                assert_eq!(outcome, if has_room { Ok(&[][..]) } else { Err(Some(ErrorCode::TooManyNodes)) });
            }
            Extension::Release { node, resources, count } => {
                assert_eq!(outcome, self.release(connection, node, &demand_of(&amounts(resources)), count));
            }
            Extension::ScheduleMany { strategy, strict, demands } => {
                self.check_many(connection, strategy, strict, demands, outcome);
            }
            Extension::ScheduleWithHints { strict, dry_run, policy, preferred, avoided, demand } => {
                if usize::from(policy) > DEFINITIONS.len() {
                    return assert_eq!(outcome, Err(Some(ErrorCode::UnknownPolicy)));
                }
                let placement = match outcome {
                    Ok(body) => Some(reply::Placement::parse(body).expect("a placement")),
                    Err(None) => None,
                    Err(Some(code)) => panic!("{code:?}"),
                };
                let demand = demand_of(&amounts(demand));
                let is_best_fit = match policy {
                    0 => self.policy.name() == "best-fit",
                    place => DEFINITIONS[usize::from(place) - 1].name == "best-fit",
                };
                let (preferred, avoided): (Vec<_>, Vec<_>) = (preferred.collect(), avoided.collect());
                let rules = Rules { is_best_fit, preferred: &preferred, avoided: &avoided, ..self.rules(strict) };
                let node = placement.map(|placement| placement.node);
                if let (Some(reply::Placement { node, free }), false) = (placement, self.has_units) {
                    assert_eq!(self.cluster(connection).node(node).expect("it is there").is_free(&demand), free);
                }
                match dry_run {
                    true => self.check_decision(connection, &demand, node, rules),
                    false => self.place(connection, demand, node, rules),
                }
            }
            Extension::Explain { demand } => {
                let shown: Value = serde_json::from_slice(outcome.expect("an explanation")).expect("JSON");
                let (strict, has_units) = (self.strict, self.has_units);
                let demand = demand_of(&amounts(demand));
                self.cluster(connection).check_explanation(&shown, &demand, strict, has_units);
            }
            Extension::Drain { node, on } => {
                let expected = match self.cluster(connection).node_mut(node) {
                    Some(node) => {
                        node.draining = on;
                        Ok(&[][..])
                    }
                    None => Err(Some(ErrorCode::UnknownNode)),
                };
                assert_eq!(outcome, expected);
            }
            Extension::Stats => {
                let stats: Value = serde_json::from_slice(outcome.expect("stats")).expect("JSON");
                match &connection.place {
                    Place::Member { view, .. } => self.worlds[view].compare(&stats["view"]),
                    Place::Private(model) => model.compare_shown(&stats["view"]),
                    Place::New => {}
                }
            }
            Extension::Ping { payload } => assert_eq!(outcome, Ok(payload)),
        }
    }

    fn cluster<'a>(&'a mut self, connection: &'a mut Connection) -> &'a mut Model {
        match &mut connection.place {
            Place::Member { view, .. } => &mut self.worlds.get_mut(view).expect("it has a member").cluster,
            Place::Private(model) => model,
            Place::New => unreachable!("its first message made it private"),
        }
    }

    fn rules(&self, strict: bool) -> Rules<'static> {
        Rules { strict: strict || self.strict, is_best_fit: self.policy.name() == "best-fit", ..Rules::default() }
    }

    /// Reports a node. Whether the view has room for it.
    fn report(
        &mut self,
        connection: &mut Connection,
        id: NodeId,
        available: Resources<'_>,
        total: Resources<'_>,
    ) -> bool {
        let (available, total) = (amounts(available), amounts(total));
        let cluster = self.cluster(connection);
        if cluster.node(id).is_none() && cluster.nodes().count() >= NODES_MAX {
            return false;
        }
        match &mut connection.place {
            Place::Member { view, .. } => {
                let world = self.worlds.get_mut(view).expect("it has a member");
                world.update(connection.number, id, &available, &total);
            }
            Place::Private(model) => {
                let draining = model.node(id).is_some_and(|node| node.draining);
                let mut node = ModelNode::default();
                (node.available, node.total) = (available.into_iter().collect(), total.into_iter().collect());
                node.draining = draining;
                model.set(id, node);
            }
            Place::New => {}
        }
        true
    }

    fn check_decision(&mut self, connection: &mut Connection, demand: &Demand, node: Option<NodeId>, rules: Rules) {
        if !self.has_units {
            self.cluster(connection).check(demand, node, rules);
        }
    }

    /// Checks a decision and enters it.
    fn place(&mut self, connection: &mut Connection, demand: Demand, node: Option<NodeId>, rules: Rules) {
        self.check_decision(connection, &demand, node, rules);
        let Some(node) = node else { return };
        match &mut connection.place {
            Place::Member { view, owner } => {
                self.worlds.get_mut(view).expect("it has a member").place(*owner, demand, node);
            }
            Place::Private(model) => model.node_mut(node).expect("it is there").place(&demand),
            Place::New => {}
        }
    }

    fn check_many(
        &mut self,
        connection: &mut Connection,
        strategy: Strategy,
        strict: bool,
        demands: Demands<'_>,
        outcome: Result<&[u8], Option<ErrorCode>>,
    ) {
        let demands: Vec<Demand> = demands.map(|demand| demand_of(&amounts(demand))).collect();
        let body = match outcome {
            Ok(body) => body,
            Err(None) => return assert_ne!(strategy, Strategy::Each),
            Err(Some(code)) => panic!("{code:?} to {demands:?}"),
        };
        let nodes: Vec<NodeId> = parse_nodes(body, demands.len()).expect("a node for each").collect();
        let rules = self.rules(strict);
        if strategy == Strategy::Each {
            for (demand, node) in demands.into_iter().zip(nodes) {
                self.place(connection, demand, Some(node).filter(|node| *node != NodeId::NIL), rules);
            }
            return;
        }
        self.cluster(connection).check_gang(&demands, &nodes, strategy, rules.strict);
        for (demand, node) in demands.into_iter().zip(nodes) {
            // The gang as a whole was checked.
            let has_units = std::mem::replace(&mut self.has_units, true);
            self.place(connection, demand, Some(node), rules);
            self.has_units = has_units;
        }
    }

    fn release(
        &mut self,
        connection: &mut Connection,
        id: NodeId,
        demand: &Demand,
        count: u32,
    ) -> Result<&'static [u8], Option<ErrorCode>> {
        if self.cluster(connection).node(id).is_none() {
            return Err(Some(ErrorCode::UnknownNode));
        }
        let held = match &mut connection.place {
            Place::Member { view, owner } => self.worlds[view].count(*owner, id, demand),
            Place::Private(model) => placements_of(model.node(id).expect("it is there"), demand),
            Place::New => 0,
        };
        if held < count as usize {
            return Err(Some(ErrorCode::OverRelease));
        }
        match &mut connection.place {
            Place::Member { view, owner } => {
                let world = self.worlds.get_mut(view).expect("it has a member");
                (0..count).for_each(|_| world.release(*owner, id, demand));
            }
            Place::Private(model) => release_sum(model.node_mut(id).expect("it is there"), demand, count),
            Place::New => {}
        }
        Ok(&[])
    }
}

/// How many placements of a demand there may be in a view where they are not told apart.
fn placements_of(node: &ModelNode, demand: &Demand) -> usize {
    let counts = demand.iter().map(|(name, amount)| node.reserved.get(name).unwrap_or(&0) / amount);
    counts.chain([i64::from(node.queued)]).min().unwrap_or(0) as usize
}

fn release_sum(node: &mut ModelNode, demand: &Demand, count: u32) {
    node.queued -= count;
    for (name, amount) in demand {
        *node.reserved.entry(name.clone()).or_default() -= amount * i64::from(count);
    }
    if node.queued == 0 {
        node.reserved.clear();
    }
}

fn amounts(resources: Resources<'_>) -> Amounts {
    resources.map(|(name, amount)| (String::from_utf8_lossy(name).into_owned(), amount.units())).collect()
}

/// Whether sums of the amounts stay exact, and JSON shows the names as they are.
fn can_be_followed(request: &Request<'_>) -> bool {
    const UNITS_MAX: u64 = 1 << 50;
    let is_plain = |resources: Resources<'_>| {
        resources.into_iter().all(|(name, amount)| {
            amount.units().unsigned_abs() < UNITS_MAX
                && name.iter().all(|byte| (b' '..=b'~').contains(byte) && !b"\\\"'".contains(byte))
        })
    };
    match *request {
        Request::AddNode { resources, .. } => is_plain(resources),
        Request::Schedule { demand } => is_plain(demand),
        Request::Extension(Extension::UpdateNode { available, total, .. }) => {
            is_plain(available) && total.is_none_or(is_plain)
        }
        Request::Extension(Extension::Release { resources, .. }) => is_plain(resources),
        Request::Extension(Extension::ScheduleMany { mut demands, .. }) => demands.all(is_plain),
        Request::Extension(Extension::ScheduleWithHints { demand, .. } | Extension::Explain { demand }) => {
            is_plain(demand)
        }
        _ => true,
    }
}

fn check_refused(error: RequestError, reply: &[u8]) {
    match error {
        RequestError::Extension(error) => assert_error(Answer::parse(reply).expect("it is a reply"), error.code()),
        _ => assert_eq!(reply, [1]),
    }
}

/// The reply to a first message without the token.
fn check_unauthorized(request: &Result<Request<'_>, RequestError>, reply: &[u8]) {
    let answer = Answer::parse(reply).expect("it is a reply");
    match request {
        Ok(Request::Extension(_)) => assert_error(answer, ErrorCode::BadToken),
        Err(RequestError::Extension(_)) => assert!(matches!(answer, Answer::Error { .. })),
        _ => assert_eq!(reply, [1]),
    }
}

fn assert_error(answer: Answer<'_>, code: ErrorCode) {
    assert!(matches!(answer, Answer::Error { number, .. } if number == code.number()), "{answer:?}, not {code:?}");
}
