"""Quality of hypotheses against their references."""
