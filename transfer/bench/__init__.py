"""Speed, measured in alternating pairs: this project's path against stock ones."""
