"""Texts whose offsets are easily got wrong: scripts, emoji, combining marks and spaces."""

from modeling_2mner.words_2mner import WORD_RULES, split_into_words

TEXTS = {
    "latin": "Angela Merkel besuchte l'Élysée.",
    "cyrillic": "Анна живёт в Москве.",
    "greek": "Η Μαρία ζει στην Αθήνα.",
    "arabic": "وُلِدَ محمد في القاهرة.",
    "hebrew": "שָׂרָה גרה בתל אביב.",
    "devanagari": "राम दिल्ली में रहता है।",
    "thai": "สมชายอยู่ที่กรุงเทพ",
    "chinese": "王小明住在北京。",
    "japanese": "安倍晋三は東京に住んでいます。",
    "korean": "김철수는 서울에 산다.",
    "emoji": "👨🏻‍🚒 Ana 🇩🇪 in 𝓡𝓸𝓶𝓮 ❤️!",
    "combining": "Zoe\u0308 A\u0301lvarez in Co\u0302te",
    "spaces": " \t\u00a0Ana\u2003Bo  in\u2028Rome \u3000\n ",
    "apostrophes": "aujourd'hui d'Artagnan didn't see O'Brien's 'dog'",
    "address": "see https://example.org/Ana?x=1, @ana and #Rome",
    "blank": " \u3000 ",
    "empty": "",
}

HOSTILE_TEXTS = {
    "overrides": "\u202eabc Ana\u202c \u2067Rom\u2069 \u200fx",
    "markup": "<script>alert(1)</script> \"Ana\" & 'Rom' &lt;b&gt; {{ 7 }} </p><!-- ]]>",
    "line ends": "a\r\nAna\rRom\n\n b",
}
"""Texts that a page could take for something else."""


def every_second_word(text: str) -> list[dict]:
    """Every second word of a text as an entity, as the pipeline gives them."""
    places = split_into_words(text, WORD_RULES)[::2]
    return [
        {
            "label": ("PER", "LOC", "DRUG")[number % 3],
            "score": 1 / (number + 1),
            "word": text[start:end],
            "start": start,
            "end": end,
        }
        for number, (start, end) in enumerate(places)
    ]
