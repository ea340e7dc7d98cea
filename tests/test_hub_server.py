"""The Hub on loopback, tried with the real clients: what is pushed can be loaded by name."""

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.hub_server import HubServer

# --- huggingface_hub --------------------------------------------------------------------------

PUSH = """
    from pathlib import Path
    from huggingface_hub import HfApi
    api = HfApi()
    api.create_repo("me/thing")
    folder = Path("folder")
    (folder / "deep").mkdir(parents=True)
    (folder / "small.txt").write_text("first")
    (folder / "deep" / "große Ä %20.bin").write_bytes(bytes(range(256)))
    (folder / "large.dat").write_bytes(b"0123456789abcdef" * 700_000)  # 11.2 MB
    first = api.upload_folder(repo_id="me/thing", folder_path=folder).oid
    second = api.upload_file(
        repo_id="me/thing", path_or_fileobj=b"second", path_in_repo="small.txt"
    ).oid
    print(first, second)
"""


def push(client) -> list[str]:
    """Push a repository with two commits; return their ids."""
    return client(PUSH, token="hf_me").stdout.split()


def test_a_snapshot_on_another_machine_holds_what_was_pushed(hub, client):
    push(client)
    code = """
        from pathlib import Path
        from huggingface_hub import snapshot_download
        for path in sorted(Path(snapshot_download("me/thing")).rglob("*")):
            if path.is_file():
                print(path.name, len(path.read_bytes()), path.read_bytes()[:7])
    """
    assert client(code, home="other").stdout.splitlines()[1:] == [
        "große Ä %20.bin 256 " + str(bytes(range(7))),
        "large.dat 11200000 b'0123456'",
        "small.txt 6 b'second'",
    ]


def test_large_and_binary_files_travel_by_lfs_and_small_ones_in_the_commit(hub, client):
    push(client)
    sent = [path.rpartition("/")[2] for method, path in hub.requests if method == "PUT"]
    contents = (b"0123456789abcdef" * 700_000, bytes(range(256)))
    assert sorted(sent) == sorted(hashlib.sha256(content).hexdigest() for content in contents)
    files = hub.repository("models", "me/thing").resolve("main").files
    large = {path for path, file in files.items() if file.large}
    assert large == {"large.dat", "deep/große Ä %20.bin"}


def test_every_revision_stays_readable_by_id_branch_and_tag(hub, client):
    first, second = push(client)
    code = f"""
        from pathlib import Path
        from huggingface_hub import HfApi, hf_hub_download
        api = HfApi()
        api.create_branch("me/thing", branch="a/branch", revision="{first}")
        api.create_tag("me/thing", tag="v1", revision="{first}")
        for revision in ("{first}", "{second}", "main", "a/branch", "v1"):
            print(Path(hf_hub_download("me/thing", "small.txt", revision=revision)).read_text())
        print([commit.commit_id for commit in api.list_repo_commits("me/thing")][:2])
        refs = api.list_repo_refs("me/thing")
        print([ref.name for ref in refs.branches], [ref.name for ref in refs.tags])
    """
    lines = client(code, token="hf_me", home="other").stdout.splitlines()
    assert lines[:5] == ["first", "second", "second", "first", "first"]
    assert lines[5:] == [str([second, first]), "['main', 'a/branch'] ['v1']"]


def test_listings_tell_files_folders_sizes_and_last_commits(hub, client):
    first, second = push(client)
    code = """
        from huggingface_hub import HfApi
        api = HfApi()
        for entry in api.list_repo_tree("me/thing", recursive=True, expand=True):
            name = type(entry).__name__
            print(name, entry.path, getattr(entry, "size", None), entry.last_commit.oid)
        print([entry.path for entry in api.list_repo_tree("me/thing")])
        print([entry.path for entry in api.list_repo_tree("me/thing", "deep")])
        info = api.get_paths_info("me/thing", ["large.dat", "deep", "absent"])
        print([entry.path for entry in info], info[0].lfs.size)
        siblings = {file.rfilename: file for file in api.model_info(
            "me/thing", files_metadata=True).siblings}
        print(siblings["small.txt"].size, siblings["large.dat"].lfs.sha256[:8])
        print(api.file_exists("me/thing", "absent"), api.repo_exists("me/absent"))
    """
    *tree, top, deep, paths, sizes, exists = client(code).stdout.splitlines()
    assert tree[1:] == [
        f"RepoFolder deep None {first}",
        f"RepoFile deep/große Ä %20.bin 256 {first}",
        f"RepoFile large.dat 11200000 {first}",
        f"RepoFile small.txt 6 {second}",
    ]
    assert top == "['.gitattributes', 'deep', 'large.dat', 'small.txt']"
    assert deep == "['deep/große Ä %20.bin']"
    assert paths == "['large.dat', 'deep'] 11200000"
    digest = hashlib.sha256(b"0123456789abcdef" * 700_000).hexdigest()
    assert sizes == f"6 {digest[:8]}"
    assert exists == "False False"


def test_the_clients_own_errors_come_back(hub, client):
    push(client)
    code = """
        from huggingface_hub import HfApi, hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError
        from huggingface_hub.errors import RevisionNotFoundError
        for error, arguments in (
            (RepositoryNotFoundError, ("me/absent", "small.txt")),
            (RevisionNotFoundError, ("me/thing", "small.txt", "absent")),
            (EntryNotFoundError, ("me/thing", "absent.txt")),
        ):
            repository, name, *revision = arguments
            try:
                hf_hub_download(repository, name, revision=(revision or [None])[0])
            except error as caught:
                print(type(caught).__name__)
    """
    lines = client(code).stdout.splitlines()
    assert lines[:2] == ["RepositoryNotFoundError", "RevisionNotFoundError"]
    assert lines[2].endswith("EntryNotFoundError")


def test_a_repository_is_created_once_and_belongs_to_its_owner(hub, client):
    code = """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
        api = HfApi()
        print(api.whoami()["name"], api.create_repo("thing").repo_id)
        print(api.create_repo("me/thing", exist_ok=True).repo_id)
        for repository in ("me/thing", "you/thing"):
            try:
                api.create_repo(repository)
            except HfHubHTTPError as error:
                print(error.response.status_code, error.response.json()["error"])
    """
    assert client(code, token="hf_me").stdout.splitlines() == [
        "me me/thing",
        "me/thing",
        "409 You already created this repo: me/thing",
        "403 me may not write to the repositories of you",
    ]


def test_a_private_repository_exists_only_for_its_owner(hub, client):
    create = """
        from huggingface_hub import HfApi
        api = HfApi()
        api.create_repo("me/secret", private=True)
        api.upload_file(repo_id="me/secret", path_or_fileobj=b"x", path_in_repo="a.txt")
        print(api.model_info("me/secret").private)
    """
    read = """
        from huggingface_hub import hf_hub_download
        print(open(hf_hub_download("me/secret", "a.txt")).read())
    """
    assert client(create, token="hf_me").stdout == "True\n"
    assert client(read, token="hf_me", home="mine").stdout == "x\n"
    for token in (None, "hf_you"):
        result = client(read, token=token, home=f"not mine {token}", check=False)
        assert "RepositoryNotFoundError" in result.stderr
    result = client(read, token="hf_wrong", home="wrong", check=False)
    assert "Invalid credentials in Authorization header" in result.stderr


def test_writing_needs_the_owners_token(hub, client):
    push(client)
    head = hub.repository("models", "me/thing").resolve("main")
    write = """
        from huggingface_hub import upload_file
        upload_file(repo_id="me/thing", path_or_fileobj=b"x", path_in_repo="a.txt")
    """
    for token, status in ((None, "401"), ("hf_you", "403"), ("hf_wrong", "401")):
        result = client(write, token=token, home=f"home {token}", check=False)
        assert status in result.stderr
    assert hub.repository("models", "me/thing").resolve("main") is head


def test_a_commit_on_an_outdated_parent_is_refused(hub, client):
    first, second = push(client)
    code = f"""
        from huggingface_hub import CommitOperationDelete, HfApi
        from huggingface_hub.errors import HfHubHTTPError
        delete = [CommitOperationDelete("deep/"), CommitOperationDelete("small.txt")]
        for parent in ("{first}", "{second}"):
            try:
                HfApi().create_commit(
                    "me/thing", delete, commit_message="Delete", parent_commit=parent
                )
            except HfHubHTTPError as error:
                print(error.response.status_code, error.response.json()["error"])
    """
    output = client(code, token="hf_me").stdout
    assert output == "412 A commit has happened since. Please refresh and try again.\n"
    head = hub.repository("models", "me/thing").resolve("main")
    assert (head.parent.oid, head.title) == (second, "Delete")
    assert set(head.files) == {".gitattributes", "large.dat"}


TWO_LARGE_FILES = """
    from huggingface_hub import CommitOperationAdd, HfApi
    operations = [
        CommitOperationAdd(f"{name}.safetensors", name.encode() * 1000) for name in "ab"
    ]
    operations.append(CommitOperationAdd("config.json", b"{}"))
    HfApi().create_repo("me/thing", exist_ok=True)
    HfApi().create_commit("me/thing", operations, commit_message="All")
"""


@pytest.mark.parametrize(
    ("method", "address", "nth", "large_files_sent_again"),
    [("PUT", "^/lfs/", 2, 1), ("POST", "/commit/main$", 1, 0), ("POST", "/batch$", 1, 2)],
)
def test_a_push_that_fails_leaves_the_branch_alone_and_a_second_one_completes_it(
    hub, client, method, address, nth, large_files_sent_again
):
    hub.fail(method, address, nth)
    result = client(TWO_LARGE_FILES, token="hf_me", check=False)
    assert "507" in result.stderr
    assert set(hub.repository("models", "me/thing").resolve("main").files) == {".gitattributes"}
    hub.requests.clear()
    client(TWO_LARGE_FILES, token="hf_me")
    files = hub.repository("models", "me/thing").resolve("main").files
    assert set(files) == {".gitattributes", "a.safetensors", "b.safetensors", "config.json"}
    assert [method for method, _ in hub.requests].count("PUT") == large_files_sent_again


def test_the_clients_try_again_after_a_passing_fault(hub, client):
    hub.fail("PUT", "^/lfs/", nth=1, status=503)
    client(TWO_LARGE_FILES, token="hf_me")
    assert len([method for method, _ in hub.requests if method == "PUT"]) == 3
    assert len(hub.repository("models", "me/thing").resolve("main").files) == 4


def test_cards_are_validated_and_their_metadata_is_told(hub, client):
    code = """
        from huggingface_hub import HfApi, ModelCard
        api = HfApi()
        api.create_repo("me/thing")
        card = "---\\nlicense: mit\\npipeline_tag: token-classification\\ntags: [ner]\\n---\\n# Hi"
        ModelCard(card).validate()
        ModelCard(card).push_to_hub("me/thing")
        info = api.model_info("me/thing")
        print(info.pipeline_tag, info.tags, info.card_data.license)
        print(ModelCard.load("me/thing").text)
        try:
            bad = b"---\\nlicense: [\\n---\\n"
            api.upload_file(repo_id="me/thing", path_in_repo="README.md", path_or_fileobj=bad)
        except ValueError as error:
            print("refused:", str(error).splitlines()[0])
    """
    assert client(code, token="hf_me").stdout.splitlines() == [
        "token-classification ['ner'] mit",
        "# Hi",
        "refused: Invalid metadata in README.md.",
    ]


# --- datasets, transformers, peft, evaluate ---------------------------------------------------


def test_a_pushed_data_set_loads_by_name_whole_and_streamed(hub, client):
    pushed = """
        from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, List, Value
        from PIL import Image as PILImage
        features = Features({
            "tokens": List(Value("string")),
            "ner_tags": List(ClassLabel(names=["O", "B-PER"])),
            "image": Image(),
        })
        def rows(words):
            image = PILImage.new("RGB", (8, 6), "red")
            return Dataset.from_list(
                [{"tokens": [word], "ner_tags": ["B-PER"], "image": image} for word in words],
                features=features,
            )
        for language, words in {"en": ["Ann", "Bob"], "de": ["Änne"]}.items():
            data = DatasetDict({"train": rows(words), "test": rows(words[:1])})
            data.push_to_hub("me/names", config_name=language, private=True)
    """
    load = """
        from datasets import get_dataset_config_names, load_dataset
        print(get_dataset_config_names("me/names"))
        english = load_dataset("me/names", "en")
        train, test = english["train"], english["test"]
        print(len(train), len(test), train[1]["tokens"], train[0]["image"].size)
        print(train.features["ner_tags"].feature.names)
        streamed = load_dataset("me/names", "de", split="train", streaming=True)
        print([(row["tokens"], row["image"].size) for row in streamed])
    """
    client(pushed, token="hf_me")
    assert client(load, token="hf_me", home="other").stdout.splitlines() == [
        "['de', 'en']",
        "2 1 ['Bob'] (8, 6)",
        "['O', 'B-PER']",
        "[(['Änne'], (8, 6))]",
    ]
    result = client(load, home="stranger", check=False)
    assert "DatasetNotFoundError" in result.stderr


BERT = """
    import torch
    from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast
    torch.manual_seed(0)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "hello"])}
    def score(model, tokenizer):
        with torch.no_grad():
            output = model(**tokenizer("hello", return_tensors="pt"))
        return output.last_hidden_state.abs().sum().item()
"""


def test_a_pushed_model_its_revision_and_an_adapter_load_by_name(hub, client):
    pushed = """
        from peft import LoraConfig, get_peft_model
        config = BertConfig(
            vocab_size=5, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16)
        model, tokenizer = BertModel(config).eval(), BertTokenizerFast(vocab=vocabulary)
        print(score(model, tokenizer))
        first = model.push_to_hub("me/bert").oid
        tokenizer.push_to_hub("me/bert")
        model.embeddings.word_embeddings.weight.data.zero_()
        model.push_to_hub("me/bert")
        settings = LoraConfig(target_modules=["query", "value"], init_lora_weights=False)
        adapted = get_peft_model(AutoModel.from_pretrained("me/bert"), settings).eval()
        adapted.push_to_hub("me/adapter")
        print(score(model, tokenizer), score(adapted, tokenizer), first)
    """
    load = """
        from peft import PeftConfig, PeftModel
        tokenizer = AutoTokenizer.from_pretrained("me/bert")
        print(score(AutoModel.from_pretrained("me/bert", revision="{first}"), tokenizer))
        print(score(AutoModel.from_pretrained("me/bert"), tokenizer))
        name = PeftConfig.from_pretrained("me/adapter").base_model_name_or_path
        adapted = PeftModel.from_pretrained(AutoModel.from_pretrained(name), "me/adapter").eval()
        print(score(adapted, tokenizer))
    """
    *scores, first = client(BERT, pushed, token="hf_me").stdout.split()
    assert len(set(scores)) == 3
    assert client(BERT, load.format(first=first), home="other").stdout.split() == scores


METRIC = '''
import datasets
import evaluate


class Agreement(evaluate.Metric):
    """The share of predictions that are right."""

    def _info(self):
        column = datasets.Value("int64")
        features = datasets.Features({"predictions": column, "references": column})
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="", features=features
        )

    def _compute(self, predictions, references):
        pairs = zip(predictions, references)
        return {"agreement": sum(a == b for a, b in pairs) / len(references)}
'''


def test_a_metric_loads_from_a_space(hub, client):
    pushed = f"""
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("me/agreement", repo_type="space", space_sdk="gradio")
api.upload_file(repo_id="me/agreement", repo_type="space", path_in_repo="agreement.py",
                path_or_fileobj={METRIC!r}.encode())
print(api.space_info("me/agreement").sdk)
"""
    load = """
        import evaluate
        metric = evaluate.load("me/agreement")
        print(metric.compute(predictions=[1, 2, 3, 4], references=[1, 2, 3, 0]))
    """
    assert client(pushed, token="hf_me").stdout == "gradio\n"
    assert client(load, home="other").stdout == "{'agreement': 0.75}\n"


# --- the interface itself ---------------------------------------------------------------------


def request(
    hub: HubServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer; `me` asks."""
    headers = {"Authorization": "Bearer hf_me", **headers}
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    question = urllib.request.Request(hub.url + path, data, headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(question) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def commit(hub: HubServer, *changes: tuple[str, dict[str, Any]]) -> int:
    """The status that a commit with these changes gets."""
    lines = [{"key": "header", "value": {"summary": "Change"}}]
    lines += [{"key": key, "value": value} for key, value in changes]
    body = b"\n".join(json.dumps(line).encode() for line in lines)
    return request(hub, "POST", "/api/models/me/thing/commit/main", body)[0]


@pytest.fixture
def thing(hub) -> HubServer:
    """A Hub with one small repository, `me/thing`."""
    request(hub, "POST", "/api/repos/create", {"name": "thing"})
    assert commit(hub, ("file", {"path": "ten.txt", "content": "MDEyMzQ1Njc4OQ=="})) == 200
    return hub


def test_it_listens_on_loopback_only(hub):
    assert hub.url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("wanted", "status", "content", "told"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=0-", 206, b"0123456789", "bytes 0-9/10"),
        ("all of it", 200, b"0123456789", None),
    ],
)
def test_a_part_of_a_file_can_be_asked_for(thing, wanted, status, content, told):
    path = "/me/thing/resolve/main/ten.txt"
    found, headers, body = request(thing, "GET", path, Range=wanted)
    assert (found, body, headers.get("Content-Range")) == (status, content, told)


def test_a_part_beyond_the_end_is_refused(thing):
    path = "/me/thing/resolve/main/ten.txt"
    assert request(thing, "GET", path, Range="bytes=10-")[0] == 416


def test_head_tells_size_version_and_commit_without_the_content(thing):
    status, headers, body = request(thing, "HEAD", "/me/thing/resolve/main/ten.txt")
    assert (status, body, headers["Content-Length"]) == (200, b"", "10")
    # What `git hash-object` says of these ten bytes.
    assert headers["ETag"] == '"ad471007bd7f5983d273b9584e5629230150fd54"'
    assert headers["X-Repo-Commit"] == thing.repository("models", "me/thing").resolve("main").oid


@pytest.mark.parametrize("path", ["../up", "/root", "a//b", "a/./b", "", ".git/config", "a\\b"])
def test_a_path_that_leaves_the_repository_is_refused(thing, path):
    before = thing.repository("models", "me/thing").resolve("main")
    good = ("file", {"path": "good.txt", "content": ""})
    assert commit(thing, good, ("file", {"path": path, "content": ""})) == 422
    assert thing.repository("models", "me/thing").resolve("main") is before


def test_a_commit_of_a_large_file_that_never_came_is_refused(thing):
    assert commit(thing, ("lfsFile", {"path": "a.bin", "oid": "0" * 64})) == 422
    assert commit(thing, ("deletedFile", {"path": "absent"})) == 422


def test_a_large_file_must_be_announced_and_match_its_name(thing):
    content = b"large"
    oid = hashlib.sha256(content).hexdigest()
    assert request(thing, "PUT", f"/lfs/{oid}", content)[0] == 403
    batch = {"operation": "upload", "objects": [{"oid": oid, "size": 5}]}
    _, _, answer = request(thing, "POST", "/me/thing.git/info/lfs/objects/batch", batch)
    address = json.loads(answer)["objects"][0]["actions"]["upload"]["href"]
    assert address == f"{thing.url}/lfs/{oid}"
    assert request(thing, "PUT", f"/lfs/{oid}", b"other")[0] == 422
    connection = http.client.HTTPConnection(thing.url.removeprefix("http://"))
    connection.request("PUT", f"/lfs/{oid}", iter([b"la", b"rge"]), encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    _, _, answer = request(thing, "POST", "/me/thing.git/info/lfs/objects/batch", batch)
    assert json.loads(answer)["objects"] == [{"oid": oid, "size": 5}]
    assert commit(thing, ("lfsFile", {"path": "a.bin", "oid": oid})) == 200
    assert request(thing, "GET", "/me/thing/resolve/main/a.bin")[2] == content


def test_an_unknown_address_is_named(thing):
    status, headers, _ = request(thing, "GET", "/api/nothing")
    assert (status, headers["X-Error-Message"]) == (404, "This Hub does not know GET /api/nothing")


def test_a_missing_file_is_named_in_any_script(thing):
    status, headers, body = request(thing, "GET", "/me/thing/resolve/main/%E6%97%A5%0Ax")
    assert (status, headers["X-Error-Code"]) == (404, "EntryNotFound")
    assert json.loads(body)["error"] == "日\nx is not at main"


def test_a_commit_with_a_broken_card_is_refused(thing):
    broken = {"path": "README.md", "content": "LS0tCmE6IFsKLS0tCg=="}  # --- / a: [ / ---
    assert commit(thing, ("file", broken)) == 400
