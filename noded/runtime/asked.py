"""What the daemon itself asks of an app, outside any request: counted as daprd counts it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from noded.calls import Header
from noded.channel_contract import AppChannel, AppResponse
from noded.runtime.reception import NO_ANSWER
from tenancy.accounting import CallUse, Usage
from tenancy.tally import Tally

if TYPE_CHECKING:
    from noded.channel_grpc import GrpcAnswer, GrpcChannel

GET: Final = b"GET"


class NotListed(Exception):
    """The app did not answer, or with an error, or with bytes that are no such answer: ask again."""


async def ask_http(
    usage: Usage, channel: AppChannel, path: bytes, headers: Sequence[Header], seconds: float
) -> AppResponse:
    """GET a path of Dapr's own. Awaits a Completion only. Raises ChannelError."""
    return await _get(usage, usage.calls, channel, (path, headers, seconds), path.decode())


async def probe_http(usage: Usage, channel: AppChannel, path: bytes, seconds: float) -> AppResponse:
    """GET the path of the app's health. Awaits a Completion only. Raises ChannelError."""
    return await _get(usage, usage.probes, channel, (path, (), seconds), "")


async def ask_grpc(usage: Usage, channel: "GrpcChannel", path: bytes, seconds: float) -> "GrpcAnswer":
    """Call a method of AppCallback that takes nothing. Awaits a Completion only."""
    return await _call(usage, usage.calls, channel, path, seconds)


async def probe_grpc(usage: Usage, channel: "GrpcChannel", path: bytes, seconds: float) -> "GrpcAnswer":
    """Call the method that asks for the app's health. Awaits a Completion only."""
    return await _call(usage, usage.probes, channel, path, seconds)


async def _call(
    usage: Usage, calls: Tally[CallUse], channel: "GrpcChannel", path: bytes, seconds: float
) -> "GrpcAnswer":
    since = usage.time.tick()
    answer = await channel.call(path, b"", (), seconds)
    cell = calls.cell(CallUse(path, answer.status.code))
    cell.add(len(answer.message), 0, (usage.time.tick() - since) * 1000, usage.bounds_ms)
    return answer


async def _get(
    usage: Usage,
    calls: Tally[CallUse],
    channel: AppChannel,
    asked: tuple[bytes, Sequence[Header], float],
    label: str,
) -> AppResponse:
    path, headers, seconds = asked
    since = usage.time.tick()
    status, received = NO_ANSWER, 0
    try:
        answer = await channel.call(GET, path, headers, b"", seconds)
        status, received = answer.status, len(answer.body)
    finally:
        cell = calls.cell(CallUse(GET, status, path=label))
        cell.add(received, 0, (usage.time.tick() - since) * 1000, usage.bounds_ms)
    return answer
