"""The columns, labels and languages of the data set."""

from datasets import ClassLabel, Dataset, Image, List, Value

from dataset_mmnerd import schema
from modeling_2mner import TwoMNERConfig
from modeling_2mner.sentences_2mner import CONTEXT_FIELDS


def test_labels_begin_with_o_and_name_each_type_twice():
    assert schema.bio_labels() == [
        *("O", "B-PER", "I-PER", "B-LOC", "I-LOC"),
        *("B-ORG", "I-ORG", "B-MISC", "I-MISC"),
    ]
    assert schema.bio_labels(["GENE"]) == ["O", "B-GENE", "I-GENE"]
    assert schema.bio_labels([]) == ["O"]


def test_entity_types_come_in_the_family_order_and_then_as_they_are_met():
    labels = ["I-GENE", "O", "B-MISC", "B-DRUG", "B-PER", "I-PER"]
    assert schema.entity_types(labels) == ["PER", "MISC", "GENE", "DRUG"]


def test_a_row_survives_the_columns_and_every_optional_field_may_be_null():
    columns = schema.features(schema.bio_labels())
    row = dict.fromkeys(columns) | {"id": "a", "tokens": ["Ana"], "ner_tags": ["B-PER"]}
    data = Dataset.from_list([row], features=columns)
    assert data[0] == row | {"ner_tags": [1]}
    assert isinstance(data.features["image"], Image)
    assert data.features["ner_tags"].feature == ClassLabel(names=schema.bio_labels())


def test_the_sample_has_two_columns_more():
    plain, sample = schema.features(["O"]), schema.features(["O"], sample=True)
    assert set(sample) - set(plain) == {"decidable_from_text", "object_box"}
    assert sample["decidable_from_text"] == Value("bool")
    assert sample["object_box"] == List(Value("float64"))


def test_the_model_reads_the_columns_and_labels_of_the_data():
    assert CONTEXT_FIELDS == schema.CONTEXT_COLUMNS
    assert list(TwoMNERConfig().id2label.values()) == schema.bio_labels()
