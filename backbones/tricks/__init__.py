"""The paper's tricks, one short module each."""
