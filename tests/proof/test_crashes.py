"""Ends that nobody asked for, and those that somebody did: what was acknowledged is there, counted, and whole."""

import time
from random import Random

import pytest

from tests.proof.crash_load import load, read_back, writers
from tests.proof.crash_rounds import APPS, crash, the_place
from tests.proof.node import place

ROUNDS = 6
"""Two hundred by hand: `python -m tests.proof.crash_rounds`."""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_kill_9_under_mixed_load_loses_tears_and_miscounts_nothing() -> None:
    """Round after round on the same files: what was acknowledged is there, transactions are whole, counts are exact."""
    with place({}, {}) as here:
        outcome = crash(the_place(here.root), ROUNDS, seed=20)
        assert outcome.wrong == []
        assert outcome.acknowledged > ROUNDS, "there was load"


@pytest.mark.slow
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
