"""An image is fetched from real servers on this machine, most of them hostile."""

import gzip
import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme

from modeling_2mner import fetch_2mner
from modeling_2mner.fetch_2mner import MAX_REDIRECTS, fetch, is_address, is_public, shown_address

BODY = bytes(range(256)) * 40
OK = b"HTTP/1.1 200 OK\r\n"
WHOLE = OK + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY

Answer = Callable[[bytes], Iterable[bytes]]
"""From the head of a request to the pieces of the answer."""


@contextmanager
def serving(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a port of 127.0.0.1 that sends what `answer` gives, whatever it is."""

    def serve_one(connection: socket.socket) -> None:
        # What goes wrong here is that the client has gone.
        with suppress(OSError), connection:
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                request = b""
                while b"\r\n\r\n" not in request:
                    received = connection.recv(65536)
                    if not received:
                        return
                    request += received
                for piece in answer(request):
                    connection.sendall(piece)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = server.accept()
                threading.Thread(target=serve_one, args=[connection], daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def fetch_from(answer: Answer, path: str = "/red.png") -> bytes:
    with serving(answer) as port:
        return fetch(f"http://127.0.0.1:{port}{path}")


def moved(address: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode()


def test_the_body_of_an_answer_is_given_as_it_is():
    assert fetch_from(lambda request: [WHOLE]) == BODY
    assert fetch_from(lambda request: [OK + b"\r\n", BODY]) == BODY  # ends with the connection
    chunks = b"".join(b"100\r\n" + bytes(range(256)) + b"\r\n" for _ in range(40)) + b"0\r\n\r\n"
    assert fetch_from(lambda request: [OK + b"Transfer-Encoding: chunked\r\n\r\n", chunks]) == BODY


def test_a_request_names_the_host_and_asks_for_no_compression():
    requests = []
    with serving(lambda request: requests.append(request) or [WHOLE]) as port:
        fetch(f"http://127.0.0.1:{port}/a b?q=ü#part")
    assert requests[0].startswith(b"GET /a%20b?q=%C3%BC HTTP/1.1\r\n")
    assert b"Host: 127.0.0.1:%d\r\n" % port in requests[0]
    assert b"Accept-Encoding: identity\r\n" in requests[0]


# Time and size


def dripping(head: bytes, drop: bytes, tail: bytes = b"") -> Iterator[bytes]:
    """An answer that comes a byte at a time and, in the end, whole."""
    yield head
    for _ in range(40):
        time.sleep(0.05)
        yield drop
    yield tail


@pytest.mark.parametrize(
    "answer",
    [
        lambda request: dripping(OK + b"Content-Length: 40\r\n\r\n", b"x"),
        lambda request: dripping(OK + b"X: ", b"x", b"\r\nContent-Length: 0\r\n\r\n"),
        lambda request: dripping(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", WHOLE),
        lambda request: dripping(b"", b"", WHOLE),
    ],
    ids=["body", "head", "hints", "silence"],
)
def test_the_whole_download_has_one_limit_of_time(answer, monkeypatch):
    monkeypatch.setattr(fetch_2mner, "SECONDS", 0.4)
    with pytest.raises(
        OSError, match=r"red\.png: cannot be fetched \(no whole answer within 0\.4 s"
    ):
        fetch_from(answer)


def test_redirects_do_not_extend_the_limit_of_time(monkeypatch):
    monkeypatch.setattr(fetch_2mner, "SECONDS", 0.4)

    def answer(request):
        time.sleep(0.15)
        hops = int(request.split()[1].rpartition(b"/")[2])
        yield moved(f"/{hops - 1}") if hops else WHOLE

    with pytest.raises(OSError, match="no whole answer within"):
        fetch_from(answer, "/4")


def test_an_endless_body_ends_at_the_limit_of_bytes(monkeypatch):
    monkeypatch.setattr(fetch_2mner, "MAX_BYTES", 100_000)
    with pytest.raises(OSError, match=r"cannot be fetched \(more than 100,000 bytes\)"):
        fetch_from(lambda request: itertools.chain([OK + b"\r\n"], itertools.repeat(BODY)))


def test_a_body_at_the_limit_of_bytes_is_fetched(monkeypatch):
    monkeypatch.setattr(fetch_2mner, "MAX_BYTES", len(BODY))
    assert fetch_from(lambda request: [WHOLE]) == BODY


def test_a_compressed_body_is_refused_before_it_is_read():
    bomb = gzip.compress(bytes(10_000_000))
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    with pytest.raises(OSError, match=r"\(content-encoding 'gzip', expected none\)"):
        fetch_from(lambda request: [head, bomb])


# Damaged answers


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (OK + b"Content-Length: 9999\r\n\r\nshort", "without sending complete message body"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n9\r\nsho", "without sending complete message bo"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", "illegal chunk header"),
        (OK + b"Content-Length: many\r\n\r\n", "bad Content-Length"),
        (b"I am no server\r\n\r\n", "illegal status line"),
        (b"", "Server disconnected without sending a response"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "status 404, expected 200"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "status 204, expected 200"),
        (b"HTTP/1.1 302 Found\r\n\r\n", "status 302 without a location"),
        (moved("http://[::1"), "Invalid"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n", "Receive buffer too long"),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_an_answer_that_is_not_whole_is_an_error_that_names_the_address(answer, reason):
    with pytest.raises(OSError, match=rf"^http://127\.0\.0\.1:\d+/red\.png: .*{reason}"):
        fetch_from(lambda request: [answer])


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://", "expected an http or https address with a host"),
        ("http://[::1/a.png", "Invalid"),
        ("http://a:99999999/", "expected a port from"),
        ("http://127.0.0.1:99999/", "expected a port from 1 to 65535"),
        (f"http://{'a' * 300}/", "label too long|Name"),
        ("http://a\nb/", "Invalid"),
        ("http://exists.invalid/a.png", "not known|resol|No address"),
        ("ftp://127.0.0.1/a.png", "expected an http or https address"),
        ("http://me:secret@127.0.0.1/a.png", "expected no user name and password"),
    ],
)
def test_an_address_that_leads_nowhere_is_an_error_that_names_it(address, reason):
    with pytest.raises(OSError, match=reason) as error:
        fetch(address)
    message = str(error.value)
    assert message.startswith(f"{shown_address(address)}: cannot be fetched (")
    assert "secret" not in message
    assert len(message) < 450


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(
        OSError, match=rf"^http://127\.0\.0\.1:{port}/: cannot be fetched \(.*refused"
    ):
        fetch(f"http://127.0.0.1:{port}/")


# Redirects


def test_redirects_are_followed():
    def answer(request):
        hops = int(request.split()[1].rpartition(b"/")[2])
        return [moved(f"/{hops - 1}") if hops else WHOLE]

    assert fetch_from(answer, f"/{MAX_REDIRECTS}") == BODY
    with pytest.raises(OSError, match=r"cannot be fetched \(more than 5 redirects"):
        fetch_from(answer, f"/{MAX_REDIRECTS + 1}")


def test_a_redirect_that_leads_back_ends():
    with pytest.raises(OSError, match=r"cannot be fetched \(more than 5 redirects"):
        fetch_from(lambda request: [moved("/red.png")])


@pytest.mark.parametrize("address", ["ftp://127.0.0.1/a.png", "file:///etc/passwd", "data:,x"])
def test_a_redirect_leads_to_http_and_https_alone(address):
    with pytest.raises(OSError, match="expected an http or https address with a host"):
        fetch_from(lambda request: [moved(address)])


@pytest.fixture
def names(monkeypatch):
    """Names that are known to this machine alone, 127.0.0.1 as a public address among them."""
    addresses = {
        "public.test": ["127.0.0.1"],
        "inside.test": ["127.0.0.2"],
        "127.0.0.2": ["127.0.0.2"],
    }
    monkeypatch.setattr(fetch_2mner, "_resolve", lambda host, port: addresses[host])
    monkeypatch.setattr(fetch_2mner, "is_public", lambda address: address != "127.0.0.2")
    return addresses


@pytest.mark.parametrize("host", ["inside.test", "127.0.0.2"])
def test_a_redirect_from_a_public_address_does_not_lead_to_a_private_one(names, host):
    with serving(lambda request: [moved(f"http://{host}:1/")]) as port:
        expected = rf"a redirect to 'http://{host}:1/', which is not a public address"
        with pytest.raises(OSError, match=expected):
            fetch(f"http://public.test:{port}/red.png")


def test_where_a_name_has_addresses_of_both_kinds_a_redirect_leads_to_the_public_one(
    names, monkeypatch
):
    pinned = []
    pin = fetch_2mner._Network.pin
    monkeypatch.setattr(
        fetch_2mner._Network, "pin", lambda *args: pinned.append(args[2]) or pin(*args)
    )
    names["both.test"] = ["127.0.0.2", "127.0.0.1"]
    with (
        serving(lambda request: [WHOLE]) as port,
        serving(lambda request: [moved(f"http://both.test:{port}/")]) as first,
    ):
        assert fetch(f"http://public.test:{first}/") == BODY
    assert pinned == [["127.0.0.1"], ["127.0.0.1"]]


def test_a_redirect_from_a_private_address_may_lead_to_another():
    with (
        serving(lambda request: [WHOLE]) as port,
        serving(lambda request: [moved(f"http://127.0.0.1:{port}/")]) as first,
    ):
        assert fetch(f"http://127.0.0.1:{first}/") == BODY


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(names):
    """No resolver but the patched one knows the name: a second look-up would find nothing."""
    with serving(lambda request: [WHOLE]) as port:
        assert fetch(f"http://public.test:{port}/") == BODY
        names["two.test"] = ["127.0.0.2", "127.0.0.1"]  # nobody listens on the first
        assert fetch(f"http://two.test:{port}/") == BODY


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("2002:7f00:1::", False),
        ("64:ff9b::10.0.0.1", False),
        ("64:ff9b::8.8.8.8", True),
    ],
)
def test_public_addresses(address, public):
    assert is_public(address) is public


# TLS and proxies


def test_a_certificate_is_that_of_the_name(names, monkeypatch, tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("photos.test").configure_cert(context)
    names["photos.test"] = names["others.test"] = ["127.0.0.1"]
    with serving(lambda request: [WHOLE], context) as port:
        with pytest.raises(OSError, match=r"photos\.test.*certificate"):
            fetch(f"https://photos.test:{port}/")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        assert fetch(f"https://photos.test:{port}/") == BODY
        with pytest.raises(OSError, match=r"others\.test.*certificate"):
            fetch(f"https://others.test:{port}/")


def test_the_proxy_of_the_environment_is_used(monkeypatch):
    """It alone knows the name."""
    requests = []
    with serving(lambda request: requests.append(request) or [WHOLE]) as port:
        monkeypatch.setenv("http_proxy", f"http://me:secret@127.0.0.1:{port}")
        monkeypatch.delenv("no_proxy", raising=False)
        assert fetch("http://photos.invalid/red.png") == BODY
        monkeypatch.setenv("no_proxy", "photos.invalid")
        with pytest.raises(OSError, match=r"photos\.invalid/red\.png: cannot be fetched"):
            fetch("http://photos.invalid/red.png")
    assert requests[0].startswith(b"GET http://photos.invalid/red.png HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in requests[0]
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "socks5://me:secret@127.0.0.1:1")
    with pytest.raises(OSError, match="the environment's proxy is 'socks5://") as error:
        fetch("http://photos.invalid/red.png")
    assert "secret" not in str(error.value)


# Names


def test_what_an_address_is():
    assert is_address("http://a/b.png")
    assert is_address("HTTPS://a/b.png")
    assert not any(
        map(is_address, ["ftp://a/b.png", "a/http://b.png", Path("http://a"), b"http://a", None])
    )


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("http://me:se@cret@host:80/a.png?token=secret#secret", "http://host:80/a.png?..."),
        ("https://host/@me/a.png", "https://host/@me/a.png"),
        (f"http://host/{'a' * 500}", f"http://host/{'a' * 185}..."),
    ],
)
def test_an_address_is_shown_without_secrets_and_shortened(address, shown):
    assert shown_address(address) == shown
    assert len(shown) <= 200
