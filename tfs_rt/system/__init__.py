"""The operating system: files, locks, processors, limits and signals."""
