"""Ends that nobody asked for, and those that somebody did: what was acknowledged is there, counted, and whole."""

import time
from pathlib import Path
from random import Random

import pytest

from components.state.sqlite.file import open_database
from components.state.sqlite.settings import read_settings
from components.state.sqlite.statements import Statements
from tests.proof.big_file import killed_on
from tests.proof.crash_load import load, read_back, writers
from tests.proof.crash_rounds import APPS, crash, the_place
from tests.proof.node import counts_of_file, place

ROUNDS = 10
"""Of each kind. Two hundred by hand: `python -m tests.proof.crash_rounds`."""


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("journal", ["busy", "always"])
def test_kill_9_under_mixed_load_loses_tears_and_miscounts_nothing(journal: str) -> None:
    """Round after round on the same files: what was acknowledged is there, transactions are whole, counts are exact."""
    with place({}, {}) as here:
        outcome = crash(the_place(here.root, journal), ROUNDS, seed=20)
        assert outcome.wrong == []
        assert outcome.acknowledged > ROUNDS, "there was load"
        assert outcome.recovered or journal != "always", "writes were in the journal only"


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_sigterm_under_load_answers_what_it_accepted() -> None:
    """What a client of a stopping daemon got no answer to did not happen: no request is done and then not answered."""
    with place({}, {}) as bare:
        here = the_place(bare.root)
        clients = writers(APPS, each=4)
        random = Random(3)
        for number in range(3):
            daemon = here.start()
            for client in clients:
                assert client.settle(read_back(daemon, client)) == []
            threads = load(daemon, clients, f"term {number}")
            time.sleep(random.uniform(0.1, 0.4))
            assert daemon.stop() == 0
            for thread in threads:
                thread.join()
            for client in clients:
                client.asked = {}  # without an answer it may not have been done
        assert sum(client.acknowledged for client in clients) > len(clients)
        with here.running() as daemon:
            for client in clients:
                assert client.settle(read_back(daemon, client)) == []


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="this kernel does not tell what a process read")
def test_a_large_file_is_not_read_through_before_it_serves() -> None:
    """After a kill the totals that stand in the file are believed, and counted again later: a start reads little of it.

    By hand, with a gigabyte and a clock: `python -m tests.proof.big_file`.
    """
    with place({}, {}) as bare:
        here, items = killed_on(bare.root, 48 << 20)
        path = here.root / "state" / "state.db"
        settings = read_settings("statestore", {"connectionString": str(path)}, path.parent)
        before = bytes_read()
        connection, totals, counted = open_database("statestore", settings, Statements("state", "metadata"))
        read = bytes_read() - before
        connection.close()
        assert not counted
        assert totals == counts_of_file(path)
        assert totals["default.a"][0] == items
        assert read < path.stat().st_size / 4


def bytes_read() -> int:
    """By this process so far, also from the cache. Source: proc(5), rchar."""
    return int(Path("/proc/self/io").read_text().split()[1])
