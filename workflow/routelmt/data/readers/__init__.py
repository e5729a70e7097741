"""One file for each kind of source; see routelmt.data.registry."""
