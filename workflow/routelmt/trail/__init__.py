"""The audit trail: are results what their records say, why a request went where, what changed."""
