"""Words for people and machines: pure."""
