"""The app's API token, where its listener asks for one: HTTP's header, gRPC's metadata, `dapr-api-token`.

Source: daprd 1.18 pkg/api/http/middlewares.go, pkg/api/grpc/auth.go.
"""

from collections.abc import Sequence
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

from noded.calls import TEXT, Header, HttpCall, Reply
from noded.errors import UNAUTHORIZED, ApiError
from noded.http1_known import Handler
from noded.query import unescape

if TYPE_CHECKING:
    from noded.server_http1 import Decide

TOKEN_HEADER: Final = b"dapr-api-token"
_REFUSED: Final = Reply(401, b"invalid api token\n", TEXT, ((b"x-content-type-options", b"nosniff"),))
_OPEN_TO_ALL: Final = frozenset(("v1.0/healthz", "v1.0/healthz/outbound"))


def with_token(token: bytes, handle: Handler) -> Handler:
    """Ask for the app's token, except of who asks for health, and take it off what goes on."""

    def guarded(call: HttpCall) -> None:
        if not is_admitted(token, call):
            call.exchange.reply(_REFUSED)
            return
        call.headers = [field for field in call.headers if field[0] != TOKEN_HEADER]
        handle(call)

    return guarded


def streams_with_token(token: bytes, streams: "Decide") -> "Decide":
    """Decide that a body is not waited for where the token is wrong: it is not wanted."""
    return lambda call: not is_admitted(token, call) or streams(call)


def is_admitted(token: bytes, call: HttpCall) -> bool:
    """Whether a request carries the token, or needs none."""
    given = call.header(TOKEN_HEADER)
    return compare_digest(given or b"", token) or (call.method == b"GET" and _path(call) in _OPEN_TO_ALL)


def _path(call: HttpCall) -> str:
    try:
        return unescape(call.path).strip("/")
    except ApiError:
        return ""


def refused_call(token: bytes, headers: Sequence[Header]) -> ApiError | None:
    """Why a gRPC call may not come in; None: it carries the token."""
    given = [value for name, value in headers if name == TOKEN_HEADER]
    if given and compare_digest(given[0], token):
        return None
    reason = "authentication error: api token mismatch" if given else "missing api token in request metadata"
    return UNAUTHORIZED.error(metadata={"http.code": "401", "http.error_message": reason})
