"""Faults while work is under way: what must hold afterwards."""
