"""The built-in plugins: each module is written as a third party would, on `auditor.api`."""
