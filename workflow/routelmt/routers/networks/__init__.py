"""The networks that routers read with, and how they are asked: adapters, encoders, probes."""
