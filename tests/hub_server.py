"""A Hugging Face Hub on loopback, for tests: as much of its HTTP interface as the real clients use.

    with HubServer(folder, tokens={"hf_me": "me"}) as hub:
        subprocess.run([sys.executable, "-c", code], env=hub.environment(home, token="hf_me"))

or, to try things by hand, `python tests/hub_server.py --port 8000`.

Repositories of all three kinds (`models`, `datasets`, `spaces`), with real commits: each has an id,
old ones stay readable, and a commit is made whole or not at all. Contents lie in `folder`, one file
a content; everything else is in memory. `{repo}` is `{kind}/{owner}/{name}`:

    GET    /api/whoami-v2                            the user behind the token
    POST   /api/repos/create                         409 and the address if there is one already
    POST   /api/validate-yaml                        a card's metadata: is it YAML, is it there?
    GET    /api/{repo}[/revision/{revision}]         what `model_info` and its sisters return
    GET    /api/{repo}/tree/{revision}[/{path}]      ?recursive, ?expand
    POST   /api/{repo}/paths-info/{revision}         the same for named paths
    GET    /api/{repo}/refs                          branches and tags
    GET    /api/{repo}/commits/{revision}            newest first
    POST   /api/{repo}/branch/{name}, /tag/{revision}
    POST   /api/{repo}/preupload/{revision}          which files go by LFS
    POST   /api/{repo}/commit/{revision}             JSON lines; 412 unless the head is its parent
    POST   /[{kind}/]{owner}/{name}.git/info/lfs/objects/batch    where to send large files
    PUT    /lfs/{sha256}                             a large file, checked against its name
    HEAD, GET  /[{kind}/]{owner}/{name}/resolve/{revision}/{path}    with ETag and byte ranges

What it does differently from the real Hub: large files travel by plain Git LFS. Clients that have
`hf_xet` would use the Xet protocol without asking, so `environment()` switches it off. An owner is
a user; there are no organisations and no pull requests; listings have one page; nothing is deleted
but files by commits.
"""

import argparse
import base64
import fnmatch
import hashlib
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import takewhile
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

__all__ = ["Commit", "File", "HubError", "HubServer", "Repository"]

LARGE_SIZE = 10 * 1024 * 1024
LARGE_PATTERNS = ("*.arrow", "*.bin", "*.npz", "*.parquet", "*.pt", "*.safetensors", "*.zip")
ATTRIBUTES = "".join(f"{name} filter=lfs diff=lfs merge=lfs -text\n" for name in LARGE_PATTERNS)


class HubError(Exception):
    """An answer other than success; `code` is what the clients tell their exceptions by."""

    def __init__(self, status: int, message: str, code: str = "", **body: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body


# --- repositories -----------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """One version of one file. `blob_id` is Git's id of it; of a large one Git holds a pointer."""

    sha256: str
    size: int
    blob_id: str
    large: bool

    @classmethod
    def of(cls, sha256: str, size: int, content: bytes | None) -> Self:
        """A small file, given its content, or a large one, given None."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        stored = pointer.encode() if content is None else content
        header = f"blob {len(stored)}\0".encode()
        return cls(sha256, size, hashlib.sha1(header + stored).hexdigest(), content is None)

    @property
    def etag(self) -> str:
        return self.sha256 if self.large else self.blob_id

    def describe(self) -> dict[str, Any]:
        """The fields that every listing of files shares."""
        fields: dict[str, Any] = {"size": self.size}
        if self.large:
            # Listings say the one, info the other.
            names = {"oid": self.sha256, "sha256": self.sha256}
            fields["lfs"] = {**names, "size": self.size, "pointerSize": 134}
        return fields


@dataclass(frozen=True)
class Commit:
    """A state of all files, and how it came about."""

    oid: str
    parent: "Commit | None"
    author: str
    title: str
    message: str
    date: str
    files: Mapping[str, File]

    def history(self) -> Iterator["Commit"]:
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def under(self, path: str) -> dict[str, File]:
        """The file at `path`, or the files below it."""
        inside = f"{path}/" if path else ""
        return {
            name: file
            for name, file in self.files.items()
            if name == path or name.startswith(inside)
        }

    def last_change(self, path: str) -> "Commit":
        """The newest commit that changed something at or under `path`."""
        files = self.under(path)
        unchanged = takewhile(lambda commit: commit.under(path) == files, self.history())
        return list(unchanged)[-1]


@dataclass
class Repository:
    """Commits, and the names that point at some of them."""

    kind: str
    name: str
    private: bool
    settings: dict[str, Any]
    branches: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Commit] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.name.split("/")[0]

    @property
    def page(self) -> str:
        """Where it lies under the Hub's own address."""
        return self.name if self.kind == "models" else f"{self.kind}/{self.name}"

    def resolve(self, revision: str) -> Commit:
        """A branch, a tag or a commit id."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        for names in (self.branches, self.tags, self.commits):
            if revision in names:
                return names[revision]
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(
        self, branch: str, author: str, title: str, message: str, files: Mapping[str, File]
    ) -> Commit:
        """Move a branch to a new commit."""
        parent = self.branches.get(branch)
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        listing = sorted((path, file.blob_id) for path, file in files.items())
        content = [parent and parent.oid, author, title, message, date, listing]
        oid = hashlib.sha1(json.dumps(content).encode()).hexdigest()
        commit = Commit(oid, parent, author, title, message, date, dict(files))
        self.commits[oid] = self.branches[branch] = commit
        return commit


def checked_path(path: str) -> str:
    """A file's path inside a repository; it must stay there on every machine that downloads it."""
    parts = path.split("/")
    if not path or "\\" in path or "\0" in path or {"", ".", "..", ".git"} & set(parts):
        raise HubError(422, f"Invalid path in repository: {path!r}")
    return path


def checked_metadata(card: str) -> dict[str, Any]:
    """The YAML between the `---` lines at the head of a card; nothing of its meaning is checked."""
    match = re.match(r"---\r?\n(.*?)^---\s*$", card, re.DOTALL | re.MULTILINE)
    try:
        metadata = (yaml.safe_load(match[1]) if match else None) or {}
    except yaml.YAMLError as error:
        complaint = [{"message": f"Invalid YAML metadata: {error}"}]
        raise HubError(400, "Invalid metadata in README.md", errors=complaint) from error
    if not isinstance(metadata, dict):
        complaint = [{"message": "the metadata is not a mapping"}]
        raise HubError(400, "Invalid metadata in README.md", errors=complaint)
    return metadata


# --- the server -------------------------------------------------------------------------------


@dataclass
class Fault:
    """Requests that fail on purpose: the `nth` that matches, and as many as `times` in all."""

    method: str
    pattern: re.Pattern[str]
    nth: int
    times: int
    status: int
    seen: int = 0

    def strikes(self, method: str, path: str) -> bool:
        if method != self.method or not self.pattern.search(path):
            return False
        self.seen += 1
        return self.nth <= self.seen < self.nth + self.times


class HubServer:
    """A running Hub. `tokens` maps each valid token to its user."""

    def __init__(self, folder: Path, tokens: Mapping[str, str], port: int = 0) -> None:
        self.folder = folder
        self.tokens = dict(tokens)
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.announced: set[str] = set()  # sha256 of the large files that may be sent
        self.requests: list[tuple[str, str]] = []  # method and path of each
        self.faults: list[Fault] = []
        self.lock = threading.RLock()
        folder.mkdir(parents=True, exist_ok=True)
        handler = type("Handler", (HubHandler,), {"hub": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def fail(
        self, method: str, pattern: str, nth: int = 1, times: int = 1, status: int = 507
    ) -> None:
        """Let requests fail whose path contains the regular expression `pattern`.

        The default status is one that the clients do not try again; 503 is one that they do.
        """
        self.faults.append(Fault(method, re.compile(pattern), nth, times, status))

    def environment(self, home: Path, token: str | None = None) -> dict[str, str]:
        """The environment of a client that knows this Hub and no other network at all.

        `home` is its cache. Names other than this machine's go to a proxy that does not exist.
        """
        nowhere = "http://127.0.0.1:9"
        settings = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        settings |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1"}
        settings |= {"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": "127.0.0.1"}
        if token is not None:
            settings["HF_TOKEN"] = token
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.upper().startswith(("HF_", "HUGGINGFACE_", "TRANSFORMERS_"))
            and not name.upper().endswith("_PROXY")
        }
        return inherited | settings

    def repository(self, kind: str, name: str) -> Repository:
        """The repository `owner/name` of a kind (`models`, `datasets`, `spaces`)."""
        if (kind, name) not in self.repositories:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return self.repositories[kind, name]

    def content(self, file: File) -> Path:
        return self.folder / file.sha256

    def has(self, sha256: str) -> bool:
        return bool(re.fullmatch("[0-9a-f]{64}", sha256)) and (self.folder / sha256).is_file()

    def store(self, pieces: Iterable[bytes], expected: str | None = None) -> str:
        """Write a content under its own SHA-256, which must be the `expected` one."""
        digest = hashlib.sha256()
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as temporary:
            for piece in pieces:
                digest.update(piece)
                temporary.write(piece)
        sha256 = digest.hexdigest()
        if expected not in (None, sha256):
            Path(temporary.name).unlink()
            raise HubError(422, f"sha256 is {sha256}, expected {expected}")
        Path(temporary.name).replace(self.folder / sha256)
        return sha256


# --- HTTP -------------------------------------------------------------------------------------

ROUTES: list[tuple[str, re.Pattern[str], Callable[..., None]]] = []
REPO = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"
PAGE = r"/(?:(?P<kind>datasets|spaces)/)?(?P<name>[^/]+/[^/]+)"


def route(methods: str, pattern: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Answer `methods` on paths that match; the pattern's groups become the method's arguments."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        for method in methods.split():
            ROUTES.append((method, re.compile(pattern), function))
        return function

    return register


class HubHandler(BaseHTTPRequestHandler):
    """One request: who asks, what for, and the answer."""

    protocol_version = "HTTP/1.1"
    hub: HubServer

    def answer(self) -> None:
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.query = {key: values[-1] for key, values in parse_qs(address.query).items()}
        self.body = self.read_body()
        try:
            with self.hub.lock:
                self.hub.requests.append((self.command, path))
                for fault in self.hub.faults:
                    if fault.strikes(self.command, path):
                        raise HubError(fault.status, "This request fails on purpose")
            self.dispatch(address.path)
        except HubError as error:
            self.refuse(error)
        except ConnectionError:
            self.close_connection = True  # the client went away
            return
        for _ in self.body:
            pass  # what was not read would be taken for the next request

    def read_body(self) -> Iterator[bytes]:
        """What the request carries, whether its length is announced or it comes in chunks."""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline(), 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise ConnectionError("the request ended early")
            left -= len(piece)
            yield piece

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def dispatch(self, path: str) -> None:
        for method, pattern, function in ROUTES:
            match = pattern.fullmatch(path)
            if match and method == self.command:
                found = match.groupdict(default="")
                function(self, **{key: unquote(value) for key, value in found.items()})
                return
        raise HubError(404, f"This Hub does not know {self.command} {path}")

    def log_message(self, *arguments: object) -> None:
        """Nothing: `HubServer.requests` keeps what was asked."""

    def reply(self, answer: Any = None, status: int = 200, **headers: str) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, error: HubError, **headers: str) -> None:
        # A header is one line of ASCII, and messages quote paths.
        headers["X_Error_Message"] = ascii(error.message)[1:-1]
        if error.code:
            headers["X_Error_Code"] = error.code
        self.reply({"error": error.message, **error.body}, error.status, **headers)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")

    def json(self) -> dict[str, Any]:
        return json.loads(b"".join(self.body))

    # Who asks, and what they may see and change.

    def user(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if not scheme:
            return None
        if token not in self.hub.tokens:
            raise HubError(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[token]

    def readable(self, kind: str, name: str) -> Repository:
        user = self.user()
        repository = self.hub.repository(kind or "models", name)
        if repository.private and repository.owner != user:
            raise HubError(401, "Repository not found", "RepoNotFound")  # as if it did not exist
        return repository

    def writable(self, kind: str, name: str) -> Repository:
        repository = self.readable(kind, name)
        self.require(repository.owner)
        return repository

    def require(self, owner: str) -> str:
        user = self.user()
        if user is None:
            raise HubError(401, "A token is needed to write")
        if user != owner:
            raise HubError(403, f"{user} may not write to the repositories of {owner}")
        return user

    # Users and repositories.

    @route("GET", "/api/whoami-v2")
    def whoami(self) -> None:
        user = self.user()
        if user is None:
            raise HubError(401, "Invalid username or password.")
        access = {"accessToken": {"displayName": "test", "role": "write"}}
        self.reply({"type": "user", "name": user, "fullname": user, "orgs": [], "auth": access})

    @route("POST", "/api/repos/create")
    def create(self) -> None:
        wish = self.json()
        owner = wish.get("organization") or self.user() or ""
        self.require(owner)
        kind, name = wish.get("type", "model") + "s", f"{owner}/{wish['name']}"
        settings = {"sdk": wish["sdk"]} if "sdk" in wish else {}
        repository = Repository(kind, name, wish.get("visibility") == "private", settings)
        url = f"{self.hub.url}/{repository.page}"
        with self.hub.lock:
            if (kind, name) in self.hub.repositories:
                raise HubError(409, f"You already created this repo: {name}", url=url)
            attributes = self.small_file(ATTRIBUTES.encode())
            repository.commit("main", owner, "initial commit", "", {".gitattributes": attributes})
            self.hub.repositories[kind, name] = repository
        self.reply({"url": url, "name": name, "id": name})

    @route("POST", "/api/validate-yaml")
    def validate(self) -> None:
        metadata = checked_metadata(self.json()["content"])
        warnings = [] if metadata else [{"message": "empty or missing yaml metadata in repo card"}]
        self.reply({"errors": [], "warnings": warnings})

    @route("GET", REPO + "(?:/revision/(?P<revision>[^/]+))?")
    def info(self, kind: str, name: str, revision: str) -> None:
        repository = self.readable(kind, name)
        commit = repository.resolve(revision or "main")
        detailed = self.flag("blobs")
        siblings = [
            {"rfilename": path, **({"blobId": file.blob_id, **file.describe()} if detailed else {})}
            for path, file in commit.files.items()
        ]
        answer = {"id": name, "author": repository.owner, "sha": commit.oid, "siblings": siblings}
        answer |= {"private": repository.private, "gated": False, "disabled": False}
        answer |= {"downloads": 0, "likes": 0, "lastModified": commit.date, "tags": []}
        answer |= {"createdAt": list(commit.history())[-1].date, **repository.settings}
        if "README.md" in commit.files:
            card = self.hub.content(commit.files["README.md"]).read_text(encoding="utf-8")
            metadata = checked_metadata(card)
            answer["cardData"] = metadata
            for key in ("pipeline_tag", "library_name", "tags"):
                if key in metadata:
                    answer[key] = metadata[key]
        self.reply(answer)

    # Files, as lists and as contents.

    def described(self, commit: Commit, path: str, expand: bool) -> dict[str, Any] | None:
        """One entry of a listing, or None where there is neither a file nor a folder."""
        files = commit.under(path)
        if not files:
            return None
        if path in files:
            entry = {"type": "file", "oid": files[path].blob_id, "path": path}
            entry |= files[path].describe()
        else:
            listing = json.dumps([(name, file.blob_id) for name, file in sorted(files.items())])
            oid = hashlib.sha1(listing.encode()).hexdigest()
            entry = {"type": "directory", "oid": oid, "size": 0, "path": path}
        if expand:
            change = commit.last_change(path)
            entry["lastCommit"] = {"id": change.oid, "title": change.title, "date": change.date}
        return entry

    @route("GET", REPO + "/tree/(?P<revision>[^/]+)(?:/(?P<path>.+))?")
    def tree(self, kind: str, name: str, revision: str, path: str) -> None:
        commit = self.readable(kind, name).resolve(revision)
        files = commit.under(path)
        if path and (not files or path in files):
            raise HubError(404, f"{path} is no folder at {revision}", "EntryNotFound")
        start = path.count("/") + 1 if path else 0
        paths = set()
        for parts in (file.split("/") for file in files):
            depth = len(parts) if self.flag("recursive") else start + 1
            paths |= {"/".join(parts[:end]) for end in range(start + 1, depth + 1)}
        expand = self.flag("expand")
        self.reply([self.described(commit, path, expand) for path in sorted(paths)])

    @route("POST", REPO + "/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, kind: str, name: str, revision: str) -> None:
        commit = self.readable(kind, name).resolve(revision)
        wish = parse_qs(b"".join(self.body).decode())
        expand = wish.get("expand", [""])[0].lower() == "true"
        entries = [self.described(commit, path, expand) for path in wish.get("paths", [])]
        self.reply([entry for entry in entries if entry])

    @route("GET HEAD", PAGE + "/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
    def resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        commit = self.readable(kind, name).resolve(revision)
        if path not in commit.files:
            error = HubError(404, f"{path} is not at {revision}", "EntryNotFound")
            self.refuse(error, X_Repo_Commit=commit.oid)
            return
        file = commit.files[path]
        wanted = self.byte_range(file.size)
        start, end = wanted or (0, file.size)
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(end - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{file.etag}"')
        self.send_header("X-Repo-Commit", commit.oid)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{file.size}")
        self.end_headers()
        if self.command == "GET":
            with self.hub.content(file).open("rb") as content:
                content.seek(start)
                while start < end:
                    start += self.wfile.write(content.read(min(1 << 20, end - start)))

    def byte_range(self, size: int) -> tuple[int, int] | None:
        """First byte and one past the last, where the request asks for one part of the file."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)|bytes=-(\d+)", self.headers.get("Range", ""))
        if not match:
            return None
        start = int(match[1]) if match[1] else max(size - int(match[3]), 0)
        end = min(int(match[2]) + 1, size) if match[2] else size
        if start >= end:
            raise HubError(416, f"There is no {match[0]} in {size} bytes")
        return start, end

    # Names of revisions.

    @route("GET", REPO + "/refs")
    def refs(self, kind: str, name: str) -> None:
        repository = self.readable(kind, name)
        answer: dict[str, list] = {"converts": [], "pullRequests": []}
        for key, prefix in (("branches", "refs/heads"), ("tags", "refs/tags")):
            answer[key] = [
                {"name": ref, "ref": f"{prefix}/{ref}", "targetCommit": commit.oid}
                for ref, commit in getattr(repository, key).items()
            ]
        self.reply(answer)

    @route("GET", REPO + "/commits/(?P<revision>[^/]+)")
    def commits(self, kind: str, name: str, revision: str) -> None:
        self.reply(
            [
                {"id": commit.oid, "title": commit.title, "message": commit.message}
                | {"date": commit.date, "authors": [{"user": commit.author}]}
                for commit in self.readable(kind, name).resolve(revision).history()
            ]
        )

    @route("POST", REPO + "/branch/(?P<branch>[^/]+)")
    def create_branch(self, kind: str, name: str, branch: str) -> None:
        repository = self.writable(kind, name)
        start = repository.resolve(self.json().get("startingPoint", "main"))
        self.name_commit(repository.branches, branch, start)

    @route("POST", REPO + "/tag/(?P<revision>[^/]+)")
    def create_tag(self, kind: str, name: str, revision: str) -> None:
        repository = self.writable(kind, name)
        self.name_commit(repository.tags, self.json()["tag"], repository.resolve(revision))

    def name_commit(self, names: dict[str, Commit], name: str, commit: Commit) -> None:
        with self.hub.lock:
            if names.setdefault(name, commit) is not commit:
                raise HubError(409, f"Reference already exists: {name}")
        self.reply()

    # Uploads.

    def small_file(self, content: bytes) -> File:
        return File.of(self.hub.store([content]), len(content), content)

    @route("POST", REPO + "/preupload/(?P<revision>[^/]+)")
    def preupload(self, kind: str, name: str, revision: str) -> None:
        files = self.writable(kind, name).resolve(revision).files
        answer = []
        for wish in self.json()["files"]:
            path = wish["path"]
            large = wish["size"] > LARGE_SIZE or any(
                fnmatch.fnmatch(path, pattern) for pattern in LARGE_PATTERNS
            )
            entry = {"path": path, "uploadMode": "lfs" if large else "regular"}
            entry |= {"shouldIgnore": False, "oid": files[path].etag if path in files else None}
            answer.append(entry)
        self.reply({"files": answer})

    @route("POST", PAGE + r"\.git/info/lfs/objects/batch")
    def lfs_batch(self, kind: str, name: str) -> None:
        self.writable(kind, name)
        objects = []
        for wish in self.json()["objects"]:
            entry = {"oid": wish["oid"], "size": wish["size"]}
            if not self.hub.has(wish["oid"]):
                self.hub.announced.add(wish["oid"])
                entry["actions"] = {"upload": {"href": f"{self.hub.url}/lfs/{wish['oid']}"}}
            objects.append(entry)
        self.reply({"transfer": "basic", "objects": objects})

    @route("PUT", "/lfs/(?P<oid>[0-9a-f]{64})")
    def lfs_upload(self, oid: str) -> None:
        # No token comes with it: its address was given to somebody who may write.
        if oid not in self.hub.announced:
            raise HubError(403, "Nobody announced this file")
        self.hub.store(self.body, expected=oid)
        self.reply()

    @route("POST", REPO + "/commit/(?P<revision>[^/]+)")
    def commit(self, kind: str, name: str, revision: str) -> None:
        repository = self.writable(kind, name)
        if "create_pr" in self.query:
            raise HubError(501, "This Hub has no pull requests")
        changes = [json.loads(line) for line in b"".join(self.body).splitlines()]
        header = next(change["value"] for change in changes if change["key"] == "header")
        with self.hub.lock:
            if revision not in repository.branches:
                raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
            head = repository.branches[revision]
            if header.get("parentCommit", head.oid) != head.oid:
                raise HubError(412, "A commit has happened since. Please refresh and try again.")
            files = dict(head.files)
            for change in changes:
                self.apply(change["key"], change["value"], files)
            title, message = header["summary"], header.get("description", "")
            commit = repository.commit(revision, repository.owner, title, message, files)
        url = f"{self.hub.url}/{repository.page}/commit/{commit.oid}"
        self.reply({"success": True, "commitOid": commit.oid, "commitUrl": url})

    def apply(self, key: str, value: dict[str, Any], files: dict[str, File]) -> None:
        """Carry out one line of a commit on `files`, which nobody else sees yet."""
        if key == "file":
            content = base64.b64decode(value["content"])
            if value["path"] == "README.md":
                checked_metadata(content.decode())
            files[checked_path(value["path"])] = self.small_file(content)
        elif key == "lfsFile":
            if not self.hub.has(value["oid"]):
                raise HubError(422, f"{value['path']}: its content was not uploaded")
            size = (self.hub.folder / value["oid"]).stat().st_size
            files[checked_path(value["path"])] = File.of(value["oid"], size, None)
        elif key == "deletedFile":
            if files.pop(value["path"], None) is None:
                raise HubError(422, f"{value['path']} cannot be deleted: there is no such file")
        elif key == "deletedFolder":
            folder = value["path"].rstrip("/") + "/"
            for path in [path for path in files if path.startswith(folder)]:
                del files[path]
        elif key != "header":
            raise HubError(400, f"This Hub does not know commits with {key}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Run a Hugging Face Hub on loopback until Ctrl-C.")
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")
    parser.add_argument("--user", default="me", help="the only user (default: %(default)s)")
    parser.add_argument("--token", default="hf_me", help="that user's token (default: %(default)s)")
    arguments = parser.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="hub-"))
    try:
        with HubServer(folder, {arguments.token: arguments.user}, arguments.port) as hub:
            print(f"export HF_ENDPOINT={hub.url} HF_TOKEN={arguments.token} HF_HUB_DISABLE_XET=1")
            threading.Event().wait()
    except KeyboardInterrupt:
        print("stopped; nothing is kept")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
