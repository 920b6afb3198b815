"""Request lines met before are recognised without being read again: they must mean what they meant the first time."""

from functools import partial

from hypothesis import example, given, settings
from hypothesis import strategies as st

from noded.calls import NO_CONTENT, HttpCall, Reply
from noded.dispatch import Dispatcher
from noded.route_table import HttpRoute, RouteTable
from noded.routes import HTTP_ROUTES, INVOKE
from tenancy.fairness import Turns
from tests.wire.recording_link import Rig, make_app

Met = tuple[str, bytes, tuple[str, ...], bytes, bytes]
SEGMENTS = st.sampled_from(
    ["v1.0", "v1.0-alpha1", "state", "s", "t", "k", "bulk", "transaction", "publish", "invoke", "a", "method",
     "metadata", "healthz", "outbound", "", ".", "..", "%2F", "a+b", "~", "k.x", "..k", "query", "x:y"]
)  # fmt: skip
STARTS = st.sampled_from(["/v1.0/state/s/", "/v1.0/publish/p/", "/v1.0/invoke/a/method/", "/v1.0/metadata/", "/"])
PATHS = st.builds(lambda start, rest: start + "/".join(rest), STARTS, st.lists(SEGMENTS, max_size=4))
QUERIES = st.sampled_from(["", "?", "?a=b", "?metadata.x=/y", "?q=/", "?/k", "?a=/b/c"])
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
REQUESTS = st.lists(st.tuples(METHODS, PATHS, QUERIES), min_size=1, max_size=12)


class Noting:
    """A daemon's dispatch whose handlers only note what reached them."""

    def __init__(self) -> None:
        self.met: list[Met] = []
        routes = [self._noting(route) for route in HTTP_ROUTES]
        self.table = RouteTable(routes, self._noting(INVOKE), lambda _: 0)
        self.rig = Rig(Dispatcher(self.table, Turns(lambda: 0, lambda _: None)).http, lambda _: False)
        self.rig.link.app = make_app()

    def feed(self, requests: list[tuple[str, str, str]]) -> list[Met]:
        for method, path, query in requests:
            self.rig.feed(f"{method} {path}{query} HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n".encode())
        return self.met

    def _noting(self, route: HttpRoute) -> HttpRoute:
        async def handler(call: HttpCall) -> Reply:
            self._note(route, call)
            return NO_CONTENT

        def raw(call: HttpCall) -> None:
            call.exchange.reply(Reply(200, b"raw"))
            self._note(route, call)

        return HttpRoute(
            route.operation,
            route.methods,
            route.versions,
            route.pattern,
            None if route.raw else handler,
            partial(raw) if route.raw else None,
        )

    def _note(self, route: HttpRoute, call: HttpCall) -> None:
        params = () if route.operation == INVOKE.operation else tuple(call.params)
        self.met.append((route.operation, call.method, params, call.path, call.query))


@settings(deadline=None, max_examples=120, derandomize=True)
@given(REQUESTS)
@example([("GET", "/v1.0/state/s/k", "?a=/b"), ("GET", "/v1.0/state/s/k", "?a=/c")])
@example([("POST", "/v1.0/state/s/x", ""), ("POST", "/v1.0/state/s/bulk", "")])
@example([("GET", "/v1.0/state/s/k", ""), ("GET", "/v1.0/state/s/l", "?metadata.x=/y"), ("GET", "/v1.0/state/s/m", "")])
def test_a_line_means_the_same_however_often_it_comes(requests: list[tuple[str, str, str]]) -> None:
    """On a connection that has met many requests, each reaches the operation that it reaches on a new one."""
    alone: list[Met] = []
    for request in requests:
        alone += Noting().feed([request])
    together = Noting()
    assert together.feed(requests + requests) == alone + alone
