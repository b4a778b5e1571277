"""Records, statistics, the paper's figures and the tables."""
