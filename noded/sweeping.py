"""The deadlines of connections that let others wait: half a request head, or answers left unread."""

from noded.server import Serving


def sweep(serving: Serving) -> None:
    """Cut off peers that used up their time. Called once a second."""
    now = serving.now()
    for connection in [each for each in serving.suspects if each.overdue(now)]:
        connection.abort()
