//! In steady state a decision, with the reports that follow it, allocates nothing, nor does the connection that it was asked on,
//! and nothing piles up.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use external_scheduler::execute::session::Session;
use external_scheduler::execute::{Answer, LEASE, SchedulerService, ServiceOptions};
use external_scheduler::ring::Pool;
use external_scheduler::scheduler::amount::Amount;
use external_scheduler::scheduler::policy::{Parameters, Policy};
use external_scheduler::scheduler::view::ViewOptions;
use external_scheduler::server::connection::{Connection, Shared, Turn};
use external_scheduler::server::log_limit::LogLimits;
use external_scheduler::server::service::Service;
use external_scheduler::server::stream::{Peer, Stream};
use external_scheduler::telemetry::server::ServerTelemetry;
use external_scheduler::wire::NodeId;
use external_scheduler::wire::frame::PREFIX_LENGTH;
use external_scheduler::wire::reply::Reply;
use external_scheduler::wire::request;
use mio::Token;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        LIVE_BYTES.with(|bytes| bytes.set(bytes.get() + layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.with(|bytes| bytes.set(bytes.get() - layout.size() as i64));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const NODES: i64 = 100;

fn add(frame: &mut Vec<u8>, node: i64, cpus: f64) {
    let resources: [(&[u8], f64); 3] = [(b"CPU", cpus), (b"memory", 4e9), (b"GPU", 2.0)];
    let resources = resources.map(|(name, value)| (name, Amount::from_f64(value)));
    request::append_add_node(frame, NodeId(node), resources);
}

fn run(service: &mut SchedulerService, session: &mut Session, message: &[u8]) -> Option<Reply> {
    thread_local!(static TELEMETRY: ServerTelemetry = ServerTelemetry::default());
    TELEMETRY.with(|telemetry| match service.run(session, message, telemetry) {
        (Answer::Version1(reply), None) => Some(reply),
        _ => None,
    })
}

/// One placement of each of several demands, each followed by remove + add of its node.
fn round(service: &mut SchedulerService, session: &mut Session, schedules: &[Vec<u8>], frame: &mut Vec<u8>) {
    for schedule in schedules {
        let Some(Reply::Placed { node }) = run(service, session, &schedule[PREFIX_LENGTH..]) else {
            panic!("every node is large enough")
        };
        frame.clear();
        request::append_remove_node(frame, node);
        run(service, session, &frame[PREFIX_LENGTH..]);
        frame.clear();
        add(frame, node.0, 8.0 + (node.0 % 8) as f64);
        run(service, session, &frame[PREFIX_LENGTH..]);
    }
}

#[test]
fn decisions_allocate_nothing() {
    for policy in ["best-fit", "spread", "balanced", "first-fit", "shortest-queue"] {
        let policy = Policy::named(policy, Parameters::default()).expect("a policy of that name");
        let mut service = SchedulerService::new(ServiceOptions {
            lease: LEASE,
            token: None,
            view: ViewOptions { strict: false, nodes_max: 1_000, policy, ..ViewOptions::default() },
        });
        let mut session = Session::New;
        let mut frame = Vec::with_capacity(1_024);
        for node in 0..NODES {
            frame.clear();
            add(&mut frame, node, 16.0);
            run(&mut service, &mut session, &frame[PREFIX_LENGTH..]);
        }
        let schedule = |cpus: f64| {
            let mut frame = Vec::new();
            request::append_schedule(&mut frame, [(&b"CPU"[..], Amount::from_f64(cpus))]);
            frame
        };
        let schedules: Vec<Vec<u8>> = (1..=8).map(|cpus| schedule(f64::from(cpus))).collect();
        (0..50).for_each(|_| round(&mut service, &mut session, &schedules, &mut frame));

        let before = ALLOCATIONS.get();
        (0..50).for_each(|_| round(&mut service, &mut session, &schedules, &mut frame));
        assert_eq!(ALLOCATIONS.get() - before, 0, "{}", policy.name());
    }
}

/// One turn for a batch of requests: reads them, answers them, writes replies as long as the one given.
fn exchange(
    connection: &mut Connection<Session>,
    peer: &mut UnixStream,
    service: &mut SchedulerService,
    shared: Shared<'_>,
    (batch, reply): (&[u8], Reply),
) {
    peer.write_all(batch).expect("a batch fits a socket's buffer");
    connection.set_readable(false);
    let turn = connection.turn(service, shared);
    assert!(matches!(turn, Turn::Wait), "{turn:?}");
    let mut replies = [0; 4096];
    let length = peer.read(&mut replies).expect("the replies are there");
    assert_eq!(length, BATCH * reply.to_frame().as_bytes().len());
}

const BATCH: usize = 32;

#[test]
fn the_turns_of_a_connection_allocate_nothing() {
    let policy = Policy::named("best-fit", Parameters::default()).expect("a policy of that name");
    let view = ViewOptions { policy, ..ViewOptions::default() };
    let mut service = SchedulerService::new(ServiceOptions { view, lease: LEASE, token: None });
    let (socket, mut peer) = UnixStream::pair().unwrap();
    socket.set_nonblocking(true).unwrap();
    let stream = Stream::Unix(mio::net::UnixStream::from_std(socket));
    let session = service.open();
    let mut connection = Connection::new(stream, Peer::Unix(1), Token(0), session, false);
    let (mut pool, mut telemetry) = (Pool::default(), ServerTelemetry::default());
    let mut log_limits = LogLimits::default();
    let (mut adds, mut schedules) = (Vec::new(), Vec::new());
    for number in 0..BATCH {
        add(&mut adds, number as i64, 1e6);
        request::append_schedule(&mut schedules, [(&b"CPU"[..], Amount::from_f64(1.0 + (number % 8) as f64))]);
    }
    let mut exchange = |batch: &[u8], reply| {
        let shared = Shared {
            pool: &mut pool,
            telemetry: &mut telemetry,
            log_limits: &mut log_limits,
            frame_length_max: 1 << 20,
        };
        exchange(&mut connection, &mut peer, &mut service, shared, (batch, reply));
    };
    let placed = Reply::Placed { node: NodeId(0) };
    exchange(&adds, Reply::Done);
    (0..50).for_each(|_| exchange(&schedules, placed));

    let before = ALLOCATIONS.get();
    (0..50).for_each(|_| exchange(&schedules, placed));
    assert_eq!(ALLOCATIONS.get() - before, 0);
}

/// A node as Ray reports it, which has a resource of its own.
fn add_with_address(frame: &mut Vec<u8>, node: i64) {
    let address = format!("node:10.0.{}.{}", node / 256, node % 256);
    let resources = [("CPU", 64.0), ("GPU", 8.0), ("memory", 4e11), ("object_store_memory", 2e11), (&address, 1.0)];
    request::append_add_node(
        frame,
        NodeId(node),
        resources.map(|(name, value)| (name.as_bytes(), Amount::from_f64(value))),
    );
}

#[test]
fn a_node_takes_little_memory() {
    // A little more than a power of two, with which lists that double would have twice the room that they need.
    const NODES: i64 = 1_100;
    // It takes 182 when it is reported, and 374 once 16 demands have been ranked on it, 8 bytes each and the tree above them.
    const BYTES_MAX: i64 = 190;
    const BYTES_RANKED_MAX: i64 = 390;
    let options = ViewOptions { nodes_max: NODES as usize, ..ViewOptions::default() };
    let mut service = SchedulerService::new(ServiceOptions { view: options, lease: LEASE, token: None });
    let (mut session, mut frame) = (Session::New, Vec::with_capacity(1_024));
    let mut send = |append: &dyn Fn(&mut Vec<u8>)| {
        frame.clear();
        append(&mut frame);
        run(&mut service, &mut session, &frame[PREFIX_LENGTH..])
    };
    // The first pays for what all have in common.
    send(&|frame| add_with_address(frame, 0));
    let before = LIVE_BYTES.with(Cell::get);
    let bytes_a_node = || (LIVE_BYTES.with(Cell::get) - before) / NODES;
    for node in 1..NODES {
        assert_eq!(send(&|frame| add_with_address(frame, node)), Some(Reply::Done));
    }
    assert!(bytes_a_node() <= BYTES_MAX, "{} bytes", bytes_a_node());
    for demand in (0..4).flat_map(|_| 1..=16) {
        let demand = [(&b"CPU"[..], Amount::from_f64(f64::from(demand) / 2.0))];
        let placed = send(&|frame| request::append_schedule(frame, demand));
        assert!(matches!(placed, Some(Reply::Placed { .. })));
    }
    assert!(bytes_a_node() <= BYTES_RANKED_MAX, "{} bytes", bytes_a_node());
}

#[test]
fn names_that_came_and_went_leave_no_memory_behind() {
    // Debug builds check everything after every change.
    const NAMES: usize = if cfg!(debug_assertions) { 50_000 } else { 1_000_000 };
    let options = ViewOptions { strict: false, nodes_max: 1_000, policy: Policy::default(), ..ViewOptions::default() };
    let mut service = SchedulerService::new(ServiceOptions { view: options, lease: LEASE, token: None });
    let (mut session, mut frame) = (Session::New, Vec::with_capacity(1_024));
    let mut next = 0;
    // Placement groups: each is a few names on a node, asked for once, and gone.
    let mut come_and_go = |service: &mut SchedulerService, names: usize| {
        for _ in 0..names / 2 {
            let (group, bundle) = (format!("CPU_group_{next:036x}"), format!("bundle_group_{next:036x}"));
            let node = NodeId((next % 50) as i64);
            next += 1;
            let groups = [(group.as_bytes(), Amount::WHOLE), (bundle.as_bytes(), Amount::WHOLE)];
            for resources in [&groups[..], &[]] {
                frame.clear();
                let cpus = [(&b"CPU"[..], Amount::from_f64(8.0))];
                request::append_add_node(&mut frame, node, cpus.iter().chain(resources).copied());
                run(service, &mut session, &frame[PREFIX_LENGTH..]);
                frame.clear();
                request::append_schedule(&mut frame, [groups[0]]);
                run(service, &mut session, &frame[PREFIX_LENGTH..]);
            }
        }
    };
    come_and_go(&mut service, NAMES / 10);
    let before = LIVE_BYTES.with(Cell::get);
    come_and_go(&mut service, NAMES);
    let after = LIVE_BYTES.with(Cell::get);
    // The names that are remembered for a while differ a little in number.
    assert!((after - before).abs() <= 64 << 10, "{before} bytes before, {after} after");
}
