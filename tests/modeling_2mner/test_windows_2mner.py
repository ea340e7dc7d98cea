"""The layout of long sentences: all functions agree on one contract."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from modeling_2mner.views_2mner import illustrated, select_sentences, text_view
from modeling_2mner.windows_2mner import WindowLayout, pad_windows, split_into_windows

PAD = 0
LAYOUT = WindowLayout(max_length=20, overlap=6, context_budget=4, prefix=[1], suffix=[2])

SENTENCE = st.tuples(
    st.lists(st.lists(st.integers(10, 99), min_size=1, max_size=4), max_size=20),  # words
    st.lists(st.integers(100, 199), max_size=LAYOUT.context_budget),  # visual context
)


def batch_of(sentences):
    encoded = [LAYOUT.encode(*sentence) for sentence in sentences]
    arrays = pad_windows(encoded, PAD, True)
    return {name: torch.from_numpy(values) for name, values in arrays.items()}


@given(
    lengths=st.lists(st.integers(1, 7), max_size=60),
    room=st.integers(7, 20),
    overlap=st.integers(0, 20),
)
def test_windows_hold_what_fits_and_label_each_word_once(lengths, room, overlap):
    windows = split_into_windows(lengths, room, overlap)
    labelled = [word for _, _, first, last in windows for word in range(first, last)]
    assert labelled == list(range(len(lengths)))
    for start, end, first, last in windows:
        assert start <= first <= last <= end
        assert sum(lengths[start:end]) <= room
    if not lengths:
        assert windows == [(0, 0, 0, 0)]


@given(lengths=st.lists(st.integers(1, 7), min_size=1, max_size=60), room=st.integers(8, 20))
def test_each_word_is_labelled_where_it_has_most_context(lengths, room):
    """No other window that holds the word gives it more sub-words on its poorer side."""
    windows = split_into_windows(lengths, room, room // 2)

    def context(word, window):
        start, end, _, _ = window
        # Nothing is missing beyond the sentence's own ends.
        left = sum(lengths[start:word]) if start else float("inf")
        right = sum(lengths[word + 1 : end]) if end < len(lengths) else float("inf")
        return min(left, right)

    for window in windows:
        for word in range(window[2], window[3]):
            holding = [other for other in windows if other[0] <= word < other[1]]
            best = max(context(word, other) for other in holding)
            assert context(word, window) >= best - lengths[word]


@given(sentences=st.lists(SENTENCE, min_size=1, max_size=4))
def test_the_text_view_is_the_layout_without_context(sentences):
    batch = batch_of(sentences)
    found = text_view(
        batch["input_ids"],
        batch["attention_mask"],
        batch["word_index"],
        batch["context_mask"],
        None,
        PAD,
    )
    expected = batch_of([(words, []) for words, _ in sentences])
    for one, name in zip(found, ("input_ids", "attention_mask", "word_index"), strict=False):
        assert torch.equal(one, expected[name]), name


@given(sentence=SENTENCE)
def test_a_sentence_without_its_context_is_encoded_as_one_that_has_none(sentence):
    assert LAYOUT.encode(*sentence).without_context == LAYOUT.encode(sentence[0], [])


@given(sentences=st.lists(SENTENCE, min_size=1, max_size=4), data=st.data())
def test_selected_sentences_are_laid_out_as_a_batch_of_their_own(sentences, data):
    batch = batch_of(sentences)
    numbers = st.integers(0, len(sentences) - 1)
    chosen = sorted(data.draw(st.sets(numbers, min_size=1)))
    found = select_sentences(chosen=torch.tensor(chosen), **batch, inputs_embeds=None)
    assert found.pop("inputs_embeds") is None
    expected = batch_of([sentences[number] for number in chosen])
    length, words = expected["input_ids"].shape[1], expected["word_mask"].shape[1]
    for name in ("input_ids", "attention_mask", "context_mask"):
        assert torch.equal(found[name][:, :length], expected[name]), name
        assert not found[name][:, length:].any(), name
    assert torch.equal(found["word_mask"][:, :words], expected["word_mask"])
    pieces = [one["input_ids"].flatten()[one["word_index"][:, :words]] for one in (found, expected)]
    assert torch.equal(*pieces)


@given(sentences=st.lists(SENTENCE, min_size=1, max_size=4))
def test_sentences_whose_context_is_read_have_another_text_view(sentences):
    """Words that fill a window leave no room for context."""
    batch = batch_of(sentences)
    found = illustrated(batch["word_index"], None, batch["context_mask"])
    encoded = [LAYOUT.encode(*sentence) for sentence in sentences]
    assert found.tolist() == [len(one.windows[0]) > one.word_ends[0] for one in encoded]
