"""Evaluation of routers: selection at a budget, metrics, and their uncertainty (numpy only)."""
