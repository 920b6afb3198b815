"""What a connection to an app leaves behind: nothing that waits for the collector. No sockets."""

import asyncio
import gc
from collections.abc import Iterable

import pytest

from noded.http2_client import Http2Client


class Transport(asyncio.Transport):
    """Takes everything."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        pass

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


class NoPool:
    """Heeds nobody."""

    def made(self, connection: Http2Client) -> None:
        pass

    def released(self, connection: Http2Client) -> None:
        pass

    def lost(self, connection: Http2Client, reason: str) -> None:
        pass

    def now(self) -> float:
        return 0.0


@pytest.mark.parametrize("said", [[], [b"HTTP/1.1 400 What\r\n\r\n"], [bytes(9), bytes(9)]])
def test_a_connection_that_is_gone_is_freed_at_once(said: Iterable[bytes]) -> None:
    """An app that breaks off each call would else leave the collector a connection's tables for each."""
    gc.collect()
    gc.disable()
    connection = Http2Client(NoPool())
    connection.connection_made(Transport())
    for data in said:
        connection.data_received(data)
    connection.connection_lost(None)
    del connection
    left = [each for each in gc.get_objects() if isinstance(each, Http2Client)]
    gc.enable()
    assert not left
