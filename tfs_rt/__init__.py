"""tfs-rt: few-step TFS-Diff without PyTorch. Research use only; not a medical device."""

__version__ = "0.1.0"
