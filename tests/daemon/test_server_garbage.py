"""What a lost connection leaves behind: nothing that only the collector of cycles could free, which may come late."""

import asyncio
import gc
import socket
from dataclasses import dataclass, field

import pytest

from noded.calls import Reply
from noded.listener import Listener
from noded.server import PREFACE, Connection, Serving
from noded.server_http1 import Http1Wire
from noded.server_http2 import Http2Wire
from tenancy.fairness import Turns
from tests.wire.recording_link import make_app


@dataclass
class Loop:
    """A transport, by hand."""

    sock: socket.socket
    written: list[bytes] = field(default_factory=list)

    def get_extra_info(self, _: str) -> socket.socket:
        return self.sock

    def set_write_buffer_limits(self, _: int) -> None:
        """None here."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """It reads nothing."""

    def write(self, data: bytes) -> None:
        self.written.append(data)


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", PREFACE, b"GET", b""])
def test_a_lost_connection_is_freed_at_once(said: bytes) -> None:
    """Peers that come and go would else leave kilobytes each until the collector comes, and its last round is rare."""
    serving = Serving(
        Turns(lambda: 0, lambda _: None),
        lambda link: Http1Wire(link, lambda call: call.exchange.reply(Reply(200)), lambda _: False),
        lambda link: Http2Wire(link, lambda _: None, lambda _: False, lambda *_: None, lambda: 0.0),
        lambda: 0.0,
        set(),
    )
    gc.collect()
    gc.disable()
    with socket.socket(socket.AF_UNIX) as sock:
        listener = Listener(make_app(), serving, only_http2=False, token=None)
        connection = listener()
        connection.connection_made(_transport(sock))
        connection.get_buffer(-1)[: len(said)] = said
        connection.buffer_updated(len(said))
        connection.connection_lost(None)
        del connection
        left = [each for each in gc.get_objects() if isinstance(each, Connection)]
    gc.enable()
    assert not left


def _transport(sock: socket.socket) -> asyncio.BaseTransport:
    return Loop(sock)  # type: ignore[return-value]
