"""Speed against stock training, measured in alternating pairs."""
