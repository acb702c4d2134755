"""What plugins implement: attacks, checks, reports, sinks, and the hooks that offer them."""
