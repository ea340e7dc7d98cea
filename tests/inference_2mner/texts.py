"""Texts whose offsets are easily got wrong: scripts, emoji, combining marks and spaces."""

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
