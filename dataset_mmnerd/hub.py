"""Pushes to the Hub, for data sets, models and metrics: check the repository, send one commit, and
turn the client's errors into one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from httpx2 import TransportError
from huggingface_hub import (
    CommitInfo,
    CommitOperationAdd,
    CommitOperationDelete,
    DatasetInfo,
    HfApi,
    KernelInfo,
    ModelInfo,
    SpaceInfo,
    get_token,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
)

RepositoryInfo = ModelInfo | DatasetInfo | SpaceInfo | KernelInfo

_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"


class PublishError(RuntimeError):
    """Why nothing was published, and what to do."""


@contextmanager
def explained(repo_id: str) -> Iterator[None]:
    """Raise errors of the Hub's client as `PublishError`. Other errors are raised unchanged.

    Raises:
        PublishError: if there is no token, the Hub cannot be reached, or it refuses a request.
    """
    try:
        yield
    except HFValidationError as error:
        raise PublishError(f"{repo_id!r} is no name for a repository: {error}") from error
    except LocalTokenNotFoundError as error:
        raise PublishError(f"there is no token for the Hub: {_LOG_IN}") from error
    except OfflineModeIsEnabled as error:
        raise PublishError("HF_HUB_OFFLINE is set: unset it to publish") from error
    except (HfHubHTTPError, TransportError, RuntimeError, ValueError) as error:
        cause: BaseException | None = error
        while not isinstance(cause, HfHubHTTPError | TransportError):
            if cause is None:
                raise
            # Uploads come wrapped in a RuntimeError, cards that are refused in a ValueError.
            cause = cause.__cause__
        if isinstance(cause, TransportError):
            raise PublishError(
                f"the Hub at {HfApi().endpoint} cannot be reached: check the network ({cause})"
            ) from error
        raise PublishError(_refusal(repo_id, cause)) from error


def _refusal(repo_id: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status == 401:
        return f"the Hub does not accept the token: {_LOG_IN}"
    if status == 403:
        own = "name a repository of yours"
        return f"{repo_id}: your token may not write there: {own}, or {_LOG_IN}"
    reason = " ".join((error.server_message or error.response.reason_phrase).split())
    return f"{repo_id}: the Hub answered {status} ({reason}); nothing was changed there"


def open_repository(
    repo_id: str,
    kind: str,
    *,
    is_ours: Callable[[set[str]], bool],
    private: bool | None = None,
    token: str | None = None,
    sdk: str = "static",
) -> RepositoryInfo:
    """Create a repository, or check that an existing one may be pushed to.

    Args:
        repo_id: `owner/name`, or a name under the token's own user.
        kind: "model", "dataset" or "space".
        is_ours: whether a repository with files of these names was made by a push of this project.
        private: create a private repository; an existing public one is refused.
        token: by default the one of `hf auth login` or HF_TOKEN.
        sdk: what a new Space runs.

    Returns:
        The repository's full name as `id`, its head as `sha`, its files as `siblings`.

    Raises:
        PublishError: if there is no token, or one that may not write there; if the Hub cannot be
            reached; if the repository exists and is public, or holds something else.
    """
    api = HfApi(token=token)
    with explained(repo_id):
        if token is None and get_token() is None:
            raise LocalTokenNotFoundError
        created = api.create_repo(
            repo_id,
            repo_type=kind,
            private=private,
            exist_ok=True,
            space_sdk=sdk if kind == "space" else None,
        )
        info = api.repo_info(created.repo_id, repo_type=kind)
    if private and not info.private:
        raise PublishError(
            f"{info.id} exists and is public: make it private in its settings, or name another one"
        )
    files = set(file_names(info)) - {".gitattributes", "README.md"}
    if files and not is_ours(files):
        raise PublishError(
            f"{info.id} exists and holds something else ({min(files)}): name another repository"
        )
    return info


def file_names(info: RepositoryInfo) -> list[str]:
    return [file.rfilename for file in getattr(info, "siblings", None) or ()]


def send(
    info: RepositoryInfo,
    kind: str,
    files: Mapping[str, Path | bytes],
    *,
    is_sent: Callable[[str], bool],
    message: str,
    token: str | None = None,
) -> CommitInfo:
    """Send files in one atomic commit on top of the head in `info`.

    Args:
        info: the result of `open_repository`.
        kind: "model", "dataset" or "space".
        files: paths or contents by their names in the repository.
        is_sent: whether a push of this project makes a file of this name. Such files in the
            repository that are not among `files` are deleted in the same commit; others are kept.
        message: the commit's message.
        token: by default the one of `hf auth login` or HF_TOKEN.

    Raises:
        PublishError: if the push failed, or the head has changed since `open_repository`.
    """
    stale = [name for name in file_names(info) if is_sent(name) and name not in files]
    with explained(info.id):
        return HfApi(token=token).create_commit(
            info.id,
            [
                *(CommitOperationAdd(name, content) for name, content in files.items()),
                *(CommitOperationDelete(name) for name in stale),
            ],
            commit_message=message,
            parent_commit=info.sha,
            repo_type=kind,
        )


__all__ = ["PublishError", "explained", "file_names", "open_repository", "send"]
