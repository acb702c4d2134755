"""What an audit consists of, and the run directory in which it is kept."""
