"""Planning: which cells a request or a suite needs, and what they cost."""
