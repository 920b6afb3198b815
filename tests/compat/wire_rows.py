"""One recorded exchange as bytes: what is sent stands in the row as it is, what comes back is kept answer by answer.

A last request follows every row's: it is answered if the connection was kept, and ends it, so that all can be read.
"""

import re
import socket
from contextlib import suppress

from tests.compat.normal import Json, normal_body
from tests.compat.runtimes import Runtime
from tests.compat.wire import TIMEOUT_SECONDS

LAST = b"GET /v1.0/healthz/outbound HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n"
LAST_ANSWER: dict[str, Json] = {"line": "HTTP/1.1 204 No Content", "body": ""}
UNCOMPARED = {"date", "traceparent"}
REPEATED = re.compile(r"\$\{(.)\*(\d+)\}")
"""`${a*300}` stands for 300 times `a`."""

Row = dict[str, object]


class WireConversation:
    """The exchanges of one case, each on a connection of its own."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    def send(self, row: Row) -> Row:
        sent = REPEATED.sub(lambda match: match[1] * int(match[2]), str(row["send"])).encode("latin-1")
        came = self._exchange(sent + LAST)
        answers = read_answers(came, head_only=sent.startswith(b"HEAD"))
        kept = bool(answers) and answers[-1] == LAST_ANSWER | {"headers": answers[-1]["headers"]}
        kept = kept and "connection" in str(answers[-1]["headers"])
        return {"answers": answers[:-1] if kept else answers, "kept": kept}

    def _exchange(self, data: bytes) -> bytes:
        came = b""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_SECONDS)
            client.connect(str(self.runtime.http_socket))
            with suppress(BrokenPipeError):  # answered before its end, and closed
                client.sendall(data)
            with suppress(ConnectionResetError):
                while piece := client.recv(65536):
                    came += piece
        return came


def read_answers(came: bytes, *, head_only: bool) -> list[dict[str, Json]]:
    """Cut what came into answers; `head_only`: the first has no body, whatever its length says."""
    answers: list[dict[str, Json]] = []
    while came:
        head, _, came = came.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        headers: dict[str, Json] = {}
        for name, _, value in (field.partition(": ") for field in sorted(fields)):
            if name.lower() not in UNCOMPARED:
                held = headers.get(name.lower())
                headers[name.lower()] = value if held is None else f"{held}, {value}"
        size = _size(line, headers, len(came)) if answers or not head_only else 0
        body, came = came[:size], came[size:]
        answers.append({"line": line, "headers": headers, "body": normal_body(body)})
    return answers


def _size(line: str, headers: dict[str, Json], rest: int) -> int:
    if line.split(" ")[1] in {"204", "100"}:
        return 0
    return int(str(headers.get("content-length", rest)))
