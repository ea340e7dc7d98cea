"""What is written as YAML 1.2 is read as it was."""

from reporting_2mner.yaml12 import read_yaml, written_as_yaml

WORDS = [
    "no",
    "on",
    "yes",
    "null",
    "true",
    "010",
    "1:30",
    "1e-5",
    "2024-01-01",
    "=",
    "<<",
    "",
    "a\nb",
]


def test_values_come_back_with_their_types(tmp_path):
    values = {
        "z": WORDS,
        "a": {word: word for word in WORDS},
        "numbers": [10, 2e-5, 1e22, -0.5],
        "others": [None, True, {}, []],
        "long": "ä ö: " * 100,
    }
    path = tmp_path / "written.yaml"
    path.write_text(written_as_yaml(values), encoding="utf-8")
    found, lines = read_yaml(path)
    assert found == values
    assert list(found) == list(values)
    assert lines["z",] == 1
    assert lines["a",] == 2 + len(WORDS)
    assert lines["a", "null"] == 6 + len(WORDS)


def test_aliases_cost_no_more_than_their_anchors(tmp_path):
    """Followed one by one, these would be 2^40 keys."""
    text = "a0: &a0 {b: 1}\n"
    text += "".join(f"a{n}: &a{n} {{b: *a{n - 1}, c: *a{n - 1}}}\n" for n in range(1, 41))
    path = tmp_path / "aliases.yaml"
    path.write_text(text, encoding="utf-8")
    _, lines = read_yaml(path)
    assert lines["a40", "c"] == 41
    assert len(lines) == 41 + 1 + 80
