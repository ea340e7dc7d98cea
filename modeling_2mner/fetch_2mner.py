"""Fetch an image from the web, within bounds.

    content = fetch("https://example.com/photo.jpg")

* The whole download, with its redirects, ends after `SECONDS` and after `MAX_BYTES` bytes. Only the
  system's name resolution has its own time limit.
* At most `MAX_REDIRECTS` redirects are followed, to http and https only. A redirect from a public
  address to a private, loopback or link-local one is refused. A name is resolved once, and the
  connection goes to the address that was checked.
* The answer must have status 200 and a whole, uncompressed body.
* The proxy of the environment is used. A name that only the proxy can resolve is not checked.
"""

import ipaddress
import re
import socket
import time
import urllib.request
from typing import Any

from .images_2mner import MAX_BYTES
from .quoting_2mner import shorten

__all__ = ["fetch", "is_address", "shown_address"]

SECONDS = 30.0
"""The most seconds that a download takes."""

MAX_REDIRECTS = 5

MOVED = (301, 302, 303, 307, 308)

NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses whose last 32 bits are an IPv4 address."""


def is_address(source: Any) -> bool:
    """Whether this is an address that `fetch` takes: a string that begins with http(s)://."""
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def shown_address(address: str) -> str:
    """An address as messages name it: without password and query, at most 200 characters."""
    shown = re.sub(r"^(\w+://)[^/?#]*@", r"\1", address)
    shown = re.sub(r"[?#].*", "?...", shown, flags=re.DOTALL)
    return shorten(shown)


def fetch(address: str) -> bytes:
    """Fetch what is at an address.

    Args:
        address: an http or https address, without user name and password.

    Returns:
        The body.

    Raises:
        OSError: if it cannot be fetched: the address is not valid, its host is not found or does
            not answer in time, a redirect is refused, the status is not 200, or the body is cut
            short, compressed or too large. The message names the address and the reason.
    """
    httpx, httpcore = _import_client()
    try:
        return _follow(httpx, httpcore, address)
    except (TimeoutError, httpcore.TimeoutException) as error:
        raise _failure(address, f"no whole answer within {SECONDS:g} seconds") from error
    except (
        *(OSError, ValueError, httpx.InvalidURL, httpcore.NetworkError),
        *(httpcore.ProtocolError, httpcore.ProxyError, httpcore.UnsupportedProtocol),
    ) as error:
        raise _failure(address, str(error) or type(error).__name__) from error


def _failure(address: str, reason: str) -> OSError:
    return OSError(f"{shown_address(address)}: cannot be fetched ({shorten(reason)})")


def _import_client() -> tuple[Any, Any]:
    """`httpx` and `httpcore`, which `huggingface_hub` requires; imported when first needed."""
    try:
        import httpcore2 as httpcore
        import httpx2 as httpx
    except ImportError:  # before version 2 of the Hub's client
        import httpcore  # type: ignore[no-redef]
        import httpx  # type: ignore[no-redef]
    return httpx, httpcore


def _follow(httpx: Any, httpcore: Any, address: str) -> bytes:
    network = _Network(httpcore)
    url = httpx.URL(address)
    from_public = False  # whether the user's own address is public
    for redirects in range(MAX_REDIRECTS + 1):
        if url.scheme not in ("http", "https") or not url.host:
            raise ValueError(f"{_of(url)}: expected an http or https address with a host")
        if url.port is not None and not 0 < url.port < 65536:
            raise ValueError(f"{_of(url)}: expected a port from 1 to 65535")
        if url.userinfo:
            raise ValueError(f"{_of(url)}: expected no user name and password")
        proxy = _environment_proxy(httpx, httpcore, url)
        try:
            found = _resolve(url.raw_host.decode("ascii"), url.port or 0)
        except socket.gaierror:
            if proxy is None:
                raise
            found = []
        public = [one for one in found if is_public(one)]
        if redirects == 0:
            from_public = bool(public) or not found
        elif from_public and found:
            if not public:
                raise ValueError(f"a redirect to {_of(url)}, which is not a public address")
            found = public
        network.pin(url.raw_host.decode("ascii"), found)

        context = httpx.create_ssl_context() if url.scheme == "https" else None
        target = httpcore.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
        )
        headers = {
            b"Host": url.netloc,
            b"Accept": b"image/*, */*;q=0.5",
            b"Accept-Encoding": b"identity",
            b"User-Agent": b"2M-NER",
        }
        with (
            httpcore.ConnectionPool(
                ssl_context=context, proxy=proxy, network_backend=network
            ) as pool,
            pool.stream("GET", target, headers=list(headers.items())) as response,
        ):
            answered = {name.lower(): value for name, value in response.headers}
            if response.status not in MOVED:
                return _read_body(response, answered)
            if b"location" not in answered:
                raise ValueError(f"status {response.status} without a location")
            url = url.join(answered[b"location"].decode("utf-8", "replace"))
    raise ValueError(f"more than {MAX_REDIRECTS} redirects")


def _read_body(response: Any, headers: dict[bytes, bytes]) -> bytes:
    if response.status != 200:
        raise ValueError(f"status {response.status}, expected 200")
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding != b"identity":
        raise ValueError(f"content-encoding {encoding.decode('latin-1')!r}, expected none")
    content = bytearray()
    for chunk in response.iter_stream():  # a body shorter than its length is a ProtocolError
        content += chunk
        if len(content) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES:,} bytes")
    return bytes(content)


def is_public(address: str) -> bool:
    """Whether an IP address, or the IPv4 address that it embeds, is public."""
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        embedded = parsed.ipv4_mapped or parsed.sixtofour
        if parsed in NAT64:
            embedded = ipaddress.IPv4Address(int(parsed) & 0xFFFFFFFF)
        if embedded is not None:
            return is_public(str(embedded))
    return parsed.is_global and not parsed.is_multicast


def _resolve(host: str, port: int) -> list[str]:
    """The IP addresses of a host, in the system's order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _of(url: Any) -> str:
    return repr(shown_address(str(url)))


def _environment_proxy(httpx: Any, httpcore: Any, url: Any) -> Any:
    """The proxy that the environment names for this address, or None."""
    named = urllib.request.getproxies().get(url.scheme)
    if not named or urllib.request.proxy_bypass(url.host):
        return None
    proxy = httpx.Proxy(named if "://" in named else f"http://{named}")
    if proxy.url.scheme not in ("http", "https"):
        raise ValueError(f"the environment's proxy is {_of(proxy.url)}, expected http or https")
    return httpcore.Proxy(str(proxy.url), auth=proxy.raw_auth)


class _Network:
    """A network backend of httpcore that connects to the checked addresses only, and ends every
    wait at one deadline."""

    def __init__(self, httpcore: Any) -> None:
        self._backend = httpcore.SyncBackend()
        self._connect_errors = (httpcore.ConnectError, httpcore.ConnectTimeout)
        self._deadline = time.monotonic() + SECONDS
        self._pinned: dict[str, list[str]] = {}

    def pin(self, host: str, addresses: list[str]) -> None:
        """Connect to one of these addresses where this host is wanted."""
        self._pinned = {host: addresses} if addresses else {}

    def seconds_left(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> "_Stream":
        addresses = self._pinned.get(host, [host])
        for number, address in enumerate(addresses):
            # The time is shared, so that one that does not answer leaves time for the others.
            share = self.seconds_left() / (len(addresses) - number)
            try:
                stream = self._backend.connect_tcp(
                    address, port, share, socket_options=socket_options
                )
                return _Stream(stream, self)
            except self._connect_errors as error:
                failure = error
        raise failure


class _Stream:
    """A network stream of httpcore whose waits end at the network's deadline."""

    def __init__(self, stream: Any, network: _Network) -> None:
        self._stream = stream
        self._network = network

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._network.seconds_left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._network.seconds_left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> "_Stream":
        left = self._network.seconds_left()
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left), self._network)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
