"""routelmt: which translation requests deserve the large model (RouteLMT, arXiv 2604.22520)."""

__version__ = "0.1.0"
