"""What every question to an app at its start has in common. Source: daprd 1.18 pkg/channel/http, as observed."""

from noded.app import App
from noded.calls import Header

ANSWER_SECONDS = 10.0
"""For the app to say what it is and what it subscribes to. daprd waits for ever."""


def init_headers(app: App) -> tuple[Header, ...]:
    """The headers of /dapr/config and /dapr/subscribe."""
    headers = ((b"content-type", b"application/json"), (b"dapr-app-id", app.app_id.encode()))
    token = app.spec.app_token
    return (*headers, (b"dapr-api-token", token.encode())) if token else headers
