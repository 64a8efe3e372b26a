"""Where the scheduler is looked for."""

import pytest

from ray_external_scheduler import config, demand, wire

DEFAULT = (("127.0.0.1", 44444),)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(config.ADDRESS_VARIABLE, raising=False)
    return tmp_path


def test_the_file_is_made_where_there_is_none(elsewhere):
    assert config.addresses() == DEFAULT
    assert (elsewhere / config.CONFIG_FILE).read_text() == "127.0.0.1 44444\n"
    assert config.addresses() == DEFAULT


def test_the_lines_of_the_file_are_tried_in_order(elsewhere):
    (elsewhere / config.CONFIG_FILE).write_text("# ours\n10.0.0.1   1\n\n 10.0.0.2 2 \n")
    assert config.addresses() == (("10.0.0.1", 1), ("10.0.0.2", 2))


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "127.0.0.1\n"])
def test_a_file_without_an_address_is_an_error(elsewhere, text):
    (elsewhere / config.CONFIG_FILE).write_text(text)
    with pytest.raises(ValueError):
        config.addresses()


def test_the_environment_goes_before_the_file_and_the_argument_before_both(elsewhere, monkeypatch):
    monkeypatch.setenv(config.ADDRESS_VARIABLE, "a:1,b:2")
    assert config.addresses() == (("a", 1), ("b", 2))
    assert config.addresses("c:3") == (("c", 3),)
    assert config.addresses(["c:3", "d 4"]) == (("c", 3), ("d", 4))
    assert not (elsewhere / config.CONFIG_FILE).exists()


@pytest.mark.parametrize(
    "fault", [{"timeout_ms": 0}, {"policy": "best"}, {"strategies": frozenset({"PACK"})}, {"when_full": "wait"}]
)
def test_settings_that_make_no_sense(fault):
    with pytest.raises(ValueError):
        config.Settings(addresses=DEFAULT, **fault)


def test_a_binary_that_does_not_listen_is_an_error(monkeypatch):
    monkeypatch.setenv(config.BINARY_VARIABLE, "/bin/false")
    with pytest.raises(RuntimeError, match="it said last: nothing"):
        config.start_server(("127.0.0.1", 1))


def test_what_a_server_says_that_does_not_start_is_told(monkeypatch, tmp_path):
    binary = tmp_path / "external-scheduler"
    binary.write_text("#!/bin/sh\necho no such thing >&2\nexit 1\n")
    binary.chmod(0o755)
    monkeypatch.setenv(config.BINARY_VARIABLE, str(binary))
    with pytest.raises(RuntimeError, match="no such thing"):
        config.start_server(("127.0.0.1", 1))


@pytest.mark.parametrize(
    "options, task, actor",
    [
        ({}, {"CPU": 1}, {"CPU": 1}),
        ({"num_cpus": 0}, {"CPU": 0}, None),
        ({"num_gpus": 0.5}, {"CPU": 1, "GPU": 0.5}, {"GPU": 0.5}),
        ({"memory": 10}, {"CPU": 1, "memory": 10}, {"CPU": 1, "memory": 10}),
        ({"resources": {"TPU": 2}}, {"CPU": 1, "TPU": 2}, {"TPU": 2}),
        ({"accelerator_type": "A100"}, {"CPU": 1, "accelerator_type:A100": 0.001}, {"accelerator_type:A100": 0.001}),
    ],
)
def test_demands_are_those_of_ray(options, task, actor):
    assert demand.of_task(options).amounts == task
    of_actor = demand.of_actor(options)
    assert (of_actor and of_actor.amounts) == actor
    assert of_actor is None or of_actor.held == bool(options.keys() - {"memory"})


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, "binpack"),
        ({"scheduling_strategy": "DEFAULT"}, "binpack"),
        ({"scheduling_strategy": None}, "binpack"),
        ({"scheduling_strategy": "SPREAD"}, "spread"),
        ({"scheduling_strategy": object()}, None),
        ({"placement_group": object()}, None),
        ({"label_selector": {"zone": "a"}}, None),
        ({"num_returns": 0}, None),
    ],
)
def test_whose_a_placement_is(options, expected):
    settings = config.Settings(addresses=DEFAULT, policy="binpack", strategies=frozenset({"DEFAULT", "SPREAD"}))
    assert demand.policy(options, settings) == (wire.POLICIES[expected] if expected else None)


def test_spread_stays_with_ray_unless_it_is_handed_over():
    assert demand.policy({"scheduling_strategy": "SPREAD"}, config.Settings(addresses=DEFAULT)) is None
