"""Studies: scripts that measure, and write the pages of docs/studies. Not in the wheel."""
