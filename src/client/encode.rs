//! Requests from plain values, checked before they are sent.

use super::{ClientError, Hints};
use crate::scheduler::amount::Amount;
use crate::wire::NodeId;
use crate::wire::extension::{Demands, Extension, NodeIds, Strategy, append_list};
use crate::wire::request;
use crate::wire::resources::{self, Meaning, Resources, ResourcesError};

/// Writes the entries to `bytes`, which are empty, and checks them.
pub(super) fn list<'b>(
    bytes: &'b mut Vec<u8>,
    entries: &[(&str, f64)],
    meaning: Meaning,
) -> Result<Resources<'b>, ClientError> {
    for (key, value) in entries {
        if key.contains('\0') {
            return Err(ClientError::InvalidRequest("a resource key with a 0 byte"));
        }
        if !value.is_finite() {
            return Err(ResourcesError::AmountNotFinite.into());
        }
        resources::append(bytes, key.as_bytes(), Amount::from_f64(*value));
    }
    Ok(Resources::parse(bytes, meaning)?)
}

fn check_not_nil(node: NodeId) -> Result<(), ClientError> {
    if node == NodeId::NIL {
        return Err(ClientError::InvalidRequest("node -1, which is Ray's nil"));
    }
    Ok(())
}

pub(super) fn add_node(out: &mut Vec<u8>, node: NodeId, entries: &[(&str, f64)]) -> Result<(), ClientError> {
    check_not_nil(node)?;
    let mut bytes = Vec::new();
    request::append_add_node(out, node, list(&mut bytes, entries, Meaning::Report)?);
    Ok(())
}

pub(super) fn remove_node(out: &mut Vec<u8>, node: NodeId) {
    request::append_remove_node(out, node);
}

pub(super) fn schedule(out: &mut Vec<u8>, demand: &[(&str, f64)]) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    request::append_schedule(out, list(&mut bytes, demand, Meaning::Demand)?);
    Ok(())
}

pub(super) fn update_node(
    out: &mut Vec<u8>,
    node: NodeId,
    available: &[(&str, f64)],
    total: &[(&str, f64)],
) -> Result<(), ClientError> {
    check_not_nil(node)?;
    let (mut available_bytes, mut total_bytes) = (Vec::new(), Vec::new());
    let available = list(&mut available_bytes, available, Meaning::Report)?;
    let total = list(&mut total_bytes, total, Meaning::Report)?;
    // No total is written like an empty one.
    Extension::UpdateNode { node, available, total: Some(total) }.append(out);
    Ok(())
}

pub(super) fn release(
    out: &mut Vec<u8>,
    node: NodeId,
    resources: &[(&str, f64)],
    count: u32,
) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    let resources = list(&mut bytes, resources, Meaning::Demand)?;
    Extension::Release { node, resources, count }.append(out);
    Ok(())
}

pub(super) fn schedule_many(
    out: &mut Vec<u8>,
    strategy: Strategy,
    strict: bool,
    demands: &[&[(&str, f64)]],
) -> Result<(), ClientError> {
    let (mut lists, mut bytes) = (Vec::new(), Vec::new());
    for demand in demands {
        bytes.clear();
        append_list(&mut lists, list(&mut bytes, demand, Meaning::Demand)?);
    }
    // Each demand was checked: what is left to be wrong is how many there are.
    let count = u16::try_from(demands.len()).ok();
    let demands = count.and_then(|count| Demands::parse(count, &lists).ok());
    let (demands, _) = demands.ok_or(ClientError::InvalidRequest("more demands than one request may have"))?;
    Extension::ScheduleMany { strategy, strict, demands }.append(out);
    Ok(())
}

pub(super) fn schedule_with_hints(
    out: &mut Vec<u8>,
    hints: &Hints<'_>,
    demand: &[(&str, f64)],
) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    let (preferred, avoided) = (node_ids(hints.preferred)?, node_ids(hints.avoided)?);
    Extension::ScheduleWithHints {
        strict: hints.strict,
        dry_run: hints.dry_run,
        policy: hints.policy,
        preferred: NodeIds::from_chunks(&preferred),
        avoided: NodeIds::from_chunks(&avoided),
        demand: list(&mut bytes, demand, Meaning::Demand)?,
    }
    .append(out);
    Ok(())
}

fn node_ids(nodes: &[NodeId]) -> Result<Vec<[u8; NodeId::LENGTH]>, ClientError> {
    if nodes.len() > usize::from(u8::MAX) {
        return Err(ClientError::InvalidRequest("more than 255 nodes preferred or avoided"));
    }
    Ok(nodes.iter().map(|node| node.0.to_le_bytes()).collect())
}
