//! What stats and explain say, as JSON.

use serde_json::{Map, Value, json};

use crate::scheduler::amount::Amount;
use crate::scheduler::cells::Cell;
use crate::scheduler::node_table::{Node, NodeTable};
use crate::scheduler::resource_names::ResourceId;
use crate::scheduler::shared_view::{OwnerStatus, SharedView};
use crate::scheduler::view::{Explanation, Verdict};
use crate::telemetry::counters::RequestCounters;
use crate::telemetry::server::ServerTelemetry;

/// Percentiles of latencies that are told.
const PERCENTILES: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// The server as a whole.
pub fn server(telemetry: &ServerTelemetry, counters: &RequestCounters) -> Value {
    let latency = telemetry.latency_ns();
    let in_us = |latency_ns: u64| latency_ns as f64 / 1e3;
    let mut latency_us = Map::new();
    for (name, percentile) in PERCENTILES {
        latency_us.insert(name.to_owned(), in_us(latency.value_at_percentile(percentile)).into());
    }
    latency_us.insert("max".to_owned(), in_us(latency.max()).into());
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": telemetry.uptime().as_secs_f64(),
        "connections": telemetry.connections,
        "connections_accepted": telemetry.counters.accepted,
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
        "latency_us": latency_us,
    })
}

/// The nodes of a view and what they have, by node and in all.
pub fn nodes(table: &NodeTable) -> Map<String, Value> {
    let (mut sums, mut nodes) = (Vec::new(), Vec::new());
    let (mut placements, mut draining) = (0u64, 0);
    for node in table.nodes() {
        placements += u64::from(node.queued());
        draining += usize::from(node.is_draining());
        nodes.push(node_json(table, node, &mut sums));
    }
    let mut view = Map::new();
    view.insert("draining".to_owned(), draining.into());
    view.insert("placements".to_owned(), placements.into());
    let sums = sums.into_iter().enumerate().filter_map(|(index, sum)| Some((table.names().id_at(index)?, sum?)));
    view.insert("resources".to_owned(), resources_json(table, sums));
    view.insert("nodes".to_owned(), nodes.into());
    view
}

fn node_json(table: &NodeTable, node: Node<'_>, sums: &mut Vec<Option<Cell>>) -> Value {
    let cells = node.cells();
    for &(id, cell) in &cells {
        if sums.len() <= id.index() {
            sums.resize(id.index() + 1, None);
        }
        let sum = sums[id.index()].get_or_insert_default();
        sum.total = sum.total.saturating_add(cell.total);
        sum.available = sum.available.saturating_add(cell.available);
        sum.reserved = sum.reserved.saturating_add(cell.reserved);
    }
    json!({
        "id": node.id().0,
        "queued": node.queued(),
        "draining": node.is_draining(),
        "resources": resources_json(table, cells),
    })
}

fn resources_json(table: &NodeTable, cells: impl IntoIterator<Item = (ResourceId, Cell)>) -> Value {
    let mut resources: Vec<(String, Value)> = cells
        .into_iter()
        .map(|(id, Cell { total, available, reserved })| {
            let amounts =
                json!({ "total": amount(total), "available": amount(available), "reserved": amount(reserved) });
            (table.names().name(id).to_string(), amounts)
        })
        .collect();
    resources.sort_by(|(one, _), (other, _)| one.cmp(other));
    Value::Object(resources.into_iter().collect())
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

/// The owners of a shared view.
pub fn owners<'a>(owners: impl Iterator<Item = OwnerStatus<'a>>) -> Value {
    let mut owners: Vec<_> = owners.collect();
    owners.sort_by_key(|owner| owner.name);
    let owner = |OwnerStatus { name, connected, placements }| json!({ "name": name, "connections": connected, "placements": placements });
    owners.into_iter().map(owner).collect()
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
