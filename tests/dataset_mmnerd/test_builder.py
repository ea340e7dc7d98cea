"""The `datasets` builder has one configuration a language, and no stale cache."""

import pytest

from dataset_mmnerd.builder import MMNERD
from dataset_mmnerd.schema import SPLITS
from dataset_mmnerd.sources import SourceError


def test_the_builder_has_one_config_a_language_and_all(mmnerd_folder, tmp_path):
    def load(name):
        builder = MMNERD(
            cache_dir=str(tmp_path / "cache"),
            config_name=name,
            source="mmnerd",
            data_dir=str(mmnerd_folder),
        )
        builder.download_and_prepare()
        return builder.as_dataset()

    german, everything = load("de"), load("all")
    assert {split: len(german[split]) for split in german} == dict.fromkeys(SPLITS, 2)
    assert {split: len(everything[split]) for split in everything} == dict.fromkeys(SPLITS, 8)
    first = german["train"][0]
    assert first["tokens"] == ["Müller", "wechselt", "zu", "Union", "train"]
    assert first["image"].size == (64, 48)
    names = german["train"].features["ner_tags"].feature.names
    assert [names[tag] for tag in first["ner_tags"]] == ["B-PER", "O", "O", "B-ORG", "O"]
    with pytest.raises(SourceError, match="found 'pt', expected one of all, de, en, es, fr"):
        load("pt")


def test_the_builder_reads_a_changed_file_again(mmnerd_folder, tmp_path):
    def words():
        builder = MMNERD(
            cache_dir=str(tmp_path / "cache"),
            config_name="fr",
            source="mmnerd",
            data_dir=str(mmnerd_folder),
        )
        builder.download_and_prepare()
        return builder.as_dataset(split="test")["tokens"][:]

    path = mmnerd_folder / "train_valid_test" / "train_valid_test_fr" / "test_conll_format.txt"
    before = words()
    path.write_text("Non\tO\n")
    assert words() == [["Non"]] != before
