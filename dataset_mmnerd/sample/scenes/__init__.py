"""The scenes of the drawn images: what an image shows tells the type of the entity.

A scene function draws with a pen and takes all variation from a random state.
"""

from __future__ import annotations

from . import organisations, others, people, places, works

SCENES = {
    "PER": people.SCENES,
    "LOC": places.SCENES,
    "ORG": organisations.SCENES,
    "MISC": works.SCENES,
    "O": others.SCENES,
}
"""The scenes of each entity type. Those of `O` show no entity."""

SCENES_OF_KIND = {
    "ORG.club": ("crest", "pennant", "scarf", "shirt", "stadium", "team"),
    "ORG.company": ("aeroplane", "factory", "headquarters", "logo", "van"),
    "ORG.firm": ("factory", "headquarters", "logo", "shop", "van"),
    "ORG.shop": ("logo", "shop", "van"),
    "LOC.mountain": ("mountains",),
    "LOC.sea": ("beach", "lighthouse"),
    "LOC.island": ("beach", "island", "lighthouse"),
    "LOC.river": ("bridge", "map"),
    "MISC.film": ("award", "cinema", "clapper", "poster", "ticket"),
    "MISC.series": ("television",),
    "MISC.song": ("record", "score"),
    "MISC.album": ("record",),
    "MISC.book": ("book", "masks"),
    "MISC.painting": ("painting",),
    "MISC.award": ("award",),
    "MISC.software": ("gamepad",),
}
"""The scenes that fit a kind of names; for other kinds all scenes of the type do."""


__all__ = ["SCENES", "SCENES_OF_KIND"]
