"""A subscriber that takes its time: `python -m bench.slow_app PORT`. As `bench.app`, each answer DELAY_SECONDS late."""

import asyncio
import sys

import uvloop

from bench.app import AppConnection, Counter

DELAY_SECONDS = 0.05


class SlowConnection(AppConnection):
    """One connection: what comes is looked at later."""

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(DELAY_SECONDS, super().data_received, data)


async def serve(port: int) -> None:
    """Answer on loopback until cancelled."""
    counter = Counter()
    server = await asyncio.get_running_loop().create_server(lambda: SlowConnection(counter), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
