//! What a simulated Ray client sends, and the books it checks replies against.

use std::collections::{HashSet, VecDeque};

use super::books::{Amounts, CPU, GIB, NodeBooks, NodeNumbers, add, present, shape, subtract};
use super::gang::Gang;
use crate::scheduler::amount::Amount;
use crate::wire::NodeId;
use crate::wire::extension::reply::{Answer, Welcome};
use crate::wire::extension::{Extension, Name};
use crate::wire::frame::PREFIX_LENGTH;
use crate::wire::reply::{self, Reply};
use crate::wire::request;
use crate::wire::resources::{self, Meaning, Resources};

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Schedules alone, on nodes so large that they never fill: what a decision costs.
    Schedule,
    /// What a raylet sends: after each placement the node is removed and added with what is left of it, and once
    /// the cluster is loaded a task ends for each that starts, and its node is removed and added too.
    Ray,
    /// The same, but the node is updated in place, in one message.
    Update,
    /// Many owners place on the nodes of one shared view, and release each placement when its task ends. Each connection
    /// is an owner, and reports its part of the nodes.
    Lifecycle,
    /// Many demands in one message, under each of the strategies, on nodes so large that they never fill.
    Gang,
}

impl Mix {
    /// All mixes.
    pub const ALL: [Mix; 5] = [Self::Schedule, Self::Ray, Self::Update, Self::Lifecycle, Self::Gang];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Ray => "ray",
            Self::Update => "update",
            Self::Lifecycle => "lifecycle",
            Self::Gang => "gang",
        }
    }

    /// Whether all connections share the nodes.
    pub fn is_shared(self) -> bool {
        self == Self::Lifecycle
    }

    fn never_fills(self) -> bool {
        matches!(self, Self::Schedule | Self::Gang)
    }
}

/// The nodes of a gang have room, and the text of an error.
const EXTENSION_REPLY_LENGTH_MAX: usize = 1024;

/// By how much nodes are larger where they must never fill.
const NEVER_FULL: f64 = 1e6;

/// Share of the cluster's CPUs in use before tasks begin to end.
const LOAD: f64 = 0.6;

/// A message on its way, with what the books need to know of it.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Hello,
    Schedule { shape: usize },
    ScheduleMany { gang: Gang },
    Remove { node: usize },
    Add { node: usize, available: Amounts },
    Update { node: usize, available: Amounts },
    Release { node: usize, shape: usize },
}

impl Operation {
    /// Whether it asks for a placement, so that its latency counts.
    #[inline]
    pub fn is_schedule(&self) -> bool {
        matches!(self, Self::Schedule { .. } | Self::ScheduleMany { .. })
    }
}

/// A reply that is not right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrongReply {
    /// Not the kind of reply that the request calls for.
    Kind,
    /// A node that this client has not added, or has removed.
    UnknownNode,
    /// A node on which the demand does not fit, or is not free while it is free on another.
    DoesNotFit,
    /// Refused, although a node is large enough.
    RefusedThoughFeasible,
    /// Nodes of a gang that its strategy forbids.
    BreaksStrategy,
}

/// What a client's workload is made from.
#[derive(Clone, Copy, Debug)]
pub struct WorkloadOptions<'a> {
    pub mix: Mix,
    /// Placements are fixed bytes: any node stands for them.
    pub echo: bool,
    /// Nodes, at least one.
    pub nodes: usize,
    /// Number of different demands, at least one.
    pub shapes: usize,
    /// The same seed gives the same cluster and tasks.
    pub seed: u64,
    /// Which of how many connections it is.
    pub connection: usize,
    pub connections: usize,
    /// Name of the view that connections share, where they do.
    pub view: &'a str,
}

/// One client's cluster, tasks and books.
#[derive(Debug)]
pub struct Workload {
    mix: Mix,
    echo: bool,
    /// Names of the shared view and of the owner.
    names: [String; 2],
    /// Others place on the same nodes, so that what is free there is not known.
    has_others: bool,
    random: fastrand::Rng,
    nodes: Vec<NodeBooks>,
    by_id: NodeNumbers,
    shapes: Vec<Amounts>,
    /// The frame of the schedule of each shape.
    schedules: Vec<Vec<u8>>,
    running: VecDeque<(usize, usize)>,
    cpu_used: Amount,
    cpu_used_max: Amount,
    /// Messages that follow from replies.
    follow_ups: VecDeque<Operation>,
}

impl Workload {
    /// A cluster and its tasks.
    pub fn new(options: WorkloadOptions<'_>) -> Self {
        let WorkloadOptions { mix, connection, connections, .. } = options;
        let own_seed = options.seed.wrapping_add(connection as u64);
        let nodes = cluster(mix, options.nodes, if mix.is_shared() { options.seed } else { own_seed });
        let cpu_total: f64 = nodes.iter().map(|node| node.total[CPU].to_f64()).sum();
        let mut follow_ups = VecDeque::new();
        let (mut first, mut step) = (0, 1);
        if mix.is_shared() {
            follow_ups.push_back(Operation::Hello);
            (first, step) = (connection, connections);
        }
        let own = (first..nodes.len()).step_by(step);
        follow_ups.extend(own.map(|node| Operation::Add { node, available: nodes[node].total }));
        let has_others = mix.is_shared() && connections > 1;
        let shapes: Vec<Amounts> = (0..options.shapes).map(shape).collect();
        let mut workload = Self {
            mix,
            echo: options.echo,
            names: [options.view.to_owned(), format!("owner-{connection}")],
            has_others,
            random: fastrand::Rng::with_seed(own_seed),
            by_id: nodes.iter().enumerate().map(|(number, node)| (node.id, number)).collect(),
            nodes,
            schedules: shapes.iter().map(schedule).collect(),
            shapes,
            running: VecDeque::new(),
            cpu_used: Amount::ZERO,
            cpu_used_max: Amount::from_f64(cpu_total * LOAD / if has_others { connections as f64 } else { 1.0 }),
            follow_ups,
        };
        if has_others {
            // Others report their part of the nodes before any schedule is sent.
            workload.nodes.iter_mut().for_each(|node| node.report(node.total, node.total));
        }
        workload
    }

    /// Length in bytes of the longest message that a server may answer with.
    #[inline]
    pub fn reply_length_max(&self) -> usize {
        match self.mix {
            Mix::Schedule | Mix::Ray => reply::FRAME_LENGTH_MAX - PREFIX_LENGTH,
            Mix::Update | Mix::Lifecycle | Mix::Gang => EXTENSION_REPLY_LENGTH_MAX,
        }
    }

    /// The next message that follows from replies, or from having to report all nodes at the start.
    #[inline]
    pub fn next_follow_up(&mut self) -> Option<Operation> {
        self.follow_ups.pop_front()
    }

    /// A schedule of one of the shapes, or of several, at random.
    #[inline]
    pub fn next_schedule(&mut self) -> Operation {
        if self.mix == Mix::Gang {
            return Operation::ScheduleMany { gang: Gang::random(&mut self.random) };
        }
        Operation::Schedule { shape: self.random.usize(0..self.shapes.len()) }
    }

    /// Appends the frame of a message.
    #[inline]
    pub fn append_frame(&self, operation: &Operation, out: &mut Vec<u8>) {
        match *operation {
            Operation::Schedule { shape } => out.extend_from_slice(&self.schedules[shape]),
            Operation::Remove { node } => request::append_remove_node(out, self.nodes[node].id),
            Operation::Add { node, available } => {
                let NodeBooks { id, address, .. } = &self.nodes[node];
                let address = (address.as_slice(), Amount::from_f64(1.0));
                request::append_add_node(out, *id, present(&available).chain([address]));
            }
            Operation::Hello => {
                let [view, owner] =
                    self.names.each_ref().map(|name| Name::new(name).expect("they are short and plain"));
                Extension::Hello { view, owner, token: b"" }.append(out);
            }
            Operation::Update { node, available } => {
                let NodeBooks { id, address, total, .. } = &self.nodes[node];
                let [available, total] = [&available, total].map(|amounts| list(amounts, Some(address)));
                let [available, total] = [&available, &total].map(|list| parsed(list, Meaning::Report));
                Extension::UpdateNode { node: *id, available, total: Some(total) }.append(out);
            }
            Operation::Release { node, shape } => {
                let list = list(&self.shapes[shape], None);
                let resources = parsed(&list, Meaning::Demand);
                Extension::Release { node: self.nodes[node].id, resources, count: 1 }.append(out);
            }
            Operation::ScheduleMany { gang } => gang.append(&self.shapes, out),
        }
    }

    /// Checks the message of a reply and enters it in the books. Replies come in the order of their requests, so
    /// that the books are in the state in which the server was when it answered.
    #[inline]
    pub fn check(&mut self, operation: &Operation, message: &[u8]) -> Result<(), WrongReply> {
        match (*operation, Reply::parse(message)) {
            (Operation::Schedule { shape }, Some(Reply::Placed { node })) => self.check_placement(shape, node),
            (Operation::Schedule { shape }, Some(Reply::Refused)) => {
                let demand = &self.shapes[shape];
                match self.nodes.iter().any(|node| node.is_feasible(demand)) {
                    true => Err(WrongReply::RefusedThoughFeasible),
                    false => Ok(()),
                }
            }
            (Operation::Remove { node }, Some(Reply::Done)) => {
                self.nodes[node].reported = None;
                Ok(())
            }
            (Operation::Add { node, available }, Some(Reply::Done)) => {
                self.nodes[node].report(available, available);
                Ok(())
            }
            (Operation::Update { node, available }, Some(Reply::Done)) => {
                let total = self.nodes[node].total;
                self.nodes[node].report(available, total);
                Ok(())
            }
            (Operation::Release { node, shape }, Some(Reply::Done)) => {
                subtract(&mut self.nodes[node].reserved, &self.shapes[shape]);
                Ok(())
            }
            (Operation::Hello, Some(Reply::Done)) if self.echo => Ok(()),
            (Operation::Hello, _) => match Answer::parse(message) {
                Some(Answer::Done { body }) if Welcome::parse(body).is_some() => Ok(()),
                _ => Err(WrongReply::Kind),
            },
            (Operation::ScheduleMany { gang }, _) => {
                gang.check(message, &self.shapes, &mut self.nodes, if self.echo { None } else { Some(&self.by_id) })
            }
            _ => Err(WrongReply::Kind),
        }
    }

    fn check_placement(&mut self, shape: usize, id: NodeId) -> Result<(), WrongReply> {
        let demand = self.shapes[shape];
        let number = if self.echo {
            self.random.usize(0..self.nodes.len())
        } else {
            let &number = self.by_id.get(&id).ok_or(WrongReply::UnknownNode)?;
            self.check_fit(number, &demand)?;
            number
        };
        let node = &mut self.nodes[number];
        add(&mut node.reserved, &demand);
        if self.mix != Mix::Schedule {
            self.start(number, shape);
        }
        Ok(())
    }

    fn check_fit(&self, number: usize, demand: &Amounts) -> Result<(), WrongReply> {
        let node = &self.nodes[number];
        if node.reported.is_none() {
            Err(WrongReply::UnknownNode)
        } else if node.is_free(demand) || self.has_others && node.is_feasible(demand) {
            Ok(())
        } else if !node.is_feasible(demand) || self.nodes.iter().any(|other| other.is_free(demand)) {
            Err(WrongReply::DoesNotFit)
        } else {
            Ok(())
        }
    }

    /// Starts a task, ends older ones where the cluster is loaded, and tells the server what has changed.
    fn start(&mut self, number: usize, shape: usize) {
        let demand = self.shapes[shape];
        add(&mut self.nodes[number].used, &demand);
        self.cpu_used = self.cpu_used.saturating_add(demand[CPU]);
        self.running.push_back((number, shape));
        if self.mix != Mix::Lifecycle {
            self.report_again(number);
        }
        while self.cpu_used > self.cpu_used_max
            && let Some((ended, shape)) = self.running.pop_front()
        {
            let demand = self.shapes[shape];
            subtract(&mut self.nodes[ended].used, &demand);
            self.cpu_used = self.cpu_used.saturating_sub(demand[CPU]);
            if self.mix == Mix::Lifecycle {
                self.follow_ups.push_back(Operation::Release { node: ended, shape });
            } else {
                self.report_again(ended);
            }
        }
    }

    fn report_again(&mut self, number: usize) {
        let node = &self.nodes[number];
        let mut available = node.total;
        subtract(&mut available, &node.used);
        // Tasks that were placed before the server heard of others may be more than fit, and wait.
        available.iter_mut().for_each(|amount| *amount = (*amount).max(Amount::ZERO));
        if self.mix == Mix::Update {
            self.follow_ups.push_back(Operation::Update { node: number, available });
        } else {
            self.follow_ups.extend([Operation::Remove { node: number }, Operation::Add { node: number, available }]);
        }
    }
}

/// The frame that asks for a demand.
fn schedule(demand: &Amounts) -> Vec<u8> {
    let mut frame = Vec::new();
    request::append_schedule(&mut frame, present(demand));
    frame
}

/// Nodes of different sizes. The same seed gives the same.
fn cluster(mix: Mix, nodes: usize, seed: u64) -> Vec<NodeBooks> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ids = HashSet::new();
    let mut books = Vec::with_capacity(nodes);
    let scale = if mix.never_fills() { NEVER_FULL } else { 1.0 };
    while books.len() < nodes {
        let id = NodeId(random.i64(..));
        if id == NodeId::NIL || !ids.insert(id) {
            continue;
        }
        let number = books.len();
        let cpus = *random.choice(&[16.0, 32.0, 64.0, 96.0]).unwrap_or(&16.0);
        let gpus = if random.u8(0..4) == 0 { 8.0 } else { 0.0 };
        let total = [cpus, gpus, 4.0 * cpus * GIB, cpus * GIB].map(|value| Amount::from_f64(value * scale));
        books.push(NodeBooks {
            id,
            address: format!("node:10.{}.{}.{}", number >> 16 & 255, number >> 8 & 255, number & 255).into(),
            total,
            used: Amounts::default(),
            reported: None,
            reserved: Amounts::default(),
        });
    }
    books
}

/// The bytes of a list of resources; a node's has its address too.
pub fn list(amounts: &Amounts, address: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let address = address.map(|address| (address, Amount::from_f64(1.0)));
    present(amounts).chain(address).for_each(|(key, amount)| resources::append(&mut bytes, key, amount));
    bytes
}

/// Resources whose bytes were written here.
pub fn parsed(list: &[u8], meaning: Meaning) -> Resources<'_> {
    Resources::parse(list, meaning).expect("names and amounts are plain")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(mix: Mix, nodes: usize, connection: usize, connections: usize) -> Workload {
        Workload::new(WorkloadOptions {
            mix,
            echo: false,
            nodes,
            shapes: 8,
            seed: 1,
            connection,
            connections,
            view: "v",
        })
    }

    fn check(workload: &mut Workload, operation: &Operation, reply: Reply) -> Result<(), WrongReply> {
        workload.check(operation, &reply.to_frame().as_bytes()[PREFIX_LENGTH..])
    }

    fn start(mix: Mix, nodes: usize) -> Workload {
        let mut workload = new(mix, nodes, 0, 1);
        while let Some(add) = workload.next_follow_up() {
            let expected = if matches!(add, Operation::Hello) { Err(WrongReply::Kind) } else { Ok(()) };
            assert_eq!(check(&mut workload, &add, Reply::Done), expected);
        }
        workload
    }

    const ANY: Operation = Operation::Schedule { shape: 0 };

    #[test]
    fn wrong_replies_are_told_apart() {
        let mut workload = start(Mix::Schedule, 2);
        let id = workload.nodes[0].id;
        let cases = [
            (Reply::Done, WrongReply::Kind),
            (Reply::Refused, WrongReply::RefusedThoughFeasible),
            (Reply::Placed { node: NodeId(id.0 ^ 1) }, WrongReply::UnknownNode),
        ];
        for (reply, wrong) in cases {
            assert_eq!(check(&mut workload, &ANY, reply), Err(wrong));
        }
        assert_eq!(workload.check(&ANY, b"\x02"), Err(WrongReply::Kind));
        assert_eq!(check(&mut workload, &ANY, Reply::Placed { node: id }), Ok(()));
        check(&mut workload, &Operation::Remove { node: 0 }, Reply::Done).unwrap();
        assert_eq!(check(&mut workload, &ANY, Reply::Placed { node: id }), Err(WrongReply::UnknownNode));
    }

    #[test]
    fn a_node_that_is_not_free_is_right_only_while_none_is() {
        let mut workload = start(Mix::Schedule, 2);
        let [first, second] = [0, 1].map(|node| Reply::Placed { node: workload.nodes[node].id });
        let one_cpu = [Amount::from_f64(1.0), Amount::ZERO, Amount::ZERO, Amount::ZERO];
        for node in [0, 1] {
            check(&mut workload, &Operation::Add { node, available: one_cpu }, Reply::Done).unwrap();
        }
        assert_eq!(check(&mut workload, &ANY, first), Ok(()));
        assert_eq!(check(&mut workload, &ANY, first), Err(WrongReply::DoesNotFit));
        assert_eq!(check(&mut workload, &ANY, second), Ok(()));
        assert_eq!(check(&mut workload, &ANY, first), Ok(()));
        let two_cpus = Operation::Schedule { shape: 1 };
        assert_eq!(check(&mut workload, &two_cpus, first), Err(WrongReply::DoesNotFit));
        assert_eq!(check(&mut workload, &two_cpus, Reply::Refused), Ok(()));
    }

    #[test]
    fn a_placement_in_the_ray_mix_reports_its_node_again() {
        let mut workload = start(Mix::Ray, 1);
        let reply = Reply::Placed { node: workload.nodes[0].id };
        check(&mut workload, &ANY, reply).unwrap();
        assert!(matches!(workload.next_follow_up(), Some(Operation::Remove { node: 0 })));
        let Some(Operation::Add { node: 0, available }) = workload.next_follow_up() else { panic!("no add") };
        let left = workload.nodes[0].total[CPU].saturating_sub(Amount::from_f64(1.0));
        assert_eq!(available[CPU], left);
        assert!(workload.next_follow_up().is_none());
    }

    #[test]
    fn a_node_with_more_tasks_than_fit_has_nothing_available() {
        let mut workload = start(Mix::Ray, 1);
        let (node, total) = (workload.nodes[0].id, workload.nodes[0].total);
        // No task ends, and the server places one after the other there before it hears of any.
        workload.cpu_used_max = total[CPU].times(2);
        let mut available = total;
        while workload.nodes[0].used[CPU] <= total[CPU] {
            workload.nodes[0].report(total, total);
            check(&mut workload, &ANY, Reply::Placed { node }).unwrap();
            workload.next_follow_up();
            let Some(Operation::Add { available: left, .. }) = workload.next_follow_up() else { panic!("no add") };
            available = left;
        }
        assert_eq!(available[CPU], Amount::ZERO);
    }

    #[test]
    fn a_placement_in_the_update_mix_updates_its_node() {
        let mut workload = start(Mix::Update, 1);
        let reply = Reply::Placed { node: workload.nodes[0].id };
        check(&mut workload, &ANY, reply).unwrap();
        let Some(update @ Operation::Update { node: 0, available }) = workload.next_follow_up() else { panic!("none") };
        let total = workload.nodes[0].total;
        assert_eq!(available[CPU], total[CPU].saturating_sub(Amount::from_f64(1.0)));
        check(&mut workload, &update, Reply::Done).unwrap();
        // What is used is no longer free, but the node is as large as it was.
        assert!(workload.nodes[0].is_feasible(&total) && !workload.nodes[0].is_free(&total));
        assert!(workload.next_follow_up().is_none());
    }

    #[test]
    fn a_task_that_ends_in_the_lifecycle_mix_is_released() {
        let mut workload = start(Mix::Lifecycle, 1);
        let reply = Reply::Placed { node: workload.nodes[0].id };
        let mut placed = 0;
        let release = loop {
            check(&mut workload, &ANY, reply).unwrap();
            placed += 1;
            if let Some(operation) = workload.next_follow_up() {
                break operation;
            }
        };
        assert!(matches!(release, Operation::Release { node: 0, shape: 0 }), "{release:?}");
        check(&mut workload, &release, Reply::Done).unwrap();
        assert_eq!(workload.nodes[0].reserved[CPU], Amount::from_f64(f64::from(placed - 1)));
    }

    #[test]
    fn connections_share_the_nodes_of_the_lifecycle_mix() {
        let mut reported = Vec::new();
        for connection in 0..3 {
            let mut workload = new(Mix::Lifecycle, 7, connection, 3);
            assert!(matches!(workload.next_follow_up(), Some(Operation::Hello)));
            while let Some(Operation::Add { node, .. }) = workload.next_follow_up() {
                reported.push((node, workload.nodes[node].id.0));
            }
        }
        reported.sort_unstable();
        let nodes = new(Mix::Lifecycle, 7, 0, 3).nodes;
        assert_eq!(reported, nodes.iter().enumerate().map(|(node, books)| (node, books.id.0)).collect::<Vec<_>>());
    }
}
