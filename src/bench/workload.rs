//! What a simulated Ray client sends, and the books it checks replies against.

use std::collections::{HashMap, VecDeque};

use crate::scheduler::amount::Amount;
use crate::wire::NodeId;
use crate::wire::reply::Reply;
use crate::wire::request;

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Schedules alone, on nodes so large that they never fill: what a decision costs.
    Schedule,
    /// What a raylet sends: after each placement the node is removed and added with what is left of it, and once
    /// the cluster is loaded a task ends for each that starts, and its node is removed and added too.
    Ray,
}

impl Mix {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Schedule => "schedule",
            Self::Ray => "ray",
        }
    }
}

/// Resources that demands and nodes differ in. Nodes have one more, named after their address.
const NAMES: [&[u8]; RESOURCES] = [b"CPU", b"GPU", b"memory", b"object_store_memory"];
const RESOURCES: usize = 4;
const CPU: usize = 0;

type Amounts = [Amount; RESOURCES];

const MIB: f64 = (1 << 20) as f64;
const GIB: f64 = 1024.0 * MIB;

/// By how much nodes are larger where they must never fill.
const NEVER_FULL: f64 = 1e6;

/// Share of the cluster's CPUs in use before tasks begin to end.
const LOAD: f64 = 0.6;

/// A message on its way, with what the books need to know of it.
#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Schedule { shape: usize },
    Remove { node: usize },
    Add { node: usize, available: Amounts },
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
}

#[derive(Debug)]
struct NodeBooks {
    id: NodeId,
    address: Vec<u8>,
    total: Amounts,
    /// What runs there.
    used: Amounts,
    /// What the server was told last, if the node is there.
    reported: Option<Amounts>,
    /// Placements that the server has answered since.
    reserved: Amounts,
}

impl NodeBooks {
    fn is_feasible(&self, demand: &Amounts) -> bool {
        self.reported.is_some_and(|reported| (0..RESOURCES).all(|k| reported[k] >= demand[k]))
    }

    fn is_free(&self, demand: &Amounts) -> bool {
        self.reported.is_some_and(|reported| {
            (0..RESOURCES)
                .all(|k| demand[k] == Amount::ZERO || reported[k].saturating_sub(self.reserved[k]) >= demand[k])
        })
    }
}

/// One client's cluster, tasks and books.
#[derive(Debug)]
pub struct Workload {
    mix: Mix,
    /// Placements are fixed bytes: any node stands for them.
    echo: bool,
    random: fastrand::Rng,
    nodes: Vec<NodeBooks>,
    by_id: HashMap<NodeId, usize>,
    shapes: Vec<Amounts>,
    running: VecDeque<(usize, usize)>,
    cpu_used: Amount,
    cpu_used_max: Amount,
    /// Messages that follow from replies.
    follow_ups: VecDeque<Operation>,
}

impl Workload {
    /// A cluster of `nodes` nodes, at least one, and tasks of `shapes` different demands. The same seed gives the same.
    pub fn new(mix: Mix, echo: bool, nodes: usize, shapes: usize, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut by_id = HashMap::new();
        let mut books = Vec::with_capacity(nodes);
        let scale = if mix == Mix::Schedule { NEVER_FULL } else { 1.0 };
        while books.len() < nodes {
            let id = NodeId(random.i64(..));
            if id == NodeId::NIL || by_id.contains_key(&id) {
                continue;
            }
            let number = books.len();
            by_id.insert(id, number);
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
        let cpu_total: f64 = books.iter().map(|node| node.total[CPU].to_f64()).sum();
        Self {
            mix,
            echo,
            random,
            follow_ups: (0..nodes).map(|node| Operation::Add { node, available: books[node].total }).collect(),
            nodes: books,
            by_id,
            shapes: (0..shapes).map(shape).collect(),
            running: VecDeque::new(),
            cpu_used: Amount::ZERO,
            cpu_used_max: Amount::from_f64(cpu_total * LOAD),
        }
    }

    /// The next message that follows from replies, or from having to report all nodes at the start.
    #[inline]
    pub fn next_follow_up(&mut self) -> Option<Operation> {
        self.follow_ups.pop_front()
    }

    /// A schedule of one of the shapes, at random.
    #[inline]
    pub fn next_schedule(&mut self) -> Operation {
        Operation::Schedule { shape: self.random.usize(0..self.shapes.len()) }
    }

    /// Appends the frame of a message.
    #[inline]
    pub fn append_frame(&self, operation: &Operation, out: &mut Vec<u8>) {
        match *operation {
            Operation::Schedule { shape } => request::append_schedule(out, present(&self.shapes[shape])),
            Operation::Remove { node } => request::append_remove_node(out, self.nodes[node].id),
            Operation::Add { node, available } => {
                let NodeBooks { id, address, .. } = &self.nodes[node];
                let address = (address.as_slice(), Amount::from_f64(1.0));
                request::append_add_node(out, *id, present(&available).chain([address]));
            }
        }
    }

    /// Checks the reply to a message and enters it in the books. Replies come in the order of their requests, so
    /// that the books are in the state in which the server was when it answered.
    #[inline]
    pub fn check(&mut self, operation: &Operation, reply: Option<Reply>) -> Result<(), WrongReply> {
        match (*operation, reply) {
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
                self.nodes[node].reported = Some(available);
                self.nodes[node].reserved = Amounts::default();
                Ok(())
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
        if self.mix == Mix::Ray {
            self.start(number, shape);
        }
        Ok(())
    }

    fn check_fit(&self, number: usize, demand: &Amounts) -> Result<(), WrongReply> {
        let node = &self.nodes[number];
        if node.reported.is_none() {
            Err(WrongReply::UnknownNode)
        } else if node.is_free(demand) {
            Ok(())
        } else if !node.is_feasible(demand) || self.nodes.iter().any(|other| other.is_free(demand)) {
            Err(WrongReply::DoesNotFit)
        } else {
            Ok(())
        }
    }

    /// Starts a task, ends older ones where the cluster is loaded, and reports the nodes that changed.
    fn start(&mut self, number: usize, shape: usize) {
        let demand = self.shapes[shape];
        add(&mut self.nodes[number].used, &demand);
        self.cpu_used = self.cpu_used.saturating_add(demand[CPU]);
        self.running.push_back((number, shape));
        self.report_again(number);
        while self.cpu_used > self.cpu_used_max
            && let Some((ended, shape)) = self.running.pop_front()
        {
            let demand = self.shapes[shape];
            subtract(&mut self.nodes[ended].used, &demand);
            self.cpu_used = self.cpu_used.saturating_sub(demand[CPU]);
            self.report_again(ended);
        }
    }

    fn report_again(&mut self, number: usize) {
        let node = &self.nodes[number];
        let mut available = node.total;
        subtract(&mut available, &node.used);
        self.follow_ups.extend([Operation::Remove { node: number }, Operation::Add { node: number, available }]);
    }
}

/// The `i`-th kind of task. All differ, and one in eight asks for a GPU.
fn shape(i: usize) -> Amounts {
    let cpus = [1.0, 2.0, 0.5, 4.0][i % 4];
    let gpus = if i % 8 == 7 { 1.0 } else { 0.0 };
    [cpus, gpus, (i / 4) as f64 * MIB, 0.0].map(Amount::from_f64)
}

/// The resources with an amount that is not zero: Ray leaves out what is used up or not asked for.
fn present<'k>(amounts: &Amounts) -> impl Iterator<Item = (&'k [u8], Amount)> + use<'k> {
    NAMES.into_iter().zip(*amounts).filter(|(_, amount)| *amount != Amount::ZERO)
}

fn add(to: &mut Amounts, demand: &Amounts) {
    to.iter_mut().zip(demand).for_each(|(to, amount)| *to = to.saturating_add(*amount));
}

fn subtract(from: &mut Amounts, demand: &Amounts) {
    from.iter_mut().zip(demand).for_each(|(from, amount)| *from = from.saturating_sub(*amount));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(mix: Mix, nodes: usize) -> Workload {
        let mut workload = Workload::new(mix, false, nodes, 8, 1);
        while let Some(add) = workload.next_follow_up() {
            assert_eq!(workload.check(&add, Some(Reply::Done)), Ok(()));
        }
        workload
    }

    const ANY: Operation = Operation::Schedule { shape: 0 };

    #[test]
    fn wrong_replies_are_told_apart() {
        let mut workload = start(Mix::Schedule, 2);
        let id = workload.nodes[0].id;
        let cases = [
            (None, WrongReply::Kind),
            (Some(Reply::Done), WrongReply::Kind),
            (Some(Reply::Refused), WrongReply::RefusedThoughFeasible),
            (Some(Reply::Placed { node: NodeId(id.0 ^ 1) }), WrongReply::UnknownNode),
        ];
        for (reply, wrong) in cases {
            assert_eq!(workload.check(&ANY, reply), Err(wrong));
        }
        assert_eq!(workload.check(&ANY, Some(Reply::Placed { node: id })), Ok(()));
        workload.check(&Operation::Remove { node: 0 }, Some(Reply::Done)).unwrap();
        assert_eq!(workload.check(&ANY, Some(Reply::Placed { node: id })), Err(WrongReply::UnknownNode));
    }

    #[test]
    fn a_node_that_is_not_free_is_right_only_while_none_is() {
        let mut workload = start(Mix::Schedule, 2);
        let [first, second] = [0, 1].map(|node| Reply::Placed { node: workload.nodes[node].id });
        let one_cpu = [Amount::from_f64(1.0), Amount::ZERO, Amount::ZERO, Amount::ZERO];
        for node in [0, 1] {
            workload.check(&Operation::Add { node, available: one_cpu }, Some(Reply::Done)).unwrap();
        }
        assert_eq!(workload.check(&ANY, Some(first)), Ok(()));
        assert_eq!(workload.check(&ANY, Some(first)), Err(WrongReply::DoesNotFit));
        assert_eq!(workload.check(&ANY, Some(second)), Ok(()));
        assert_eq!(workload.check(&ANY, Some(first)), Ok(()));
        let two_cpus = Operation::Schedule { shape: 1 };
        assert_eq!(workload.check(&two_cpus, Some(first)), Err(WrongReply::DoesNotFit));
        assert_eq!(workload.check(&two_cpus, Some(Reply::Refused)), Ok(()));
    }

    #[test]
    fn a_placement_in_the_ray_mix_reports_its_node_again() {
        let mut workload = start(Mix::Ray, 1);
        let reply = Reply::Placed { node: workload.nodes[0].id };
        workload.check(&ANY, Some(reply)).unwrap();
        assert!(matches!(workload.next_follow_up(), Some(Operation::Remove { node: 0 })));
        let Some(Operation::Add { node: 0, available }) = workload.next_follow_up() else { panic!("no add") };
        let left = workload.nodes[0].total[CPU].saturating_sub(Amount::from_f64(1.0));
        assert_eq!(available[CPU], left);
        assert!(workload.next_follow_up().is_none());
    }

    #[test]
    fn shapes_differ() {
        let shapes: Vec<Amounts> = (0..256).map(shape).collect();
        assert!((1..256).all(|i| !shapes[..i].contains(&shapes[i])));
    }
}
