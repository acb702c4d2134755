"""The built-in plugins: each module is written as a third party would write it, on `auditor.api`."""
