"""From a cell to a trained and evaluated model, on MMEngine."""
