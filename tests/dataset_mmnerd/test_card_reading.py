"""A data card that was changed by hand is read as the Hub reads it; else one line says why not."""

import pytest

from dataset_mmnerd.card_reading import CardError, dataset_infos, missing_files, read_card
from dataset_mmnerd.quoting import LONGEST_QUOTE


@pytest.fixture
def folder(tmp_path):
    """A folder with two files; `write(folder, yaml)` gives it a card."""
    for lang in ("de", "en"):
        (tmp_path / "data" / lang).mkdir(parents=True)
        (tmp_path / "data" / lang / "train-0.parquet").write_bytes(b"")
    return tmp_path


def write(folder, metadata: str):
    (folder / "README.md").write_text(f"---\n{metadata}\n---\n# Set\n", encoding="utf-8")
    return folder


FORMS = {
    "a string": ("data_files: data/*/train-*.parquet", []),
    "a list of strings": ("data_files: [data/de/*, data/pt/*]", ["data/pt/*"]),
    "splits": ("data_files: [{split: train, path: data/de/*}]", []),
    "splits of several paths": (
        "data_files: [{split: train, path: [data/de/*, data/pt/*, data/es/*]}]",
        ["data/es/*", "data/pt/*"],
    ),
    "a folder alone": ("data_dir: data/de", []),
    "a folder that is not there": ("data_dir: data/pt", ["data/pt/**/*"]),
    "a folder and files in it": ("{data_dir: data, data_files: [de/*, pt/*]}", ["data/pt/*"]),
    "files named by their folder": ("data_files: data", []),
    "neither": ("config_name: de", []),
}


@pytest.mark.parametrize("form", FORMS)
def test_files_may_be_named_in_all_forms_that_the_hub_allows(folder, form):
    config, missing = FORMS[form]
    assert missing_files(write(folder, f"configs:\n- {config}")) == missing


FAULTS = {
    "configs: 5": "configs: found 5, expected a list",
    "configs: [de]": "configs, entry 1: found 'de', expected a mapping",
    "configs: [{data_files: 5}]": "configs, entry 1: data_files: found 5, expected a list",
    "configs: [{}, {data_files: [5]}]": "configs, entry 2: data_files: found 5, expected a path",
    "configs: [{data_files: [{split: a}]}]": "configs, entry 1: data_files: found None, expected",
    "configs: [{data_files: /etc/passwd}]": "data_files: found '/etc/passwd', expected a path in",
    "configs: [{data_files: ../a}]": "data_files: found '../a', expected a path inside the folder",
    "configs: [{data_files: 'hf://a'}]": "data_files: found 'hf://a', expected a path inside",
    "configs: [{data_files: ''}]": "data_files: found '', expected a path inside the folder",
    "configs: [{data_dir: ../a}]": "data_dir: found '../a', expected a path inside the folder",
    "configs: [{data_files: '**a'}]": "configs: found '**a' (Invalid pattern: '**' can only",
    f"configs: [{{data_files: {'a' * 5000}}}]": "configs: found 'aaaa",
    "- a": "found repo card metadata block should be a dict, expected UTF-8 with a YAML mapping",
    "1: 2": "found keywords must be strings, expected UTF-8 with a YAML mapping",
    "a: [": "found while parsing a flow node expected the node content",
    "[" * 5000: "found maximum recursion depth exceeded",
    "!!python/object/apply:os.system [id]": "found could not determine a constructor for the tag",
}


@pytest.mark.parametrize("metadata", FAULTS, ids=lambda metadata: metadata[:40])
def test_anything_else_is_one_line_that_names_card_and_field(folder, metadata):
    with pytest.raises(CardError) as caught:
        missing_files(write(folder, metadata))
    line = str(caught.value)
    assert line.startswith(f"{folder / 'README.md'}: ")
    assert FAULTS[metadata] in line
    assert "\n" not in line
    assert len(line) < 3 * LONGEST_QUOTE + len(str(folder))


def test_aliases_that_grow_without_bound_cost_nothing(folder):
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(CardError, match=r"configs: found .*, expected a list"):
        missing_files(write(folder, "\n".join([*lines, "configs: {x: *a29}"])))


@pytest.mark.parametrize(
    "metadata",
    ["dataset_info: [5]", "dataset_info: {features: 5}", "dataset_info: {splits: 5}"],
)
def test_dataset_info_that_datasets_does_not_read_is_one_line(folder, metadata):
    write(folder, metadata)
    with pytest.raises(CardError, match=r"README\.md: dataset_info: found .*, expected what"):
        dataset_infos(folder, read_card(folder))


def test_a_card_that_is_no_text_is_named(folder):
    (folder / "README.md").write_bytes(b"---\n\xff\n---\n")
    with pytest.raises(CardError, match=r"README\.md: found 'utf-8' codec can't decode byte 0xff"):
        read_card(folder)


def test_a_card_that_a_link_leads_to_elsewhere_is_not_read(folder, tmp_path_factory):
    private = tmp_path_factory.mktemp("private") / "README.md"
    private.write_text("---\na: b\n---\n")
    (folder / "README.md").symlink_to(private)
    with pytest.raises(OSError, match=r"README\.md: found a link that leaves"):
        read_card(folder)


def test_an_enormous_card_is_not_read(folder):
    with (folder / "README.md").open("wb") as file:
        file.truncate(5 * 10**9)
    with pytest.raises(OSError, match=r"README\.md: found 5,000,000,000 bytes, expected at most"):
        read_card(folder)
