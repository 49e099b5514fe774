"""The recipes that made the measured curves of this package, from nothing to labelled files."""
