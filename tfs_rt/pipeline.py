"""`load_pipeline`, where the first versions had it: import it from `tfs_rt.methods.diffusion`."""

from tfs_rt.methods.diffusion import load_pipeline as load_pipeline
