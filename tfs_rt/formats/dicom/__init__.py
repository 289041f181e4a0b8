"""DICOM files, read and written."""
