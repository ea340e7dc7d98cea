"""The layout of a batch: sentences as windows of sub-words, and words as places in them.

A sentence that is longer than the text encoder can read becomes several overlapping windows. This
file makes the layout, in NumPy; `views_2mner` takes a view or some sentences of a batch. The
layout:

* The windows of a sentence are consecutive rows, in the order of its words, and the sentences
  follow one another in the order of the batch. Every sentence has at least one window.
* `word_index` is the place of each word's first sub-word among the `N * L` positions. A sentence's
  first word lies in its first window; a sentence without words has the first position of its
  window. Padding repeats the sentence's first place.
* Visual context stands behind the words, `<s> words </s> context </s>`, in every window that has
  room for it. `context_mask` is true on it and on the special sub-words that close it. Windows are
  cut as if every one had all the context that the budget allows, so that the same sub-words are
  read with the context and without it.

Shapes: `B` sentences, `N` >= `B` windows of `L` sub-words, `W` words, `H` hidden size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

__all__ = ["EncodedSentence", "WindowLayout", "pad_windows", "split_into_windows"]


def split_into_windows(
    lengths: Sequence[int], room: int, overlap: int
) -> list[tuple[int, int, int, int]]:
    """Cut a sentence into windows of whole words.

    Args:
        lengths: sub-words of each word, each at least 1 and at most `room`.
        room: sub-words that a window holds.
        overlap: sub-words, at most, that a window shares with the one before it.

    Returns:
        Windows `(start, end, first, last)`: the window reads words `[start, end)`, and words
        `[first, last)` get their label from it. The second ranges follow one another and cover the
        sentence. A sentence without words has one empty window.
    """
    ends = [0, *accumulate(lengths)]
    bounds: list[tuple[int, int]] = []
    start = end = 0
    while end < len(lengths) or not bounds:
        while end < len(lengths) and ends[end + 1] - ends[start] <= room:
            end += 1
        bounds.append((start, end))
        # Step back over words that fit into the overlap, but always forward from this window's
        # start, and never so far back that the next window would end where this one does.
        following = end
        while (
            end < len(lengths)
            and following - 1 > start
            and ends[end] - ends[following - 1] <= overlap
            and ends[end + 1] - ends[following - 1] <= room
        ):
            following -= 1
        start = following

    windows = []
    first = 0
    for number, (start, end) in enumerate(bounds):
        last = end
        if number + 1 < len(bounds):
            next_start = bounds[number + 1][0]
            # A word's context before it grows within the overlap as the context after it shrinks:
            # change over in the middle.
            middle = (ends[next_start] + ends[end]) / 2
            last = next(
                word for word in range(next_start, end + 1) if word == end or ends[word] >= middle
            )
        windows.append((start, end, first, last))
        first = last
    return windows


@dataclass(frozen=True)
class EncodedSentence:
    """A sentence as the text encoder reads it.

    Attributes:
        windows: the sub-words of each window, special ones and visual context included; at least
            one window.
        word_ends: for each window, where its words end and its visual context begins.
        places: for each word, the window in which it is read and its first sub-word there.
        has_context: whether there is visual context.
    """

    windows: list[list[int]]
    word_ends: list[int]
    places: list[tuple[int, int]]
    has_context: bool

    @property
    def length(self) -> int:
        """The sub-words of the longest window."""
        return max(map(len, self.windows))

    @property
    def without_context(self) -> "EncodedSentence":
        """The same sentence without its visual context."""
        pairs = zip(self.windows, self.word_ends, strict=True)
        return EncodedSentence(
            [window[:end] for window, end in pairs], self.word_ends, self.places, False
        )


@dataclass(frozen=True)
class WindowLayout:
    """How sentences are cut into windows.

    Attributes:
        max_length: sub-words of a window, special ones included.
        overlap: sub-words, at most, that two windows share; never more than half of a window.
        context_budget: sub-words of visual context, at most; 0 for none.
        prefix, suffix: the special sub-words before and behind a sentence.
    """

    max_length: int
    overlap: int
    context_budget: int
    prefix: list[int]
    suffix: list[int]

    @property
    def room(self) -> int:
        """The sub-words of words in a window without visual context."""
        return self.max_length - len(self.prefix) - len(self.suffix)

    @property
    def room_beside_context(self) -> int:
        """The sub-words of words in a window with all the context that the budget allows."""
        return self.room - (self.context_budget + len(self.suffix) if self.context_budget else 0)

    def encode(self, words: Sequence[Sequence[int]], context: Sequence[int]) -> EncodedSentence:
        """Lay out one sentence.

        Args:
            words: the sub-words of each word, each at least 1 and at most `room_beside_context`.
            context: the sub-words of its visual context, at most `context_budget`.
        """
        windows: list[list[int]] = []
        word_ends: list[int] = []
        places: list[tuple[int, int]] = []
        lengths = [len(word) for word in words]
        room = self.room if sum(lengths) <= self.room else self.room_beside_context
        # An overlap of more than half would give a long text more than twice the windows.
        overlap = min(self.overlap, room // 2)
        for start, end, first, last in split_into_windows(lengths, room, overlap):
            begin = len(self.prefix)
            positions = list(accumulate(lengths[start:end], initial=begin))
            places += [(len(windows), positions[word - start]) for word in range(first, last)]
            row = [*self.prefix, *(piece for word in words[start:end] for piece in word)]
            row += self.suffix
            word_ends.append(len(row))
            left = context[: max(0, self.max_length - len(row) - len(self.suffix))]
            windows.append([*row, *left, *self.suffix] if left else row)
        return EncodedSentence(windows, word_ends, places, bool(context))


def pad_windows(
    sentences: Sequence[EncodedSentence], pad_token: int, with_context_mask: bool
) -> dict[str, np.ndarray]:
    """The arrays of a batch's words and visual contexts.

    Args:
        sentences: at least one.
        pad_token: the sub-word that fills a window up.
        with_context_mask: whether to give `context_mask`.

    Returns:
        `input_ids`, `attention_mask` `[N, L]`; `word_index`, `word_mask` `[B, W]`; `context_mask`
        `[N, L]` bool.
    """
    rows = [window for sentence in sentences for window in sentence.windows]
    length = max(map(len, rows))
    most = max(1, *(len(sentence.places) for sentence in sentences))
    index, first = [], 0
    for sentence in sentences:
        places = sentence.places or [(0, 0)]
        places = places + [places[0]] * (most - len(places))
        index.append([(first + row) * length + position for row, position in places])
        first += len(sentence.windows)
    words = np.array([len(sentence.places) for sentence in sentences])
    lengths = np.array([len(row) for row in rows])
    within = np.arange(length) < lengths[:, None]
    batch = {
        "input_ids": np.array([row + [pad_token] * (length - len(row)) for row in rows], np.int64),
        "attention_mask": within.astype(np.int64),
        "word_index": np.array(index, np.int64),
        "word_mask": np.arange(most) < words[:, None],
    }
    if with_context_mask:
        word_ends = np.array([end for sentence in sentences for end in sentence.word_ends])
        batch["context_mask"] = (np.arange(length) >= word_ends[:, None]) & within
    return batch
