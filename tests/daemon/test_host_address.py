"""What apps are told of the host by which other apps' calls came."""

import socket

import pytest

from noded.host_address import forwarded_headers


@pytest.mark.parametrize(("address", "node"), [("10.0.0.1", "10.0.0.1"), ("2001:db8::7", '"[2001:db8::7]"')])
def test_the_address_is_the_environments(address: str, node: str) -> None:
    """DAPR_HOST_IP and the host's name, in the older headers and in RFC 7239's, where version 6 is quoted."""
    name = socket.gethostname()

    assert forwarded_headers({"DAPR_HOST_IP": address}) == (
        (b"x-forwarded-for", address.encode()),
        (b"x-forwarded-host", name.encode()),
        (b"forwarded", f"for={node};by={node};host={name}".encode()),
    )


def test_without_it_the_kernel_is_asked() -> None:
    """A host without a way out has a name and no address."""
    told = dict(forwarded_headers({}))

    assert told[b"x-forwarded-host"] == socket.gethostname().encode()
    assert told[b"forwarded"].startswith(b"for=") is (b"x-forwarded-for" in told)
