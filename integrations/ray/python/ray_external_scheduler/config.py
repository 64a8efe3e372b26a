"""Where the scheduler is, and how it is started where there is none."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import FrozenSet, List, Optional, Sequence, Tuple, Union

from . import wire
from .connection import Connection

logger = logging.getLogger("ray_external_scheduler")

ADDRESS_VARIABLE = "RAY_EXTERNAL_SCHEDULER_ADDRESS"
BINARY_VARIABLE = "RAY_EXTERNAL_SCHEDULER_BINARY"
CONFIG_FILE = "EXTERNAL_SCHEDULER_CONFIG.txt"
DEFAULT_LINE = "127.0.0.1 44444"

#: A server on the same machine needs a few milliseconds to listen.
START_TIMEOUT_S = 5.0

#: What Ray's schedulers do, that can be handed over, and the policy that stands for it (None: the configured one).
STRATEGIES = {"DEFAULT": None, "SPREAD": "spread"}

Address = Tuple[str, int]


@dataclass(frozen=True)
class Settings:
    """What every process of a cluster has to know. Travels to the workers with the functions they run."""

    addresses: Tuple[Address, ...]
    timeout_ms: float = 5.0
    policy: str = "view"
    strategies: FrozenSet[str] = field(default_factory=lambda: frozenset({"DEFAULT"}))
    when_full: str = "ray"
    token: bytes = b""

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ValueError("no address of a scheduler")
        if self.timeout_ms <= 0:
            raise ValueError("timeout_ms must be above 0")
        if self.policy not in wire.POLICIES:
            raise ValueError(f"no policy: {self.policy!r} (there are {', '.join(wire.POLICIES)})")
        if unknown := self.strategies - STRATEGIES.keys():
            raise ValueError(f"cannot be handed over: {', '.join(sorted(unknown))} (there are {', '.join(STRATEGIES)})")
        if self.when_full not in ("ray", "queue"):
            raise ValueError("when_full is 'ray' or 'queue'")


def addresses(argument: Union[None, str, Sequence[str]] = None) -> Tuple[Address, ...]:
    """The addresses in the order in which they are tried: of the argument, the environment, or the file.

    Where there is no file it is made. Raises ValueError for what is no address.
    """
    if argument is None:
        argument = os.environ.get(ADDRESS_VARIABLE) or _lines_of_file(Path(CONFIG_FILE))
    if isinstance(argument, str):
        argument = argument.split(",")
    return tuple(wire.split_address(address) for address in argument)


def _lines_of_file(path: Path) -> List[str]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        lines = [DEFAULT_LINE]
        try:
            path.write_text(DEFAULT_LINE + "\n")
        except OSError as error:
            logger.info("%s cannot be made (%s), using %s", path, error, DEFAULT_LINE)
    lines = [line for line in (line.strip() for line in lines) if line and not line.startswith("#")]
    if not lines:
        raise ValueError(f"{path} has no address")
    return [" ".join(line.split()) for line in lines]


def answers(address: Address, timeout_s: float = 0.5) -> bool:
    """Whether a server accepts connections there."""
    try:
        Connection(address, timeout_s).close()
    except OSError:
        return False
    return True


def start_server(address: Address, policy: Optional[str] = None) -> "subprocess.Popen[bytes]":
    """Starts a server at an address of this machine. It outlives this process. Raises RuntimeError if it cannot."""
    binary = os.environ.get(BINARY_VARIABLE) or shutil.which("external-scheduler")
    if not binary:
        raise RuntimeError(f"external-scheduler is not installed: not in PATH, and {BINARY_VARIABLE} is not set")
    command = [binary, "serve", "--address", address[0], "--port", str(address[1])]
    if policy not in (None, "view"):
        command += ["--policy", policy]
    with tempfile.NamedTemporaryFile(prefix="external-scheduler-", suffix=".log", delete=False) as log:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s and server.poll() is None:
        if answers(address):
            logger.info("started %s, its log is %s", " ".join(command), log.name)
            return server
        time.sleep(0.02)
    said = Path(log.name).read_text(errors="replace").splitlines() or ["nothing"]
    raise RuntimeError(f"{binary} does not listen on {address[0]}:{address[1]}, see {log.name}; it said last: {said[-1]}")
