"""An audit from its configuration to its result."""
