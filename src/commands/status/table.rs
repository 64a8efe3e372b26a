//! What stats say, as tables for people. Their fields are described in `PROTOCOL.md`.

use serde_json::{Map, Value};

use crate::scheduler::amount::Amount;

/// The server, then the view of the stats, or, where there is none, a list of the shared ones. `before` are earlier stats, if any.
pub fn text(stats: &Value, before: Option<&Value>) -> String {
    let server = &stats["server"];
    let about_views = match stats.get("view") {
        Some(view) => view_text(view),
        None => views_text(&server["views"]),
    };
    format!("{}\n{about_views}", server_text(server, before.map(|stats| &stats["server"])))
}

fn server_text(server: &Value, before: Option<&Value>) -> String {
    let strict = if server["strict"] == true { ", strict" } else { "" };
    let latency_us = &server["latency_us"];
    let percentiles =
        ["p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name} {:.1}", number(latency_us, name)));
    let requests = &server["requests"];
    let lines = [
        ("version", format!("{}, up {}", string(server, "version"), duration(number(server, "uptime_s")))),
        ("policy", format!("{}{strict}", string(server, "policy"))),
        ("connections", format!("{}, this one included", count(server, "connections"))),
        ("placements", format!("{}, {}", count(requests, "placed"), rate(server, before))),
        ("not placed", count(requests, "not_placed").to_string()),
        ("latency", format!("{} µs, inside the server", percentiles.join(", "))),
    ];
    let troubles = troubles(server).map(|troubles| ("closed", troubles));
    lines.into_iter().chain(troubles).map(|(name, value)| format!("{name:<12}{value}\n")).collect()
}

/// Reasons for which connections are closed in normal life.
const NORMAL_REASONS: [&str; 3] = ["end_of_stream", "unused", "shutdown"];

/// How many connections were closed for other reasons than those of normal life.
fn troubles(server: &Value) -> Option<String> {
    let counts = server["connections_closed"].as_object()?.iter();
    let counts = counts.filter(|(reason, count)| !NORMAL_REASONS.contains(&reason.as_str()) && **count != 0);
    let troubles: Vec<String> = counts.map(|(reason, count)| format!("{count} {}", reason.replace('_', " "))).collect();
    (!troubles.is_empty()).then(|| troubles.join(", "))
}

/// Placements a second since the stats before, or over the whole uptime.
fn rate(server: &Value, before: Option<&Value>) -> String {
    let (placed, uptime_s) = (number(&server["requests"], "placed"), number(server, "uptime_s"));
    match before {
        Some(before) => {
            let placed = placed - number(&before["requests"], "placed");
            let seconds = uptime_s - number(before, "uptime_s");
            format!("{:.0} a second in the last {seconds:.1} s", per_second(placed, seconds))
        }
        None => format!("{:.0} a second over the uptime", per_second(placed, uptime_s)),
    }
}

fn per_second(placed: f64, seconds: f64) -> f64 {
    if seconds > 0.0 { placed / seconds } else { 0.0 }
}

fn views_text(views: &Value) -> String {
    let views = list(views);
    if views.is_empty() {
        return "no shared views\n".to_owned();
    }
    let rows = views.iter().map(|view| {
        let [nodes, members, placements] = ["nodes", "members", "placements"].map(|name| count(view, name).to_string());
        [nodes, members, placements, string(view, "name").to_owned()]
    });
    columns(["nodes", "members", "placements", "shared view"], rows)
}

fn view_text(view: &Value) -> String {
    let nodes = list(&view["nodes"]);
    let heading = format!(
        "view '{}': {} nodes, {} of them draining, {} placements\n",
        string(view, "name"),
        nodes.len(),
        count(view, "draining"),
        count(view, "placements")
    );
    let in_all: String = usage(&view["resources"]).into_iter().map(|usage| format!("  {usage}\n")).collect();
    let rows = nodes.iter().map(|node| {
        let state = if node["draining"] == true { "draining" } else { "" };
        let usage = usage(&node["resources"]).join(", ");
        [node["id"].to_string(), count(node, "queued").to_string(), state.to_owned(), usage]
    });
    let nodes = columns(["node", "queue", "state", "used / total"], rows);
    format!("{heading}{in_all}\n{nodes}\n{}", owners_text(list(&view["owners"])))
}

/// Owners by name; those without one, of whom this connection is one, are a single row.
fn owners_text(owners: &[Value]) -> String {
    let is_named = |owner: &&Value| !string(owner, "name").is_empty();
    let row = |connections: u64, placements: u64, name: &str| {
        [connections.to_string(), placements.to_string(), name.to_owned()]
    };
    let named = owners.iter().filter(is_named);
    let rows = named.map(|owner| row(count(owner, "connections"), count(owner, "placements"), string(owner, "name")));
    let nameless = || owners.iter().filter(|owner| !is_named(owner));
    let sum = |name| nameless().map(|owner| count(owner, name)).sum();
    let others = row(sum("connections"), sum("placements"), "(without a name, this connection included)");
    columns(["connections", "placements", "owner"], rows.chain([others]))
}

/// Used and total amount of each resource.
///
/// Used is what is not free: what is not available, and what is reserved for placements of the view. It is above the
/// total where tasks wait.
fn usage(resources: &Value) -> Vec<String> {
    let none = Map::new();
    let resources = resources.as_object().unwrap_or(&none);
    let mut shown: Vec<_> = resources.iter().filter(|(name, _)| is_shown(name)).collect();
    shown.sort_unstable_by_key(|(name, _)| *name);
    shown
        .into_iter()
        .map(|(name, amounts)| {
            let [total, available, reserved] =
                ["total", "available", "reserved"].map(|field| Amount::from_f64(number(amounts, field)));
            let used = total.saturating_sub(available).saturating_add(reserved);
            format!("{}/{} {name}", used.readable(name), total.readable(name))
        })
        .collect()
}

/// Leaves out, as `ray status` does, the markers of single nodes and the parts that placement groups have of other resources.
fn is_shown(resource: &str) -> bool {
    !resource.starts_with("node:") && !resource.contains("_group_")
}

/// Rows below their headings, all columns but the last aligned at the right.
fn columns<const N: usize>(headings: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = [headings.map(str::to_owned)].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let (last, others) = row.split_last().map_or(("", &[][..]), |(last, others)| (last.as_str(), others));
        for (cell, width) in others.iter().zip(widths) {
            text.push_str(&format!("{cell:>width$}  "));
        }
        text.push_str(last);
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

fn duration(seconds: f64) -> String {
    let seconds = seconds as u64;
    let parts = [("d", seconds / 86_400), ("h", seconds / 3_600 % 24), ("m", seconds / 60 % 60), ("s", seconds % 60)];
    let first = parts.iter().position(|(_, number)| *number > 0).unwrap_or(parts.len() - 1);
    parts[first..].iter().map(|(unit, number)| format!("{number}{unit}")).collect::<Vec<_>>().join(" ")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn string<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("")
}

fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or(0)
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_begins_with_its_largest_part() {
        let cases = [
            (0.9, "0s"),
            (59.0, "59s"),
            (60.0, "1m 0s"),
            (3_661.0, "1h 1m 1s"),
            (90_000.0, "1d 1h 0m 0s"),
            (-1.0, "0s"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn stats_of_any_shape_are_shown() {
        for stats in ["null", "{}", r#"{"server": 1, "view": {"nodes": [1], "resources": {"CPU": 1}, "owners": [[]]}}"#]
        {
            let stats: Value = serde_json::from_str(stats).expect("it is JSON");
            assert!(text(&stats, None).starts_with("version"), "{stats}");
            assert!(text(&stats, Some(&stats)).contains("0 a second in the last 0.0 s"), "{stats}");
        }
    }
}
