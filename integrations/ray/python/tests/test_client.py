"""The client against real servers, and against one that is slow."""

import socket
import threading
import time

import pytest
from conftest import PATIENT_MS, PATIENT_S, Server, eventually

from ray_external_scheduler import wire
from ray_external_scheduler.client import Client
from ray_external_scheduler.config import Settings
from ray_external_scheduler.connection import Connection

CPU = wire.resources({"CPU": 1})


def settings(*ports, timeout_ms=PATIENT_MS):
    return Settings(addresses=tuple(("127.0.0.1", port) for port in ports), timeout_ms=timeout_ms)


def report(server, node, cpus):
    """Tells the view `v` of a node. The node stays for the lease."""
    connection = Connection(("127.0.0.1", server.port), PATIENT_S)
    connection.hello("v", "reporter", b"", PATIENT_S)
    amounts = wire.resources({"CPU": cpus})
    wire.read_done(connection.exchange([wire.update_node(node, amounts, amounts)], PATIENT_S)[0])
    return connection


@pytest.fixture
def connect():
    clients = []

    def connect(settings):
        clients.append(Client(settings, "v", "job", "worker"))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def schedule(client, strict=True):
    placement, reason = client.schedule(CPU, strict=strict, policy=0)
    return (placement.node if placement else None), reason


def reserved(client):
    return client.query(wire.stats())["view"]["resources"]["CPU"]["reserved"]


def test_placements_are_released(server, connect):
    client = connect(settings(server.port))
    assert client.wait_connected(PATIENT_S)
    assert schedule(client) == (None, "no_nodes")
    reporter = report(server, 7, 2)
    placements = [client.schedule(CPU, strict=True, policy=0)[0] for _ in range(2)]
    assert [placement.node for placement in placements] == [7, 7]
    assert schedule(client) == (None, "nothing_free")
    assert schedule(client, strict=False) == (7, "")
    client.release(placements[0])
    eventually(lambda: reserved(client) == 2)
    client.release(placements[1])
    # Without pause: the schedule may carry the release along.
    eventually(lambda: schedule(client)[0] == 7)
    reporter.close()


def test_another_server_takes_over_and_the_first_is_found_again(connect):
    first, second = Server().start(), Server().start()
    try:
        client = connect(settings(first.port, second.port))
        assert client.wait_connected(PATIENT_S)
        assert client.address[1] == first.port
        reporters = [report(first, 1, 4), report(second, 2, 4)]
        assert schedule(client) == (1, "")
        first.kill()
        eventually(lambda: schedule(client) == (2, ""))
        second.kill()
        eventually(lambda: schedule(client)[1] == "no_connection")
        first.start()
        # A moment of reconnecting, and the new server knows no nodes yet.
        eventually(lambda: schedule(client)[1] == "no_nodes")
        for reporter in reporters:
            reporter.close()
    finally:
        first.kill()
        second.kill()


def test_a_placement_of_a_lost_connection_is_forgotten(server, connect):
    client = connect(settings(server.port))
    assert client.wait_connected(PATIENT_S)
    reporter = report(server, 7, 2)
    placement, _ = client.schedule(CPU, strict=True, policy=0)
    server.kill()
    eventually(lambda: schedule(client)[1] == "no_connection")
    server.start()
    eventually(lambda: schedule(client)[1] == "no_nodes")
    client.release(placement)
    reporter = report(server, 7, 2)
    assert schedule(client) == (7, "")
    time.sleep(0.2)
    assert client.counts["release_refused"] == 0
    assert reserved(client) == 1
    reporter.close()


class SlowServer:
    """Passes all on to a server, and replies only while it is let."""

    def __init__(self, port):
        self.let = threading.Event()
        self.let.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._upstream = port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            client, _ = self._listener.accept()
            upstream = socket.create_connection(("127.0.0.1", self._upstream))
            threading.Thread(target=self._copy, args=(client, upstream, None), daemon=True).start()
            threading.Thread(target=self._copy, args=(upstream, client, self.let), daemon=True).start()

    @staticmethod
    def _copy(source, sink, let):
        try:
            while data := source.recv(65536):
                if let:
                    let.wait()
                sink.sendall(data)
        except OSError:
            pass
        sink.close()


def test_a_late_placement_is_given_back(server, connect):
    slow = SlowServer(server.port)
    client = connect(settings(slow.port, timeout_ms=50))
    assert client.wait_connected(PATIENT_S)
    direct = connect(settings(server.port))
    assert direct.wait_connected(PATIENT_S)
    reporter = report(server, 7, 2)
    eventually(lambda: schedule(client)[0] == 7)
    slow.let.clear()
    assert schedule(client) == (None, "timeout")
    assert schedule(client) == (None, "late")
    assert reserved(direct) == 2
    slow.let.set()
    eventually(lambda: reserved(direct) == 1)
    eventually(lambda: schedule(client)[0] == 7)
    reporter.close()


def test_a_server_that_stays_silent_is_left(server, connect):
    slow = SlowServer(server.port)
    client = connect(settings(slow.port, server.port, timeout_ms=50))
    assert client.wait_connected(PATIENT_S)
    reporter = report(server, 7, 2)
    slow.let.clear()
    assert schedule(client)[1] == "timeout"
    eventually(lambda: schedule(client)[0] == 7)
    assert client.address[1] == server.port
    reporter.close()
    slow.let.set()


def test_a_client_that_may_not_join_says_so_and_goes_on(tmp_path, connect):
    token = tmp_path / "token"
    token.write_text("secret")
    guarded = Server("--token-file", str(token)).start()
    try:
        refused = connect(settings(guarded.port))
        assert not refused.wait_connected(0.5)
        assert schedule(refused) == (None, "no_connection")
        allowed = connect(Settings(addresses=(("127.0.0.1", guarded.port),), timeout_ms=PATIENT_MS, token=b"secret"))
        assert allowed.wait_connected(PATIENT_S)
        assert schedule(allowed) == (None, "no_nodes")
    finally:
        guarded.kill()


def test_what_was_asked_for_ahead_is_given_back(server, connect):
    client = connect(settings(server.port))
    assert client.wait_connected(PATIENT_S)
    reporter = report(server, 7, 64)

    placements = []

    def has_asked_ahead():
        # In a burst, until this thread was fast enough twice in a row.
        placements.extend(client.schedule(CPU, strict=True, policy=0)[0] for _ in range(2))
        return any(state.spare for state in client._demands.values())

    eventually(has_asked_ahead)
    assert all(placements)
    eventually(lambda: reserved(client) == len(placements))
    for placement in placements:
        client.release(placement)
    eventually(lambda: reserved(client) == 0)
    assert client.counts["release_refused"] == 0
    reporter.close()


def test_all_of_an_exchange_that_was_late_is_given_back(server, connect):
    slow = SlowServer(server.port)
    connection = Connection(("127.0.0.1", slow.port), PATIENT_S)
    connection.hello("v", "job", b"", PATIENT_S)
    reporter = report(server, 7, 64)
    slow.let.clear()
    requests = 3 * [wire.schedule(CPU, strict=True, policy=0)]
    with pytest.raises(TimeoutError):
        connection.exchange(requests, 0.05)
    slow.let.set()
    assert [request for request, _ in connection.catch_up(PATIENT_S)] == requests
    connection.close()
    reporter.close()


def test_many_threads_at_once(server, connect):
    client = connect(settings(server.port))
    assert client.wait_connected(PATIENT_S)
    reporter = report(server, 7, 64)

    def place_and_release():
        for _ in range(200):
            placement, reason = client.schedule(CPU, strict=True, policy=0)
            reasons.add(reason)
            if placement:
                client.release(placement)

    reasons = set()
    threads = [threading.Thread(target=place_and_release) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: reserved(client) == 0)
    assert client.counts["release_refused"] == 0
    # Waiting for one's turn is not being late.
    assert reasons <= {"", "nothing_free"}
    reporter.close()
