"""What the agent reports, without a cluster."""

import pytest

from ray_external_scheduler import agent, wire

TOTAL = {"CPU": 4.0, "GPU": 2.0}


@pytest.mark.parametrize(
    "available, reserved, expected",
    [
        ({"CPU": 4.0, "GPU": 2.0}, {}, {"CPU": 0, "GPU": 0}),
        # What is used up is missing.
        ({"CPU": 1.0}, {}, {"CPU": 3, "GPU": 2}),
        ({"CPU": 1.0}, {"CPU": 3, "GPU": 1}, {"CPU": 0, "GPU": 1}),
        # Placed and not yet started.
        ({"CPU": 4.0, "GPU": 2.0}, {"CPU": 3}, {"CPU": 0, "GPU": 0}),
        ({"CPU": 3.9, "GPU": 2.0}, {}, {"CPU": 0.1, "GPU": 0}),
    ],
)
def test_use_by_others(available, reserved, expected):
    assert agent.use_by_others(TOTAL, available, reserved) == expected


def test_use_counts_once_it_lasts_and_ends_at_once():
    reports = agent.NodeReports()
    free, busy = {"CPU": 4.0}, {"CPU": 1.0}
    told = [reports.next({"CPU": 4.0}, available, {}) for available in [free] + agent.SAMPLES * [busy] + [free]]
    unused = [wire.resources({"CPU": amount}) for amount in (4, 1, 4)]
    assert [report[0] for report in told if report] == unused
    assert told[agent.SAMPLES] is not None and told[agent.SAMPLES + 1] is not None


def test_what_tasks_do_not_compete_for_is_not_reported():
    others = {"node:10.0.0.1": 1.0, "object_store_memory": 9.0, "CPU_group_0_abc": 2.0, "bundle_group_abc": 1000.0}
    total = {"CPU": 4.0, **others}
    report = agent.NodeReports().next(total, {"CPU": 2.0, "CPU_group_0_abc": 2.0}, {})
    assert report == (wire.resources({"CPU": 2}), wire.resources({"CPU": 4}))


def test_users_are_the_connections_of_jobs():
    owners = [("", 3), (agent.OWNER, 1), ("01/ab/0", 1), ("01/cd/0", 0)]
    assert agent.users({"owners": [{"name": name, "connections": count} for name, count in owners]}) == 1
