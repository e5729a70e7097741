"""Routers: what says of each request how urgently the large model should have it."""
