"""The development networks: how each is built, trained and held out, and at which radii.

`development_models.py` beside this package is the entry point.
"""
