"""A process that saves without pause and tells each acknowledgement on its standard output: `key number`.

Run as: python -m tests.conformance.state.writing_process FILE. Ends only by a signal.
"""

import asyncio
import os
import sys
import time
from functools import partial
from pathlib import Path

import uvloop

from components.contract import Delete, StoreKey, Surroundings, Write
from components.registry import open_state
from noded.lanes import step
from tenancy.ledger import Books
from tests.conformance.state.rig import watch

WRITERS = 16
KEYS = 20


async def main(path: str) -> None:
    loop = asyncio.get_running_loop()
    surroundings = Surroundings(
        run_soon=loop.call_soon_threadsafe,
        next_pass=loop.call_soon,
        call_later=loop.call_later,
        now=time.time,
        state_dir=Path(path).parent,
        ledger=Books().open_ledger(),
        watch=partial(watch, loop),
    )
    store = open_state("state.sqlite", "store", {"connectionString": path}, surroundings)

    def save_next(writer: int, number: int) -> None:
        key = StoreKey(f"app{writer % 3}||{writer}-{number % KEYS}")

        def done(_result: None, error: BaseException | None) -> None:
            if error is not None:
                raise error
            os.write(1, f"{key} {number}\n".encode())
            save_next(writer, number + 1)

        value = b"%d " % number + b"\0" * (number % 300)
        operations: list[Write | Delete] = [Write(key, value), Delete(StoreKey(f"{key}-gone"))]
        if number % 2:
            operations.append(Write(StoreKey(f"{key}-gone"), b"1", ttl_seconds=1000))
        loop.call_soon(step, store.transact(operations), done)

    for writer in range(WRITERS):
        save_next(writer, 1)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
