"""Tiny encoders, built once a test run, as ordinary Hugging Face folders: no network, no real
weights.
"""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # also of the programs that tests start

import resource
import string
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import disable_progress_bars, enable_progress_bars
from transformers import (
    AutoModel,
    BertConfig,
    BertTokenizerFast,
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    DebertaV2Config,
    Dinov2Config,
    DistilBertConfig,
    EfficientNetConfig,
    PreTrainedConfig,
    ResNetConfig,
    SiglipVisionConfig,
    ViTConfig,
    XLMRobertaConfig,
    XLMRobertaTokenizer,
)

from tests.browser import browser  # noqa: F401 -- pytest finds its fixture here
from tests.hub_server import HubServer
from tests.skips import (  # noqa: F401 -- pytest finds its hooks here
    pytest_configure,
    pytest_make_collect_report,
    pytest_runtest_makereport,
    pytest_runtest_setup,
)
from tests.slow import pytest_collection_modifyitems  # noqa: F401 -- as above

LETTERS = string.ascii_letters + string.digits + "äöüßéèêçñáíóú.,!?-'’"
TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
}
POSITIONS = 64
"""Sub-words that the tiny text encoders read at once: few, so that windows are tested cheaply."""

TEXT_CONFIGS: dict[str, Callable[[int], PreTrainedConfig]] = {
    "xlm-roberta": lambda size: XLMRobertaConfig(
        vocab_size=size, max_position_embeddings=POSITIONS + 2, type_vocab_size=1, **TRANSFORMER
    ),
    "bert": lambda size: BertConfig(
        vocab_size=size, max_position_embeddings=POSITIONS, **TRANSFORMER
    ),
    "distilbert": lambda size: DistilBertConfig(
        vocab_size=size,
        max_position_embeddings=POSITIONS,
        dim=32,
        n_layers=2,
        n_heads=4,
        hidden_dim=48,
    ),
    "deberta-v2": lambda size: DebertaV2Config(
        vocab_size=size,
        max_position_embeddings=POSITIONS,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        **TRANSFORMER,
    ),
}

VISION_CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "clip": lambda: CLIPVisionConfig(image_size=32, patch_size=16, **TRANSFORMER),
    "siglip": lambda: SiglipVisionConfig(image_size=32, patch_size=16, **TRANSFORMER),
    "vit": lambda: ViTConfig(image_size=32, patch_size=16, **TRANSFORMER),
    "dinov2": lambda: Dinov2Config(
        image_size=32, patch_size=16, **{**TRANSFORMER, "num_hidden_layers": 1}
    ),
    "resnet": lambda: ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic"
    ),
    "efficientnet": lambda: EfficientNetConfig(
        image_size=32, width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=128
    ),
}


def write_tokenizer(folder: Path, kind: str) -> int:
    """Write a character tokenizer of the encoder's kind; return its vocabulary's size."""
    if kind == "xlm-roberta":
        pieces = [(piece, 0.0) for piece in ("<s>", "<pad>", "</s>", "<unk>")]
        pieces += [("▁", -2.0), *((letter, -4.0) for letter in LETTERS), ("<mask>", 0.0)]
        tokenizer = XLMRobertaTokenizer(vocab=pieces, model_max_length=POSITIONS)
        size = len(pieces)
    else:
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        pieces += [prefix + letter for letter in LETTERS for prefix in ("", "##")]
        tokenizer = BertTokenizerFast(
            vocab={piece: number for number, piece in enumerate(pieces)},
            do_lower_case=False,
            model_max_length=POSITIONS,
        )
        size = len(pieces)
    tokenizer.save_pretrained(folder)
    return size


def write_encoder(folder: Path, config: PreTrainedConfig) -> None:
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(folder)


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory) -> Callable[[str], str]:
    """A function from a kind of text encoder to the folder of a tiny one."""
    root = tmp_path_factory.mktemp("text_encoders")

    def folder(kind: str = "xlm-roberta") -> str:
        path = root / kind
        if not path.exists():
            size = write_tokenizer(path, kind)
            write_encoder(path, TEXT_CONFIGS[kind](size))
        return str(path)

    return folder


@pytest.fixture(scope="session")
def vision_encoder(tmp_path_factory) -> Callable[[str], str]:
    """A function from a kind of vision encoder to the folder of a tiny one."""
    root = tmp_path_factory.mktemp("vision_encoders")

    def folder(kind: str = "clip") -> str:
        path = root / kind
        if not path.exists():
            size = {"height": 32, "width": 32}
            CLIPImageProcessorPil(size=size, crop_size=size, do_center_crop=False).save_pretrained(
                path
            )
            write_encoder(path, VISION_CONFIGS[kind]())
        return str(path)

    return folder


@contextmanager
def full_disk(free: int) -> Iterator[None]:
    """No file that this process writes to can grow beyond `free` bytes: what a full disk is to it,
    also for root. Python ignores the signal, so that writing raises `OSError`.
    """
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def hub(tmp_path) -> Iterator[HubServer]:
    """A Hub on loopback with two users: `me`, whose token is `hf_me`, and `you` with `hf_you`."""
    with HubServer(tmp_path / "hub", tokens={"hf_me": "me", "hf_you": "you"}) as server:
        yield server


@pytest.fixture
def online(hub, tmp_path, monkeypatch) -> Iterator[HubServer]:
    """This process knows the Hub on loopback, and has the token of `me`."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = f"{hub.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub_cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    disable_progress_bars()
    yield hub
    enable_progress_bars()


def fork() -> int:
    """`os.fork()`, for a child that computes on one thread: those that OpenMP started in the parent
    are not in the child, which would wait for them for ever.
    """
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
    return child


# `-S` leaves out the site packages' .pth files, and with them an editable install of the project.
STRANGER = f"""
import importlib.util, sys
sys.path.append({sysconfig.get_path("purelib")!r})
assert importlib.util.find_spec("modeling_2mner") is None
"""


def run_client(
    hub: HubServer,
    root: Path,
    *code: str,
    token: str | None = None,
    home: str = "home",
    stranger: bool = False,
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a fresh process that knows `hub` and no other network.

    Another `home`, a folder under `root`, is another machine with an empty cache; a `stranger` has
    never seen the project.
    """
    environment = hub.environment(root / home, token)
    if stranger:
        environment.pop("PYTHONPATH", None)
    folder = root / home
    folder.mkdir(exist_ok=True)
    program = "".join(map(textwrap.dedent, (*[STRANGER] * stranger, *code)))
    options = ["-S"] * stranger
    result = subprocess.run(
        [sys.executable, *options, "-c", program],
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,  # nobody answers questions
        capture_output=True,
        text=True,
        timeout=120,
    )
    if check:
        assert result.returncode == 0, result.stderr[-4000:]
    return result


@pytest.fixture
def client(hub, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`client(*code, token=..., home=..., stranger=..., check=...)`: see `run_client`."""
    return partial(run_client, hub, tmp_path)
