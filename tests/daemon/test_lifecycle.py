"""An app's life at a real daemon: found, asked, well and unwell, restarted; nothing of its events is lost."""

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.compat.wire import UnixConnection
from tests.daemon.lifecycle_app import LifecycleApp
from tests.daemon.server_clients import operator
from tests.daemon_process import Daemon, running_daemon, wait_for_socket, write_resources
from tests.daprd.sidecar_process import Reply

PUBSUB = """
apiVersion: dapr.io/v1alpha1
kind: Component
metadata: {name: pubsub}
spec: {type: pubsub.in-memory, version: v1}
---
apiVersion: dapr.io/v1alpha1
kind: Subscription
metadata: {name: declared}
spec: {pubsubname: pubsub, topic: declared, route: /declared}
scopes: [app]
---
"""
APP = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: app}
spec: {channel: {address: "127.0.0.1:%d"}, %s}
---
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: other}
"""
NEWCOMER = """
apiVersion: noded.io/v1alpha1
kind: App
metadata: {name: newcomer}
"""
PROBED = (
    "enableAppHealthCheck: true, appHealthProbeInterval: 200ms, appHealthProbeTimeout: 200ms, appHealthThreshold: 2"
)
ORDERS = {"pubsubname": "pubsub", "topic": "orders", "route": "/orders"}
UNHEALTHY = "rpc error: code = Internal desc = app is not in a healthy state"
SECONDS = 20.0


@contextmanager
def attached(app: LifecycleApp, spec: str = PROBED) -> Iterator[Daemon]:
    with running_daemon({"a.yaml": PUBSUB + APP % (app.port, spec)}, {"app": "default", "other": "default"}) as daemon:
        yield daemon


def ask(daemon: Daemon, method: str, path: str, body: object = None, app_id: str = "app") -> Reply:
    connection = UnixConnection(daemon.http_socket(app_id))
    sent = None if body is None else json.dumps(body)
    connection.request(method, path, sent, {"content-type": "application/json"})
    response = connection.getresponse()
    reply = Reply(response.status, response.read())
    connection.close()
    return reply


def invoke(daemon: Daemon, caller: str = "other") -> Reply:
    return ask(daemon, "GET", "/v1.0/invoke/app/method/hello", app_id=caller)


def publish(daemon: Daemon, topic: str, number: int) -> None:
    assert ask(daemon, "POST", f"/v1.0/publish/pubsub/{topic}", number, "other").status == 204


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def subscribed(daemon: Daemon) -> list[str]:
    listing = ask(daemon, "GET", "/v1.0/metadata").json().get("subscriptions", [])
    return sorted(each["topic"] for each in listing)


def test_a_probed_app_is_asked_once_it_is_healthy_and_in_daprds_order() -> None:
    """Until its first good probe nothing else reaches it; then its configuration is asked for, then its topics."""
    with LifecycleApp(topics=[ORDERS], health=503) as app, attached(app) as daemon:
        app.wait_probed()
        assert app.paths() == ["/healthz"]
        assert (invoke(daemon).status, subscribed(daemon)) == (500, ["declared"])
        assert ask(daemon, "GET", "/v1.0/healthz").status == 204
        app.health = 200
        until(lambda: subscribed(daemon) == ["declared", "orders"])

        assert [path for path in app.paths() if path != "/healthz"] == ["/dapr/config", "/dapr/subscribe"]
        asked = [each for each in app.requests if each.path.startswith("/dapr/")]
        assert {each.headers["dapr-app-id"] for each in asked} == {"app"}
        assert {each.headers["content-type"] for each in asked} == {"application/json"}


def test_an_app_that_is_not_probed_is_asked_as_soon_as_it_listens() -> None:
    """Its configuration first, whatever it answers, then its topics; each once."""
    with LifecycleApp(topics=[ORDERS]) as app, attached(app, "appToken: secret") as daemon:
        until(lambda: subscribed(daemon) == ["declared", "orders"])

        assert app.paths() == ["/dapr/config", "/dapr/subscribe"]
        assert {each.headers["dapr-api-token"] for each in app.requests} == {"secret"}


def test_an_app_is_ready_once_it_is_subscribed_for() -> None:
    """/v1.0/healthz waits for its answer; what is published from then on is delivered."""
    with LifecycleApp(topics=[ORDERS]) as app:
        app.may_subscribe.clear()
        with attached(app, "") as daemon:
            app.wait_until(lambda: "/dapr/subscribe" in app.paths())
            assert ask(daemon, "GET", "/v1.0/healthz").status == 500
            app.may_subscribe.set()
            until(lambda: ask(daemon, "GET", "/v1.0/healthz").status == 204)
            publish(daemon, "orders", 1)
            publish(daemon, "declared", 2)

            app.wait_until(lambda: app.events("/orders") == [1] and app.events("/declared") == [2])


def test_a_reload_before_an_app_listens_does_not_make_it_ready_early() -> None:
    """It is still asked once, and ready when that is answered."""
    with LifecycleApp(topics=[ORDERS]) as away:
        pass
    with attached(away, "") as daemon:
        write_resources(daemon.root, {"b.yaml": NEWCOMER})
        daemon.process.send_signal(signal.SIGHUP)
        wait_for_socket(daemon.process, daemon.http_socket("newcomer"), daemon.log)
        away.may_subscribe.clear()
        with away as app:
            app.wait_until(lambda: "/dapr/subscribe" in app.paths())
            assert ask(daemon, "GET", "/v1.0/healthz").status == 500
            app.may_subscribe.set()
            until(lambda: ask(daemon, "GET", "/v1.0/healthz").status == 204)

            assert app.paths() == ["/dapr/config", "/dapr/subscribe"]


def test_disabled_init_endpoints_are_not_asked() -> None:
    """What resources declare still counts."""
    with LifecycleApp(topics=[ORDERS]) as app:  # noqa: SIM117 - the app first
        with attached(app, "disableInitEndpoints: [config, subscribe]") as daemon:
            until(lambda: ask(daemon, "GET", "/v1.0/healthz").status == 204)
            assert subscribed(daemon) == ["declared"]
            assert invoke(daemon).status == 200

            assert app.paths() == ["/hello"]


def test_the_operator_is_shown_an_apps_health() -> None:
    """As its probes say; of one that is not probed nothing is said."""
    with LifecycleApp() as app, attached(app) as daemon:
        until(lambda: health(daemon) == {"app": True, "other": None})
        app.health = 503
        until(lambda: health(daemon) == {"app": False, "other": None})


def health(daemon: Daemon) -> dict[str, object]:
    listed = operator(daemon, "/v1/apps")
    assert isinstance(listed, list)
    return {each["appId"]: each["healthy"] for each in listed}


def test_calls_to_an_unhealthy_app_are_refused_in_daprds_words() -> None:
    """Its own call says so bare, another app's in the words of its sidecar; what it asks of its runtime is served."""
    with LifecycleApp() as app, attached(app) as daemon:
        until(lambda: invoke(daemon).status == 200)
        app.health = 500
        until(lambda: invoke(daemon).status == 500)

        mine, others = invoke(daemon, "app").json(), invoke(daemon).json()
        assert mine == {"errorCode": "ERR_DIRECT_INVOKE", "message": f"failed to invoke, id: app, err: {UNHEALTHY}"}
        told = f"rpc error: code = Internal desc = error invoking app channel: {UNHEALTHY}"
        assert others["message"] == f"failed to invoke, id: app, err: {told}"
        assert ask(daemon, "GET", "/v1.0/healthz").status == 204
        publish(daemon, "nobody", 1)
        app.health = 200
        until(lambda: invoke(daemon).status == 200)


def test_a_probe_that_hangs_has_failed() -> None:
    """No answer within the timeout counts as a failure; calls under way to the app do not hold up its probes."""
    with LifecycleApp() as app, attached(app) as daemon:
        until(lambda: invoke(daemon).status == 200)
        app.health = 0
        until(lambda: invoke(daemon).status == 500)

        assert "no answer" in daemon.log()


def test_events_rest_while_the_app_is_unhealthy_and_all_of_them_come() -> None:
    """Under load: each event is handled at least once, and none published meanwhile before the app is well."""
    with LifecycleApp(topics=[ORDERS]) as app, attached(app) as daemon:
        until(lambda: subscribed(daemon) == ["declared", "orders"])
        published: list[int] = []
        stop = threading.Event()

        def load() -> None:
            while not stop.wait(0.002):
                publish(daemon, "orders", len(published))
                published.append(len(published))

        loading = threading.Thread(target=load)
        loading.start()
        try:
            app.wait_until(lambda: len(app.events("/orders")) > 20)
            app.health = 503
            app.wait_probed()
            until(lambda: invoke(daemon).status == 500)
            first = len(published) + 1  # one more may be under way
            until(lambda: len(published) > first + 50)
            app.wait_probed()
            early = [number for number in app.events("/orders") if number >= first]
            app.health = 200
            app.wait_until(lambda: len(app.events("/orders")) > first + 50)
        finally:
            stop.set()
            loading.join()
        app.wait_until(lambda: set(app.events("/orders")) >= set(published))

        assert early == []


def test_an_app_that_restarts_is_not_asked_again_and_goes_on() -> None:
    """Nobody restarts the daemon: what was published while the app was away reaches its next life."""
    with LifecycleApp(topics=[ORDERS]) as app, attached(app) as daemon:
        until(lambda: subscribed(daemon) == ["declared", "orders"])
        app.__exit__()
        until(lambda: UNHEALTHY in invoke(daemon).body.decode())
        publish(daemon, "orders", 1)
        publish(daemon, "declared", 2)
        with LifecycleApp(port=app.port) as again:
            again.wait_until(lambda: bool(again.events("/orders") and again.events("/declared")))

            assert set(again.paths()) == {"/healthz", "/orders", "/declared"}
            assert subscribed(daemon) == ["declared", "orders"]


def test_metadata_tells_how_an_app_is_probed() -> None:
    """As daprd tells it, durations in Go's notation."""
    with LifecycleApp() as app, attached(app) as daemon:
        properties = ask(daemon, "GET", "/v1.0/metadata").json()["appConnectionProperties"]

        assert properties["health"] == {
            "healthCheckPath": "/healthz",
            "healthProbeInterval": "200ms",
            "healthProbeTimeout": "200ms",
            "healthThreshold": 2,
        }
