"""A real Ray while the scheduler, nodes and connections fail."""

import subprocess
import sys
import time

import pytest
import ray
from conftest import PATIENT_MS, PATIENT_S, Server, binary, eventually, idle, released, view

import ray_external_scheduler
from ray_external_scheduler import agent, config, ray_internals


@ray.remote
def task(duration_s=0.0):
    time.sleep(duration_s)
    return ray.get_runtime_context().get_node_id()


@ray.remote
def nothing():
    pass


def placed():
    return ray_external_scheduler.status()["placed"]


def is_placed():
    """Whether a task that is submitted now is placed."""
    before = placed()
    ray.get(nothing.remote())
    return placed() > before


def test_a_wrong_address_costs_nothing(cluster):
    ray_external_scheduler.install("127.0.0.1:1")
    ray.get([nothing.remote() for _ in range(100)])
    status = ray_external_scheduler.status()
    assert status["address"] is None and status["scheduler"] is None
    assert status["left_to_ray"] == {"no_connection": 100}
    assert ray_external_scheduler.explain(num_cpus=1) is None
    ray_external_scheduler.uninstall()


def test_ray_goes_on_while_the_scheduler_is_killed_and_restarted(cluster, server, install):
    install(timeout_ms=20)
    refs = [nothing.remote() for _ in range(700)]
    server.kill()
    refs += [nothing.remote() for _ in range(600)]
    eventually(lambda: ray_external_scheduler.status()["address"] is None)
    server.start()
    refs += [nothing.remote() for _ in range(700)]
    assert len(ray.get(refs, timeout=PATIENT_S)) == 2000
    eventually(is_placed)
    assert ray_external_scheduler.status()["left_to_ray"]["no_connection"] > 0
    released()


def test_another_scheduler_takes_over(cluster):
    first, second = Server().start(), Server().start()
    try:
        ray_external_scheduler.install([first.address, second.address], timeout_ms=PATIENT_MS)
        eventually(is_placed)
        assert ray_external_scheduler.status()["address"] == first.address
        first.kill()
        eventually(lambda: ray_external_scheduler.status()["address"] == second.address and is_placed())
    finally:
        ray_external_scheduler.uninstall()
        first.kill()
        second.kill()


def driver(cluster, program, **options):
    """Another driver of the cluster, which says on its standard output how far it is."""
    program = f"import ray, time, ray_external_scheduler\nray.init({cluster.cluster.address!r})\n" + program
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, **options)


def test_what_a_killed_driver_has_placed_is_released(cluster, server, install):
    install()
    program = f"""
ray_external_scheduler.install({server.address!r}, timeout_ms={PATIENT_MS})
refs = [ray.remote(lambda: time.sleep(600)).remote() for _ in range(6)]
print(ray_external_scheduler.status()["placed"], flush=True)
time.sleep(600)
"""
    other = driver(cluster, program)
    assert other.stdout.readline() == "6\n"
    eventually(lambda: view()["resources"]["CPU"]["reserved"] == 6)
    other.kill()
    other.wait()
    released()
    idle()


def test_the_agent_survives_its_driver(cluster, server, install):
    agent_of_before = ray.get_actor(agent.NAME, agent.NAMESPACE)
    ray.kill(agent_of_before)
    eventually(lambda: ray_internals.actor_state(agent_of_before._actor_id.hex())[0] == "DEAD")
    other = driver(cluster, f"ray_external_scheduler.install({server.address!r})")
    assert other.wait(PATIENT_S) == 0
    survivor = ray.get_actor(agent.NAME, agent.NAMESPACE)
    install()
    assert ray.get_actor(agent.NAME, agent.NAMESPACE) == survivor
    assert ray_internals.actor_state(survivor._actor_id.hex()) == ("ALIVE", cluster.nodes[0].node_id)
    eventually(is_placed)


def test_a_server_is_started_where_none_answers(cluster, server, monkeypatch):
    server.kill()
    monkeypatch.setenv(config.BINARY_VARIABLE, binary())
    started, start = [], config.start_server
    monkeypatch.setattr(config, "start_server", lambda *arguments: started.append(start(*arguments)))
    try:
        for _ in range(2):
            ray_external_scheduler.install(server.address, start=True, timeout_ms=PATIENT_MS)
            eventually(is_placed)
        assert len(started) == 1
    finally:
        ray_external_scheduler.uninstall()
        for process in started:
            process.kill()
            process.wait()


def test_without_an_address_the_file_is_made_and_counts(cluster, server, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(config.ADDRESS_VARIABLE, raising=False)
    monkeypatch.setattr(config, "DEFAULT_LINE", f"127.0.0.1 {server.port}")
    for _ in range(2):
        ray_external_scheduler.install(timeout_ms=PATIENT_MS)
        eventually(is_placed)
        ray_external_scheduler.uninstall()
    assert (tmp_path / config.CONFIG_FILE).read_text() == f"127.0.0.1 {server.port}\n"


def test_a_node_is_added(cluster, install):
    install()
    added = cluster.add(2, 8)
    eventually(lambda: added.node_id in {node["node_id"] for node in view()["nodes"]})
    idle()
    assert ray.get(task.options(num_gpus=6).remote()) == added.node_id
    assert placed() == 1
    cluster.cluster.remove_node(added)
    eventually(lambda: len(view()["nodes"]) == len(cluster.nodes))
    released()


def test_tasks_of_a_node_that_is_killed_are_tried_again(cluster, install):
    install(policy="first-fit")
    doomed = cluster.add(4, 8)
    eventually(lambda: doomed.node_id in {node["node_id"] for node in view()["nodes"]})
    idle()

    @ray.remote(num_gpus=2, max_retries=3)
    def long():
        time.sleep(3)
        return ray.get_runtime_context().get_node_id()

    @ray.remote(num_gpus=8, max_restarts=0)
    class Doomed:
        def node(self):
            return ray.get_runtime_context().get_node_id()

    actor = Doomed.remote()
    assert ray.get(actor.node.remote()) == doomed.node_id
    # Soft affinity: what was placed on the dead node runs elsewhere.
    ray.kill(actor)
    released()
    idle()
    refs = [long.remote() for _ in range(7)]
    assert placed() == 1 + 7
    time.sleep(1)
    cluster.cluster.remove_node(doomed, allow_graceful=False)
    places = ray.get(refs, timeout=PATIENT_S)
    assert len(places) == 7 and doomed.node_id not in places
    released()


def test_a_new_ray_in_the_same_process_is_not_mistaken(cluster, install):
    install()
    eventually(is_placed)
    ray.shutdown()
    assert ray_external_scheduler.status() == {"installed": False}
    ray.init(address=cluster.cluster.address, logging_level="WARNING", log_to_driver=False)
    ray.get(nothing.remote())
    install()
    eventually(is_placed)


def test_ray_has_to_be_initialised(cluster):
    ray.shutdown()
    with pytest.raises(RuntimeError, match="ray.init"):
        ray_external_scheduler.install("127.0.0.1:1")
    ray.init(address=cluster.cluster.address, logging_level="WARNING", log_to_driver=False)
