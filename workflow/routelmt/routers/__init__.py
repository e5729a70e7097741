"""Routers: what says of each request how urgently the large model should have it.

One type is one file here; `training`, `networks` and `artifact` hold what they share."""
