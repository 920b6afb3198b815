"""A node for pub/sub tests: the real broker, tenants, channels and subscriptions, with tiny HTTP apps on Unix sockets.

Runs on the real host (uvloop with trio as guest). Brokers' delays pass fifty times as fast.
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import trio

from components.completion import Completion
from components.contract import PubSub, Surroundings
from components.registry import open_pubsub
from noded.api.pubsub import Publication, publish
from noded.api.topic_scopes import topic_scopes
from noded.app import App, PubSubBinding
from noded.channel import HttpChannel
from noded.config.records import AppSpec, ChannelSpec, SubscriptionSpec
from noded.host import Host, run
from noded.lanes import in_trio
from noded.node import Node
from noded.runtime.subscriptions import Subscriptions
from tenancy.accounting import TopicUse
from tenancy.limits import Limits
from tenancy.namespacing import topic_names
from tenancy.tenant import Tenants
from tenancy.use import RETRY

T = TypeVar("T")

ORDERS: Mapping[str, object] = {"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}
"""A subscription as an app answers it."""

FASTER = 50.0
WAIT_SECONDS = 10.0
"""Within which anything a test waits for must happen."""


@dataclass(frozen=True)
class Event:
    """What an app was sent."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Answer:
    """How an app answers one path."""

    status: int = 200
    body: bytes = b""
    hangs: bool = False
    """Never answers."""
    dies: bool = False
    """Closes the connection instead of answering."""
    statuses: Mapping[str, str] | None = None
    """Instead of `body`, for a batch: {data of an event, as JSON: its status}; other events are done."""

    def body_for(self, request: bytes) -> bytes:
        if self.statuses is None:
            return self.body
        entries = json.loads(request)["entries"]
        told = [(each["entryId"], self.statuses.get(json.dumps(each["event"]["data"]), "SUCCESS")) for each in entries]
        return json.dumps({"statuses": [{"entryId": name, "status": status} for name, status in told]}).encode()


@dataclass
class EventApp:
    """An HTTP/1.1 app that remembers its events and answers as it is told."""

    socket: Path
    topics: Sequence[Mapping[str, object]] | None
    """What /dapr/subscribe answers; None: `refusal`."""
    refusal: int = 404
    mute: bool = False
    """Closes the connection instead of answering /dapr/subscribe."""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    """{path: answers in turn, the last one for ever}; other paths are answered with an empty 200."""
    events: list[Event] = field(default_factory=list)
    asked: int = 0
    """How often /dapr/subscribe was asked."""
    _changed: trio.Event = field(default_factory=trio.Event)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def listen(self, host: Host) -> None:
        """Begin to serve."""
        self._server = await host.from_asyncio(asyncio.start_unix_server(self._serve, str(self.socket)))

    def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self.socket.unlink(missing_ok=True)

    async def wait_for(self, count: int) -> list[Event]:
        """Wait until `count` events have come, and return all there are."""
        await self.wait_until(lambda: len(self.events) >= count)
        return self.events

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until something holds that changes with a request to this app."""
        with trio.fail_after(WAIT_SECONDS):
            while not condition():
                await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                answer = self._answer(request.split(" ")[1], headers, body)
                if answer.hangs:
                    await reader.read()
                if answer.dies or answer.hangs:
                    break
                reply = answer.body_for(body)
                writer.write(b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (answer.status, len(reply), reply))
        self._writers.discard(writer)
        writer.close()

    def _answer(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        if path == "/dapr/subscribe":
            self.asked += 1
            if self.mute or self.topics is None:
                return Answer(self.refusal, dies=self.mute)
            return Answer(body=json.dumps(self.topics).encode())
        self.events.append(Event(path, headers, body))
        answers = self.answers.get(path, [Answer()])
        return answers.pop(0) if len(answers) > 1 else answers[0]


@dataclass
class Member:
    """An attached app: the daemon's side and the app's."""

    app: App
    server: EventApp
    subscriptions: Subscriptions

    async def publish(self, topic: str, body: bytes = b"{}", **more: Any) -> None:
        """Publish as this app."""
        await in_trio(publish(self.app, Publication("pubsub", topic, body, "application/json", **more)))

    async def subscribed(self, count: int = 1) -> None:
        """Wait until so many subscriptions are open, and the app was asked."""
        await eventually(lambda: self.app.tenant.gate.app.used["subscriptions"] >= count)


class PubSubNode:
    """Apps that share one broker, `pubsub`."""

    def __init__(self, host: Host, root: Path, nursery: trio.Nursery) -> None:
        self.host = host
        self.tenants = Tenants(clock=time.time)
        self.broker: PubSub = open_pubsub("pubsub.in-memory", "pubsub", {}, self._surroundings(root))
        self.members: list[Member] = []
        self._root = root
        self._nursery = nursery
        self._node = Node()

    async def attach(  # noqa: PLR0913 - a test names what it cares for
        self,
        app_id: str,
        *topics: Mapping[str, object],
        namespace: str = "default",
        limits: Limits | None = None,
        declared: Sequence[SubscriptionSpec] = (),
        scopes: Mapping[str, str] | None = None,
        answers: Mapping[str, list[Answer]] | None = None,
        listening: bool = True,
        app_token: str | None = None,
        refusal: int = 404,
        mute: bool = False,
    ) -> Member:
        """Attach an app that answers /dapr/subscribe with `topics`, or `refusal` without any."""
        socket = self._root / f"{namespace}.{app_id}"
        channel = HttpChannel(ChannelSpec(f"unix:{socket}"), self.host.loop)
        spec = AppSpec(app_id, namespace, ChannelSpec(f"unix:{socket}"), app_token=app_token)
        app = App(spec, self.tenants.attach(namespace, app_id, limits or Limits()), self._node, channel)
        names = topic_names(namespace, app_id)
        app.pubsub["pubsub"] = PubSubBinding("pubsub", self.broker, names, topic_scopes(scopes or {}, app_id))
        app.subscriptions = subscriptions = Subscriptions(app)
        server = EventApp(socket, list(topics) or None, refusal, mute, dict(answers or {}))
        member = Member(app, server, subscriptions)
        self.members.append(member)
        if listening:
            await member.server.listen(self.host)
        subscriptions.open(declared, self._nursery)
        self._nursery.start_soon(subscriptions.begin)
        return member

    async def aclose(self) -> None:
        """Detach every app and close the broker."""
        for member in self.members:
            member.subscriptions.close()
            assert member.app.channel is not None
            await member.app.channel.aclose()
            member.server.stop()
        await self.broker.aclose()

    def _surroundings(self, root: Path) -> Surroundings:
        loop = self.host.loop
        return Surroundings(
            run_soon=loop.call_soon_threadsafe,
            next_pass=loop.call_soon,
            call_later=lambda seconds, callback: loop.call_later(seconds / FASTER, callback),
            now=time.time,
            state_dir=root,
            ledger=self.tenants.books.open_ledger(),
        )


async def idle(member: Member) -> None:
    """Wait until everything the app was sent is settled and nothing waits for it."""
    used = member.app.tenant.gate.app.used
    await eventually(lambda: not used["queued_messages"] and not member.subscriptions.deliveries.count)


def retried(member: Member) -> int:
    """How often a message of the app's was counted as going back to the broker."""
    usage = member.app.tenant.usage
    one = usage.received.cell(TopicUse("pubsub", "orders", (RETRY, RETRY))).count
    return one + usage.bulk_events.cell(TopicUse("pubsub", "orders", (RETRY.upper(),))).count


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what only asking can tell: counts of the tenant, say."""
    with trio.fail_after(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.001)


def with_node(root: Path, scenario: Callable[[PubSubNode], Awaitable[None]]) -> None:
    """Run a scenario on a node of its own."""

    async def main(host: Host) -> None:
        async with trio.open_nursery() as nursery:
            node = PubSubNode(host, root, nursery)
            try:
                with trio.fail_after(3 * WAIT_SECONDS):
                    await scenario(node)
            finally:
                await node.aclose()
                nursery.cancel_scope.cancel()

    run(main)


def next_pass() -> Completion[None]:
    """Done in the loop's next pass: as an app's next turn is, where nobody else is about."""
    done: Completion[None] = Completion()
    asyncio.get_running_loop().call_soon(done.resolve, None)
    return done


def inline(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to its end what awaits nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    raise AssertionError("awaited something")
