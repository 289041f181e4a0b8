"""The study of rigid registration: known displacements, and pairs that must be refused."""
