"""audit.toml as classes: what may stand in it, and the audit that it means."""
