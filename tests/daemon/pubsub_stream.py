"""The client's end of a streaming subscription, in memory."""

from collections import deque
from collections.abc import Mapping

from components.completion import Completion
from noded.calls import Callback, GrpcCall, StreamClosed
from noded.lanes import step
from noded.proto.events_pb2 import TopicEventRequest, TopicEventResponse
from noded.proto.pubsub_pb2 import (
    SubscribeTopicEventsRequestAlpha1,
    SubscribeTopicEventsRequestInitialAlpha1,
    SubscribeTopicEventsRequestProcessedAlpha1,
    SubscribeTopicEventsResponseAlpha1,
)
from noded.runtime.streaming import subscribe_topic_events
from tests.daemon.pubsub_node import Member

SUCCESS = TopicEventResponse.SUCCESS


class Client:
    """The client's end of one stream, in memory: it has room for `room` messages until `read` makes more."""

    def __init__(self, member: Member, room: int = 1000) -> None:
        self.closed = False
        self.error: BaseException | None = None
        self.ended = False
        self.sent: list[bytes] = []
        self._room = room
        self._inbox: deque[bytes | None] = deque()
        self._receiver: Completion[None] | None = None
        self._senders: deque[Completion[None]] = deque()
        step(subscribe_topic_events(GrpcCall(member.app, (), None), self), self._done)

    # What the daemon calls.

    async def receive(self) -> bytes | None:
        while not self._inbox:
            if self.closed:
                raise StreamClosed
            self._receiver = Completion()
            await self._receiver
        return self._inbox.popleft()

    async def send(self, message: bytes) -> None:
        while len(self.sent) >= self._room:
            waiting: Completion[None] = Completion()
            self._senders.append(waiting)
            await waiting
        if self.closed:
            raise StreamClosed
        self.sent.append(message)

    def send_nowait(self, message: bytes) -> bool:
        self.sent.append(message)
        return len(self.sent) < self._room

    def on_closed(self, callback: Callback) -> None:
        raise NotImplementedError

    # What the test calls.

    def ask(self, topic: str = "orders", pubsub_name: str = "pubsub", dead_letter_topic: str = "",
            metadata: Mapping[str, str] | None = None) -> "Client":  # fmt: skip
        initial = SubscribeTopicEventsRequestInitialAlpha1(
            pubsub_name=pubsub_name, topic=topic, dead_letter_topic=dead_letter_topic, metadata=metadata or {}
        )
        return self.put(SubscribeTopicEventsRequestAlpha1(initial_request=initial).SerializeToString())

    def settle(self, event_id: str, status: int = SUCCESS) -> None:
        verdict = TopicEventResponse(status=status)  # type: ignore[arg-type]
        processed = SubscribeTopicEventsRequestProcessedAlpha1(id=event_id, status=verdict)
        self.put(SubscribeTopicEventsRequestAlpha1(event_processed=processed).SerializeToString())

    def put(self, message: bytes | None) -> "Client":
        """Send a message; None ends the client's side."""
        self._inbox.append(message)
        self._wake()
        return self

    def read(self) -> None:
        """Make room for one more message."""
        self._room += 1
        if self._senders:
            self._senders.popleft().resolve(None)

    def leave(self) -> None:
        """Cancel."""
        self.closed = True
        self._wake()
        while self._senders:
            self._senders.popleft().resolve(None)

    @property
    def events(self) -> list[TopicEventRequest]:
        """What came, after the acceptance that must come first."""
        first, *rest = (SubscribeTopicEventsResponseAlpha1.FromString(message) for message in self.sent)
        assert first.WhichOneof("subscribe_topic_events_response_type") == "initial_response"
        return [message.event_message for message in rest]

    def _wake(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.resolve(None)

    def _done(self, _: None, error: BaseException | None) -> None:
        self.ended, self.error = True, error
