"""Real servers and real clusters for the tests."""

import collections
import os
import socket
import subprocess
import time
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

import ray_external_scheduler
from ray_external_scheduler import config

REPOSITORY = Path(__file__).resolve().parents[4]
#: The machine of a test may be slow and busy; what is tested with this is where tasks go, not how fast.
PATIENT_MS = 5000
PATIENT_S = 120.0
#: Nodes of the cluster: CPUs and GPUs.
SHAPES = [(4, 0), (4, 0), (4, 2), (4, 4)]


def binary():
    """The scheduler under test."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    return os.environ.get(config.BINARY_VARIABLE) or str(target / "release" / "external-scheduler")


def eventually(condition, timeout_s=PATIENT_S):
    """Waits until a condition holds, and fails where it never does. Gives what it was."""
    deadline_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.05)
    return value


class Server:
    """A scheduler process at an address that stays the same over restarts."""

    def __init__(self, *arguments):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._arguments = arguments
        self._process = None

    def start(self):
        self._process = subprocess.Popen(
            # So long a lease is over in no test: what is released was not released by it.
            [binary(), "serve", "--port", str(self.port), "--lease", "600s", *self._arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: config.answers(("127.0.0.1", self.port)) or self._process.poll() is not None)
        assert self._process.poll() is None, "the scheduler has ended"
        return self

    def kill(self):
        if self._process:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def server():
    server = Server().start()
    yield server
    server.kill()


class TestCluster:
    """Several raylets on this machine, and a driver that is connected to them."""

    __test__ = False

    def __init__(self):
        # Workers import the functions of the tests.
        os.environ["PYTHONPATH"] = str(Path(__file__).parent)
        self.cluster = Cluster()
        self.nodes = [self.add(cpus, gpus) for cpus, gpus in SHAPES]
        ray.init(address=self.cluster.address, logging_level="WARNING", log_to_driver=False)

    def add(self, cpus, gpus):
        return self.cluster.add_node(num_cpus=cpus, num_gpus=gpus, object_store_memory=80 * 2**20)

    def shut_down(self):
        ray_external_scheduler.uninstall()
        ray.shutdown()
        self.cluster.shutdown()

    def shape(self, node_id):
        """CPUs and GPUs of a node."""
        (resources,) = (node["Resources"] for node in ray.nodes() if node["NodeID"] == node_id)
        return int(resources["CPU"]), int(resources.get("GPU", 0))

    def shapes(self, node_ids):
        return collections.Counter(self.shape(node_id) for node_id in node_ids)


@pytest.fixture(scope="module")
def cluster():
    cluster = TestCluster()
    yield cluster
    cluster.shut_down()


@pytest.fixture
def install(server, cluster):
    """Installs with patience, and uninstalls at the end."""

    def install(**options):
        ray_external_scheduler.install(**{"address": server.address, "timeout_ms": PATIENT_MS, **options})
        idle()

    yield install
    ray_external_scheduler.uninstall()


def view():
    """What the scheduler says about the view of this cluster; None if it does not answer."""
    stats = ray_external_scheduler.status()["scheduler"]
    return stats["view"] if stats else None


def reserved():
    """The names of resources of which something is reserved in the view."""
    stats = view()
    return {name for name, amounts in stats["resources"].items() if amounts["reserved"]} if stats else {"unknown"}


def is_idle():
    """Whether nothing is placed, and nothing is used by others."""
    stats = view()
    return bool(stats) and all(
        amounts["reserved"] == 0 and amounts["available"] == amounts["total"] for amounts in stats["resources"].values()
    )


def idle():
    """Waits until the scheduler sees the whole cluster as free."""
    eventually(is_idle)


def released():
    """Waits until nothing is reserved any more."""
    eventually(lambda: not reserved())
