"""What every broker promises (components/contract.py PubSub), whatever it is made of."""

import pytest

from components.contract import Capability, Delivery, Message, SubscriptionHandle, TopicName, Unavailable, Verdict
from tests.conformance.pubsub.workbench import Bench, Room, Taker, run


def publish(bench: Bench, *bodies: bytes, topic: str = "orders") -> None:
    for body in bodies:
        run(bench.broker.publish(TopicName(topic), Message(body)))


def test_what_is_published_arrives_whole_and_in_order(bench: Bench) -> None:
    """A subscriber gets every message published after it subscribed, its bytes, metadata and content type untouched."""
    taker = Taker(Verdict.ACK)
    bench.join(taker)
    messages = [Message(b"%d" % n, {"key": str(n)}, "text/plain") for n in range(10)]
    for message in messages:
        run(bench.broker.publish(TopicName("orders"), message))

    assert [delivery.message for delivery in taker.deliveries] == messages
    assert {delivery.attempt for delivery in taker.deliveries} == {1}


def test_without_subscribers_a_message_is_lost(bench: Bench) -> None:
    """Nothing is kept for who subscribes later."""
    publish(bench, b"early")
    taker = Taker(Verdict.ACK)
    bench.join(taker)

    assert taker.bodies == []


def test_topics_do_not_cross(bench: Bench) -> None:
    """Each topic has its own subscribers, also where one name begins the other."""
    orders, order = Taker(Verdict.ACK), Taker(Verdict.ACK)
    bench.join(orders, "orders")
    bench.join(order, "order")
    publish(bench, b"1", topic="orders")
    publish(bench, b"2", topic="order")

    assert (orders.bodies, order.bodies) == ([b"1"], [b"2"])


def test_every_group_gets_every_message(bench: Bench) -> None:
    """Different apps each see the whole topic."""
    takers = [Taker(Verdict.ACK) for _ in range(3)]
    for number, taker in enumerate(takers):
        bench.join(taker, group=f"app{number}")
    publish(bench, b"1", b"2")

    assert [taker.bodies for taker in takers] == [[b"1", b"2"]] * 3


def test_consumers_of_one_group_compete(bench: Bench) -> None:
    """Replicas of an app share its messages: each goes to exactly one, in turn."""
    first, second = Taker(), Taker()
    bench.join(first)
    bench.join(second)
    publish(bench, b"1", b"2", b"3", b"4")

    assert (first.bodies, second.bodies) == ([b"1", b"3"], [b"2", b"4"])


def test_a_consumer_holds_no_more_than_its_credit(bench: Bench) -> None:
    """Beyond max_in_flight messages wait, and the next comes when one is settled."""
    taker = Taker()
    bench.join(taker, credit=2)
    publish(bench, b"1", b"2", b"3")
    assert taker.bodies == [b"1", b"2"]

    taker.deliveries[1].settle(Verdict.ACK)

    assert taker.bodies == [b"1", b"2", b"3"]


def test_a_consumer_without_credit_is_passed_over(bench: Bench) -> None:
    """A busy replica delays nothing that an idle one can take."""
    busy, idle = Taker(), Taker(Verdict.ACK)
    bench.join(busy, credit=1)
    bench.join(idle, credit=1)
    publish(bench, b"1", b"2", b"3", b"4")

    assert (busy.bodies, idle.bodies) == ([b"1"], [b"2", b"3", b"4"])


def test_a_group_that_takes_nothing_delays_no_other(bench: Bench) -> None:
    """One app's slow subscriber is its own affair: others get every message at once."""
    bench.join(Taker(), group="slow", credit=1)
    quick = Taker(Verdict.ACK)
    bench.join(quick, group="quick")
    publish(bench, *(b"%d" % n for n in range(100)))

    assert len(quick.bodies) == 100


def test_retry_comes_again_later_and_counts(bench: Bench) -> None:
    """RETRY redelivers after a delay, as a further attempt; nothing comes twice before."""
    taker = Taker()
    bench.join(taker)
    publish(bench, b"1")
    taker.deliveries[0].settle(Verdict.RETRY)
    assert len(taker.deliveries) == 1

    bench.clock.advance(1.0)

    assert [(d.message.data, d.attempt) for d in taker.deliveries] == [(b"1", 1), (b"1", 2)]


def test_a_message_that_fails_some_times_is_not_lost(bench: Bench) -> None:
    """A handler that fails the first two deliveries and every fifth still sees all messages through."""
    done: list[bytes] = []
    seen = 0

    def handle(delivery: Delivery) -> None:
        nonlocal seen
        seen += 1
        if seen <= 2 or seen % 5 == 0:
            delivery.settle(Verdict.RETRY)
        else:
            done.append(delivery.message.data)
            delivery.settle(Verdict.ACK)

    bench.join(handle)
    bodies = [b"%d" % n for n in range(10)]
    publish(bench, *bodies)
    bench.clock.advance(600)

    assert sorted(done) == bodies


def test_only_the_first_verdict_counts(bench: Bench) -> None:
    """Settling twice does nothing the second time: neither a redelivery nor more credit."""
    taker = Taker()
    bench.join(taker, credit=1)
    publish(bench, b"1", b"2", b"3")
    taker.deliveries[0].settle(Verdict.ACK)
    taker.deliveries[0].settle(Verdict.RETRY)
    taker.deliveries[0].settle(Verdict.ACK)
    bench.clock.advance(60)

    assert taker.bodies == [b"1", b"2"]


def test_closing_a_consumer_returns_what_it_held(bench: Bench) -> None:
    """A replica that goes leaves its unsettled messages to the others, oldest first, ahead of what waits."""
    leaving, staying = Taker(), Taker()
    handle = bench.join(leaving, credit=2)
    publish(bench, b"1", b"2", b"3")
    bench.join(staying, credit=1)
    handle.close()
    for _ in range(2):
        staying.deliveries[-1].settle(Verdict.ACK)
    staying.deliveries[-1].settle(Verdict.ACK)

    assert [(d.message.data, d.attempt) for d in staying.deliveries] == [(b"3", 1), (b"1", 2), (b"2", 2)]


def test_a_verdict_after_the_close_is_ignored(bench: Bench) -> None:
    """Who left has no say: its late ACK does not end the redelivery."""
    leaving, staying = Taker(), Taker(Verdict.ACK)
    handle = bench.join(leaving)
    publish(bench, b"1")
    handle.close()
    bench.join(staying)
    leaving.deliveries[0].settle(Verdict.ACK)
    publish(bench, b"2")

    assert staying.bodies == [b"2"]


def test_one_subscriber_goes_and_the_other_still_receives(bench: Bench) -> None:
    """Closing is idempotent and concerns one consumer only."""
    gone, other = Taker(Verdict.ACK), Taker(Verdict.ACK)
    handle = bench.join(gone, group="a")
    bench.join(other, group="b")
    publish(bench, b"1")
    handle.close()
    handle.close()
    publish(bench, b"2")

    assert (gone.bodies, other.bodies) == ([b"1"], [b"1", b"2"])


def test_a_consumer_may_close_itself_while_it_is_called(bench: Bench) -> None:
    """No message is lost and nothing fails when the handle is closed from inside a delivery."""
    taker = Taker(Verdict.ACK)
    handles: list[SubscriptionHandle] = []

    def leave(delivery: Delivery) -> None:
        handles[0].close()

    handles.append(bench.join(leave))
    bench.join(taker)
    publish(bench, b"1")

    assert taker.bodies == [b"1"]


def test_a_consumer_that_answers_at_once_may_have_any_backlog(bench: Bench) -> None:
    """Thousands of waiting messages do not grow the stack of the consumer that takes them."""
    idle = Taker()
    handle = bench.join(idle, credit=1)
    publish(bench, *(b"%d" % n for n in range(5000)))
    quick = Taker(Verdict.ACK)
    bench.join(quick)
    handle.close()

    assert len(quick.bodies) == 5000


def test_a_consumer_may_publish_to_its_own_topic(bench: Bench) -> None:
    """An event published while another is delivered arrives after it."""
    taker = Taker(Verdict.ACK)

    def echo(delivery: Delivery) -> None:
        taker(delivery)
        if len(taker.bodies) < 3:
            publish(bench, b"again")

    bench.join(echo)
    publish(bench, b"1")

    assert taker.bodies == [b"1", b"again", b"again"]


class TestBounds:
    """What a group may hold: reserved on acceptance, free again when it is acknowledged or the group ends."""

    def test_exactly_at_the_bound_all_fit(self, bench: Bench) -> None:
        """The last message that fits is kept."""
        room = Room(messages=3, size_bytes=6)
        taker = Taker()
        bench.join(taker, room=room)
        publish(bench, b"aa", b"bb", b"cc")

        assert (taker.bodies, room.drops) == ([b"aa", b"bb", b"cc"], 0)

    @pytest.mark.parametrize("room", [Room(messages=2), Room(size_bytes=5)], ids=["messages", "bytes"])
    def test_one_over_the_bound_is_dropped_for_that_group_alone(self, bench: Bench, room: Room) -> None:
        """The new message is dropped and counted; the publisher and other groups notice nothing."""
        full, other = Taker(), Taker(Verdict.ACK)
        bench.join(full, group="full", room=Room(room.allowed_messages, room.allowed_bytes))
        mine = Room(room.allowed_messages, room.allowed_bytes)
        late = Taker()
        bench.join(late, group="late", room=mine)
        bench.join(other, group="other")
        publish(bench, b"aa", b"bb", b"cc")

        assert (late.bodies, mine.drops) == ([b"aa", b"bb"], 1)
        assert other.bodies == [b"aa", b"bb", b"cc"]

    def test_an_acknowledged_message_makes_room(self, bench: Bench) -> None:
        """Room is free as soon as a message is acknowledged."""
        room = Room(messages=1)
        taker = Taker()
        bench.join(taker, room=room)
        publish(bench, b"1", b"lost")
        taker.deliveries[0].settle(Verdict.ACK)
        publish(bench, b"2")

        assert (taker.bodies, room.drops) == ([b"1", b"2"], 1)

    def test_a_message_that_waits_for_its_retry_keeps_its_room(self, bench: Bench) -> None:
        """A retry always finds room, because it never gave it up."""
        room = Room(messages=1)
        taker = Taker()
        bench.join(taker, room=room)
        publish(bench, b"1")
        taker.deliveries[0].settle(Verdict.RETRY)
        publish(bench, b"lost")
        bench.clock.advance(60)

        assert (taker.bodies, room.messages, room.drops) == ([b"1", b"1"], 1, 1)

    @pytest.mark.parametrize("credit", [1, 10], ids=["waiting", "in flight"])
    def test_the_last_close_frees_everything(self, bench: Bench, credit: int) -> None:
        """A group ends with its last consumer: what waited, was in flight or waited for its retry is freed."""
        room = Room()
        taker = Taker()
        handle = bench.join(taker, credit=credit, room=room)
        publish(bench, b"1", b"2", b"3")
        taker.deliveries[0].settle(Verdict.RETRY)
        handle.close()

        assert (room.messages, room.size_bytes, bench.clock.pending) == (0, 0, 0)

    def test_closing_the_broker_frees_everything(self, bench: Bench) -> None:
        """After aclose nobody pays for anything."""
        room = Room()
        bench.join(Taker(), credit=1, room=room)
        publish(bench, b"1", b"2")
        run(bench.broker.aclose())

        assert (room.messages, room.size_bytes) == (0, 0)


def test_a_closed_broker_says_so(bench: Bench) -> None:
    """After aclose, which may come twice, both publish and subscribe raise Unavailable."""
    run(bench.broker.aclose())
    run(bench.broker.aclose())

    with pytest.raises(Unavailable):
        publish(bench, b"1")
    with pytest.raises(Unavailable):
        bench.join(Taker())


class TestWildcards:
    """`t*` takes every longer name that begins with t, where the broker has the capability; else it is a plain name."""

    def test_a_wildcard_takes_longer_names_only(self, bench: Bench) -> None:
        """Neither the bare prefix nor a name that only shares some letters matches."""
        taker = Taker(Verdict.ACK)
        bench.join(taker, "orders*")
        for topic in ("orders", "orders.eu", "order", "my-orders"):
            publish(bench, topic.encode(), topic=topic)

        matched = [b"orders.eu"] if Capability.SUBSCRIBE_WILDCARDS in bench.broker.capabilities else []
        assert taker.bodies == matched

    @pytest.mark.parametrize("pattern", ["*", "|*"])
    def test_no_wildcard_reaches_into_a_namespace_of_its_own(self, bench: Bench, pattern: str) -> None:
        """Names that begin with || belong to a namespace; only a pattern drawn inside it matches them."""
        outside, inside = Taker(Verdict.ACK), Taker(Verdict.ACK)
        bench.join(outside, pattern, "default-app")
        bench.join(inside, "||team-a||*", "team-a.app")
        publish(bench, b"theirs", topic="||team-a||orders")

        assert outside.bodies == []
        assert inside.bodies == ([b"theirs"] if Capability.SUBSCRIBE_WILDCARDS in bench.broker.capabilities else [])

    def test_a_closed_wildcard_matches_no_more(self, bench: Bench) -> None:
        """The pattern goes with its last consumer."""
        taker = Taker(Verdict.ACK)
        bench.join(taker, "t*").close()
        publish(bench, b"1", topic="t1")

        assert taker.bodies == []
