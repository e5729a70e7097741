"""Training routers: rows, the loop that survives being killed, the card."""
