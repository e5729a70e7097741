"""COMET checkpoints: where they are, what is in them, and the model made of it."""
