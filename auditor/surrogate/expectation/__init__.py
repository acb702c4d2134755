"""A pass without randomness: random functions return what is expected of them."""
