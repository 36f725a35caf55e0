"""The memory-mapped store: one LMDB file. Needs the extra ``lmdb``."""
