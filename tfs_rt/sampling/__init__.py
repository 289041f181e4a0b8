"""The mathematics of sampling: schedules, step tables, noise and the reverse loop. Knows no bundle and no backend."""
