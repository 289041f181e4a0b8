"""Names of our own in an output folder."""

REPORT = "report.json"
SHEETS = "sheets"  # folder of contact sheets
STATE = ".tfs-rt"  # folder of locks and journals
