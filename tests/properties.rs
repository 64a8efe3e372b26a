//! Properties that hold for any input: frames in any pieces, and replies in JSON whatever was reported.

use external_scheduler::execute::session::Session;
use external_scheduler::execute::{Answer, LEASE, SchedulerService, ServiceOptions};
use external_scheduler::replay::churn::Churn;
use external_scheduler::replay::csv_table::CsvFile;
use external_scheduler::replay::fill::{Fill, Order};
use external_scheduler::replay::queue::Queue;
use external_scheduler::replay::report::Report;
use external_scheduler::replay::run::Plan;
use external_scheduler::replay::trace::Trace;
use external_scheduler::ring::{Pool, Ring};
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use external_scheduler::scheduler::units::{UNIT_RESOURCES, UnitResources};
use external_scheduler::scheduler::view::ViewOptions;
use external_scheduler::telemetry::server::ServerTelemetry;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::extension::Extension;
use external_scheduler::wire::extension::reply::Answer as Parsed;
use external_scheduler::wire::frame::{self, Frame, PREFIX_LENGTH};
use external_scheduler::wire::request;
use external_scheduler::wire::resources::{self, Meaning, Resources};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

const LENGTH_MAX: usize = 1000;

/// A list of resources with any names and amounts.
fn list(least: f64) -> impl Strategy<Value = Vec<u8>> {
    let name = prop_oneof![
        4 => prop_oneof!["CPU", "GPU", "memory"].prop_map(String::into_bytes),
        1 => vec(1..=u8::MAX, 1..30),
    ];
    let amount = prop_oneof![4 => 0.0..10.0, 1 => least..f64::MAX];
    vec((name, amount), 0..5).prop_map(|entries| {
        let mut bytes = Vec::new();
        entries.iter().for_each(|(name, amount)| resources::append(&mut bytes, name, Amount::from_f64(*amount)));
        bytes
    })
}

fn service(policy: usize, strict: bool) -> SchedulerService {
    let policy = Policy::at(policy, Parameters::default()).expect("a policy");
    let view = ViewOptions { strict, policy, ..ViewOptions::default() };
    SchedulerService::new(ServiceOptions { view, lease: LEASE, token: None })
}

/// Lines of fields that a file of nodes or tasks may have: most make sense, some do not.
fn lines(columns: usize) -> impl Strategy<Value = String> {
    let amount = prop_oneof![
        60 => (0..40_u32).prop_map(|quarters| (f64::from(quarters) / 4.0).to_string()),
        1 => prop_oneof!["0.0001", "9.2e14", "1e15", "-1", "NaN", "", "\"", "x", "1,1", "\0", "\n", "µ"],
    ];
    vec(vec(amount, columns), 0..12).prop_map(|lines| lines.iter().map(|line| line.join(",") + "\n").collect())
}

/// Runs every test of a replay as far as it makes sense, and shows what came out.
fn replay(nodes: &str, tasks: &str) {
    let Ok(trace) = Trace::read(&CsvFile::new("nodes.csv", nodes), &CsvFile::new("tasks.csv", tasks)) else { return };
    let Some(scarcest) = trace.scarcest() else { return };
    let is_short = trace.capacity[scarcest] < 100 * trace.asked[scarcest];
    let fill = is_short.then(|| Fill::new(&trace, scarcest, Order::Shuffle, 1.3).ok()).flatten();
    let churn = Some(Churn { scarcest, load: 0.9, warmup: 10, measured: 50 });
    let queue = Queue::new(&trace);
    let unit_resources = UnitResources::named(UNIT_RESOURCES);
    let plan = Plan { seeds: 1..=2, unit_resources, fill, churn, queue };
    let results = plan.run(&trace, &["binpack", "fragmentation", "random"], Parameters::default(), &mut |_| ());
    let report = Report { trace: &trace, scarcest, plan: &plan, results: &results };
    let text = report.table() + &report.json().to_string();
    assert!(!text.contains("NaN") && !text.contains("inf "), "{text}");
    for result in &results {
        if let Some(queue) = &result.queue {
            let ended = queue.placed.mean().unwrap_or(0.0) + queue.infeasible.mean().unwrap_or(0.0);
            assert_eq!(ended, trace.tasks.len() as f64, "every task runs or never can");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_are_the_same_in_any_pieces(
        messages in vec(vec(any::<u8>(), 0..LENGTH_MAX), 0..20),
        pieces in vec(1..200usize, 1..20),
    ) {
        let stream: Vec<u8> =
            messages.iter().flat_map(|message| [&frame::prefix(message.len())[..], message].concat()).collect();
        let (mut pool, mut ring, mut received) = (Pool::default(), Ring::default(), Vec::new());
        let (mut rest, mut lengths) = (&stream[..], pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*lengths.next().expect("there is a length")));
            ring.append(piece, &mut pool).unwrap();
            rest = after;
            while let Frame::Complete { message, consumed } = frame::split(ring.waiting(), LENGTH_MAX).unwrap() {
                received.push(message.to_vec());
                ring.consume(consumed);
            }
        }
        prop_assert!(ring.is_empty());
        prop_assert_eq!(received, messages);
    }

    #[test]
    fn explain_and_stats_are_json_whatever_is_reported(
        nodes in vec((0..4i64, list(f64::MIN), list(f64::MIN)), 0..6),
        demands in vec(list(0.0), 1..6),
        policy in 0..DEFINITIONS.len(),
        strict: bool,
    ) {
        let (mut service, mut session, telemetry) = (service(policy, strict), Session::New, ServerTelemetry::default());
        let mut run = |frame: Vec<u8>| match service.run(&mut session, &frame[PREFIX_LENGTH..], &telemetry).0 {
            Answer::Extension(reply) => reply[PREFIX_LENGTH..].to_vec(),
            Answer::Version1(reply) => reply.to_frame().as_bytes()[PREFIX_LENGTH..].to_vec(),
        };
        let extension = |extension: Extension<'_>| {
            let mut frame = Vec::new();
            extension.append(&mut frame);
            frame
        };
        for (node, available, total) in &nodes {
            let [available, total] =
                [available, total].map(|list| Resources::parse(list, Meaning::Report).expect("it was written here"));
            let update = Extension::UpdateNode { node: NodeId(*node), available, total: Some(total) };
            prop_assert_eq!(run(extension(update)), [0]);
        }
        for list in &demands {
            let demand = Resources::parse(list, Meaning::Demand).expect("it was written here");
            let mut frame = Vec::new();
            request::append_schedule(&mut frame, demand);
            run(frame);
            for request in [Extension::Explain { demand }, Extension::Stats] {
                let reply = run(extension(request));
                let Some(Parsed::Done { body }) = Parsed::parse(&reply) else { panic!("{reply:?}") };
                let shown: Value = serde_json::from_slice(body).expect("JSON");
                prop_assert!(shown.is_object());
            }
        }
    }

    #[test]
    fn files_of_nodes_and_tasks_are_replayed_or_refused(nodes in lines(2), tasks in lines(4)) {
        let named = nodes.lines().enumerate().map(|(number, line)| format!("n{number},{line}\n"));
        let nodes = format!("node,CPU,GPU\n{}", named.collect::<String>());
        replay(&nodes, &format!("CPU,GPU,arrival,duration\n{tasks}"));
    }
}
