"""Readers of training logs, one module a format: each turns files into :class:`~scalingeq.datasets.readers.log.Log`."""
