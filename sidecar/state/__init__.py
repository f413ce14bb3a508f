"""What is durable: one LMDB environment, its records, ledger and audit log."""
