"""Probing an app: one question after another, each with a deadline, on a connection of its own.

Its own, because calls to the app may fill its channel: a busy app is not an unhealthy one. Answers and errors never
raise; they are the probe's result. Source: daprd 1.18 pkg/channel/http and pkg/channel/grpc, HealthProbe.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import trio

from noded.channel_contract import AppChannel, ChannelError
from noded.config.records import HealthSpec
from noded.errors import Grpc
from noded.lanes import in_trio
from noded.runtime.asked import probe_grpc, probe_http
from noded.runtime.health import Change, Health
from noded.wire.http1 import MalformedRequest
from tenancy.accounting import Usage

if TYPE_CHECKING:
    from noded.channel_grpc import GrpcChannel

HEALTH_CHECK: Final = b"/dapr.proto.runtime.v1.AppCallbackHealthCheck/HealthCheck"

Probe = Callable[[], Awaitable[str | None]]
"""Ask the app once; None: it is well, else what is wrong."""


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """`GET path`: well is any 2xx."""

    channel: AppChannel
    spec: HealthSpec
    usage: Usage

    async def __call__(self) -> str | None:
        """Ask once."""
        target = b"/" + self.spec.path.removeprefix("/").encode()
        try:
            answer = await in_trio(probe_http(self.usage, self.channel, target, self.spec.timeout_seconds))
        except (ChannelError, MalformedRequest) as error:
            return str(error)
        return None if 200 <= answer.status < 300 else f"it answered status {answer.status}"


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """AppCallbackHealthCheck/HealthCheck: well is OK."""

    channel: "GrpcChannel"
    spec: HealthSpec
    usage: Usage

    async def __call__(self) -> str | None:
        """Ask once."""
        asking = probe_grpc(self.usage, self.channel, HEALTH_CHECK, self.spec.timeout_seconds)
        status = (await in_trio(asking)).status
        return None if status.code == Grpc.OK else f"it answered status {status.code}: {status.message}"


async def watch(probe: Probe, spec: HealthSpec, on_change: Callable[[Change, str], None]) -> None:
    """Probe at once and then every interval, until cancelled. A late probe is made at once; none is made up for.

    `on_change` is told each change, and of an unhealthy app what was wrong last.
    """
    health = Health(spec.threshold)
    due = trio.current_time()
    while True:
        problem: str | None = f"no answer within {spec.timeout_seconds:g} s"
        with trio.move_on_after(spec.timeout_seconds):
            problem = await probe()
        change = health.succeeded() if problem is None else health.failed()
        if change is not None:
            on_change(change, problem or "")
        due = max(due + spec.interval_seconds, trio.current_time())
        await trio.sleep_until(due)
