"""The metrics port: who asks there is served, within bounds."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from prometheus_client import CollectorRegistry

from noded.admin.scrape import SCRAPERS, ScrapeServer

SECONDS = 10.0
REQUEST = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@contextmanager
def serving() -> Iterator[tuple[str, int]]:
    server = ScrapeServer(("127.0.0.1", 0), CollectorRegistry())
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield "127.0.0.1", server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def scrape(address: tuple[str, int]) -> bytes:
    """What a scraper is answered; b"" where it is hung up on."""
    with socket.create_connection(address, SECONDS) as client:
        answer = b""
        try:
            client.sendall(REQUEST)
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            return b""
        return answer


def test_idle_connections_cannot_take_a_thread_each_without_end() -> None:
    """Past the bound a connection is hung up on; with one less there is room again."""
    with serving() as address, ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(address, SECONDS)) for _ in range(SCRAPERS)]
        assert scrape(address) == b""
        idle.pop().close()
        answer = b""
        while not answer:
            answer = scrape(address)
        assert answer.startswith(b"HTTP/1.1 200 ")
        for each in idle:
            each.close()
