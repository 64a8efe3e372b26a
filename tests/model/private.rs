//! A connection's own view, by version 1.

use external_scheduler::execute::session::Session;
use external_scheduler::execute::{Answer, LEASE, SchedulerService, ServiceOptions};
use external_scheduler::prefetch::Step;
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{DEFINITIONS, Parameters, Policy};
use external_scheduler::scheduler::units::UnitResources;
use external_scheduler::scheduler::view::{View, ViewOptions};
use external_scheduler::server::service::Service;
use external_scheduler::telemetry::server::ServerTelemetry;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::frame::PREFIX_LENGTH;
use external_scheduler::wire::reply::Reply;
use external_scheduler::wire::request;
use external_scheduler::wire::resources::{self, Meaning, Resources};

use super::cluster::{Model, NAMES, Rules, demand_of, on_wire, random_resources};

fn drive(policy: &str, steps: usize, nodes: i64, strict: bool) {
    let seed = fastrand::u64(..);
    println!("policy {policy}, seed {seed}");
    let policy = Policy::named(policy, Parameters { seed, ..Parameters::default() }).expect("a policy of that name");
    let mut random = fastrand::Rng::with_seed(seed);
    let options = ViewOptions { strict, nodes_max: 1_000, policy, ..ViewOptions::default() };
    let mut service = SchedulerService::new(ServiceOptions { view: options.clone(), lease: LEASE, token: None });
    let mut session = Session::New;
    let telemetry = ServerTelemetry::default();
    let mut model = Model::default();
    let mut frame = Vec::new();
    for step in 0..steps {
        frame.clear();
        // Any but -1, which no node has.
        let id = NodeId(random.i64(0..nodes) * 2 - 20);
        match random.u8(0..100) {
            0..20 => {
                let mut report = random_resources(&mut random, 6, i64::MIN);
                if random.u8(0..20) == 0 {
                    report.push(("CPU".to_owned(), -10_000));
                }
                request::append_add_node(&mut frame, id, on_wire(&report));
                assert_eq!(
                    service.run(&mut session, &frame[PREFIX_LENGTH..], &telemetry),
                    (Answer::Version1(Reply::Done), None)
                );
                model.add(id, &report);
            }
            20..26 => {
                request::append_remove_node(&mut frame, id);
                assert_eq!(
                    service.run(&mut session, &frame[PREFIX_LENGTH..], &telemetry),
                    (Answer::Version1(Reply::Done), None)
                );
                model.remove(id);
            }
            _ => {
                let demand = random_resources(&mut random, 3, 0);
                request::append_schedule(&mut frame, on_wire(&demand));
                let decision = match service.run(&mut session, &frame[PREFIX_LENGTH..], &telemetry) {
                    (Answer::Version1(Reply::Placed { node }), None) => Some(node),
                    (Answer::Version1(Reply::Refused), None) => None,
                    other => panic!("{other:?}"),
                };
                let rules = Rules { strict, is_best_fit: policy.name() == "best-fit", ..Rules::default() };
                model.place(&demand_of(&demand), decision, rules);
            }
        }
        if step % 64 == 0 {
            model.compare(session.private_view(&options), &NAMES);
        }
    }
    model.compare(session.private_view(&options), &NAMES);
}

#[test]
fn a_few_nodes_whose_resources_are_all_rare() {
    drive("best-fit", 50_000, 6, false);
}

#[test]
fn nodes_enough_for_columns_and_for_resources_to_change_between_rare_and_common() {
    drive("best-fit", 30_000, 40, false);
}

#[test]
fn more_nodes_than_a_block_of_the_cache() {
    drive("best-fit", 20_000, 200, false);
}

#[test]
fn strict() {
    drive("best-fit", 30_000, 40, true);
}

#[test]
fn every_policy() {
    for definition in &DEFINITIONS {
        drive(definition.name, 5_000, 40, false);
        drive(definition.name, 2_000, 5, true);
    }
}

/// Messages that are prefetched, the next or others, are answered as they are without.
#[test]
fn prefetching_changes_no_answer() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let telemetry = ServerTelemetry::default();
    for definition in &DEFINITIONS {
        let policy = Policy::named(definition.name, Parameters::default()).expect("a policy of that name");
        let options = ViewOptions { policy, ..ViewOptions::default() };
        let service = || SchedulerService::new(ServiceOptions { view: options.clone(), lease: LEASE, token: None });
        let [mut plain, mut prefetching] = [service(), service()].map(|service| (service, Session::New));
        let mut last = Vec::new();
        for _ in 0..3_000 {
            let (mut frame, id) = (Vec::new(), NodeId(random.i64(0..40)));
            match random.u8(0..20) {
                0..3 => request::append_add_node(&mut frame, id, on_wire(&random_resources(&mut random, 6, 0))),
                3 => request::append_remove_node(&mut frame, id),
                _ => request::append_schedule(&mut frame, on_wire(&random_resources(&mut random, 1, 0))),
            }
            let message = &frame[PREFIX_LENGTH..];
            for step in Step::ALL {
                let message = random.choice([message, &last, &[]]).expect("one of them");
                prefetching.0.prefetch(step, &mut prefetching.1, message);
            }
            let [expected, answer] = [&mut plain, &mut prefetching]
                .map(|(service, session)| format!("{:?}", service.run(session, message, &telemetry)));
            assert_eq!(answer, expected, "{}: {message:?}", definition.name);
            last = message.to_vec();
        }
    }
}

#[test]
fn names_that_come_and_go_leave_the_scheduler_as_it_was() {
    let options = ViewOptions {
        strict: false,
        nodes_max: 10,
        policy: Policy::default(),
        unit_resources: UnitResources::default(),
        ..ViewOptions::default()
    };
    let mut view = View::new(&options);
    let one = Amount::from_f64(1.0);
    for round in 0..5_000 {
        let group = format!("CPU_group_{round}");
        for node in 0..3 {
            let resources = [(b"CPU".as_slice(), one), (group.as_bytes(), one)];
            view.report(NodeId(node), resources.into_iter(), &options).unwrap();
        }
        let mut schedule = |name: &str| {
            let mut bytes = Vec::new();
            resources::append(&mut bytes, name.as_bytes(), one);
            view.schedule(Resources::parse(&bytes, Meaning::Demand).unwrap(), &options)
                .ok()
                .map(|placement| placement.node)
        };
        assert!(schedule(&group).is_some());
        assert_eq!(schedule(&format!("CPU_group_{}", round - 1)), None);
    }
}
