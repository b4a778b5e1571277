"""From a cell to its config: protocols, composition, overrides."""
