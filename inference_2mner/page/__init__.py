"""A page to try a model, made with Gradio.

`2mner demo MODEL` shows it here, and `2mner push --space MODEL NAME` sends it to the Hub as a
Space. The folder `space`, a link, holds what lies at the top of a Space.
"""
