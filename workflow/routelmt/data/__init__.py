"""From what upstream publishes to the segments table."""
