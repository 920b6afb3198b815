"""Components that need trio, behind the face of an inline one.

Each call runs as a task of the daemon's and ends in a Completion, so whoever awaits it can be stepped in place: the
lane is a property of the component, never of the API code.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, ClassVar, TypeVar, cast

import trio

from components.completion import Completion
from components.contract import (
    Capability,
    Delete,
    Item,
    Message,
    Outcome,
    PubSub,
    StateStore,
    StoreKey,
    SubscribeRequest,
    SubscriptionHandle,
    TopicName,
    Unavailable,
    Write,
)

T = TypeVar("T")

CALL_SECONDS = 60.0
"""For one call of a component; then the app is told that it is unavailable."""
CALLS = 4096
"""Under way at one component; more are refused at once."""


class _Lane:
    """Runs coroutines as tasks of one nursery."""

    def __init__(self, nursery: trio.Nursery, name: str) -> None:
        self._nursery = nursery
        self._name = name
        self._under_way = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> Completion[T]:
        completion: Completion[T] = Completion()
        if self._under_way >= CALLS:
            coroutine.close()
            completion.fail(Unavailable(f"{self._name}: {CALLS} calls are under way"))
        else:
            self._under_way += 1
            self._nursery.start_soon(self._task, coroutine, completion)
        return completion

    async def _task(self, coroutine: Coroutine[Any, Any, T], completion: Completion[T]) -> None:
        try:
            with trio.fail_after(CALL_SECONDS):
                completion.resolve(await coroutine)
        except trio.TooSlowError:
            completion.fail(Unavailable(f"{self._name}: no answer within {CALL_SECONDS:g} s"))
        except Exception as error:  # noqa: BLE001 - whoever awaits the completion handles it
            completion.fail(error)
        except BaseException:
            completion.fail(Unavailable(f"{self._name}: the daemon is stopping"))
            raise
        finally:
            self._under_way -= 1


class StoreOnTrio:
    """A state store whose calls are tasks."""

    type: ClassVar[str] = ""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    inline: ClassVar[bool] = True

    def __init__(self, store: StateStore, nursery: trio.Nursery) -> None:
        self._store = store
        self._lane = _Lane(nursery, store.type)
        self.__dict__.update(type=store.type, capabilities=store.capabilities)

    async def get(self, key: StoreKey) -> Item | None:
        """As StateStore.get."""
        return await self._lane.run(self._store.get(key))

    async def get_many(self, keys: Sequence[StoreKey]) -> Sequence[Item | None]:
        """As StateStore.get_many."""
        return await self._lane.run(self._store.get_many(keys))

    async def set(self, write: Write) -> None:
        """As StateStore.set."""
        await self._lane.run(self._store.set(write))

    async def set_many(self, writes: Sequence[Write]) -> Sequence[Outcome]:
        """As StateStore.set_many."""
        return await self._lane.run(self._store.set_many(writes))

    async def delete(self, delete: Delete) -> None:
        """As StateStore.delete."""
        await self._lane.run(self._store.delete(delete))

    async def delete_many(self, deletes: Sequence[Delete]) -> Sequence[Outcome]:
        """As StateStore.delete_many."""
        return await self._lane.run(self._store.delete_many(deletes))

    async def transact(self, operations: Sequence[Write | Delete]) -> None:
        """As StateStore.transact."""
        await self._lane.run(self._store.transact(operations))

    async def aclose(self) -> None:
        """As StateStore.aclose."""
        await self._store.aclose()


class BrokerOnTrio:
    """A broker whose calls are tasks."""

    type: ClassVar[str] = ""
    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    inline: ClassVar[bool] = True

    def __init__(self, broker: PubSub, nursery: trio.Nursery) -> None:
        self._broker = broker
        self._lane = _Lane(nursery, broker.type)
        self.__dict__.update(type=broker.type, capabilities=broker.capabilities)

    async def publish(self, topic: TopicName, message: Message) -> None:
        """As PubSub.publish."""
        await self._lane.run(self._broker.publish(topic, message))

    async def subscribe(self, request: SubscribeRequest) -> SubscriptionHandle:
        """As PubSub.subscribe."""
        return await self._lane.run(self._broker.subscribe(request))

    async def aclose(self) -> None:
        """As PubSub.aclose."""
        await self._broker.aclose()


def on_trio(component: StateStore | PubSub, nursery: trio.Nursery) -> StateStore | PubSub:
    """Put a component that needs trio behind the face of an inline one."""
    if hasattr(component, "transact"):
        return StoreOnTrio(cast("StateStore", component), nursery)
    return BrokerOnTrio(component, nursery)
