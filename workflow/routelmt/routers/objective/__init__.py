"""What a trained router is to say: targets from gains, losses, and how its outputs are read."""
