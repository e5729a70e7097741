"""How each kind of source is downloaded; see routelmt.data.fetch."""
