"""What goes wrong on the way to the Hub is said in one line with what to do."""

import pytest
from huggingface_hub import constants

from dataset_mmnerd.hub import PublishError, explained, open_repository, send


def opened(repo_id: str, **options):
    return open_repository(repo_id, "dataset", is_ours=lambda names: "ours" in names, **options)


def test_a_repository_is_made_where_there_is_none_and_found_where_there_is_one(online):
    made = opened("set", private=True)
    assert (made.id, made.private) == ("me/set", True)
    assert opened("me/set").sha == made.sha


def test_what_should_be_private_never_goes_to_a_public_repository(online):
    opened("me/set")
    with pytest.raises(PublishError, match="me/set exists and is public: make it private in its"):
        opened("me/set", private=True)


def test_each_bad_day_is_one_line_that_says_what_to_do(online, monkeypatch, tmp_path):
    def told(repo_id: str, **options) -> str:
        with pytest.raises(PublishError) as caught:
            opened(repo_id, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    log_in = "log in with `hf auth login`, or set HF_TOKEN to a token that may write"
    assert told("you/set") == (
        f"you/set: your token may not write there: name a repository of yours, or {log_in}"
    )
    assert told("me/set", token="hf_wrong") == f"the Hub does not accept the token: {log_in}"
    assert told("me/a/b").startswith("'me/a/b' is no name for a repository: ")
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert told("me/set") == f"there is no token for the Hub: {log_in}"
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert told("me/set").startswith(
        "the Hub at http://127.0.0.1:9 cannot be reached: check the network ("
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert told("me/set") == "HF_HUB_OFFLINE is set: unset it to publish"


def test_what_is_no_fault_of_the_hub_stays_what_it_is():
    for error in (RuntimeError, ValueError):
        with pytest.raises(error, match=r"^mine$"), explained("me/set"):
            raise error("mine")


def sent(hub, info, files: dict[str, bytes]) -> list[str]:
    send(info, "dataset", files, is_sent=lambda name: name.startswith("o"), message="Publish")
    return sorted(set(hub.repository("datasets", info.id).resolve("main").files))


def test_a_commit_replaces_what_pushes_send_and_touches_nothing_else(online):
    assert sent(online, opened("set"), {"ours": b"1", "old": b"1", "mine": b"1"}) == [
        *(".gitattributes", "mine", "old", "ours")
    ]
    assert sent(online, opened("set"), {"ours": b"2"}) == [".gitattributes", "mine", "ours"]


def test_a_repository_that_holds_something_else_is_not_written_to(online):
    sent(online, opened("set"), {"README.md": b"# mine"})
    assert opened("set").id == "me/set"  # a card alone is not lost: its commit stays
    sent(online, opened("set"), {"other": b"mine"})
    with pytest.raises(
        PublishError, match=r"me/set exists and holds something else \(other\): name"
    ):
        opened("set")


def test_a_push_between_look_and_commit_is_not_overwritten(online):
    info = opened("set")
    sent(online, opened("set"), {"ours": b"newer"})
    with pytest.raises(PublishError, match=r"the Hub answered 412 .*nothing was changed there"):
        sent(online, info, {"ours": b"older"})
