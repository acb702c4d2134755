"""The masking verdict on reference defenses: what it finds, overlooks, and blames for nothing."""
