"""Requests over HTTP/2 of a peer that reads no answers: they are held, few, in order, and begun when it reads."""

from noded.calls import HttpCall, Reply
from noded.server_http2 import LIMITS, MAX_HELD, Http2Wire
from noded.wire.http2 import ErrorCode, Http2Connection, encode_block
from noded.wire.http2_frames import encode_reset
from tests.wire.http2_peer import open_client
from tests.wire.recording_link import RecordingLink


class Served:
    """A server's connection and its client, and the requests that began."""

    def __init__(self) -> None:
        self.link = RecordingLink()
        self.begun: list[HttpCall] = []
        self.wire = Http2Wire(self.link, self._handle, lambda _: False, lambda *_: None, lambda: 0.0)
        self.client, self.heard = open_client(LIMITS)
        self.wire.feed(self._opening())

    def ask(self, path: bytes, body: bytes | None = None) -> int:
        """Send the head of a request, and its body if that is given; its stream's id."""
        fields = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"h"), (b":path", path)]
        stream_id = self.client.open_stream()
        self.client.send_headers(stream_id, encode_block(fields), end_stream=body is None)
        if body is not None:
            self.client.send_data(stream_id, body, end_stream=True)
        self.wire.feed(self.client.take_output())
        return stream_id

    def paths(self) -> list[bytes]:
        return [call.path for call in self.begun]

    def read(self) -> None:
        """The peer reads what was sent."""
        self.client.feed(bytes(self.link.sent))
        self.link.sent.clear()

    def _handle(self, call: HttpCall) -> None:
        self.begun.append(call)
        call.exchange.reply(Reply(200, call.body))

    @staticmethod
    def _opening() -> bytes:
        opening = Http2Connection(open_client()[1], client=True)
        opening.start()
        return opening.take_output()


def test_held_requests_begin_in_order_when_the_peer_reads() -> None:
    """None before, all then, each with the body that came meanwhile."""
    served = Served()
    served.wire.hold()
    ids = [served.ask(b"/1"), served.ask(b"/2", b"two"), served.ask(b"/3")]
    assert served.begun == []
    served.wire.writable()
    assert served.paths() == [b"/1", b"/2", b"/3"]
    served.read()
    assert [served.heard.body(each) for each in ids] == [b"", b"two", b""]


def test_a_held_request_that_its_peer_breaks_off_never_begins() -> None:
    """Those around it do."""
    served = Served()
    served.wire.hold()
    served.ask(b"/1")
    broken = served.ask(b"/2", b"two")
    served.ask(b"/3")
    served.wire.feed(encode_reset(broken, ErrorCode.CANCEL))
    served.wire.writable()
    assert served.paths() == [b"/1", b"/3"]


def test_more_than_may_be_held_are_refused_unseen() -> None:
    """REFUSED_STREAM says that the request may be sent again."""
    served = Served()
    served.wire.hold()
    ids = [served.ask(b"/") for _ in range(MAX_HELD + 1)]
    served.wire.writable()
    served.read()
    assert len(served.begun) == MAX_HELD
    assert ("reset", ids[-1], ErrorCode.REFUSED_STREAM) in served.heard.events


def test_a_lost_connection_begins_nothing_more() -> None:
    """Nobody waits for the answers."""
    served = Served()
    served.wire.hold()
    served.ask(b"/1")
    served.wire.lost()
    served.wire.writable()
    assert served.begun == []
