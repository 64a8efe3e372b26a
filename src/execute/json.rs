//! What stats and explain say, as JSON.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use crate::memory::MemoryLimit;
use crate::scheduler::amount::Amount;
use crate::scheduler::cells::Cell;
use crate::scheduler::node_table::{Node, NodeTable};
use crate::scheduler::resource_names::{ResourceId, ResourceNames};
use crate::scheduler::shared_view::{Holding, OwnerStatus, SharedView};
use crate::scheduler::view::{Explanation, Verdict};
use crate::server::close::CloseReason;
use crate::telemetry::counters::RequestCounters;
use crate::telemetry::server::ServerTelemetry;

/// Percentiles of latencies that are told.
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// The server as a whole.
pub fn server(telemetry: &ServerTelemetry, counters: &RequestCounters, memory: MemoryLimit) -> Value {
    let latency = telemetry.latency_ns();
    let in_us = |latency_ns: u64| latency_ns as f64 / 1e3;
    let mut latency_us = Map::new();
    for (name, percentile) in PERCENTILES {
        latency_us.insert(name.to_owned(), in_us(latency.value_at_percentile(percentile)).into());
    }
    latency_us.insert("max".to_owned(), in_us(latency.max()).into());
    let closed = CloseReason::KINDS.iter().zip(&telemetry.counters.closed);
    let closed: Map<_, _> = closed.map(|(kind, &count)| (kind.key.to_owned(), count.into())).collect();
    let counted = latency.iter_recorded();
    let latency_counts: Vec<Value> =
        counted.map(|value| json!([value.value_iterated_to(), value.count_since_last_iteration()])).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": telemetry.uptime().as_secs_f64(),
        "connections": telemetry.connections,
        "connections_accepted": telemetry.counters.accepted,
        "connections_closed": closed,
        "accept_errors": telemetry.counters.accept_errors,
        "requests": {
            "answered": latency.len(),
            "placed": counters.placed,
            "not_placed": counters.not_placed,
            "added": counters.added,
            "updated": counters.updated,
            "removed": counters.removed,
            "released": counters.released,
            "refused": counters.refused.iter().sum::<u64>(),
        },
        "memory_bytes": memory.allocated(),
        "memory_bytes_max": memory.max(),
        "latency_us": latency_us,
        "latency_ns_counts": latency_counts,
    })
}

/// A view: its nodes and what they have, by node and in all; of a shared one also its name and owners.
///
/// The nodes are written as text at once: there may be very many, and nobody else is answered meanwhile. A tree of
/// values would take several times as long.
pub fn view(table: &NodeTable, name: Option<&str>, owners: Option<Value>) -> String {
    let known = |index| table.names().id_at(index).map(|id| table.names().name(id).to_string());
    let names: Vec<String> = (0..table.names().id_count()).map(|index| known(index).unwrap_or_default()).collect();
    let keys: Vec<String> = names.iter().map(|name| Value::from(name.as_str()).to_string()).collect();
    let mut sums = vec![None; names.len()];
    let mut nodes = String::new();
    let (mut placements, mut draining) = (0u64, 0);
    for node in table.nodes() {
        placements += u64::from(node.queued());
        draining += usize::from(node.is_draining());
        let cells = node.cells();
        cells.iter().for_each(|&(id, cell)| add(sums[id.index()].get_or_insert_default(), cell));
        if !nodes.is_empty() {
            nodes.push(',');
        }
        append_node(&mut nodes, node, &cells, &keys);
    }
    let sum = |(name, sum): (String, Option<Cell>)| {
        let Cell { total, available, reserved } = sum?;
        let amounts = json!({ "total": amount(total), "available": amount(available), "reserved": amount(reserved) });
        Some((name, amounts))
    };
    let resources = Value::Object(names.into_iter().zip(sums).filter_map(sum).collect());
    let owners = owners.map_or_else(String::new, |owners| format!(r#","owners":{owners}"#));
    let name = Value::from(name);
    format!(
        r#"{{"name":{name},"draining":{draining},"placements":{placements},"resources":{resources},"nodes":[{nodes}]{owners}}}"#
    )
}

fn add(sum: &mut Cell, cell: Cell) {
    sum.total = sum.total.saturating_add(cell.total);
    sum.available = sum.available.saturating_add(cell.available);
    sum.reserved = sum.reserved.saturating_add(cell.reserved);
}

/// Writes a node; `keys` are the names of resources as JSON, by their ids.
fn append_node(text: &mut String, node: Node<'_>, cells: &[(ResourceId, Cell)], keys: &[String]) {
    let (id, queued, draining) = (node.id(), node.queued(), node.is_draining());
    // To write to a string never fails.
    _ = write!(text, r#"{{"id":{id},"queued":{queued},"draining":{draining},"resources":{{"#);
    for (place, &(id, Cell { total, available, reserved })) in cells.iter().enumerate() {
        let (separator, key) = (if place == 0 { "" } else { "," }, &keys[id.index()]);
        _ = write!(text, r#"{separator}{key}:{{"total":{total},"available":{available},"reserved":{reserved}}}"#);
    }
    text.push_str("}}");
}

/// All shared views in short, by name.
pub fn views<'a>(views: impl Iterator<Item = (&'a str, &'a SharedView)>) -> Value {
    let mut views: Vec<_> = views.collect();
    views.sort_by_key(|(name, _)| *name);
    let view = |(name, view): (&str, &SharedView)| {
        json!({
            "name": name,
            "nodes": view.view().table().len(),
            "members": view.owners().map(|owner| owner.connected).sum::<usize>(),
            "placements": view.owners().map(|owner| owner.placements).sum::<u64>(),
        })
    };
    views.into_iter().map(view).collect()
}

/// The owners of a shared view, and what those without connections have left behind.
pub fn owners<'a>(owners: impl Iterator<Item = OwnerStatus<'a>>, names: &ResourceNames) -> Value {
    let mut owners: Vec<_> = owners.collect();
    owners.sort_by_key(|owner| owner.name);
    let owner = |OwnerStatus { name, connected, placements, left_behind }| {
        let mut owner = json!({ "name": name, "connections": connected, "placements": placements });
        if !left_behind.is_empty() {
            owner["left_behind"] = left_behind.into_iter().map(|held| holding(held, names)).collect();
        }
        owner
    };
    owners.into_iter().map(owner).collect()
}

fn holding(Holding { node, demand, count }: Holding<'_>, names: &ResourceNames) -> Value {
    let resource = |&(id, demanded): &(ResourceId, Amount)| (names.name(id).to_string(), amount(demanded));
    let resources: Map<String, Value> = demand.entries().iter().map(resource).collect();
    json!({ "node": node.0, "resources": resources, "count": count })
}

/// Why a demand is placed where it is, or not at all.
pub fn explanation(explanation: &Explanation) -> Value {
    let (verdict, node) = match explanation.verdict {
        Verdict::Runs(node) => ("runs", Some(node)),
        Verdict::Queues(node) => ("queues", Some(node)),
        Verdict::NothingFree => ("nothing free", None),
        Verdict::Infeasible => ("infeasible", None),
        Verdict::NoNodes => ("no nodes", None),
    };
    let mut resources = Map::new();
    for shortage in &explanation.resources {
        let value = json!({
            "demanded": amount(shortage.demanded),
            "lacking": shortage.lacking,
            "too_little_total": shortage.too_little_total,
            "too_little_free": shortage.too_little_free,
        });
        resources.insert(shortage.name.clone(), value);
    }
    let closest = explanation.closest.as_ref().map(|closest| {
        let mut missing = Map::new();
        for resource in &closest.missing {
            let value = json!({
                "demanded": amount(resource.demanded),
                "total": amount(resource.total),
                "free": amount(resource.free),
            });
            missing.insert(resource.name.clone(), value);
        }
        json!({ "node": closest.node.0, "missing": missing })
    });
    json!({
        "verdict": verdict,
        "node": node.map(|node| node.0),
        "nodes": explanation.nodes,
        "draining": explanation.draining,
        "feasible": explanation.feasible,
        "free": explanation.free,
        "resources": resources,
        "closest": closest,
        "summary": explanation.to_string(),
    })
}

/// An amount as JSON: a whole number where it is one.
fn amount(amount: Amount) -> Value {
    let value = amount.to_f64();
    if value.fract() == 0.0 && value.abs() < 2f64.powi(53) { (value as i64).into() } else { value.into() }
}
