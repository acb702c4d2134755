"""The repaired surrogate: a differentiable twin beside every value that depends on the input."""
