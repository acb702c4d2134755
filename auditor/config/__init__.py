"""audit.toml: from the file to an `AuditConfig`, or to everything that is wrong with it."""
