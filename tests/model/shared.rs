//! Shared views: owners and leases, by all requests, with a clock that the test turns.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use external_scheduler::execute::session::Session;
use external_scheduler::execute::{Answer, SchedulerService, ServiceOptions};
use external_scheduler::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::scheduler::view::ViewOptions;
use external_scheduler::server::service::Service;
use external_scheduler::telemetry::server::ServerTelemetry;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::extension::reply::{self, parse_nodes};
use external_scheduler::wire::extension::{Demands, ErrorCode, Extension, Name, NodeIds, Strategy, append_list};
use external_scheduler::wire::frame::PREFIX_LENGTH;
use external_scheduler::wire::request;
use external_scheduler::wire::resources::{self, Meaning, Resources};
use serde_json::Value;

use super::cluster::{Amounts, Demand, Rules, demand_of, on_wire, random_resources};
use super::world::World;

const LEASE: Duration = Duration::from_secs(10);
const VIEWS: [&str; 2] = ["one", "two"];
const OWNERS: [&str; 4] = ["", "a", "b", "c"];

/// A connection, and what the protocol says that there is of it.
struct Connection {
    session: Session,
    view: usize,
    owner: usize,
}

fn list(amounts: &Amounts) -> Vec<u8> {
    let mut bytes = Vec::new();
    on_wire(amounts).for_each(|(name, amount)| resources::append(&mut bytes, name, amount));
    bytes
}

fn parse(bytes: &[u8], meaning: Meaning) -> Resources<'_> {
    Resources::parse(bytes, meaning).expect("it was written here")
}

/// The service under test and the worlds it should be like.
struct Test {
    random: fastrand::Rng,
    service: SchedulerService,
    telemetry: ServerTelemetry,
    policy: Policy,
    strict: bool,
    /// Whether GPUs are told apart, which the model does not do here: decisions are not checked then.
    has_units: bool,
    now: Instant,
    worlds: [World; VIEWS.len()],
    connections: BTreeMap<usize, Connection>,
    connections_so_far: usize,
    nodes: i64,
}

type Outcome = Result<Vec<u8>, Option<u16>>;

impl Test {
    fn new(policy: &str, nodes: i64, strict: bool, has_units: bool) -> Self {
        let seed = fastrand::u64(..);
        println!("policy {policy}, {nodes} nodes, strict {strict}, units {has_units}, seed {seed}");
        let policy =
            Policy::named(policy, Parameters { seed, ..Parameters::default() }).expect("a policy of that name");
        let unit_resources = if has_units { UnitResources::named(UNIT_RESOURCES) } else { UnitResources::default() };
        let view = ViewOptions { strict, nodes_max: 1_000, policy, unit_resources, ..ViewOptions::default() };
        Self {
            random: fastrand::Rng::with_seed(seed),
            service: SchedulerService::new(ServiceOptions { view, lease: LEASE, token: None }),
            telemetry: ServerTelemetry::default(),
            policy,
            strict,
            has_units,
            now: Instant::now(),
            worlds: Default::default(),
            connections: BTreeMap::new(),
            connections_so_far: 0,
            nodes,
        }
    }

    /// Sends a request. Returns what follows the `0x0`, or the number of the error, or `None` where no node fits.
    fn call(&mut self, connection: usize, request: Extension<'_>) -> Outcome {
        let mut frame = Vec::new();
        request.append(&mut frame);
        let session = &mut self.connections.get_mut(&connection).expect("it is connected").session;
        let (answer, _) = self.service.run(session, &frame[PREFIX_LENGTH..], &self.telemetry);
        let Answer::Extension(frame) = answer else { panic!("{answer:?} to an extension") };
        match reply::Answer::parse(&frame[PREFIX_LENGTH..]).expect("a reply") {
            reply::Answer::Done { body } => Ok(body.to_vec()),
            reply::Answer::NotPlaced(_) => Err(None),
            reply::Answer::Error { number, .. } => Err(Some(number)),
            reply::Answer::Refused => panic!("the refusal of version 1 to an extension"),
        }
    }

    fn connect(&mut self) {
        let (view, name) = (self.random.usize(0..VIEWS.len()), OWNERS[self.random.usize(0..OWNERS.len())]);
        let owner = self.worlds[view].join(name);
        let id = self.connections_so_far;
        self.connections_so_far += 1;
        self.connections.insert(id, Connection { session: self.service.open(), view, owner });
        let [view, owner] = [VIEWS[view], name].map(|name| Name::new(name).expect("a short name"));
        self.call(id, Extension::Hello { view, owner, token: b"" }).expect("a hello is welcome");
    }

    fn disconnect(&mut self, id: usize) {
        let Connection { session, view, owner } = self.connections.remove(&id).expect("it is connected");
        self.service.close(session, self.now);
        self.worlds[view].leave(id, owner, self.now + LEASE);
        self.forget_empty_worlds();
    }

    /// A view that nobody is in and nothing is left of begins anew.
    fn forget_empty_worlds(&mut self) {
        self.worlds.iter_mut().filter(|world| world.is_empty()).for_each(|world| *world = World::default());
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        while self.service.due().is_some_and(|due| due <= self.now) {
            self.service.do_due(self.now);
        }
        self.worlds.iter_mut().for_each(|world| world.expire(self.now));
        self.forget_empty_worlds();
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.random.i64(0..self.nodes))
    }

    fn demand(&mut self) -> Amounts {
        random_resources(&mut self.random, 3, 0)
    }

    fn rules(&self, strict: bool) -> Rules<'static> {
        Rules { strict: strict || self.strict, is_best_fit: self.policy.name() == "best-fit", ..Rules::default() }
    }

    /// Checks and enters what became of a demand.
    fn placed(&mut self, connection: usize, demand: Demand, decision: Option<NodeId>, rules: Rules) {
        let Connection { view, owner, .. } = self.connections[&connection];
        if !self.has_units {
            self.worlds[view].cluster.check(&demand, decision, rules);
        }
        if let Some(node) = decision {
            self.worlds[view].place(owner, demand, node);
        }
    }

    fn update(&mut self, id: usize) {
        let node = self.node();
        let available = random_resources(&mut self.random, 6, i64::MIN);
        let total = if self.random.bool() { random_resources(&mut self.random, 6, i64::MIN) } else { Vec::new() };
        let (available_bytes, total_bytes) = (list(&available), list(&total));
        let request = Extension::UpdateNode {
            node,
            available: parse(&available_bytes, Meaning::Report),
            total: Some(parse(&total_bytes, Meaning::Report)).filter(|_| !total.is_empty()),
        };
        self.call(id, request).expect("an update is done");
        let total = if total.is_empty() { &available } else { &total };
        let view = self.connections[&id].view;
        self.worlds[view].update(id, node, &available, total);
    }

    /// A message of version 1: an add, a remove or a schedule.
    fn version_1(&mut self, id: usize) {
        let (node, view) = (self.node(), self.connections[&id].view);
        let (mut frame, kind) = (Vec::new(), self.random.u8(0..10));
        let report = random_resources(&mut self.random, 6, i64::MIN);
        let demand = self.demand();
        match kind {
            0..3 => request::append_add_node(&mut frame, node, on_wire(&report)),
            3..5 => request::append_remove_node(&mut frame, node),
            _ => request::append_schedule(&mut frame, on_wire(&demand)),
        }
        let session = &mut self.connections.get_mut(&id).expect("it is connected").session;
        let (Answer::Version1(reply), None) = self.service.run(session, &frame[PREFIX_LENGTH..], &self.telemetry)
        else {
            panic!("no reply of version 1")
        };
        match kind {
            0..3 => self.worlds[view].update(id, node, &report, &report),
            3..5 => self.worlds[view].remove(node),
            _ => {
                let frame = reply.to_frame();
                let decision = match &frame.as_bytes()[PREFIX_LENGTH..] {
                    [0, node @ ..] => Some(NodeId(i64::from_le_bytes(node.try_into().expect("a node ID")))),
                    _ => None,
                };
                self.placed(id, demand_of(&demand), decision, self.rules(false));
            }
        }
    }

    fn hints(&mut self, id: usize) {
        let demand = self.demand();
        let bytes = list(&demand);
        let mut some_nodes =
            || (0..self.random.usize(0..4)).map(|_| NodeId(self.random.i64(0..self.nodes))).collect::<Vec<_>>();
        let (preferred, avoided) = (some_nodes(), some_nodes());
        let [preferred_bytes, avoided_bytes] =
            [&preferred, &avoided].map(|nodes| nodes.iter().flat_map(|node| node.0.to_le_bytes()).collect::<Vec<u8>>());
        let (strict, policy) = (self.random.bool(), self.random.u8(0..=DEFINITIONS.len() as u8));
        let is_best_fit = match policy {
            0 => self.policy.name() == "best-fit",
            place => DEFINITIONS[usize::from(place) - 1].name == "best-fit",
        };
        let request = |dry_run| Extension::ScheduleWithHints {
            strict,
            dry_run,
            policy,
            preferred: NodeIds::parse(&preferred_bytes).expect("whole node IDs"),
            avoided: NodeIds::parse(&avoided_bytes).expect("whole node IDs"),
            demand: parse(&bytes, Meaning::Demand),
        };
        // A policy that learns may learn the demand, and then decide otherwise.
        let is_constant = policy > 0 || !self.policy.learns();
        let dry = (is_constant && self.random.bool()).then(|| self.call(id, request(true)));
        let outcome = self.call(id, request(false));
        if let Some(dry) = dry {
            assert_eq!(dry, outcome, "a dry run tells what would be done");
        }
        let rules = Rules { is_best_fit, preferred: &preferred, avoided: &avoided, ..self.rules(strict) };
        let placement = outcome.ok().map(|body| reply::Placement::parse(&body).expect("a placement"));
        let demand = demand_of(&demand);
        if let Some(reply::Placement { node, free }) = placement.filter(|_| !self.has_units) {
            let world = &self.worlds[self.connections[&id].view];
            assert_eq!(world.cluster.node(node).expect("a node that is there").is_free(&demand), free);
        }
        self.placed(id, demand, placement.map(|placement| placement.node), rules);
    }

    fn many(&mut self, id: usize) {
        let strategy = Strategy::ALL[self.random.usize(0..Strategy::ALL.len())];
        let strict = self.random.bool();
        let demands: Vec<Amounts> = (0..self.random.usize(0..5)).map(|_| self.demand()).collect();
        let mut lists = Vec::new();
        demands.iter().for_each(|demand| append_list(&mut lists, parse(&list(demand), Meaning::Demand)));
        let (parsed, _) = Demands::parse(demands.len() as u16, &lists).expect("it was written here");
        let outcome = self.call(id, Extension::ScheduleMany { strategy, strict, demands: parsed });
        let demands: Vec<Demand> = demands.iter().map(demand_of).collect();
        let Connection { view, owner, .. } = self.connections[&id];
        match outcome {
            Ok(body) => {
                let nodes: Vec<NodeId> = parse_nodes(&body, demands.len()).expect("a node for each").collect();
                if strategy == Strategy::Each {
                    for (demand, node) in demands.into_iter().zip(nodes) {
                        self.placed(id, demand, Some(node).filter(|node| *node != NodeId::NIL), self.rules(strict));
                    }
                    return;
                }
                self.worlds[view].cluster.check_gang(&demands, &nodes, strategy, strict || self.strict);
                demands.into_iter().zip(nodes).for_each(|(demand, node)| self.worlds[view].place(owner, demand, node));
            }
            Err(None) => assert_ne!(strategy, Strategy::Each),
            Err(Some(number)) => panic!("error {number}"),
        }
    }

    /// Releases what is held, mostly, or one more, or what somebody else may hold.
    fn release(&mut self, id: usize) {
        let Connection { view, owner, .. } = self.connections[&id];
        let world = &self.worlds[view];
        let (node, demand) = match self.random.usize(0..5) {
            0 => (self.node(), demand_of(&self.demand())),
            _ if world.held.is_empty() => return,
            _ => {
                let held = &world.held[self.random.usize(0..world.held.len())];
                (held.node, held.demand.clone())
            }
        };
        let world = &mut self.worlds[view];
        let (is_there, held) = (world.cluster.node(node).is_some(), world.count(owner, node, &demand));
        let count = self.random.usize(0..=held + 1);
        // An amount of zero is as good as none.
        let bytes = list(
            &demand.iter().map(|(name, &amount)| (name.clone(), amount)).chain([("nothing".to_owned(), 0)]).collect(),
        );
        let request = Extension::Release { node, resources: parse(&bytes, Meaning::Demand), count: count as u32 };
        let expected = match () {
            () if !is_there => Err(Some(ErrorCode::UnknownNode.number())),
            () if held < count => Err(Some(ErrorCode::OverRelease.number())),
            () => Ok(Vec::new()),
        };
        assert_eq!(self.call(id, request), expected, "{count} of {held} on {node}");
        if expected.is_ok() {
            (0..count).for_each(|_| self.worlds[view].release(owner, node, &demand));
        }
    }

    fn drain(&mut self, id: usize) {
        let (node, on) = (self.node(), self.random.bool());
        let world = &mut self.worlds[self.connections[&id].view];
        let expected = match world.cluster.node_mut(node) {
            Some(node) => {
                node.draining = on;
                Ok(Vec::new())
            }
            None => Err(Some(ErrorCode::UnknownNode.number())),
        };
        assert_eq!(self.call(id, Extension::Drain { node, on }), expected);
    }

    /// What is counted by explain, counted again.
    fn explain(&mut self, id: usize) {
        let demand = self.demand();
        let bytes = list(&demand);
        let body =
            self.call(id, Extension::Explain { demand: parse(&bytes, Meaning::Demand) }).expect("an explanation");
        let shown: Value = serde_json::from_slice(&body).expect("JSON");
        let demand = demand_of(&demand);
        let cluster = &self.worlds[self.connections[&id].view].cluster;
        cluster.check_explanation(&shown, &demand, self.strict, self.has_units);
    }

    fn step(&mut self) {
        let ids: Vec<usize> = self.connections.keys().copied().collect();
        let kind = self.random.u8(0..100);
        let Some(&id) = self.random.choice(&ids).filter(|_| kind >= 6) else { return self.connect() };
        match kind {
            6..12 => self.disconnect(id),
            12..20 => {
                let time = Duration::from_millis(self.random.u64(1..=LEASE.as_millis() as u64));
                self.pass(time);
            }
            20..35 => self.update(id),
            35..50 => self.version_1(id),
            50..65 => self.hints(id),
            65..75 => self.many(id),
            75..92 => self.release(id),
            92..96 => self.drain(id),
            _ => self.explain(id),
        }
    }

    fn compare(&mut self) {
        // The stats of a view take a connection in it, and connections know theirs.
        for view in 0..VIEWS.len() {
            let member = self.connections.iter().find(|(_, connection)| connection.view == view).map(|(&id, _)| id);
            let Some(id) = member else { continue };
            let stats = self.call(id, Extension::Stats).expect("stats");
            let stats: Value = serde_json::from_slice(&stats).expect("JSON");
            self.worlds[view].compare(&stats["view"]);
        }
        // It may wake up for what has been put off since.
        if let Some(due) = self.worlds.iter().filter_map(World::due).min() {
            assert!(self.service.due().is_some_and(|wakes| wakes <= due));
        }
    }

    fn drive(mut self, steps: usize) {
        for _ in 0..steps {
            // No two things happen at the same time, so that what becomes due does so in one order.
            self.now += Duration::from_nanos(1);
            self.step();
            self.compare();
        }
        for id in self.connections.keys().copied().collect::<Vec<_>>() {
            self.now += Duration::from_nanos(1);
            self.disconnect(id);
        }
        self.pass(LEASE);
        assert!(self.service.due().is_none() && self.worlds.iter().all(World::is_empty));
    }
}

#[test]
fn a_few_nodes() {
    Test::new("best-fit", 4, false, false).drive(2_500);
}

#[test]
fn nodes_enough_for_columns() {
    Test::new("best-fit", 40, false, false).drive(1_000);
}

#[test]
fn strict() {
    Test::new("best-fit", 12, true, false).drive(1_500);
}

#[test]
fn every_policy() {
    for definition in &DEFINITIONS {
        Test::new(definition.name, 12, false, false).drive(250);
    }
}

#[test]
fn units_leave_the_sums_exact() {
    Test::new("best-fit", 4, false, true).drive(1_000);
    Test::new("binpack", 12, false, true).drive(600);
}
