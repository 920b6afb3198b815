"""The small parts the stores share: metadata fields, and the register of what expires."""

from itertools import pairwise

import pytest

from components.contract import ConfigError, StoreKey
from components.fields import Field, Fields, FieldType, parse_seconds
from components.registry import STATE_STORES, open_state
from components.state.expiries import Expiries
from tests.conformance.state.rig import Rig


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20s", 20),
        ("1h30m", 5400),
        ("1.5s", 1.5),
        (".5h", 1800),
        ("300ms", 0.3),
        ("2us", 2e-6),
        ("7", 7),
        ("-1", -1),
        ("-1m", -60),
        ("+3s", 3),
        ("0", 0),
        ("", None),
        ("s", None),
        ("1", 1),
        ("1 s", None),
        ("1sx", None),
        ("1d", None),
        ("1.2.3s", None),
        ("--1s", None),
        ("1e3s", None),
    ],
)
def test_durations_are_go_s_or_whole_seconds(text: str, seconds: float | None) -> None:
    """What time.ParseDuration takes, and plain seconds; nothing else."""
    assert parse_seconds(text) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(("text", "size_bytes"), [("0", 0), ("512", 512), ("64Ki", 65536), ("2M", 2_000_000)])
def test_sizes(text: str, size_bytes: int) -> None:
    """Bytes with a binary or decimal unit."""
    declared = (Field("size", FieldType.SIZE, "A size."),)
    assert Fields("x", declared, {"SIZE": text}).size_bytes("size") == size_bytes


def test_a_required_field_is_asked_for() -> None:
    """A field without a default must be given, and not empty."""
    declared = (Field("url", FieldType.TEXT, "Where it is."),)
    with pytest.raises(ConfigError, match="component x: metadata field url: found '', allowed: text"):
        Fields("x", declared, {"url": ""}).text("url")


def test_every_default_is_a_value_the_field_takes(rig: Rig) -> None:
    """Opening with all defaults written out is opening with none."""
    for component_type, backend in STATE_STORES.items():
        metadata = {field.name: field.default for field in backend.fields if field.default is not None}
        store = open_state(component_type, "defaults", metadata, rig.surroundings)
        rig.run(store.aclose())


def test_an_unknown_type_is_named(rig: Rig) -> None:
    """The error lists what there is."""
    with pytest.raises(ConfigError, match=r"found 'state\.nosuch', allowed: state\.in-memory, state\.sqlite"):
        rig.open("state.nosuch")


def test_rewritten_keys_leave_nothing_behind() -> None:
    """However often a key gets a new time, one entry is kept for it; forgotten keys leave none."""
    expiries = Expiries(now=0)
    for ttl in range(1, 10_000):
        expiries.put(StoreKey("app||key"), float(ttl))
    assert (len(expiries._by_second), len(expiries._second_of)) == (1, 1)
    expiries.discard(StoreKey("app||key"))
    assert (len(expiries._by_second), len(expiries._second_of)) == (0, 0)


@pytest.mark.parametrize("times", [range(12), [5, 3, 11], [1000_000], [0, 7200, 7201], [11, 1, 2, 12]])
def test_what_has_expired_is_taken_once_and_in_slices(times: list[int]) -> None:
    """Whether the clock runs, jumps or goes back: each key is taken once its time has come, never before."""
    expiries = Expiries(now=0)
    keys = {StoreKey(f"app||{number}"): float(number % 10) for number in range(100)}
    for key, expires_at in keys.items():
        expiries.put(key, expires_at)
    taken: list[StoreKey] = []
    for now in times:
        while part := expiries.take(now, 7):
            assert len(part) <= 7
            assert all(keys[key] <= now for key in part)
            taken += part
    latest = max(times)
    assert sorted(taken) == sorted(key for key, expires_at in keys.items() if int(expires_at) + 1 <= latest)
    assert all(first != second for first, second in pairwise(sorted(taken)))
