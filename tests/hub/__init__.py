"""A loopback Hub for tests: small invented texts in the real layouts, and faults on demand."""
