"""A proxy on loopback that breaks connections on their way back to the client."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

BLOCK_BYTES = 997


@dataclass(frozen=True)
class Fault:
    """What happens to a connection after `after` bytes to the client: "drop", "half" (no more bytes, but an orderly
    end), "stall" (nothing more until the client leaves), "garbage" (some bytes become others), "none"."""

    kind: str = "none"
    after: int = 0


class Proxy:
    """Connections to `target` (a port); the i-th suffers `faults[i]`, later ones none."""

    def __init__(self, target: int, faults: Sequence[Fault], seed: int = 0) -> None:
        self.target, self.faults, self.random = target, list(faults), random.Random(seed)
        self.port = self.connections = self.suffered = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self.faults[self.connections] if self.connections < len(self.faults) else Fault()
        self.connections += 1
        try:
            back, forth = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        there = asyncio.create_task(self.forward(reader, forth))
        try:
            with suppress(OSError):
                await self.return_to(back, writer, fault, there)
        finally:
            there.cancel()
            with suppress(asyncio.CancelledError):
                await there
            for each in (forth, writer):
                each.transport.abort()

    @staticmethod
    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()

    async def return_to(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault, there: asyncio.Task[None]
    ) -> None:
        passed = 0
        while data := await reader.read(BLOCK_BYTES):
            if fault.kind != "none" and passed + len(data) > fault.after:
                self.suffered += 1
                at = max(0, fault.after - passed)
                if fault.kind == "garbage":
                    noise = bytes(self.random.randrange(128, 256) for _ in range(min(8, len(data) - at)))
                    data, fault = data[:at] + noise + data[at + len(noise) :], Fault()
                else:
                    writer.write(data[:at])
                    await writer.drain()
                    if fault.kind == "half":
                        writer.close()
                        await writer.wait_closed()
                    elif fault.kind == "stall":
                        await there
                    return
            passed += len(data)
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


@contextmanager
def proxied(target: int, faults: Sequence[Fault], seed: int = 0) -> Iterator[Proxy]:
    """The proxy, listening at its `port`."""
    proxy = Proxy(target, faults, seed)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    over = asyncio.Event()

    async def main() -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await proxy.serve(reader, writer)
            finally:
                tasks.discard(task)

        server = await asyncio.start_server(accepted, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        ready.set()
        await over.wait()
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    thread = threading.Thread(target=lambda: asyncio.Runner(loop_factory=lambda: loop).run(main()), name="proxy")
    thread.start()
    assert ready.wait(30)
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(30)
        loop.close()
