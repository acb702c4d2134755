"""An attack on a block of images: stages, lanes, continuous batching, claims that are verified."""
