"""Checks of the machine: which backends can run here."""
