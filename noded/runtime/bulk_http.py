"""A batch of messages to an HTTP app: one POST, a status per entry in the answer.

    {"id":..., "type":"com.dapr.event.sent.bulk", "topic":..., "pubsubname":..., "metadata":{"pubsubName":...},
     "entries":[{"entryId":..., "event": CloudEvent or base64, "metadata":{...}, "contentType":...}]}

An event is put into the batch byte for byte. The answer is {"statuses":[{"entryId":...,"status":...}]}: SUCCESS, DROP
and RETRY; what has no status, or an unknown one, failed (the opposite of a single delivery).
Source: dapr-api.md 1.5; daprd 1.18 pkg/runtime/subscription/postman/http DeliverBulk.
"""

import base64
from collections.abc import Mapping, Sequence
from uuid import uuid4

import msgspec
from msgspec import Raw

from noded.api.cloudevents import CLOUDEVENTS_JSON, OCTET_STREAM
from noded.api.lenient_json import NotJson, first_value
from noded.app import App
from noded.calls import JSON, Header
from noded.channel_contract import AppChannel, AppResponse, ChannelError
from noded.config.records import SubscriptionSpec
from noded.runtime.bulk import EVENT_TYPE, BulkEntry, trace_headers
from noded.runtime.dead_letter import Outcome
from noded.runtime.deliver import DELIVERY_SECONDS, PLACE_SECONDS, is_raw
from noded.runtime.reception import NO_ANSWER
from tenancy.accounting import CallUse
from tenancy.use import Reception

_encode = msgspec.json.Encoder().encode
_decode_answer = msgspec.json.Decoder(dict[str, Raw] | None).decode
_decode_statuses = msgspec.json.Decoder(list[dict[str, Raw] | None] | None).decode
_decode_text = msgspec.json.Decoder(str | None).decode
_OUTCOMES = {"SUCCESS": Outcome.DONE, "DROP": Outcome.DROPPED}


class HttpBulkCall:
    """Posts the batches of one subscription (`noded.runtime.bulk.BulkCall`)."""

    __slots__ = ("_channel", "_head", "_headers", "_raw", "_reception")

    def __init__(self, app: App, spec: SubscriptionSpec) -> None:
        assert app.channel is not None, "an app without a channel has no HTTP subscription"
        self._channel: AppChannel = app.channel
        self._raw = is_raw(spec)
        self._reception = Reception(app.tenant.usage, spec.pubsub_name, spec.topic)
        self._headers: tuple[Header, ...] = ((b"content-type", JSON), (b"pubsubname", spec.pubsub_name.encode()))
        if app.spec.app_token is not None:
            self._headers += ((b"dapr-api-token", app.spec.app_token.encode()),)
        about = {
            "type": EVENT_TYPE,
            "topic": spec.topic,
            "pubsubname": spec.pubsub_name,
            "metadata": {"pubsubName": spec.pubsub_name},
        }
        self._head = _encode(about)[:-1]

    async def __call__(self, target: bytes, entries: Sequence[BulkEntry]) -> Sequence[Outcome]:
        """Post a batch and read the answer. An app that cannot be called has failed every entry."""
        body = b'%b,"id":"%b","entries":[%b]}' % (
            self._head,
            str(uuid4()).encode(),
            b",".join(map(self._item, entries)),
        )
        headers = self._headers + trace_headers(entries)
        since = self._reception.time.now
        try:
            answer = await self._channel.call(b"POST", target, headers, body, DELIVERY_SECONDS, PLACE_SECONDS)
        except ChannelError:
            self._reception.called(CallUse(b"POST", NO_ANSWER), len(body), 0, since)
            return (Outcome.FAILED,) * len(entries)
        self._reception.called(CallUse(b"POST", answer.status), len(body), len(answer.body), since)
        return judge(answer, [entry.entry_id for entry in entries])

    def _item(self, entry: BulkEntry) -> bytes:
        message = entry.message
        content_type, event = message.content_type, entry.body
        if self._raw:
            event = _encode(base64.b64encode(message.data).decode())
            content_type = OCTET_STREAM if content_type == CLOUDEVENTS_JSON else content_type
        about = {"entryId": entry.entry_id, "metadata": message.metadata, "contentType": content_type}
        return b'%b,"event":%b}' % (_encode(about)[:-1], event)


def judge(answer: AppResponse, entry_ids: Sequence[str]) -> Sequence[Outcome]:
    """Read an app's answer to a batch. 404 acknowledges them all, without a dead letter, as in daprd."""
    if answer.status == 404:
        return (Outcome.DONE,) * len(entry_ids)
    if not 200 <= answer.status < 300:
        return (Outcome.FAILED,) * len(entry_ids)
    try:
        statuses = _statuses(answer.body)
    except (msgspec.DecodeError, NotJson, RecursionError):
        return (Outcome.FAILED,) * len(entry_ids)
    return [_OUTCOMES.get(statuses.get(entry_id, ""), Outcome.FAILED) for entry_id in entry_ids]


def _statuses(body: bytes) -> Mapping[str, str]:
    """Status by entry id; names of members in any case and null for what is absent, as Go reads them."""
    listed = _member(_decode_answer(first_value(body)), "statuses")
    found = {}
    for item in (_decode_statuses(listed) or ()) if listed is not None else ():
        entry_id, status = (_member(item, name) for name in ("entryid", "status"))
        if entry_id is not None:
            found[_decode_text(entry_id) or ""] = (_decode_text(status) or "") if status is not None else ""
    return found


def _member(members: Mapping[str, Raw] | None, name: str) -> Raw | None:
    return next((value for key, value in (members or {}).items() if key.lower() == name), None)
