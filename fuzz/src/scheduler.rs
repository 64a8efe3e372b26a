//! The scheduler by well-formed requests, which are chosen by the input, so that it is not spent on getting frames right.

use external_scheduler::scheduler::amount::Amount;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::extension::{Demands, Extension, Name, NodeIds, Strategy, append_list};
use external_scheduler::wire::request;
use external_scheduler::wire::resources::{self, Meaning, Resources};

use super::checked::Checked;

const NAMES: [&str; 6] = ["CPU", "GPU", "memory", "node:a", "fpga", "CPU_group_0"];
const VIEWS: [&str; 3] = ["", "one", "two"];
const OWNERS: [&str; 3] = ["", "a", "b"];

/// Amounts that fit exactly, nearly, or not at all.
const AMOUNTS: [f64; 16] = [0.0, 1.0, 2.0, 3.0, 4.0, 8.0, 16.0, 0.5, 0.25, 0.1, 0.0001, 1.5, 2.0001, 1e9, 6.4e10, 1e12];

/// The first two bytes are the [`Checked::new`] ones, all others are requests.
pub fn check(bytes: &[u8]) {
    let [policy, options, rest @ ..] = bytes else { return };
    let mut checked = Checked::new(*policy, *options);
    let mut input = Input(rest);
    while !input.0.is_empty() {
        let connection = input.below(4);
        let mut frame = Vec::new();
        match input.below(14) {
            0 => checked.end(connection),
            1 => checked.pass_half_a_lease(),
            kind => append(&mut frame, kind, &mut input),
        }
        checked.send(connection, &frame);
    }
    checked.finish();
}

/// What is left of the input. When nothing is, everything is 0.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.below(10) as i64)
    }

    fn nodes(&mut self) -> Vec<[u8; NodeId::LENGTH]> {
        (0..self.below(4)).map(|_| self.node().0.to_le_bytes()).collect()
    }

    /// A list of resources, a byte each.
    fn list(&mut self, meaning: Meaning) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..self.below(4) {
            let (name, amount) = (NAMES[self.below(NAMES.len())], self.byte());
            let sign = if amount > 0xf0 && meaning == Meaning::Report { -1.0 } else { 1.0 };
            resources::append(&mut bytes, name.as_bytes(), Amount::from_f64(sign * AMOUNTS[usize::from(amount) % 16]));
        }
        bytes
    }
}

fn parse(bytes: &[u8], meaning: Meaning) -> Resources<'_> {
    Resources::parse(bytes, meaning).expect("it was written here")
}

fn append(frame: &mut Vec<u8>, kind: usize, input: &mut Input<'_>) {
    let node = input.node();
    match kind {
        2 => request::append_add_node(frame, node, parse(&input.list(Meaning::Report), Meaning::Report)),
        3 => request::append_remove_node(frame, node),
        4 | 5 => request::append_schedule(frame, parse(&input.list(Meaning::Demand), Meaning::Demand)),
        6 => {
            let [view, owner] = [VIEWS[input.below(VIEWS.len())], OWNERS[input.below(OWNERS.len())]];
            let [view, owner] = [view, owner].map(|name| Name::new(name).expect("a short name"));
            Extension::Hello { view, owner, token: if input.flag() { super::checked::TOKEN } else { b"" } }
                .append(frame);
        }
        7 => {
            let (available, total) = (input.list(Meaning::Report), input.list(Meaning::Report));
            let available = parse(&available, Meaning::Report);
            Extension::UpdateNode { node, available, total: Some(parse(&total, Meaning::Report)) }.append(frame);
        }
        8 => {
            let (list, count) = (input.list(Meaning::Demand), input.below(4) as u32);
            Extension::Release { node, resources: parse(&list, Meaning::Demand), count }.append(frame);
        }
        9 => {
            let (strategy, strict) = (Strategy::ALL[input.below(Strategy::ALL.len())], input.flag());
            let (mut lists, count) = (Vec::new(), input.below(5));
            for _ in 0..count {
                append_list(&mut lists, parse(&input.list(Meaning::Demand), Meaning::Demand));
            }
            let (demands, _) = Demands::parse(count as u16, &lists).expect("it was written here");
            Extension::ScheduleMany { strategy, strict, demands }.append(frame);
        }
        10 => {
            let (strict, dry_run, policy) = (input.flag(), input.flag(), input.below(14) as u8);
            let (preferred, avoided, demand) = (input.nodes(), input.nodes(), input.list(Meaning::Demand));
            let [preferred, avoided] = [&preferred, &avoided].map(|nodes| NodeIds::from_chunks(nodes));
            let demand = parse(&demand, Meaning::Demand);
            Extension::ScheduleWithHints { strict, dry_run, policy, preferred, avoided, demand }.append(frame);
        }
        11 => Extension::Explain { demand: parse(&input.list(Meaning::Demand), Meaning::Demand) }.append(frame),
        12 => Extension::Drain { node, on: input.flag() }.append(frame),
        _ => Extension::Stats.append(frame),
    }
}
