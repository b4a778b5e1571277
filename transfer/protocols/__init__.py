"""From a run to its config: protocols, composition, overrides."""
