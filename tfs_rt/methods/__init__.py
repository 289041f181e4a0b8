"""Fusion methods: three images in, one out. One file or folder for each."""
