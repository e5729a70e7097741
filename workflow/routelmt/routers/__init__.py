"""Routers: what says of each request how urgently the large model should have it.

One type of router is one file here, named in `registry`; `training` and `networks` hold what they
share, `artifact` the folder of a trained one, `deploy` and `stream` its use outside the workflow.
"""
