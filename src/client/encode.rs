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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, Strategy, any, prop_assert_eq, proptest};

    use super::{Amount, Extension, Hints, Meaning, NodeId, Resources, list};
    use super::{add_node, release, remove_node, schedule, schedule_many, schedule_with_hints, update_node};
    use crate::wire::extension::{Name, Strategy as Together};
    use crate::wire::frame::{self, Frame};
    use crate::wire::request::Request;

    type Entries = Vec<(String, f64)>;

    /// Up to here an amount comes back from a double as it went.
    const AMOUNT_UNITS_MAX: i64 = 1 << 51;

    fn borrowed(entries: &Entries) -> Vec<(&str, f64)> {
        entries.iter().map(|(name, amount)| (name.as_str(), *amount)).collect()
    }

    /// Names and amounts that a message can say.
    fn entries(least: i64) -> impl Strategy<Value = Entries> {
        let amount = (least..AMOUNT_UNITS_MAX).prop_map(|units| Amount::from_units(units).to_f64());
        vec(("[^\\x00]{1,20}", amount), 0..6)
    }

    fn report() -> impl Strategy<Value = Entries> {
        entries(-AMOUNT_UNITS_MAX)
    }

    fn demand() -> impl Strategy<Value = Entries> {
        entries(0)
    }

    fn node() -> impl Strategy<Value = NodeId> {
        any::<i64>().prop_filter("no node has it", |id| *id != NodeId::NIL.0).prop_map(NodeId)
    }

    /// What the server reads from a frame.
    fn decoded(frame: &[u8]) -> Request<'_> {
        let Ok(Frame::Complete { message, consumed }) = frame::split(frame, usize::MAX / 2) else {
            panic!("no whole frame")
        };
        assert_eq!(consumed, frame.len());
        Request::parse(message).expect("what a client writes is well-formed")
    }

    fn assert_list(resources: Resources<'_>, entries: &Entries) {
        let read: Vec<_> = resources.map(|(name, amount)| (name.to_vec(), amount)).collect();
        let written: Vec<_> =
            entries.iter().map(|(name, amount)| (name.clone().into_bytes(), Amount::from_f64(*amount))).collect();
        assert_eq!(read, written);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn messages_of_version_1_are_read_as_written(id in node(), report in report(), wanted in demand()) {
            let mut frame = Vec::new();
            add_node(&mut frame, id, &borrowed(&report)).unwrap();
            let Request::AddNode { node, resources } = decoded(&frame) else { panic!("no add") };
            prop_assert_eq!(node, id);
            assert_list(resources, &report);

            frame.clear();
            remove_node(&mut frame, id);
            prop_assert_eq!(decoded(&frame), Request::RemoveNode { node: id });

            frame.clear();
            schedule(&mut frame, &borrowed(&wanted)).unwrap();
            let Request::Schedule { demand } = decoded(&frame) else { panic!("no schedule") };
            assert_list(demand, &wanted);
        }

        #[test]
        fn changes_are_read_as_written(
            id in node(), on_node in report(), in_all in report(), held in demand(), times in any::<u32>()
        ) {
            let mut frame = Vec::new();
            update_node(&mut frame, id, &borrowed(&on_node), &borrowed(&in_all)).unwrap();
            let Request::Extension(Extension::UpdateNode { node, available, total }) = decoded(&frame) else {
                panic!("no update")
            };
            prop_assert_eq!((node, total.is_none()), (id, in_all.is_empty()));
            assert_list(available, &on_node);
            assert_list(total.unwrap_or(Resources::EMPTY), &in_all);

            frame.clear();
            release(&mut frame, id, &borrowed(&held), times).unwrap();
            let Request::Extension(Extension::Release { node, resources, count }) = decoded(&frame) else {
                panic!("no release")
            };
            prop_assert_eq!((node, count), (id, times));
            assert_list(resources, &held);
        }

        #[test]
        fn placements_are_read_as_written(
            wanted in vec(demand(), 0..5),
            place in 0..Together::ALL.len(),
            is_strict: bool,
            is_dry: bool,
            number: u8,
            (liked, shunned) in (vec(node(), 0..4), vec(node(), 0..4)),
        ) {
            let mut frame = Vec::new();
            let lists: Vec<_> = wanted.iter().map(borrowed).collect();
            schedule_many(&mut frame, Together::ALL[place], is_strict, &lists.iter().map(Vec::as_slice).collect::<Vec<_>>())
                .unwrap();
            let Request::Extension(Extension::ScheduleMany { strategy, strict, demands }) = decoded(&frame) else {
                panic!("no schedule many")
            };
            prop_assert_eq!((strategy, strict, demands.len()), (Together::ALL[place], is_strict, wanted.len()));
            demands.zip(&wanted).for_each(|(demand, wanted)| assert_list(demand, wanted));

            frame.clear();
            let hints =
                Hints { strict: is_strict, dry_run: is_dry, policy: number, preferred: &liked, avoided: &shunned };
            let first = wanted.into_iter().next().unwrap_or_default();
            schedule_with_hints(&mut frame, &hints, &borrowed(&first)).unwrap();
            let Request::Extension(Extension::ScheduleWithHints { strict, dry_run, policy, preferred, avoided, demand }) =
                decoded(&frame)
            else {
                panic!("no schedule with hints")
            };
            prop_assert_eq!((strict, dry_run, policy), (is_strict, is_dry, number));
            prop_assert_eq!((preferred.collect(), avoided.collect()), (liked, shunned));
            assert_list(demand, &first);
        }

        #[test]
        fn all_other_extensions_are_read_as_written(
            names in ["[^\\p{Cc}]{0,20}", "[^\\p{Cc}]{0,20}"],
            bytes in vec(any::<u8>(), 0..100),
            id in any::<i64>(),
            on: bool,
            wanted in demand(),
        ) {
            let [view, owner] = names.each_ref().map(|name| Name::new(name).expect("a short name"));
            let mut list_bytes = Vec::new();
            let demand = list(&mut list_bytes, &borrowed(&wanted), Meaning::Demand).unwrap();
            for extension in [
                Extension::Hello { view, owner, token: &bytes },
                Extension::Explain { demand },
                Extension::Drain { node: NodeId(id), on },
                Extension::Stats,
                Extension::Ping { payload: &bytes },
            ] {
                let mut frame = Vec::new();
                extension.append(&mut frame);
                prop_assert_eq!(decoded(&frame), Request::Extension(extension));
            }
        }
    }
}
