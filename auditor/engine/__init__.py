"""Runs the audit: plan, pool, verification, ledger, result."""
