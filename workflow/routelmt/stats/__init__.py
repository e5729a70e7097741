"""Selection at a budget, metrics, bootstrap and inference: arrays in, arrays out (numpy only)."""
