"""`python -m tfs_rt` is `tfs-rt`."""

from tfs_rt.cli import main

if __name__ == "__main__":
    main()
