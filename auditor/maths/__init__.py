"""The mathematics: norms, objectives, random numbers, exact intervals."""
