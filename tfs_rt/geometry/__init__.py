"""Geometry of volumes: target grids, resampling and rigid registration."""
