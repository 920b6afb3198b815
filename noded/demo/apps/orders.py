"""The first app: orders, in Python by the official Dapr SDK. It knows its stores and the other app by name only.

One act a run: save, read, publish, call or hurry.
"""

import json
import os
import sys
import urllib.error
import urllib.request

from dapr.clients import DaprClient

ORDER = {"item": "tea", "amount": 2}


def save(client: DaprClient) -> None:
    """Save state."""
    client.save_state("statestore", "order-1", json.dumps(ORDER))
    print(f"orders: saved order-1 = {json.dumps(ORDER)}")


def read(client: DaprClient) -> None:
    """Read it back."""
    print(f"orders: read order-1 = {client.get_state('statestore', 'order-1').data.decode()}")


def publish(client: DaprClient) -> None:
    """Tell whoever wants to know."""
    client.publish_event("pubsub", "orders", json.dumps(ORDER), data_content_type="application/json")
    print("orders: published to the topic `orders`")


def call(client: DaprClient) -> None:
    """Call the other app by its app id."""
    answer = client.invoke_method("mailer", "greeting", json.dumps({"name": "orders"}), http_verb="POST")
    print(f"orders: mailer answered {answer.text()}")


def hurry(_: DaprClient) -> None:
    """Save over plain HTTP until the daemon refuses, to show the refusal as it is; then wait to be looked at."""
    body = json.dumps([{"key": "order-2", "value": ORDER}]).encode()
    headers = {"content-type": "application/json", "dapr-api-token": os.environ["DAPR_API_TOKEN"]}
    url = os.environ["DAPR_HTTP_ENDPOINT"] + "/v1.0/state/statestore"
    for count in range(1000):
        try:
            urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10).close()  # noqa: S310 (ours)
        except urllib.error.HTTPError as refused:
            told = json.loads(refused.read())
            print(f"orders: {count} saves, then {refused.code}, Retry-After: {refused.headers['retry-after']}")
            print(f"orders: {told['errorCode']}: {told['message']}", flush=True)
            break
    sys.stdin.readline()


if __name__ == "__main__":
    with DaprClient() as own:
        {"save": save, "read": read, "publish": publish, "call": call, "hurry": hurry}[sys.argv[1]](own)
