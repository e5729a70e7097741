"""Training routers: rows and labels, losses, the loop that survives being killed, the card."""
