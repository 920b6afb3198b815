"""Every fuzz target on its corpus, and on some inputs near it: the same ones each time. More by hand: `__main__.py`."""

import pytest

from noded.routes import HTTP_ROUTES
from tests.fuzz.mutator import Mutator
from tests.fuzz.target import run_bounded
from tests.fuzz.targets import CORPUS, TARGETS, corpus

INPUTS = 150
"""Mutated ones of each target: the whole file takes some ten seconds."""
CORPUS_BYTES = 500_000
BODIES = {
    "SaveState": "json_state_save",
    "GetBulkState": "json_state_bulk_get",
    "ExecuteStateTransaction": "json_state_transaction",
    "QueryStateAlpha1": "json_state_query",
    "BulkPublishEvent": "json_publish_bulk",
    "PublishEvent": "json_publish",
    "SetMetadata": "metadata_note",
}
"""{operation: the target that sends it bodies}"""
NO_BODY = {"Shutdown"}
"""What is posted there is not read."""


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs(name: str) -> None:
    """Seeds, and inputs that once failed or reached code that others do not, are taken or refused as documented."""
    for data in corpus(TARGETS[name]):
        run_bounded(TARGETS[name], data)


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_near_the_kept_ones(name: str) -> None:
    """So are inputs that nobody chose."""
    target = TARGETS[name]
    inputs = Mutator(target, corpus(target), seed=1)
    for _ in range(INPUTS):
        run_bounded(target, inputs.next())


def test_every_kept_input_has_its_target() -> None:
    """The corpus holds nothing else, and stays small."""
    folders = [path for path in CORPUS.iterdir() if path.is_dir()]
    assert {path.name for path in folders} <= set(TARGETS)
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < CORPUS_BYTES


def test_every_body_of_http_has_its_target() -> None:
    """A new route needs one too. The messages of gRPC need no list: `grpc_messages` asks the table for all methods."""
    reading = {route.operation for route in HTTP_ROUTES if {"POST", "PUT"} & set(route.methods)} - NO_BODY
    assert set(BODIES) == reading
    assert set(BODIES.values()) <= set(TARGETS)
