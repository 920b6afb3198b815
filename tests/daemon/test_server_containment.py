"""What nobody foresaw in a handler or a component ends that request, is logged and counted, and touches no other."""

from collections.abc import Callable

import pytest
import trio
import trio.lowlevel

from components.completion import Completion
from noded.app import StateBinding
from noded.calls import HttpCall, Reply
from noded.dispatch import Dispatcher
from noded.route_table import HttpRoute, RouteTable
from noded.routes import http_table
from tenancy.fairness import Turns
from tenancy.namespacing import state_names
from tests.wire.recording_link import Rig

GET = b"GET /v1.0/state/%b/k HTTP/1.1\r\nHost: h\r\n\r\n"


class Broken:
    """A state store with a bug: whatever is asked of it, it does what it was made with."""

    type = "state.broken"
    capabilities: frozenset[object] = frozenset()
    inline = True

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act

    async def get(self, key: object) -> object:
        found = self._act()
        if isinstance(found, Completion):
            return await found
        if found is trio:
            await trio.lowlevel.checkpoint()
        return found


def fail() -> object:
    raise ZeroDivisionError("a secret of the component")


def rig_of(*stores: tuple[str, Callable[[], object]]) -> Rig:
    """An app on a connection, with the daemon's own routes and these stores."""
    rig = Rig(Dispatcher(http_table(), Turns(lambda: 0, lambda _: None)).http)
    for name, act in stores:
        names = state_names(None, "default", "a", name)
        rig.link.app.state[name] = StateBinding(name, Broken(act), names)  # type: ignore[arg-type]
    return rig


def test_a_component_that_raises_fails_its_request_only(caplog: pytest.LogCaptureFixture) -> None:
    """500 without the component's words; the log has them; requests before and after on that connection are served."""
    rig = rig_of(("bad", fail), ("good", lambda: None))
    rig.feed(GET % b"good" + GET % b"bad" + GET % b"good")
    answers = rig.answers()
    assert [answer.status for answer in answers] == [204, 500, 204]
    assert b"ZeroDivisionError" in answers[1].body
    assert b"secret" not in answers[1].body
    assert "a secret of the component" in caplog.text
    assert rig.link.app.tenant.usage.errors == 1


def test_a_component_that_fails_later_fails_its_request_only() -> None:
    """The same where the request waited; those behind it are answered in their turn."""
    waiting: Completion[object] = Completion()
    rig = rig_of(("bad", lambda: waiting), ("good", lambda: None))
    rig.feed(GET % b"bad" + GET % b"good")
    assert rig.out == b""
    waiting.fail(ZeroDivisionError())
    assert [answer.status for answer in rig.answers()] == [500, 204]


def test_an_inline_component_that_awaits_trio_fails_its_request_only(caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log what is wrong with it."""
    rig = rig_of(("bad", lambda: trio), ("good", lambda: None))

    async def main() -> None:
        rig.feed(GET % b"bad" + GET % b"good")

    trio.run(main)
    assert [answer.status for answer in rig.answers()] == [500, 204]
    assert "NotInline" in caplog.text


def test_a_streaming_handler_that_raises_is_answered_for() -> None:
    """One that takes the whole exchange and fails before it answered: 500, and its place is given back."""

    def broken(call: HttpCall) -> None:
        raise ZeroDivisionError(call.path)

    fallback = HttpRoute("InvokeService", (), ("v1.0",), "invoke/{id}/method/{method...}", raw=broken)
    rig = Rig(Dispatcher(RouteTable((), fallback, lambda _: 0), Turns(lambda: 0, lambda _: None)).http)
    rig.feed(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n" * 2)
    assert [answer.status for answer in rig.answers()] == [500, 500]
    assert rig.link.app.tenant.gate.app.in_flight == 0


def test_a_request_is_counted_out_however_it_ends() -> None:
    """Answered, failed, or its peer gone while it waited: nothing stays in flight."""
    waiting: Completion[object] = Completion()
    rig = rig_of(("bad", fail), ("good", lambda: None), ("slow", lambda: waiting))
    gate = rig.link.app.tenant.gate
    rig.feed(GET % b"good" + GET % b"bad" + GET % b"slow")
    assert gate.app.in_flight == 1
    rig.wire.lost()
    waiting.resolve(None)
    assert gate.app.in_flight == 0


def test_an_answer_is_not_a_second_time_sent_for_a_late_failure() -> None:
    """Replying twice is no one's right: the first answer stands."""

    def twice(call: HttpCall) -> None:
        call.exchange.reply(Reply(200))
        call.exchange.reply(Reply(500))

    rig = Rig(twice)
    rig.feed(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    assert [answer.status for answer in rig.answers()] == [200]
