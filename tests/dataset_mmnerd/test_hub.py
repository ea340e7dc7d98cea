"""What goes wrong on the way to the Hub is said in one line with what to do."""

import pytest
from huggingface_hub import constants

from dataset_mmnerd.hub import PublishError, explained, open_repository


def test_a_repository_is_made_where_there_is_none_and_found_where_there_is_one(online):
    made = open_repository("set", "dataset", private=True)
    assert (made.id, made.private) == ("me/set", True)
    assert open_repository("me/set", "dataset").sha == made.sha


def test_what_should_be_private_never_goes_to_a_public_repository(online):
    open_repository("me/set", "dataset")
    with pytest.raises(PublishError, match="me/set exists and is public: make it private in its"):
        open_repository("me/set", "dataset", private=True)


def test_each_bad_day_is_one_line_that_says_what_to_do(online, monkeypatch, tmp_path):
    def told(repo_id: str, **options) -> str:
        with pytest.raises(PublishError) as caught:
            open_repository(repo_id, "dataset", **options)
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
